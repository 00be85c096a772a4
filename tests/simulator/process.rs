//! The process: its files, its exit codes, its end, its command per push; openssl as the second opinion.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::client::*;
use crate::harness::{Scratch, Simulator, command, wait_for};

/// Standard output of an openssl command; none when there is no openssl, which only CI must not accept.
#[allow(clippy::print_stderr, reason = "a test that was skipped says so")]
pub fn openssl(arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new("openssl").args(arguments).stdin(Stdio::null()).output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "openssl {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(output.stdout)
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "openssl is needed: {error}");
            eprintln!("skipped: this test needs the openssl command");
            None
        }
    }
}

fn openssl_text(arguments: &[&str]) -> String {
    // s_client also prints what the server says, and HTTP/2 says it in binary.
    String::from_utf8_lossy(&openssl(arguments).expect("asked for before")).into_owned()
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        let sextets = (0..=chunk.len()).map(|at| word >> (18 - 6 * at) & 63);
        text.extend(sextets.map(|sextet| char::from(ALPHABET[sextet as usize])));
    }
    text
}

fn signed_by_openssl(scratch: &Scratch, key: &Path, header: &Value, claims: &Value) -> (String, Vec<u8>) {
    let message =
        format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let file = scratch.0.join("message");
    fs::write(&file, &message).expect("the scratch directory is writable");
    let (key, file) = (key.to_str().expect("UTF-8"), file.to_str().expect("UTF-8"));
    (message, openssl(&["dgst", "-sha256", "-sign", key, file]).expect("asked for before"))
}

/// The 32 bytes of one INTEGER of a DER signature, and what follows it.
fn der_integer(der: &[u8]) -> ([u8; 32], &[u8]) {
    let (value, rest) = der[2..].split_at(usize::from(der[1]));
    let digits = &value[value.iter().position(|b| *b != 0).unwrap_or(value.len())..];
    let mut fixed = [0; 32];
    fixed[32 - digits.len()..].copy_from_slice(digits);
    (fixed, rest)
}

/// A provider token signed by openssl: with r||s and with the DER form.
pub fn es256_by_openssl(simulator: &Simulator) -> (String, String) {
    let scratch = Scratch::new();
    let header = json!({ "alg": "ES256", "kid": simulator.ready("key_id") });
    let claims = json!({ "iss": simulator.ready("team_id"), "iat": now_s() });
    let key = simulator.dir.join("AuthKey_KEY1234567.p8");
    let (message, der) = signed_by_openssl(&scratch, &key, &header, &claims);
    let (r, rest) = der_integer(&der[2..]);
    let (s, _) = der_integer(rest);
    (format!("{message}.{}", base64url(&[r, s].concat())), format!("{message}.{}", base64url(&der)))
}

/// An assertion signed by openssl.
pub fn rs256_by_openssl(simulator: &Simulator) -> String {
    let scratch = Scratch::new();
    let account: Value = serde_json::from_str(&simulator.file("service-account.json")).expect("it is JSON");
    let key = scratch.0.join("key.pem");
    fs::write(&key, account["private_key"].as_str().expect("it has a key")).expect("writable");
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": account["private_key_id"] });
    let claims = json!({
        "iss": account["client_email"], "aud": account["token_uri"], "iat": now_s(), "exp": now_s() + 3600,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
    });
    let (message, signature) = signed_by_openssl(&scratch, &key, &header, &claims);
    format!("{message}.{}", base64url(&signature))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file was listed").permissions().mode() & 0o777
}

#[test]
fn files_are_there_with_their_modes_and_no_ca_key() {
    let simulator = Simulator::start();
    let mut files: BTreeMap<String, u32> = BTreeMap::new();
    for entry in fs::read_dir(&simulator.dir).expect("the directory is there") {
        let entry = entry.expect("it can be read");
        files.insert(entry.file_name().to_string_lossy().into_owned(), mode(&entry.path()));
    }
    let expected = [
        ("AuthKey_KEY1234567.p8", 0o600),
        ("api-keys", 0o600),
        ("ca.pem", 0o644),
        ("service-account.json", 0o600),
        ("simulator.json", 0o600),
        ("voip-push.toml", 0o644),
    ];
    assert_eq!(files, expected.map(|(name, mode)| (name.to_owned(), mode)).into());
    assert_eq!(mode(&simulator.dir), 0o700);
    assert!(!simulator.file("ca.pem").contains("PRIVATE"), "the CA's key is not kept");
    let api_keys = simulator.file("api-keys");
    let keys = voip_push::config::ApiKeys::parse(&api_keys).expect("it is a file of keys");
    assert!(keys.find(simulator.ready("api_key")).is_some(), "{api_keys}");
    assert!(api_keys.lines().count() == 1 && !api_keys.contains(simulator.ready("api_key")));
}

#[test]
fn the_configuration_is_ready() {
    let simulator =
        Simulator::with(&["--team-id", "TEAM000001", "--key-id", "KEY0000001", "--project", "my-project"]);
    let configuration: toml::Table = simulator.file("voip-push.toml").parse().expect("it is TOML");
    let configuration = serde_json::to_value(configuration).expect("TOML fits into JSON");
    let file = |name: &str| simulator.dir.join(name).to_str().expect("UTF-8").to_owned();
    let apns = |environment: &str, url: &str| {
        json!({
            "team_id": "TEAM000001", "key_id": "KEY0000001", "key_file": file("AuthKey_KEY0000001.p8"),
            "topics": [TOPIC], "environment": environment, "url": simulator.ready(url), "ca_file": file("ca.pem"),
        })
    };
    let expected = json!({
        "store": { "url": format!("sqlite:{}", file("tokens.db")) },
        "call": { "ring_seconds": 30, "wait_ms": 800, "wake_seconds": 15 },
        "apns": [apns("production", "apns"), apns("sandbox", "apns_sandbox")],
        "fcm": [{
            "service_account_file": file("service-account.json"), "ios_push_type": "alert",
            "url": simulator.ready("google"), "ca_file": file("ca.pem"),
        }],
        "rest": { "api_keys_file": file("api-keys") },
        "log": { "level": "info" },
    });
    assert_eq!(configuration, expected);
    let account: Value = serde_json::from_str(&simulator.file("service-account.json")).expect("it is JSON");
    assert_eq!((&account["type"], &account["project_id"]), (&json!("service_account"), &json!("my-project")));
    assert_eq!(account["token_uri"], format!("{}/token", simulator.ready("google")));
}

#[test]
fn openssl_agrees_about_keys_and_certificates() {
    if openssl(&["version"]).is_none() {
        return;
    }
    let simulator = Simulator::start();
    let path = |name: &str| simulator.dir.join(name).to_str().expect("UTF-8").to_owned();
    let p8 = openssl_text(&["pkey", "-in", &path("AuthKey_KEY1234567.p8"), "-noout", "-text"]);
    assert!(p8.contains("prime256v1"), "{p8}");
    let account: Value = serde_json::from_str(&simulator.file("service-account.json")).expect("it is JSON");
    let scratch = Scratch::new();
    let rsa = scratch.0.join("rsa.pem");
    fs::write(&rsa, account["private_key"].as_str().expect("it has a key")).expect("writable");
    let rsa = openssl_text(&["pkey", "-in", rsa.to_str().expect("UTF-8"), "-noout", "-text"]);
    assert!(rsa.contains("2048 bit"), "{rsa}");
    for (service, alpn) in [("apns", "h2"), ("apns_sandbox", "h2"), ("google", "http/1.1")] {
        for name in [["-verify_ip", "127.0.0.1"], ["-verify_hostname", "localhost"]] {
            let address = simulator.ready(service).trim_start_matches("https://").to_owned();
            let ca = path("ca.pem");
            let mut arguments =
                vec!["s_client", "-connect", &address, "-CAfile", &ca, "-verify_return_error"];
            arguments.extend(["-alpn", alpn]);
            arguments.extend(name);
            let talk = openssl_text(&arguments);
            assert!(talk.contains("Verify return code: 0 (ok)"), "{service} {name:?}: {talk}");
            assert!(talk.contains(&format!("ALPN protocol: {alpn}")), "{service}: {talk}");
        }
    }
}

#[test]
fn each_start_makes_new_keys_and_keeps_the_tokens() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("sim");
    let names = ["ca.pem", "AuthKey_KEY1234567.p8", "service-account.json", "api-keys"];
    let first = Simulator::in_dir(&dir, &[]);
    let before = names.map(|name| first.file(name));
    drop(first);
    fs::write(dir.join("tokens.db"), "precious").expect("writable");
    assert!(dir.join("simulator.json").exists(), "a killed simulator leaves its signal behind");
    let second = Simulator::in_dir(&dir, &[]);
    for (name, before) in names.iter().zip(before) {
        assert_ne!(second.file(name), before, "{name}");
    }
    assert_eq!(second.file("tokens.db"), "precious");
}

#[test]
fn signals_end_it_well() {
    for signal in ["TERM", "INT"] {
        let mut simulator = Simulator::start();
        let kill = format!("kill -{signal} {}", simulator.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("there is a shell").success());
        assert_eq!(simulator.wait().code(), Some(0), "signal {signal}");
        assert!(!simulator.dir.join("simulator.json").exists(), "it is not ready any more");
    }
}

/// Exit code and standard error of a start that must fail.
fn failed(arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(arguments).stderr(Stdio::piped()).output().expect("the binary starts");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

#[test]
fn wrong_usage_and_failures_are_told_apart() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("sim");
    let dir = dir.to_str().expect("UTF-8");
    let file = scratch.0.join("file");
    fs::write(&file, "").expect("writable");
    let below_file = file.join("sim");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback works");
    let port = taken.local_addr().expect("bound").port().to_string();
    let rows: [(&[&str], i32, &str); 8] = [
        (&[], 2, "--dir"),
        (&["--dir", dir, "--listen", "0.0.0.0"], 2, "--allow-remote"),
        (&["--dir", dir, "--team-id", "../../x"], 2, "--team-id"),
        (&["--dir", dir, "--key-id", "KEY1"], 2, "--key-id"),
        (&["--dir", dir, "--topic", "org.example.phone"], 2, "--topic"),
        (&["--dir", dir, "--project", "UPPER"], 2, "--project"),
        (&["--dir", below_file.to_str().expect("UTF-8")], 1, "file/sim"),
        (&["--dir", dir, "--apns-port", &port], 1, &port),
    ];
    for (arguments, code, named) in rows {
        let (exit, error) = failed(arguments);
        assert_eq!(exit, Some(code), "{arguments:?}: {error}");
        assert!(error.contains(named), "{arguments:?}: {error}");
        assert!(code == 2 || error.lines().count() == 1, "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn a_command_runs_for_each_push_that_reached_a_phone() {
    let scratch = Scratch::new();
    let seen = scratch.0.join("seen");
    let script =
        format!("env -0 | grep -z ^VOIP_PUSH_ > {0}.tmp; mv {0}.tmp {0}.$VOIP_PUSH_PROVIDER", seen.display());
    let simulator = Simulator::with(&["--on-push", &script]);
    let apns = Client::connect(&simulator, "apns").await;
    let fields = json!({ "call_id": "c 1@x", "caller": "\"Bob\"\u{0}\n", "sip_user": "alice", "id": "u-1" });
    let jwt = provider_token(&simulator, 0);
    apns.answered(&voip_push(&jwt, "00").body(fields.to_string())).await;
    apns.answered(&voip_push(&jwt, &device_token(1)).body(fields.to_string())).await;
    let environment = environment_in(&seen.with_extension("apns"));
    let time_ms = environment["VOIP_PUSH_TIME_MS"].parse::<i64>().expect("a number");
    assert!((now_s() * 1000 - time_ms).abs() < 30_000);
    let payload: Value = serde_json::from_str(&environment["VOIP_PUSH_PAYLOAD"]).expect("JSON");
    assert_eq!(payload, fields);
    for (name, value) in [
        ("PROVIDER", "apns"),
        ("TOKEN", &device_token(1)),
        ("APP", TOPIC),
        ("ENVIRONMENT", "production"),
        ("CALL_ID", "c 1@x"),
        ("CALLER", "\"Bob\"\n"),
        ("SIP_USER", "alice"),
        ("ID", "u-1"),
    ] {
        assert_eq!(environment[&format!("VOIP_PUSH_{name}")], value, "{name}");
    }
    let google = Client::connect(&simulator, "google").await;
    let access = access_token(&simulator, &google).await;
    let message = json!({ "token": registration_token("phone"), "data": { "call_id": "c2" } });
    google.answered(&fcm_message(&access, &message)).await;
    let environment = environment_in(&seen.with_extension("fcm"));
    assert_eq!(environment["VOIP_PUSH_APP"], "sip-phone-voip");
    assert_eq!(environment["VOIP_PUSH_CALL_ID"], "c2");
    assert_eq!(environment["VOIP_PUSH_PAYLOAD"], r#"{"call_id":"c2"}"#);
}

fn environment_in(file: &Path) -> BTreeMap<String, String> {
    let text = wait_for("the command's output", || fs::read_to_string(file).ok());
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn slow_commands_are_run_side_by_side_and_reaped() {
    let scratch = Scratch::new();
    let gate = scratch.0.join("gate");
    // Bounded, so that a test that fails leaves nothing behind.
    let wait = "for turn in $(seq 600); do [ -e $gate ] && break; sleep 0.05; done";
    let script = format!("gate={}; {wait}; echo x >> $gate.done", gate.display());
    let simulator = Simulator::with(&["--on-push", &script]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let apns = Client::connect(&simulator, "apns").await;
        let jwt = provider_token(&simulator, 0);
        for number in 0..80 {
            assert_eq!(apns.answered(&voip_push(&jwt, &device_token(number))).await.status, 200);
        }
    });
    let running = || children_of(simulator.pid());
    wait_for("64 commands at a time", || (running() == 64).then_some(()));
    fs::write(&gate, "").expect("writable");
    let done = gate.with_extension("done");
    wait_for("all 80 commands", || (fs::read_to_string(&done).ok()?.lines().count() == 80).then_some(()));
    wait_for("no child left, dead or alive", || (running() == 0).then_some(()));
    assert_eq!(simulator.get("/stats")["on_push_dropped"], 0);
}

/// How many children a process has, dead or alive; the kernel lists them by the thread that started them.
fn children_of(pid: u32) -> usize {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let listed = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    listed.map(|pids| pids.split_whitespace().count()).sum()
}
