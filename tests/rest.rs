//! The HTTP API through its pure function: what each request is answered with, and what it does to the store.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use support::Scratch;
use support::settings::{self, API_KEY};
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
            &Request { method, target, authorization, content_type, body, remote: "127.0.0.1" },
        )
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
    let unauthorized = api.service.stats().read().into_iter().find(|r| r.name == "rest_unauthorized_total");
    assert_eq!(unauthorized.unwrap().value, 5);
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
