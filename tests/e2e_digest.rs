//! SIP passwords for the REST API: digest through Kamailio's own auth and auth_db on SQLite, over HTTP and HTTPS, with curl as
//! the app. The table of users is the one that Debian's package makes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use support::kamailio::Place;
use support::phone::{DOMAIN, Phone};
use support::shipped::{Setup, Shipped, apns_token};
use support::sip::{self, Answer};
use support::{DEADLINE, Scratch, poll, run};

const BOB: &str = "/api/user/bob/push-token";
const REGISTER: &str = "/api/register-push-token";

/// A server whose users are bob and alice, and what it needs.
struct Guarded {
    shipped: Shipped,
    scratch: Scratch,
    https_port: u16,
}

impl Guarded {
    fn start(name: &str) -> Guarded {
        Guarded::with(name, vec![], &[("bob", DOMAIN, "bobs-own"), ("alice", DOMAIN, "alices-own")])
    }

    /// With more `-A` defines, and these users: name, domain, password.
    fn with(
        name: &str,
        mut defines: Vec<(&'static str, &'static str)>,
        users: &[(&str, &str, &str)],
    ) -> Guarded {
        let scratch = Scratch::new(&format!("{name}-db"));
        let database = subscribers(&scratch, users);
        let (certificate, key) = certificate(&scratch);
        // held until the server has the port
        let place = Place::new(&format!("{name}-tls"));
        let quoted = |path: PathBuf| &*format!("\"{}\"", path.display()).leak();
        defines.extend([
            ("WITH_AUTH", ""),
            ("WITH_REST_TLS", ""),
            ("HTTPS_PORT", &*place.port.to_string().leak()),
            ("DB_URL", &*format!("\"sqlite:///{}\"", database.display()).leak()),
            ("TLS_CERTIFICATE", quoted(certificate)),
            ("TLS_KEY", quoted(key)),
        ]);
        let shipped = Shipped::with(name, Setup { defines, ..Setup::default() });
        Guarded { shipped, scratch, https_port: place.port }
    }

    /// curl's answer to a digest's second request; `user` is `name:password`.
    fn ask(&self, user: &str, args: &[&str], target: &str) -> Answer {
        let mut all = vec!["--digest", "-u", user];
        all.extend(args);
        self.curl(&all, &format!("https://127.0.0.1:{}{target}", self.https_port))
    }

    fn curl(&self, args: &[&str], url: &str) -> Answer {
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--http1.1", "--max-time", "20", "--cacert"]);
        command.arg(self.scratch.path().join("certificate.pem")).args(args).arg(url);
        last_answer(&run(&mut command, "curl").stdout)
    }

    fn register(&self, user: &str, whose: &str, token: &str) -> Answer {
        let body = json!({ "user": whose, "token": token, "platform": "ios" }).to_string();
        self.ask(user, &["-H", "Content-Type: application/json", "--data-raw", &body], REGISTER)
    }

    /// A request without curl's help, to the port without TLS; `headers` are whole lines.
    fn plain(&self, method: &str, target: &str, headers: &str) -> Answer {
        sip::http(self.shipped.http_port, method, target, headers, b"")
    }

    /// A fresh challenge's nonce.
    fn nonce(&self) -> String {
        let challenged = self.plain("GET", BOB, "");
        assert_eq!(challenged.status, 401, "{challenged:?}");
        nonce_of(&challenged)
    }

    /// What is stored, asked for with the API key.
    fn stored(&self, user: &str) -> Value {
        let answer = self.shipped.rest("GET", &format!("/api/user/{user}/push-token"), &Value::Null);
        if answer.status == 200 { serde_json::from_str(&answer.body).unwrap() } else { json!(answer.status) }
    }
}

/// The users' table, as Debian's package kamailio-sqlite-modules makes it, with hashes of passwords and no password.
fn subscribers(scratch: &Scratch, users: &[(&str, &str, &str)]) -> PathBuf {
    let path = scratch.path().join("kamailio.sqlite");
    let mut sql = String::new();
    for file in ["standard-create.sql", "auth_db-create.sql"] {
        let file = format!("/usr/share/kamailio/db_sqlite/{file}");
        sql += &std::fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("{file}: {error}; needs kamailio-sqlite-modules; run make test, which installs it")
        });
    }
    for (user, domain, password) in users {
        let ha1 = md5(&format!("{user}:{domain}:{password}"));
        sql += &format!(
            "INSERT INTO subscriber (username, domain, ha1) VALUES ('{user}', '{domain}', '{ha1}');\n"
        );
    }
    run(Command::new("sqlite3").arg(&path).arg(sql), "sqlite3");
    path
}

/// A throw-away certificate for 127.0.0.1, its own root, and its key.
fn certificate(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let (certificate, key) = (scratch.path().join("certificate.pem"), scratch.path().join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    openssl.args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:sip.example.net"]);
    run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate), "openssl");
    (certificate, key)
}

fn md5(text: &str) -> String {
    format!("{:x}", md5::compute(text))
}

/// The last of the answers that curl has printed one after the other.
fn last_answer(printed: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(printed);
    Answer::parse(&printed[text.rfind("HTTP/1.1 ").unwrap()..])
}

fn nonce_of(answer: &Answer) -> String {
    let challenge = answer.header("WWW-Authenticate").unwrap_or_else(|| panic!("no challenge: {answer:?}"));
    assert!(challenge.starts_with("Digest "), "{challenge}");
    challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// What the credentials of RFC 7616 are made of; every field can be a lie.
#[derive(Clone)]
struct Digest {
    username: String,
    /// User and realm in the hash, with a colon between.
    hashed: String,
    password: String,
    realm: String,
    nonce: String,
    nc: u32,
    method: String,
    uri: String,
}

impl Digest {
    fn new(user: &str, password: &str, method: &str, uri: &str, nonce: &str) -> Digest {
        Digest {
            username: user.to_owned(),
            hashed: format!("{user}:{DOMAIN}"),
            password: password.to_owned(),
            realm: DOMAIN.to_owned(),
            nonce: nonce.to_owned(),
            nc: 1,
            method: method.to_owned(),
            uri: uri.to_owned(),
        }
    }

    fn response(&self) -> String {
        let ha1 = md5(&format!("{}:{}", self.hashed, self.password));
        let ha2 = md5(&format!("{}:{}", self.method, self.uri));
        md5(&format!("{ha1}:{}:{:08x}:c0ffee:auth:{ha2}", self.nonce, self.nc))
    }

    fn value(&self) -> String {
        format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{}\", qop=auth, nc={:08x}, cnonce=\"c0ffee\", \
             response=\"{}\"",
            self.username,
            self.realm,
            self.nonce,
            self.uri,
            self.nc,
            self.response()
        )
    }

    fn header(&self) -> String {
        format!("Authorization: {}\r\n", self.value())
    }
}

#[test]
fn an_app_registers_its_own_token_with_its_sip_password() {
    let guarded = Guarded::start("dg-own");
    let registered = guarded.register("bob:bobs-own", "bob", &apns_token(1));
    assert_eq!((registered.status, registered.body.as_str()), (201, "{\"success\":true}"));
    assert_eq!(guarded.register("bob:bobs-own", "bob", &apns_token(1)).status, 200);
    assert_eq!(guarded.stored("bob")["token"], apns_token(1), "an API key still works");
    let shown = guarded.ask("bob:bobs-own", &[], BOB);
    assert_eq!((shown.status, shown.body.contains(&apns_token(1))), (200, true));
    let url = format!("http://127.0.0.1:{}{BOB}", guarded.shipped.http_port);
    assert_eq!(guarded.curl(&["--digest", "-u", "bob:bobs-own"], &url).status, 200);
    let one = format!("{BOB}?device_id=other");
    assert_eq!(guarded.ask("bob:bobs-own", &["-X", "DELETE"], &one).status, 404);
    assert_eq!(guarded.ask("bob:bobs-own", &["-X", "DELETE"], BOB).status, 200);
    assert_eq!(guarded.stored("bob"), 404);
}

#[test]
fn nobody_elses_token_is_registered_shown_or_deleted() {
    let guarded = Guarded::start("dg-other");
    assert_eq!(guarded.register("bob:bobs-own", "bob", &apns_token(1)).status, 201);
    let before = guarded.stored("bob");
    for whose in ["bob", "sip:bob", "bob;x", "nobody", "bob@sip.example.org"] {
        assert_eq!(guarded.register("alice:alices-own", whose, &apns_token(2)).status, 403, "{whose}");
    }
    for (method, target) in [
        ("GET", BOB),
        ("DELETE", BOB),
        ("DELETE", "/api/user/bob/push-token?device_id="),
        ("GET", "/api/user/nobody/push-token"),
        ("GET", "/api/user/sip:bob/push-token"),
        ("DELETE", "/api/user/%62ob/push-token"),
    ] {
        let refused = guarded.ask("alice:alices-own", &["-X", method, "-g"], target);
        assert_eq!((refused.status, refused.body.contains("own tokens")), (403, true), "{method} {target}");
    }
    assert_eq!(guarded.stored("bob"), before);
    assert_eq!(guarded.stored("alice"), 404);
}

#[test]
fn wrong_passwords_and_users_get_the_same_and_then_429() {
    let guarded = Guarded::start("dg-guess");
    guarded.shipped.register_token("bob", &apns_token(1), "ios");
    // a challenge is no guess
    for _ in 0..15 {
        guarded.nonce();
    }
    let answers: Vec<Answer> = (0..12)
        .map(|number| {
            let user = if number % 2 == 0 { "bob" } else { "nobody" };
            guarded.ask(&format!("{user}:guess-{number}"), &["-X", "DELETE"], BOB)
        })
        .collect();
    for answer in &answers[..10] {
        assert_eq!((answer.status, &answer.body), (401, &answers[0].body), "{answer:?}");
        nonce_of(answer);
    }
    let refused = guarded.ask("bob:guess", &[], BOB);
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.header("Retry-After").is_some_and(|wait| wait.parse::<u64>().is_ok()), "{refused:?}");
    assert_eq!(guarded.ask("bob:bobs-own", &[], BOB).status, 429, "a right one is not told from a wrong one");
    assert_eq!(guarded.ask("bob:bobs-own", &["--interface", "127.0.0.2"], BOB).status, 200);
    assert!(guarded.shipped.kamailio.log().contains("wrong keys or passwords"));
}

#[test]
fn an_answer_to_a_challenge_is_good_once_and_for_one_request() {
    let guarded = Guarded::start("dg-replay");
    guarded.shipped.register_token("bob", &apns_token(1), "ios");
    let ask = |digest: &Digest| guarded.plain("GET", BOB, &digest.header());
    let mut digest = Digest::new("bob", "bobs-own", "GET", BOB, &guarded.nonce());
    assert_eq!(ask(&digest).status, 200);
    let replayed = ask(&digest);
    let challenge = replayed.header("WWW-Authenticate").unwrap();
    assert_eq!((replayed.status, challenge.contains("stale=true")), (401, true), "{replayed:?}");
    assert!(!replayed.body.contains(&apns_token(1)));
    digest.nc = 2;
    assert_eq!(ask(&digest).status, 200, "the next count is good");
    digest.nonce = nonce_of(&replayed);
    assert_eq!(guarded.plain("DELETE", BOB, &digest.header()).status, 401, "for GET only");
    digest.nc = 3;
    let elsewhere = guarded.plain("GET", "/api/user/bob/push-token?x", &digest.header());
    assert_eq!(elsewhere.status, 400, "{elsewhere:?}");
    // a nonce that is not Kamailio's, and one of long ago
    for nonce in ["", "x", "awNLeWsDSk1KceKHBeMmk5mqamR1fTeUfvH4koA=", &"A".repeat(40), &"=".repeat(400)] {
        let answer = ask(&Digest { nonce: nonce.to_owned(), ..digest.clone() });
        assert_eq!(answer.status, 401, "{nonce} {answer:?}");
        nonce_of(&answer);
    }
    assert_eq!(guarded.stored("bob")["token"], apns_token(1));
}

/// Ways to be taken for somebody else; they are fewer than the guesses that one address has.
#[test]
fn who_is_alice_cannot_be_taken_for_bob() {
    let guarded = Guarded::start("dg-forge");
    guarded.shipped.register_token("bob", &apns_token(1), "ios");
    let alice = |nonce: &str| Digest::new("alice", "alices-own", "GET", BOB, nonce);
    let bob = Digest::new("bob", "wrong", "GET", BOB, &guarded.nonce());
    let forged: Vec<String> = vec![
        // $au looks there first
        format!("{}Proxy-{}", alice(&guarded.nonce()).header(), bob.header()),
        format!("Proxy-{}{}", bob.header(), alice(&guarded.nonce()).header()),
        format!("{}{}", bob.header(), alice(&guarded.nonce()).header()),
        format!("{}{}", alice(&guarded.nonce()).header(), bob.header()),
        Digest { username: "bob".to_owned(), ..alice(&guarded.nonce()) }.header(),
        Digest { username: format!("bob@{DOMAIN}"), ..alice(&guarded.nonce()) }.header(),
        Digest { username: "sip:bob".to_owned(), ..alice(&guarded.nonce()) }.header(),
        Digest { username: "bob' OR '1'='1".to_owned(), ..alice(&guarded.nonce()) }.header(),
        alice(&guarded.nonce())
            .header()
            .replace("response=\"", "response=\"\", username=\"bob\", response=\""),
    ];
    for (number, headers) in forged.iter().enumerate() {
        let answer = guarded.plain("GET", BOB, headers);
        assert_eq!(answer.status, 401, "{number}: {headers} {answer:?}");
    }
    let twice = alice(&guarded.nonce()).header().replace("realm=", "username=\"alice\", realm=");
    assert_eq!(guarded.plain("GET", BOB, &twice).status, 403, "alice all the same");
    // methods that SIP does not authenticate
    for method in ["CANCEL", "PRACK", "INVITE", "PUT", "get"] {
        assert_eq!(guarded.plain(method, BOB, &bob.header()).status, 405, "{method}");
    }
}

#[test]
fn credentials_that_are_none_are_answered_and_end_nothing() {
    let mut guarded = Guarded::start("dg-garbage");
    guarded.shipped.register_token("bob", &apns_token(1), "ios");
    let good = Digest::new("bob", "bobs-own", "GET", BOB, "");
    for value in [
        "",
        "Digest",
        "Digest ",
        "digest,",
        "Digest username",
        "Digest username=\"bob",
        "Digest =,=,=",
        "Basic Ym9iOmI=",
        "Bearer",
        "Bearer x",
        "Digest response=\"0123456789abcdef0123456789abcdef\"",
        "\u{fc}\u{0}",
        "Negotiate x",
    ] {
        let answer = guarded.plain("GET", BOB, &format!("Authorization: {value}\r\n"));
        assert!([401, 429, 400].contains(&answer.status), "{value:?} {answer:?}");
    }
    for lie in [
        Digest { username: "x".repeat(4000), ..good.clone() },
        Digest { username: "$var(x)$au".to_owned(), ..good.clone() },
        Digest { username: "<null>".to_owned(), ..good.clone() },
        Digest { username: String::new(), ..good.clone() },
        Digest { realm: "elsewhere".to_owned(), ..good.clone() },
        Digest { realm: "$ru".to_owned(), ..good.clone() },
    ] {
        let answer = guarded.plain("GET", BOB, &Digest { nonce: guarded.nonce(), ..lie }.header());
        assert!([401, 429].contains(&answer.status), "{answer:?}");
    }
    assert!(guarded.shipped.kamailio.is_alive());
    assert_eq!(guarded.ask("bob:bobs-own", &["--interface", "127.0.0.2"], BOB).status, 200);
}

/// Kamailio looks at it only after it has found the user, and fails in another way then.
#[test]
fn a_response_that_is_none_counts_whether_the_user_exists_or_not() {
    let guarded = Guarded::start("dg-short");
    for (number, end) in
        ["\"", "0\"", "\", response=\"short\"", "\", response =\"short\"", "\",\r\n response=\"short\""]
            .iter()
            .flat_map(|end| [*end; 2])
            .enumerate()
    {
        let user = if number % 2 == 0 { "bob" } else { "nobody" };
        let digest = Digest::new(user, "x", "GET", BOB, &guarded.nonce()).value();
        let digest = digest.strip_suffix('"').unwrap();
        let digest = if end == "\"" { &digest[..digest.len() - 1] } else { digest };
        let answer = guarded.plain("GET", BOB, &format!("Authorization: {digest}{end}\r\n"));
        assert_eq!((answer.status, answer.body.contains("is wrong")), (401, true), "{number} {answer:?}");
    }
    assert_eq!(guarded.ask("bob:bobs-own", &[], BOB).status, 429);
}

#[test]
fn with_many_domains_the_host_says_which_alice_it_is() {
    let users = [("bob", "sip.example.net", "first"), ("bob", "127.0.0.1", "second")];
    let guarded = Guarded::with("dg-domains", vec![("WITH_MULTIDOMAIN", "")], &users);
    let net = format!("sip.example.net:{}:127.0.0.1", guarded.https_port);
    let body = |user: &str| json!({ "user": user, "token": apns_token(1), "platform": "ios" }).to_string();
    let post = |host: &str, user: &str, whose: &str| {
        let url = format!("https://{host}:{}{REGISTER}", guarded.https_port);
        let body = body(whose);
        let args =
            ["--digest", "-u", user, "--resolve", &net, "-H", "Content-Type: application/json", "-d", &body];
        guarded.curl(&args, &url).status
    };
    assert_eq!(post("SIP.example.net", "bob:first", "bob@sip.example.net"), 201);
    assert_eq!(post("127.0.0.1", "bob:second", "bob@127.0.0.1"), 201);
    assert_eq!(post("sip.example.net", "bob:second", "bob@sip.example.net"), 401);
    assert_eq!(post("sip.example.net", "bob:first", "bob@127.0.0.1"), 403);
    assert_eq!(post("sip.example.net", "bob:first", "bob"), 403);
    // the bob of one domain, who says that he is, but in another one's realm
    let url =
        format!("https://sip.example.net:{}/api/user/bob%40sip.example.net/push-token", guarded.https_port);
    let challenged = guarded.curl(&["--resolve", &net], &url);
    let target = "/api/user/bob%40sip.example.net/push-token";
    let lie = Digest {
        username: "bob@127.0.0.1".to_owned(),
        hashed: "bob:127.0.0.1".to_owned(),
        realm: "sip.example.net".to_owned(),
        ..Digest::new("bob", "second", "GET", target, &nonce_of(&challenged))
    };
    let lied = guarded.curl(&["--resolve", &net, "-H", lie.header().trim_end()], &url);
    assert_eq!(lied.status, 401, "{lied:?}");
    let quoted = guarded.ask("bob:first", &["-H", "Host: x\", y=\"z"], BOB);
    assert_eq!(quoted.status, 400, "{quoted:?}");
}

#[test]
fn a_phone_registers_with_its_password_only_and_hands_in_its_token_with_it() {
    let guarded = Guarded::start("dg-sip");
    let mut bob = Phone::udp("bob", guarded.shipped.port());
    let (own, uri) = (format!("<sip:bob@{DOMAIN}>"), format!("sip:{DOMAIN}"));
    let contact = format!(
        "Contact: <{};pn-provider=apns;pn-param={}.{};pn-prid={}>\r\nExpires: 600\r\n",
        bob.contact(),
        guarded.shipped.simulator.fact("team_id"),
        guarded.shipped.simulator.fact("topic"),
        apns_token(7)
    );
    let ask = |bob: &mut Phone, extra: &str| {
        let sent = bob.request("REGISTER", &uri, &own, &own, &format!("{contact}{extra}"));
        bob.send(sent.text.as_bytes());
        bob.expect_final(&sent)
    };
    let challenged = ask(&mut bob, "");
    assert_eq!(challenged.status(), 401);
    let challenge = challenged.header("WWW-Authenticate").unwrap();
    let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let digest = |user: &str, password: &str| Digest::new(user, password, "REGISTER", &uri, nonce);
    assert_eq!(ask(&mut bob, &digest("bob", "wrong").header()).status(), 401);
    let alice = Digest { nc: 2, ..digest("alice", "alices-own") };
    assert!(ask(&mut bob, &alice.header()).status() >= 400, "alice is not bob");
    assert_eq!(guarded.stored("bob"), 404);
    let right = Digest { nc: 3, ..digest("bob", "bobs-own") };
    assert_eq!(ask(&mut bob, &right.header()).status(), 200);
    // it is stored after save() has answered
    let stored = || (guarded.stored("bob")["token"] == apns_token(7)).then_some(());
    poll(DEADLINE, stored).expect("the token is stored");
}
