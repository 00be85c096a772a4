//! The REST API through Kamailio's HTTP, with curl as the client: what an app's server sees.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::process::Command;
use support::phone::Phone;
use support::run;
use support::shipped::{Shipped, apns_token, fcm_token};
use support::sip::Answer;

const REGISTER: &str = "/api/register-push-token";

/// curl with these arguments, to a path of the HTTP port; its answer, with headers.
fn curl(port: u16, target: &str, args: &[&str]) -> Answer {
    Answer::parse(&run(&mut command(port, target, args), "curl").stdout)
}

fn command(port: u16, target: &str, args: &[&str]) -> Command {
    let mut command = Command::new("curl");
    // --path-as-is: the test decides what the path is
    command.args(["-sS", "-i", "--http1.1", "--max-time", "20", "--path-as-is"]);
    command.args(args).arg(format!("http://127.0.0.1:{port}{target}"));
    command
}

/// curl with the API key.
fn ask(shipped: &Shipped, method: &str, target: &str, args: &[&str]) -> Answer {
    let key = format!("Authorization: Bearer {}", shipped.simulator.fact("api_key"));
    let mut all = vec!["-X", method, "-H", &key];
    all.extend(args);
    curl(shipped.http_port, target, &all)
}

/// A registration with this body.
fn post(shipped: &Shipped, body: &str) -> Answer {
    ask(shipped, "POST", REGISTER, &["-H", "Content-Type: application/json", "--data-raw", body])
}

fn registration(user: &str, token: &str, platform: &str) -> String {
    json!({ "user": user, "token": token, "platform": platform }).to_string()
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.header("Content-Type"), Some("application/json"), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

#[test]
fn a_token_is_registered_renewed_shown_and_deleted() {
    let shipped = Shipped::start("rest");
    let iphone = registration("564612", &apns_token(1), "ios");
    let made = post(&shipped, &iphone);
    assert_eq!((made.status, json_of(&made)), (201, json!({ "success": true })));
    assert_eq!(post(&shipped, &iphone).status, 200);
    let shown = ask(&shipped, "GET", "/api/user/564612/push-token", &[]);
    assert_eq!(shown.status, 200);
    let shown = json_of(&shown);
    assert_eq!((&shown["user"], &shown["platform"]), (&json!("564612"), &json!("ios")));
    assert_eq!(shown["token"], apns_token(1));
    let deleted = ask(&shipped, "DELETE", "/api/user/564612/push-token", &[]);
    assert_eq!((deleted.status, &json_of(&deleted)["deleted"]), (200, &json!(1)));
    for method in ["GET", "DELETE"] {
        assert_eq!(ask(&shipped, method, "/api/user/564612/push-token", &[]).status, 404);
    }
}

#[test]
fn a_user_is_percent_decoded_once() {
    let shipped = Shipped::start("decode");
    for (user, path) in [
        ("alice@example.org", "alice%40example.org"),
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("x%41", "x%2541"),
        ("jürgen", "j%C3%BCrgen"),
        ("$ru", "$ru"),
    ] {
        assert_eq!(post(&shipped, &registration(user, &fcm_token(1), "android")).status, 201, "{user}");
        let shown = ask(&shipped, "GET", &format!("/api/user/{path}/push-token"), &[]);
        assert_eq!((shown.status, &json_of(&shown)["user"]), (200, &json!(user)), "{path}");
    }
    assert_eq!(ask(&shipped, "GET", "/api/user/%ff/push-token", &[]).status, 400);
}

#[test]
fn many_devices_of_a_user_are_shown_whole() {
    let shipped = Shipped::start("devices");
    for device in 0..20 {
        let token = format!("x{device}:APA91b{}", "y".repeat(1000));
        let body =
            json!({ "user": "bob", "token": token, "platform": "android", "device_id": device.to_string() });
        assert_eq!(post(&shipped, &body.to_string()).status, 201);
    }
    let shown = ask(&shipped, "GET", "/api/user/bob/push-token", &[]);
    assert_eq!(json_of(&shown)["devices"].as_array().unwrap().len(), 20);
    assert!(shown.body.len() > 20_000);
}

#[test]
fn without_a_valid_key_nothing_is_told_and_nothing_is_done() {
    let shipped = Shipped::start("key");
    shipped.register_token("bob", &apns_token(1), "ios");
    let target = "/api/user/bob/push-token";
    for key in ["", "Authorization: Bearer wrong-key-0123456789abcdef", "Authorization: Basic Ym9iOmJvYg=="] {
        let refused = curl(shipped.http_port, target, &["-X", "DELETE", "-H", key]);
        assert_eq!(refused.status, 401, "{key}");
        // a header of our own reaches the wire
        assert!(
            refused.header("WWW-Authenticate").is_some_and(|value| value.starts_with("Bearer")),
            "{refused:?}"
        );
    }
    assert_eq!(shipped.token_status("bob"), 200);
}

/// Kamailio serves each request in another worker; they count together.
#[test]
fn guessing_keys_is_slow_whichever_worker_serves() {
    let shipped = Shipped::start("guess");
    shipped.register_token("bob", &apns_token(1), "ios");
    let target = "/api/user/bob/push-token";
    let guess = |number: usize| {
        let key = format!("Authorization: Bearer wrong-key-{number:020}");
        curl(shipped.http_port, target, &["-H", &key])
    };
    let statuses: Vec<u16> = (0..15).map(|number| guess(number).status).collect();
    // One or two more may be let through meanwhile on a slow machine: one each six seconds.
    assert_eq!(statuses[..10], [401; 10]);
    let refused = guess(15);
    assert!(statuses.contains(&429) && refused.status == 429, "{statuses:?} {refused:?}");
    assert!(refused.header("Retry-After").is_some_and(|wait| wait.parse::<u64>().is_ok()), "{refused:?}");
    assert_eq!(ask(&shipped, "GET", target, &[]).status, 429);
    // Another address of this machine is another client.
    let key = format!("Authorization: Bearer {}", shipped.simulator.fact("api_key"));
    assert_eq!(curl(shipped.http_port, target, &["--interface", "127.0.0.2", "-H", &key]).status, 200);
}

#[test]
fn what_is_wrong_has_its_status() {
    let shipped = Shipped::start("wrong");
    let json = "Content-Type: application/json";
    let body = registration("bob", &apns_token(1), "ios");
    let text = ["-H", "Content-Type: text/plain", "--data-raw", body.as_str()];
    assert_eq!(ask(&shipped, "POST", REGISTER, &text).status, 415);
    let wrong_method = ask(&shipped, "PUT", REGISTER, &["-H", json, "--data-raw", &body]);
    assert_eq!((wrong_method.status, wrong_method.header("Allow")), (405, Some("POST")));
    assert_eq!(
        ask(&shipped, "POST", "/api/user/bob/push-token", &["-H", json, "--data-raw", "{}"]).status,
        405
    );
    for target in ["/", "/index.html", "/apix", "/api/", "/api/user//push-token/x", "/api/%00"] {
        assert_eq!(ask(&shipped, "GET", target, &[]).status, 404, "{target}");
    }
    for bad in [
        "",
        "{",
        "[]",
        "null",
        "{\"user\": 1}",
        "{\"user\": \"bob\"}",
        "{\"user\": \"\\u0000\", \"token\": 1}",
    ] {
        assert_eq!(post(&shipped, bad).status, 400, "{bad}");
    }
    let refused = post(&shipped, &registration("bob", "secret-token-that-is-none", "ios"));
    assert_eq!((refused.status, &json_of(&refused)["field"]), (400, &json!("token")));
    assert!(!shipped.kamailio.log().contains("secret-token-that-is-none"));
}

#[test]
fn bombs_and_floods_are_answered_and_end_nothing() {
    let mut shipped = Shipped::start("bomb");
    let deep = "[".repeat(8000);
    assert_eq!(post(&shipped, &deep).status, 400);
    let nested = format!("{{\"user\":{}1{}}}", "{\"a\":".repeat(1500), "}".repeat(1500));
    assert!(matches!(post(&shipped, &nested).status, 400 | 413));
    assert_eq!(post(&shipped, &registration("bob", &"a".repeat(9000), "ios")).status, 413);
    // More than Kamailio reads of a request: it closes the connection, and says so in its log.
    let flood = registration("bob", &"a".repeat(60_000), "ios");
    let key = format!("Authorization: Bearer {}", shipped.simulator.fact("api_key"));
    let args = ["-H", key.as_str(), "-H", "Content-Type: application/json", "--data-raw", &flood];
    let output = command(shipped.http_port, REGISTER, &args).output().unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for args in [
        vec!["-H", "Content-Length: 99999999999", "--data-raw", "{}"],
        vec!["-H", "Content-Length: -1", "--data-raw", "{}"],
        vec!["-H", "X-Long: ", "-H", "Transfer-Encoding: chunked", "--data-raw", "{}"],
    ] {
        let mut all = vec!["--max-time", "2"];
        all.extend(args);
        // whatever comes, something or nothing: the server lives
        let _ = command(shipped.http_port, REGISTER, &all).output().unwrap();
    }
    Phone::udp("alice", shipped.port()).settle();
    assert_eq!(post(&shipped, &registration("bob", &apns_token(1), "ios")).status, 201);
    assert!(shipped.kamailio.is_alive());
}

#[test]
fn http_is_served_on_its_own_port_only_and_sip_is_not_served_there() {
    let shipped = Shipped::start("ports");
    shipped.register_token("bob", &apns_token(1), "ios");
    let key = format!("Authorization: Bearer {}", shipped.simulator.fact("api_key"));
    let refused = curl(shipped.port(), "/api/user/bob/push-token", &["-H", &key]);
    assert_eq!(refused.status, 403);
    assert!(!refused.body.contains(&apns_token(1)));
    let mut stranger = Phone::tcp("mallory", shipped.http_port);
    let register = stranger.register_request(600);
    stranger.send(register.text.as_bytes());
    // HTTP on the same connection is worked off after it
    stranger.send(b"GET /nothing HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    let answer = stranger.expect_any();
    assert!(answer.start.starts_with("HTTP/1.1 404"), "{answer:?}");
}

#[test]
fn what_is_in_a_body_is_not_taken_for_a_variable() {
    let shipped = Shipped::start("variables");
    let user = "$var(x)$env(HOME)$ru";
    assert_eq!(post(&shipped, &registration(user, &fcm_token(1), "android")).status, 201);
    let shown = ask(&shipped, "GET", "/api/user/$var(x)$env(HOME)$ru/push-token", &["-g"]);
    assert_eq!((shown.status, &json_of(&shown)["user"]), (200, &json!(user)));
}
