//! `voip-push serve`: the REST API beside a SIP server that cannot serve it, with curl and with clients that misbehave.
//!
//! It refuses to repeat what the API answers: those cases are shared with Kamailio's tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use support::phone::Phone;
use support::rest::{Api, REGISTER, ask, command, curl, post, registration};
use support::settings::{self, API_KEY};
use support::shipped::{Shipped, apns_token};
use support::sip::Answer;
use support::{DEADLINE, Scratch, ends_with_us, poll};
use voip_push::config::ApiKey;
use voip_push::model::Scope;

/// A running `voip-push serve`; it ends with this value.
struct Serve {
    child: Child,
    url: String,
    key: String,
    trust: Vec<String>,
    scratch: Scratch,
}

fn serve_command(config: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
    command.args(["serve", "--config"]).arg(config).args(more).stdin(Stdio::null());
    command
}

impl Serve {
    /// On a store of its own.
    fn start(more: &[&str]) -> Serve {
        let scratch = Scratch::new("serve");
        let config = settings::write(&scratch);
        Serve::with(scratch, &config, API_KEY, more)
    }

    fn with(scratch: Scratch, config: &Path, key: &str, more: &[&str]) -> Serve {
        let log = File::create(scratch.path().join("serve.log")).unwrap();
        let mut command = serve_command(config, more);
        command.args(["--listen", "127.0.0.1:0"]).stderr(log);
        let child = ends_with_us(&mut command).spawn().unwrap();
        let mut serve = Serve { child, url: String::new(), key: key.to_owned(), trust: Vec::new(), scratch };
        let url =
            poll(DEADLINE, || Some(serve.log().split_once("REST API on ")?.1.split_once('\n')?.0.to_owned()));
        serve.url = url.unwrap_or_else(|| panic!("it does not serve: {}", serve.log()));
        serve
    }

    /// With a certificate for 127.0.0.1.
    fn start_tls() -> Serve {
        let scratch = Scratch::new("serve");
        let config = settings::write(&scratch);
        let [cert, key] = certificate(&scratch);
        let more = ["--cert", &cert, "--key", &key];
        let mut serve = Serve::with(scratch, &config, API_KEY, &more);
        serve.trust = vec!["--cacert".to_owned(), cert.clone()];
        serve
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.url.split_once("//").unwrap().1).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// What the server sends until it closes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        rest_of(&mut stream)
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child that this value has started and not reaped.
        assert_eq!(unsafe { libc::kill(libc::pid_t::try_from(self.child.id()).unwrap(), signal) }, 0);
    }

    fn ended(&mut self) -> ExitStatus {
        poll(DEADLINE, || self.child.try_wait().unwrap())
            .unwrap_or_else(|| panic!("it goes on: {}", self.log()))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Api for Serve {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn api_key(&self) -> String {
        self.key.clone()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("serve.log")).unwrap()
    }

    fn trust(&self) -> Vec<String> {
        self.trust.clone()
    }
}

fn certificate(scratch: &Scratch) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let cert = scratch.write("cert.pem", made.cert.pem());
    let key = scratch.write("key.pem", made.signing_key.serialize_pem());
    settings::secret(&key);
    [cert.display().to_string(), key.display().to_string()]
}

fn rest_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    read.unwrap_or_else(|error| panic!("{error} after {text:?}"));
    text
}

/// The cases that are the same whoever serves the API.
macro_rules! shared {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            support::rest::$name(&Serve::start(&[]));
        })*
    };
}

shared! {
    a_token_is_registered_renewed_shown_and_deleted
    a_user_is_percent_decoded_once
    many_devices_of_a_user_are_shown_whole
    without_a_valid_key_nothing_is_told_and_nothing_is_done
    guessing_keys_is_slow_whichever_worker_serves
    what_is_wrong_has_its_status
    what_is_in_a_body_is_not_taken_for_a_variable
}

#[test]
fn https_is_served_with_the_administrators_certificate() {
    let serve = Serve::start_tls();
    assert!(serve.url.starts_with("https://"), "{}", serve.url);
    support::rest::a_token_is_registered_renewed_shown_and_deleted(&serve);
    support::rest::many_devices_of_a_user_are_shown_whole(&serve);
    let metrics = support::rest::ask(&serve, "GET", "/voip-push/metrics", &[]).body;
    // rcgen's default: the first of January 4096
    let line = "\nvoip_push_server_certificate_expiry_timestamp_seconds 67090118400\n";
    assert!(metrics.contains(line), "{metrics}");
    let stranger = Command::new("curl").args(["-sS", &format!("{}/", serve.url)]).output().unwrap();
    assert!(!stranger.status.success(), "a client that does not know the certificate must refuse it");
    let old = command(&serve, "/", &["--tls-max", "1.1"]).output().unwrap();
    assert!(!old.status.success());
    // plain HTTP, and nothing at all
    assert!(!serve.raw(b"GET / HTTP/1.1\r\n\r\n").contains("HTTP/1.1 2"));
    assert_eq!(serve.token_status("bob"), 200);
}

#[test]
fn the_slow_are_not_waited_for() {
    let serve = Serve::start(&["--patience-seconds", "1"]);
    let head = "POST /api/register-push-token HTTP/1.1\r\nHost: x\r\n";
    let begin = Instant::now();
    for (bytes, says) in [
        (String::new(), ""),
        ("GET /api".to_owned(), ""),
        (head.to_owned(), ""),
        (format!("{head}Content-Length: 100\r\n\r\n{{"), "HTTP/1.1 408 "),
        (format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n"), "HTTP/1.1 408 "),
        // one that is answered and then says nothing more
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 404 "),
    ] {
        let answer = serve.raw(bytes.as_bytes());
        assert!(answer.starts_with(says), "{bytes:?}: {answer}");
    }
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    assert_eq!(serve.token_status("bob"), 404);
}

#[test]
fn the_large_and_the_malformed_are_answered_and_end_nothing() {
    let serve = Serve::start(&[]);
    let large = |len: usize| registration("bob", &"a".repeat(len), "ios");
    let file = |len| serve.scratch.write("body", large(len)).display().to_string();
    for len in [9_000, 60_000, 900_000, 5_000_000] {
        let from = format!("@{}", file(len));
        let answer =
            ask(&serve, "POST", REGISTER, &["-H", "Content-Type: application/json", "--data-binary", &from]);
        assert_eq!(answer.status, 413, "{len}: {answer:?}");
    }
    for (bad, status) in [
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)), "431"),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(100_000)), "431"),
        ("\r\n\r\n\0\0\0\0 garbage\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned(), "400"),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd".to_owned(), "400"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n".to_owned(), "400"),
    ] {
        let mut stream = serve.connect();
        // what is too much may be refused before all of it was written
        let _ = stream.write_all(bad.as_bytes());
        let mut head = [0; 12];
        let read = stream.read_exact(&mut head);
        let shown = String::from_utf8_lossy(&head).into_owned();
        assert!(
            read.is_ok() && shown == format!("HTTP/1.1 {status}"),
            "{}: {shown:?}",
            &bad[..bad.len().min(40)]
        );
    }
    assert_eq!(post(&serve, &registration("bob", &apns_token(1), "ios")).status, 201);
    assert!(!serve.log().contains("panic"), "{}", serve.log());
}

#[test]
fn more_connections_than_allowed_wait_for_a_place() {
    let serve = Serve::start(&["--max-connections", "2", "--patience-seconds", "1"]);
    let silent: Vec<TcpStream> = (0..8).map(|_| serve.connect()).collect();
    assert_eq!(serve.token_status("bob"), 404, "the silent ones are not waited for");
    drop(silent);
    let serve = Serve::start(&[]);
    let crowd: Vec<TcpStream> = (0..200).map(|_| serve.connect()).collect();
    let begin = Instant::now();
    assert_eq!(serve.token_status("bob"), 404);
    assert!(begin.elapsed() < Duration::from_secs(9), "a crowd below the limit keeps nobody waiting");
    drop(crowd);
}

#[test]
fn requests_of_many_clients_at_a_time_are_all_answered() {
    let serve = Serve::start(&[]);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let serve = &serve;
            scope.spawn(move || {
                let mut stream = serve.connect();
                for number in 0..50 {
                    let token = format!("{:064x}", client * 1000 + number);
                    let body = registration(&format!("user{client}-{number}"), &token, "ios");
                    let head = format!(
                        "POST {REGISTER} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: {}\r\n\
                         Content-Type: application/json\r\n\r\n",
                        body.len()
                    );
                    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                    let mut buffer = [0; 4096];
                    let len = stream.read(&mut buffer).unwrap();
                    assert_eq!(Answer::parse(&buffer[..len]).status, 201);
                }
            });
        }
    });
    assert_eq!(serve.token_status("user7-49"), 200);
}

#[test]
fn a_proxy_is_believed_only_where_it_was_named() {
    let target = "/api/user/bob/push-token";
    let guess = |serve: &Serve, forwarded: &str| {
        let forwarded = format!("X-Forwarded-For: {forwarded}");
        curl(serve, target, &["-H", "Authorization: Bearer wrong-key-0123456789", "-H", &forwarded]).status
    };
    let serve = Serve::start(&["--behind-proxy", "127.0.0.1"]);
    let statuses: Vec<u16> = (0..12).map(|_| guess(&serve, "198.51.100.7, 192.0.2.1")).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(guess(&serve, "192.0.2.1, 192.0.2.2"), 401, "another client of the same proxy");
    assert_eq!(serve.token_status("bob"), 404);
    let serve = Serve::start(&[]);
    let statuses: Vec<u16> = (0..12).map(|number| guess(&serve, &format!("192.0.2.{number}"))).collect();
    assert!(statuses.contains(&429), "whoever may name his own address may guess for ever: {statuses:?}");
}

#[test]
fn told_to_stop_it_answers_what_is_under_way_and_ends() {
    let mut serve = Serve::start(&[]);
    let mut idle = serve.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut begun = serve.connect();
    let body = registration("bob", &apns_token(1), "ios");
    let head = format!(
        "POST {REGISTER} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_KEY}\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    begun.write_all(head.as_bytes()).unwrap();
    let mut buffer = [0; 256];
    let len = begun.read(&mut buffer).unwrap();
    assert_eq!(Answer::parse(&buffer[..len]).status, 100);
    let begin = Instant::now();
    serve.signal(libc::SIGTERM);
    let refused = || TcpStream::connect(serve.url.split_once("//").unwrap().1).is_err().then_some(());
    poll(DEADLINE, refused).expect("no new client is taken");
    begun.write_all(body.as_bytes()).unwrap();
    assert!(rest_of(&mut begun).starts_with("HTTP/1.1 201 "));
    assert!(rest_of(&mut idle).starts_with("HTTP/1.1 404 "));
    assert!(serve.ended().success());
    assert!(begin.elapsed() < DEADLINE / 2, "{:?}", begin.elapsed());
    assert!(!serve.log().contains(&apns_token(1)), "a token is in the log");
}

#[test]
fn api_keys_are_read_again_on_sighup_and_a_broken_file_keeps_the_old_ones() {
    let serve = Serve::start(&[]);
    let status = |key: &str| {
        let request = format!(
            "GET /api/user/nobody/push-token HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
        );
        serve.raw(request.as_bytes())[9..12].to_owned()
    };
    let new = "another-key-0123456789abcdef";
    let line = ApiKey::new("other", &[Scope::Admin], new).unwrap().line();
    settings::secret(&serve.scratch.write("api-keys", format!("{line}\nhalf a line")));
    serve.signal(libc::SIGHUP);
    poll(DEADLINE, || serve.log().contains("reload refused").then_some(())).expect("it says so");
    assert_eq!((status(API_KEY), status(new)), ("404".to_owned(), "401".to_owned()));
    settings::secret(&serve.scratch.write("api-keys", format!("{line}\n")));
    serve.signal(libc::SIGHUP);
    poll(DEADLINE, || serve.log().contains("generation 1").then_some(())).expect("it says so");
    assert_eq!((status(API_KEY), status(new)), ("401".to_owned(), "404".to_owned()));
}

#[test]
fn it_shares_the_store_with_a_running_sip_server() {
    let shipped = Shipped::start("shared");
    let (config, key) = (shipped.simulator.config(), shipped.simulator.fact("api_key").to_owned());
    let serve = Serve::with(Scratch::new("serve"), &config, &key, &[]);
    assert_eq!(post(&serve, &registration("bob", &apns_token(1), "ios")).status, 201);
    assert_eq!(shipped.token_status("bob"), 200);
    let caller = &mut Phone::udp("alice", shipped.port());
    let _call = caller.invite("bob");
    assert_eq!(shipped.simulator.wait_for_pushes(0, 1)[0]["token"], apns_token(1).as_str());
    // both write at the same time, to the same users
    let write = |register: &dyn Fn(&str, &str) -> u16, from: usize| {
        for number in 0..40 {
            let status = register(&format!("user{}", number % 4), &format!("{:064x}", from + number));
            assert!(matches!(status, 200 | 201), "{status}");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| write(&|user, token| post(&serve, &registration(user, token, "ios")).status, 1000));
        scope.spawn(|| {
            let body = |user: &str, token: &str| json!({ "user": user, "token": token, "platform": "ios" });
            write(&|user, token| shipped.rest("POST", REGISTER, &body(user, token)).status, 5000);
        });
    });
    assert_eq!(ask(&serve, "DELETE", "/api/user/bob/push-token", &[]).status, 200);
    assert_eq!(shipped.token_status("bob"), 404);
}

fn refused(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = serve_command(config, more).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn what_cannot_be_served_is_refused_in_one_line() {
    let scratch = Scratch::new("serve-refused");
    let config = settings::write(&scratch);
    let [cert, key] = certificate(&scratch);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (more, code, says) in [
        (vec!["--listen", "0.0.0.0:0"], 2, "--cert and --key"),
        (vec!["--listen", "nowhere"], 2, "--listen"),
        (vec!["--cert", &cert], 2, "--key"),
        (vec!["--behind-proxy", "proxy.example.org"], 2, "--behind-proxy"),
        (vec!["--listen", &taken], 1, "cannot listen on"),
        (vec!["--cert", "/nowhere/cert.pem", "--key", &key], 1, "/nowhere/cert.pem"),
        (vec!["--cert", &key, "--key", &key], 1, "has no certificate"),
        (vec!["--cert", &cert, "--key", &cert], 1, "open to everybody"),
    ] {
        let (ended, text) = refused(&config, &more);
        assert!(ended == Some(code) && text.contains(says), "{more:?}: {ended:?} {text}");
    }
    let other = scratch.write("other.p8", "");
    settings::p256_key(&other);
    let other = other.display().to_string();
    let (ended, text) = refused(&config, &["--cert", &cert, "--key", &other]);
    assert!(ended == Some(1) && text.contains("cert.pem"), "{text}");
    let silent = settings::TOML.replace("[rest]\napi_keys_file = \"api-keys\"\n", "");
    let (ended, text) = refused(&scratch.write("silent.toml", silent), &[]);
    assert!(ended == Some(1) && text.contains("[rest] api_keys_file is missing"), "{text}");
    let (ended, text) = refused(Path::new("/nowhere.toml"), &[]);
    assert!(ended == Some(1) && text.contains("/nowhere.toml"), "{text}");
}
