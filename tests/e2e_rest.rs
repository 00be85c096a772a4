//! The REST API through Kamailio's HTTP, with curl as the client: what an app's server sees.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use support::phone::Phone;
use support::rest::{Api, REGISTER, command, post, registration};
use support::shipped::{Shipped, apns_token};
use support::sip;

impl Api for Shipped {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    fn api_key(&self) -> String {
        self.simulator.fact("api_key").to_owned()
    }

    fn log(&self) -> String {
        self.kamailio.log()
    }
}

/// The cases that are the same whoever serves the API.
macro_rules! shared {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            support::rest::$name(&Shipped::start("rest"));
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
fn bombs_and_floods_are_answered_and_end_nothing() {
    let mut shipped = Shipped::start("bomb");
    let deep = "[".repeat(8000);
    assert_eq!(post(&shipped, &deep).status, 400);
    let nested = format!("{{\"user\":{}1{}}}", "{\"a\":".repeat(1500), "}".repeat(1500));
    assert!(matches!(post(&shipped, &nested).status, 400 | 413));
    assert_eq!(post(&shipped, &registration("bob", &"a".repeat(9000), "ios")).status, 413);
    // More than Kamailio reads of a request: it closes the connection, and says so in its log.
    let flood = registration("bob", &"a".repeat(60_000), "ios");
    let key = format!("Authorization: Bearer {}", shipped.api_key());
    let args = ["-H", key.as_str(), "-H", "Content-Type: application/json", "--data-raw", &flood];
    let output = command(&shipped, REGISTER, &args).output().unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for args in [
        vec!["-H", "Content-Length: 99999999999", "--data-raw", "{}"],
        vec!["-H", "Content-Length: -1", "--data-raw", "{}"],
        vec!["-H", "X-Long: ", "-H", "Transfer-Encoding: chunked", "--data-raw", "{}"],
    ] {
        let mut all = vec!["--max-time", "2"];
        all.extend(args);
        // whatever comes, something or nothing: the server lives
        let _ = command(&shipped, REGISTER, &all).output().unwrap();
    }
    Phone::udp("alice", shipped.port()).settle();
    assert_eq!(post(&shipped, &registration("bob", &apns_token(1), "ios")).status, 201);
    assert!(shipped.kamailio.is_alive());
}

#[test]
fn http_is_served_on_its_own_port_only_and_sip_is_not_served_there() {
    let shipped = Shipped::start("ports");
    shipped.register_token("bob", &apns_token(1), "ios");
    let key = format!("Authorization: Bearer {}\r\n", shipped.api_key());
    let refused = sip::http(shipped.port(), "GET", "/api/user/bob/push-token", &key, b"");
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
