//! What is the same of the REST API whoever serves it: an app's server sees no difference. With curl as the client.
//!
//! It refuses to know who serves it; see [`Api`].

#![allow(missing_docs, reason = "the names of the cases are what they say")]

use super::run;
use super::shipped::{apns_token, fcm_token};
use super::sip::Answer;
use serde_json::{Value, json};
use std::process::Command;

/// Where a token is handed in.
pub const REGISTER: &str = "/api/register-push-token";

/// Whoever serves the API.
pub trait Api {
    /// `http://ADDRESS:PORT`.
    fn url(&self) -> String;
    /// A key for everything.
    fn api_key(&self) -> String;
    /// Everything that it has logged so far.
    fn log(&self) -> String;

    /// What curl has to know to trust its certificate.
    fn trust(&self) -> Vec<String> {
        Vec::new()
    }

    /// Hands a token in, as an app's server does.
    fn register_token(&self, user: &str, token: &str, platform: &str) {
        let answer = post(self, &registration(user, token, platform));
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    /// The status of asking for a user's tokens: 200, or 404 when there is none.
    fn token_status(&self, user: &str) -> u16 {
        ask(self, "GET", &format!("/api/user/{user}/push-token"), &[]).status
    }
}

/// curl with these arguments; its answer, with headers.
pub fn curl(api: &(impl Api + ?Sized), target: &str, args: &[&str]) -> Answer {
    Answer::parse(&run(&mut command(api, target, args), "curl").stdout)
}

/// The same, not yet run.
pub fn command(api: &(impl Api + ?Sized), target: &str, args: &[&str]) -> Command {
    let mut command = Command::new("curl");
    // --path-as-is: the test decides what the path is
    command.args(["-sS", "-i", "--http1.1", "--max-time", "20", "--path-as-is"]).args(api.trust());
    command.args(args).arg(format!("{}{target}", api.url()));
    command
}

/// curl with the API key.
pub fn ask(api: &(impl Api + ?Sized), method: &str, target: &str, args: &[&str]) -> Answer {
    let key = format!("Authorization: Bearer {}", api.api_key());
    let mut all = vec!["-X", method, "-H", &key];
    all.extend(args);
    curl(api, target, &all)
}

/// A registration with this body.
pub fn post(api: &(impl Api + ?Sized), body: &str) -> Answer {
    ask(api, "POST", REGISTER, &["-H", "Content-Type: application/json", "--data-raw", body])
}

/// The seed's three fields.
pub fn registration(user: &str, token: &str, platform: &str) -> String {
    json!({ "user": user, "token": token, "platform": platform }).to_string()
}

/// The body, which is JSON.
pub fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.header("Content-Type"), Some("application/json"), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

pub fn a_token_is_registered_renewed_shown_and_deleted(api: &impl Api) {
    let iphone = registration("564612", &apns_token(1), "ios");
    let made = post(api, &iphone);
    assert_eq!((made.status, json_of(&made)), (201, json!({ "success": true })));
    assert_eq!(post(api, &iphone).status, 200);
    let shown = ask(api, "GET", "/api/user/564612/push-token", &[]);
    assert_eq!(shown.status, 200);
    let shown = json_of(&shown);
    assert_eq!((&shown["user"], &shown["platform"]), (&json!("564612"), &json!("ios")));
    assert_eq!(shown["token"], apns_token(1));
    let deleted = ask(api, "DELETE", "/api/user/564612/push-token", &[]);
    assert_eq!((deleted.status, &json_of(&deleted)["deleted"]), (200, &json!(1)));
    for method in ["GET", "DELETE"] {
        assert_eq!(ask(api, method, "/api/user/564612/push-token", &[]).status, 404);
    }
}

pub fn a_user_is_percent_decoded_once(api: &impl Api) {
    for (user, path) in [
        ("alice@example.org", "alice%40example.org"),
        ("a/b", "a%2Fb"),
        ("50%", "50%25"),
        ("x%41", "x%2541"),
        ("jürgen", "j%C3%BCrgen"),
        ("$ru", "$ru"),
    ] {
        assert_eq!(post(api, &registration(user, &fcm_token(1), "android")).status, 201, "{user}");
        let shown = ask(api, "GET", &format!("/api/user/{path}/push-token"), &[]);
        assert_eq!((shown.status, &json_of(&shown)["user"]), (200, &json!(user)), "{path}");
    }
    assert_eq!(ask(api, "GET", "/api/user/%ff/push-token", &[]).status, 400);
}

pub fn many_devices_of_a_user_are_shown_whole(api: &impl Api) {
    for device in 0..20 {
        let token = format!("x{device}:APA91b{}", "y".repeat(1000));
        let body =
            json!({ "user": "bob", "token": token, "platform": "android", "device_id": device.to_string() });
        assert_eq!(post(api, &body.to_string()).status, 201);
    }
    let shown = ask(api, "GET", "/api/user/bob/push-token", &[]);
    assert_eq!(json_of(&shown)["devices"].as_array().unwrap().len(), 20);
    assert!(shown.body.len() > 20_000);
}

pub fn without_a_valid_key_nothing_is_told_and_nothing_is_done(api: &impl Api) {
    api.register_token("bob", &apns_token(1), "ios");
    let target = "/api/user/bob/push-token";
    for key in ["", "Authorization: Bearer wrong-key-0123456789abcdef", "Authorization: Basic Ym9iOmJvYg=="] {
        let refused = curl(api, target, &["-X", "DELETE", "-H", key]);
        assert_eq!(refused.status, 401, "{key}");
        // a header of our own reaches the wire
        assert!(
            refused.header("WWW-Authenticate").is_some_and(|value| value.starts_with("Bearer")),
            "{refused:?}"
        );
    }
    assert_eq!(api.token_status("bob"), 200);
}

/// Kamailio serves each request in another worker; they count together.
pub fn guessing_keys_is_slow_whichever_worker_serves(api: &impl Api) {
    api.register_token("bob", &apns_token(1), "ios");
    let target = "/api/user/bob/push-token";
    let guess = |number: usize| {
        let key = format!("Authorization: Bearer wrong-key-{number:020}");
        curl(api, target, &["-H", &key])
    };
    let statuses: Vec<u16> = (0..15).map(|number| guess(number).status).collect();
    // One or two more may be let through meanwhile on a slow machine: one each six seconds.
    assert_eq!(statuses[..10], [401; 10]);
    let refused = guess(15);
    assert!(statuses.contains(&429) && refused.status == 429, "{statuses:?} {refused:?}");
    assert!(refused.header("Retry-After").is_some_and(|wait| wait.parse::<u64>().is_ok()), "{refused:?}");
    assert_eq!(ask(api, "GET", target, &[]).status, 429);
    // Another address of this machine is another client.
    let key = format!("Authorization: Bearer {}", api.api_key());
    assert_eq!(curl(api, target, &["--interface", "127.0.0.2", "-H", &key]).status, 200);
}

pub fn what_is_wrong_has_its_status(api: &impl Api) {
    let json = "Content-Type: application/json";
    let body = registration("bob", &apns_token(1), "ios");
    let text = ["-H", "Content-Type: text/plain", "--data-raw", body.as_str()];
    assert_eq!(ask(api, "POST", REGISTER, &text).status, 415);
    let wrong_method = ask(api, "PUT", REGISTER, &["-H", json, "--data-raw", &body]);
    assert_eq!((wrong_method.status, wrong_method.header("Allow")), (405, Some("POST")));
    assert_eq!(ask(api, "POST", "/api/user/bob/push-token", &["-H", json, "--data-raw", "{}"]).status, 405);
    for target in ["/", "/index.html", "/apix", "/api/", "/api/user//push-token/x", "/api/%00"] {
        assert_eq!(ask(api, "GET", target, &[]).status, 404, "{target}");
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
        assert_eq!(post(api, bad).status, 400, "{bad}");
    }
    let refused = post(api, &registration("bob", "secret-token-that-is-none", "ios"));
    assert_eq!((refused.status, &json_of(&refused)["field"]), (400, &json!("token")));
    assert!(!api.log().contains("secret-token-that-is-none"));
}

pub fn what_is_in_a_body_is_not_taken_for_a_variable(api: &impl Api) {
    let user = "$var(x)$env(HOME)$ru";
    assert_eq!(post(api, &registration(user, &fcm_token(1), "android")).status, 201);
    let shown = ask(api, "GET", "/api/user/$var(x)$env(HOME)$ru/push-token", &["-g"]);
    assert_eq!((shown.status, &json_of(&shown)["user"]), (200, &json!(user)));
}
