//! The HTTP API through its pure function: what each request is answered with, and what it does to the store.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use support::Scratch;
use support::settings::{self, API_KEY};
use voip_push::config::ApiKey;
use voip_push::model::Scope;
use voip_push::rest::{Request, Response, handle};
use voip_push::service::Service;

struct Api {
    service: Service,
    _scratch: Scratch,
}

impl Api {
    fn new(name: &str) -> Api {
        let scratch = Scratch::new(name);
        let service = Service::prepare(&settings::write(&scratch)).unwrap();
        Api { service, _scratch: scratch }
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> Response {
        let key = format!("Bearer {API_KEY}");
        self.ask_with(method, target, body, Some(&key), Some("application/json"))
    }

    fn ask_with(
        &self,
        method: &str,
        target: &str,
        body: &str,
        authorization: Option<&str>,
        content_type: Option<&str>,
    ) -> Response {
        let body = body.as_bytes();
        handle(
            &self.service,
            &Request { method, target, authorization, content_type, body, remote: "127.0.0.1", user: None },
        )
    }

    /// With this key, from this address.
    fn ask_as(&self, key: &str, remote: &str, method: &str, target: &str, body: &str) -> Response {
        let key = format!("Bearer {key}");
        let (authorization, content_type) = (Some(key.as_str()), Some("application/json"));
        let body = body.as_bytes();
        handle(
            &self.service,
            &Request { method, target, authorization, content_type, body, remote, user: None },
        )
    }

    fn counter(&self, name: &str) -> u64 {
        let numbers = self.service.stats().read();
        numbers.iter().find(|reading| reading.name == name).unwrap().value
    }

    fn register(&self, body: &Value) -> Response {
        self.ask("POST", "/api/register-push-token", &body.to_string())
    }
}

fn parsed(response: &Response) -> Value {
    assert_eq!(response.content_type, "application/json");
    serde_json::from_str(&response.body).unwrap()
}

fn token() -> String {
    "ab".repeat(32)
}

#[test]
fn the_seeds_three_requests() {
    let api = Api::new("rest-seed");
    let body = json!({ "user": "564612", "token": token(), "platform": "ios" });
    let created = api.register(&body);
    assert_eq!(
        (created.status, created.reason, parsed(&created)["success"].clone()),
        (201, "Created", json!(true))
    );
    assert_eq!(api.register(&body).status, 200);
    let shown = api.ask("GET", "/api/user/564612/push-token", "");
    assert_eq!(shown.status, 200);
    let shown = parsed(&shown);
    assert_eq!((&shown["user"], &shown["token"]), (&json!("564612"), &json!(token())));
    assert_eq!((&shown["platform"], &shown["devices"][0]["provider"]), (&json!("ios"), &json!("apns")));
    let deleted = api.ask("DELETE", "/api/user/564612/push-token", "");
    assert_eq!((deleted.status, parsed(&deleted)["deleted"].clone()), (200, json!(1)));
    assert_eq!(api.ask("GET", "/api/user/564612/push-token", "").status, 404);
    assert_eq!(api.ask("DELETE", "/api/user/564612/push-token", "").status, 404);
}

#[test]
fn a_user_with_several_devices_is_shown_whole_and_forgets_one_at_a_time() {
    let api = Api::new("rest-devices");
    for (device_id, token) in [("one", token()), ("two", "cd".repeat(32))] {
        let body = json!({ "user": "sip:bob@Example.org", "token": token, "platform": "ios", "device_id": device_id,
            "app": "org.example.phone.voip", "environment": "sandbox", "something_of_the_app": 1 });
        assert_eq!(api.register(&body).status, 201);
    }
    let target = "/api/user/bob%40example.org/push-token";
    let devices = parsed(&api.ask("GET", target, ""))["devices"].clone();
    assert_eq!(devices.as_array().unwrap().len(), 2);
    assert_eq!(devices[0]["environment"], "sandbox");
    assert_eq!(api.ask("DELETE", &format!("{target}?device_id=one"), "").status, 200);
    assert_eq!(parsed(&api.ask("GET", target, ""))["devices"][0]["device_id"], "two");
}

#[test]
fn what_is_wrong_with_a_registration_is_named_and_nothing_is_stored() {
    let api = Api::new("rest-wrong");
    let good = json!({ "user": "bob", "token": token(), "platform": "ios" });
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        api.register(&body)
    };
    for (key, value) in [
        ("user", json!("")),
        ("user", json!("x".repeat(5_000))),
        ("user", json!("a\u{0}b")),
        ("token", json!("not-a-token")),
        ("platform", json!("windows")),
        ("provider", json!("adm")),
        ("environment", json!("test")),
        ("device_id", json!("a b")),
        ("app", json!("a\nb")),
        ("provider", json!("webpush")),
        ("expires", json!(0)),
        ("alert_token", json!("not-a-token")),
        ("alert_app", json!("org.example.phone")),
    ] {
        let response = with(key, value);
        assert_eq!((response.status, &parsed(&response)["field"]), (400, &json!(key)));
        assert!(!response.body.contains("not-a-token"));
    }
    let missing = api.ask("POST", "/api/register-push-token", "{\"user\":\"bob\",\"platform\":\"ios\"}");
    assert_eq!((missing.status, missing.body.as_str()), (400, "{\"error\":\"token: is missing\"}"));
    assert_eq!(with("user", json!(564612)).status, 400);
    assert_eq!(api.ask("GET", "/api/user/bob/push-token", "").status, 404);
}

#[test]
fn bodies_that_are_not_small_json_objects_are_refused() {
    let api = Api::new("rest-bodies");
    let post = |body: &str| api.ask("POST", "/api/register-push-token", body).status;
    for body in
        ["", "[", "null", "[1]", "\"x\"", "{\"user\":", "\u{0}", &"[".repeat(8_000), &"{\"a\":".repeat(1500)]
    {
        assert_eq!(post(body), 400, "{}", &body[..body.len().min(20)]);
    }
    assert_eq!(post(&" ".repeat(60_000)), 413);
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let key = format!("Bearer {API_KEY}");
        let response = api.ask_with("POST", "/api/register-push-token", "{}", Some(&key), content_type);
        assert_eq!(response.status, 415);
    }
    let key = format!("bearer {API_KEY}");
    let body = json!({ "user": "bob", "token": token(), "platform": "ios" }).to_string();
    let charset = Some("Application/JSON; charset=utf-8");
    assert_eq!(api.ask_with("POST", "/api/register-push-token", &body, Some(&key), charset).status, 201);
}

#[test]
fn without_a_valid_key_nothing_is_told_and_nothing_is_done() {
    let api = Api::new("rest-key");
    let body = json!({ "user": "bob", "token": token(), "platform": "ios" }).to_string();
    for authorization in [None, Some(""), Some("Bearer"), Some("Bearer wrong-key-0123456789"), Some(API_KEY)]
    {
        let response =
            api.ask_with("POST", "/api/register-push-token", &body, authorization, Some("application/json"));
        assert_eq!(response.status, 401);
        assert!(response.headers.starts_with("WWW-Authenticate: Bearer"));
    }
    assert_eq!(api.ask("GET", "/api/user/bob/push-token", "").status, 404);
    assert_eq!(api.counter("rest_unauthorized_total"), 5);
}

#[test]
fn everything_that_was_registered_is_shown() {
    let api = Api::new("rest-all");
    let body = json!({ "user": "bob", "token": token(), "platform": "ios", "device_id": "handset", "provider": "apns",
        "app": "org.example.phone.voip", "environment": "production", "expires": 3600,
        "alert_token": "cd".repeat(32), "alert_app": "org.example.phone" });
    assert_eq!(api.register(&body).status, 201);
    let shown = parsed(&api.ask("GET", "/api/user/bob/push-token", ""));
    let device = &shown["devices"][0];
    for key in
        ["token", "platform", "device_id", "provider", "app", "environment", "alert_token", "alert_app"]
    {
        assert_eq!(device[key], body[key], "{key}");
    }
    let lasts_ms = device["expires_at_ms"].as_i64().unwrap() - device["registered_at_ms"].as_i64().unwrap();
    assert_eq!(lasts_ms, 3_600_000);
    // Renewed with the seed's three fields and its device id, the rest is as if it had never been said.
    let bare = json!({ "user": "bob", "token": token(), "platform": "ios", "device_id": "handset" });
    assert_eq!(api.register(&bare).status, 200);
    let device = parsed(&api.ask("GET", "/api/user/bob/push-token", ""))["devices"][0].clone();
    for key in ["app", "environment", "expires_at_ms", "alert_token", "alert_app"] {
        assert_eq!(device[key], Value::Null, "{key}");
    }
}

#[test]
fn a_phone_that_changes_hands_rings_for_its_new_user_only() {
    let api = Api::new("rest-moves");
    let of =
        |user: &str| json!({ "user": user, "token": token(), "platform": "ios", "device_id": "handset" });
    assert_eq!((api.register(&of("alice")).status, api.register(&of("bob")).status), (201, 201));
    assert_eq!(api.ask("GET", "/api/user/alice/push-token", "").status, 404);
    assert_eq!(parsed(&api.ask("GET", "/api/user/bob/push-token", ""))["token"], token());
}

#[test]
fn a_refused_registration_changes_nothing_of_what_is_there() {
    let api = Api::new("rest-unchanged");
    let good = json!({ "user": "bob", "token": token(), "platform": "ios", "device_id": "handset", "expires": 3600 });
    assert_eq!(api.register(&good).status, 201);
    let before = api.ask("GET", "/api/user/bob/push-token", "").body;
    for (key, value) in [
        ("platform", json!("windows")),
        ("provider", json!("webpush")),
        ("environment", json!("staging")),
        ("token", json!("f".repeat(4097))),
        ("app", json!("a\u{7}b")),
        ("device_id", json!("x".repeat(256))),
        ("expires", json!(-1)),
        ("expires", json!("soon")),
        ("alert_token", json!(token())),
        ("alert_app", json!("org.example.phone")),
    ] {
        let mut body = good.clone();
        body[key] = value;
        assert_eq!(api.register(&body).status, 400, "{key}");
    }
    assert_eq!(api.ask("GET", "/api/user/bob/push-token", "").body, before);
}

#[test]
fn ten_thousand_devices_of_one_user_hit_the_limit() {
    let api = Api::new("rest-limit");
    let register = |number: usize| {
        api.register(&json!({ "user": "bob", "token": format!("{number:064x}"), "platform": "ios",
            "device_id": number.to_string() }))
    };
    let statuses: Vec<u16> = (0..10_000).map(|number| register(number).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 20);
    assert!(statuses[20..].iter().all(|status| *status == 409));
    let refused = parsed(&register(10_000))["error"].as_str().unwrap().to_owned();
    assert!(refused.contains("20 devices") && refused.contains("delete one first"), "{refused}");
    assert_eq!(api.counter("too_many_devices_total"), 9_981);
    assert_eq!(register(7).status, 200, "what is there can be renewed");
    assert_eq!(api.ask("DELETE", "/api/user/bob/push-token?device_id=7", "").status, 200);
    assert_eq!(register(10_000).status, 201);
}

#[test]
fn a_slip_of_the_pen_does_not_delete_all_devices() {
    let api = Api::new("rest-slip");
    assert_eq!(api.register(&json!({ "user": "bob", "token": token(), "platform": "ios" })).status, 201);
    assert_eq!(api.ask("DELETE", "/api/user/bob/push-token?deviceid=other", "").status, 400);
    assert_eq!(api.ask("DELETE", "/api/user/bob/push-token?device_id=other", "").status, 404);
    assert_eq!(api.ask("GET", "/api/user/bob/push-token", "").status, 200);
}

/// An API whose keys are named like their one scope.
fn api_with_scopes(name: &str) -> Api {
    let scratch = Scratch::new(name);
    let config = settings::write(&scratch);
    let line = |scope: Scope| ApiKey::new(scope.as_str(), &[scope], &key_for(scope)).unwrap().line();
    scratch.write("api-keys", Scope::ALL.map(line).join("\n"));
    Api { service: Service::prepare(&config).unwrap(), _scratch: scratch }
}

fn key_for(scope: Scope) -> String {
    format!("key-to-{}-0123456789", scope.as_str())
}

#[test]
fn a_key_opens_what_it_is_for_and_nothing_else() {
    let api = api_with_scopes("rest-scopes");
    let body = json!({ "user": "bob", "token": token(), "platform": "ios" }).to_string();
    let target = "/api/user/bob/push-token";
    let requests = [
        (Scope::Register, "POST", "/api/register-push-token", body.as_str()),
        (Scope::Read, "GET", target, ""),
        (Scope::Delete, "DELETE", target, ""),
        (Scope::Watch, "GET", "/voip-push/stats.json", ""),
    ];
    for (needed, method, target, body) in requests {
        for scope in Scope::ALL {
            let response = api.ask_as(&key_for(scope), "192.0.2.1", method, target, body);
            let may = scope == needed || scope == Scope::Admin;
            // What is refused does nothing: the token that is deleted by the first is gone for the second.
            let expected: &[u16] = if may { &[200, 201, 404] } else { &[403] };
            assert!(expected.contains(&response.status), "{method} with {scope:?}: {}", response.status);
            if !may {
                assert!(response.headers.contains(&format!("scope=\"{}\"", needed.as_str())));
            }
        }
    }
    assert_eq!(api.counter("rest_forbidden_total"), 12);
    assert_eq!(api.counter("rest_throttled_total"), 0, "a key for something else is no guess");
}

#[test]
fn who_guesses_keys_is_not_listened_to_for_a_while_and_others_are() {
    let api = Api::new("rest-guesses");
    let ask = |key: &str, remote: &str| api.ask_as(key, remote, "GET", "/api/user/bob/push-token", "");
    for number in 0..10 {
        assert_eq!(ask(&format!("wrong-key-{number}"), "192.0.2.1").status, 401);
    }
    let refused = ask("wrong-key-10", "192.0.2.1");
    assert_eq!((refused.status, refused.reason), (429, "Too Many Requests"));
    let wait = refused.headers.strip_prefix("Retry-After: ").unwrap().trim_end().parse::<u64>().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    assert_eq!(ask(API_KEY, "192.0.2.1").status, 429, "a right guess must not be told from a wrong one");
    assert_eq!(ask(API_KEY, "192.0.2.2").status, 404);
    assert_eq!((api.counter("rest_unauthorized_total"), api.counter("rest_throttled_total")), (10, 2));
}

#[test]
fn a_server_without_a_rest_section_has_no_api() {
    let scratch = Scratch::new("rest-off");
    settings::write(&scratch);
    let file =
        scratch.write("voip-push.toml", settings::TOML.replace("[rest]\napi_keys_file = \"api-keys\"\n", ""));
    let api = Api { service: Service::prepare(&file).unwrap(), _scratch: scratch };
    assert_eq!(api.ask("GET", "/api/user/bob/push-token", "").status, 503);
}

/// An API whose host has checked a password, and found that it is this user's; empty where it was wrong.
fn ask_as_user(
    api: &Api,
    user: &str,
    (method, target): (&str, &str),
    body: &str,
    remote: &str,
) -> (u16, String) {
    let request = Request {
        method,
        target,
        authorization: Some("Digest username=\"whoever\""),
        content_type: Some("application/json"),
        body: body.as_bytes(),
        remote,
        user: Some(user),
    };
    let response = handle(&api.service, &request);
    (response.status, response.body)
}

const POST: (&str, &str) = ("POST", "/api/register-push-token");
const GET: (&str, &str) = ("GET", "/api/user/bob/push-token");
const DELETE: (&str, &str) = ("DELETE", "/api/user/bob/push-token");

#[test]
fn a_users_password_opens_his_own_tokens_and_nobody_elses() {
    let api = Api::new("rest-own");
    let body = |user: &str| json!({ "user": user, "token": token(), "platform": "ios" }).to_string();
    let ask = |user: &str, what, body: &str| ask_as_user(&api, user, what, body, "192.0.2.1").0;
    assert_eq!(ask("bob", POST, &body("bob")), 201);
    assert_eq!(ask("bob", POST, &body("sip:bob")), 200, "another spelling of the same");
    for other in ["alice", "Bob", "bob@example.org", "bob;x", "sip:bob", "bob?", "b o b", "bob;", "*", "%"] {
        for what in [GET, DELETE] {
            assert_eq!(ask(other, what, ""), 403, "{other} {what:?}");
        }
        assert_eq!(ask(other, POST, &body("bob")), 403, "{other}");
    }
    let (status, why) = ask_as_user(&api, "alice", GET, "", "192.0.2.1");
    let nobody = ask_as_user(&api, "alice", ("GET", "/api/user/nobody/push-token"), "", "192.0.2.1");
    assert_eq!((status, why), nobody, "whether another user exists is not told");
    assert_eq!(api.counter("rest_forbidden_total"), 32);
    assert_eq!(api.counter("rest_unauthorized_total"), 0);
    assert_eq!(parsed(&api.ask("GET", "/api/user/bob/push-token", ""))["token"], token());
    assert_eq!((ask("bob", GET, ""), ask("bob", DELETE, ""), ask("bob", GET, "")), (200, 200, 404));
    let there = |host: &str| body(&format!("bob@{host}"));
    assert_eq!(ask("bob@Example.org", POST, &there("example.ORG")), 201, "a host has no case");
    assert_eq!(ask("bob@example.org", POST, &there("example.net")), 403);
}

#[test]
fn guessing_passwords_is_slow_and_wrong_ones_count_with_wrong_keys() {
    let api = Api::new("rest-passwords");
    let ask = |user: &str| ask_as_user(&api, user, GET, "", "192.0.2.1").0;
    assert_eq!([0; 5].map(|_| ask("")), [401; 5]);
    for number in 0..5 {
        let key = format!("wrong-key-{number}");
        assert_eq!(api.ask_as(&key, "192.0.2.1", "GET", "/api/user/bob/push-token", "").status, 401);
    }
    assert_eq!((ask(""), ask("bob")), (429, 429), "a right guess must not be told from a wrong one");
    assert_eq!(ask_as_user(&api, "bob", GET, "", "192.0.2.2").0, 404);
    assert_eq!((api.counter("rest_unauthorized_total"), api.counter("rest_throttled_total")), (10, 2));
}

#[test]
fn users_with_passwords_need_no_api_keys_and_are_slowed_down_all_the_same() {
    for (name, rest) in [("rest-none", ""), ("rest-bare", "[rest]\nwrong_keys_per_minute = 3\n")] {
        let scratch = Scratch::new(name);
        settings::write(&scratch);
        let toml = settings::TOML.replace("[rest]\napi_keys_file = \"api-keys\"\n", rest);
        let service = Service::prepare(&scratch.write("voip-push.toml", toml)).unwrap();
        let api = Api { service, _scratch: scratch };
        assert_eq!(ask_as_user(&api, "bob", GET, "", "192.0.2.1").0, 404);
        assert_eq!(api.ask("GET", "/api/user/bob/push-token", "").status, 503);
        let tries: Vec<u16> = (0..11).map(|_| ask_as_user(&api, "", GET, "", "192.0.2.1").0).collect();
        assert_eq!(tries.last(), Some(&429), "{tries:?}");
    }
}

#[test]
fn a_key_for_watching_sees_the_counters_and_nothing_else() {
    let scratch = Scratch::new("rest-watch");
    let file = settings::write(&scratch);
    let (watch, register) = ("w".repeat(43), "r".repeat(43));
    let keys = [("grafana", Scope::Watch, &watch), ("app", Scope::Register, &register)];
    let lines = keys.map(|(name, scope, key)| ApiKey::new(name, &[scope], key).unwrap().line());
    std::fs::write(scratch.path().join("api-keys"), lines.join("\n") + "\n").unwrap();
    let api = Api { service: Service::prepare(&file).unwrap(), _scratch: scratch };
    let ask = |key: &str, target: &str| api.ask_as(key, "127.0.0.1", "GET", target, "");

    let metrics = ask(&watch, "/voip-push/metrics");
    assert_eq!((metrics.status, metrics.content_type), (200, "text/plain; version=0.0.4; charset=utf-8"));
    assert!(metrics.body.contains("\nvoip_push_registered_total 0\n"), "{}", metrics.body);
    let line = format!("\nvoip_push_key_age_seconds{{provider=\"apns\",key=\"{}\"}} ", "KEY1234567");
    assert!(metrics.body.contains(&line), "{}", metrics.body);
    assert!(!metrics.body.contains("certificate"), "nobody has shown one: {}", metrics.body);
    let page = ask(&watch, "/voip-push/");
    assert_eq!((page.status, page.content_type), (200, "text/html; charset=utf-8"));
    assert!(page.headers.contains("Content-Security-Policy: default-src 'none';"), "{}", page.headers);
    let numbers = parsed(&ask(&watch, "/voip-push/stats.json"));
    assert_eq!(numbers["numbers"]["queued"], 0);
    assert_eq!(numbers["pushes"][0]["provider"], "apns");
    assert_eq!(numbers["hour"]["minutes"], json!([]));

    assert_eq!(ask(&watch, "/api/user/alice/push-token").status, 403);
    assert_eq!(ask(&register, "/voip-push/metrics").status, 403);
    let nobody = api.ask_with("GET", "/voip-push/", "", None, None);
    assert_eq!(nobody.status, 401);
    assert_eq!(nobody.headers, "WWW-Authenticate: Basic realm=\"voip-push\"\r\n");
}

#[test]
fn a_browser_logs_in_with_the_key_as_password_and_only_to_watch() {
    let api = Api::new("rest-basic");
    let basic = |key: &str| format!("Basic {}", BASE64.encode(format!("me:{key}")));
    let ask = |target: &str, key: &str| api.ask_with("GET", target, "", Some(&basic(key)), None).status;
    assert_eq!(ask("/voip-push/", API_KEY), 200);
    assert_eq!(ask("/voip-push/stats.json", "wrong"), 401);
    assert_eq!(ask("/api/user/alice/push-token", API_KEY), 401);
    assert_eq!(api.counter("rest_unauthorized_total"), 2);
}

#[test]
fn a_users_password_does_not_open_the_counters() {
    let api = Api::new("rest-watch-user");
    let request = Request {
        method: "GET",
        target: "/voip-push/stats.json",
        authorization: None,
        content_type: None,
        body: b"",
        remote: "127.0.0.1",
        user: Some("alice"),
    };
    assert_eq!(handle(&api.service, &request).status, 403);
}
