//! FCM's checks, one row each, on HTTP/2 and on HTTP/1.1.

use http::Method;
use serde_json::{Value, json};

use crate::client::*;
use crate::harness::Simulator;

/// Parts of an error body that clients look at.
#[derive(Debug, PartialEq)]
struct Told {
    http: u16,
    status: String,
    error_code: String,
    field: String,
}

fn told(reply: &Reply) -> Told {
    let error = &reply.json()["error"];
    let empty = Vec::new();
    let details = error["details"].as_array().unwrap_or(&empty);
    let of_type = |name: &str| {
        let found = details.iter().find(|detail| detail["@type"].as_str().is_some_and(|t| t.ends_with(name)));
        found.cloned().unwrap_or(Value::Null)
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if reply.status != 200 {
        assert_eq!(error["code"], reply.status, "the body repeats the status");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    Told {
        http: reply.status,
        status: text(&error["status"]),
        error_code: text(&of_type("google.firebase.fcm.v1.FcmError")["errorCode"]),
        field: text(&of_type("google.rpc.BadRequest")["fieldViolations"][0]["field"]),
    }
}

fn expected(http: u16, status: &str, error_code: &str, field: &str) -> Told {
    Told { http, status: status.to_owned(), error_code: error_code.to_owned(), field: field.to_owned() }
}

/// A message whose token is good, with one part set.
fn with(path: &[&str], value: Value) -> Value {
    let mut message = json!({ "token": registration_token("phone") });
    let mut place = &mut message;
    for name in path {
        place = &mut place[*name];
    }
    *place = value;
    message
}

/// Messages that FCM takes.
fn good_messages() -> Vec<(&'static str, Value)> {
    vec![
        ("a bare token", with(&["data"], json!({}))),
        (
            "the seed's message",
            json!({
                "token": registration_token("phone"),
                "data": { "call_id": "1", "caller": "bob", "caller_number": "bob", "sip_user": "alice", "voip": "true" },
                "apns": { "headers": { "apns-priority": "10", "apns-push-type": "alert" },
                          "payload": { "aps": { "alert": "Incoming call from bob", "sound": "default", "badge": 1 } } },
            }),
        ),
        (
            "an Android call",
            with(&["android"], json!({ "priority": "HIGH", "ttl": "30s", "direct_boot_ok": true })),
        ),
        ("lowerCamel names", with(&["android"], json!({ "directBootOk": true, "collapseKey": "call" }))),
        ("the second Android block", with(&["android_v2"], json!({ "ttl": "0s", "background_sync": {} }))),
        ("half a second", with(&["android", "ttl"], json!("0.5s"))),
        ("four weeks", with(&["android", "ttl"], json!("2419200s"))),
        ("a null", with(&["notification"], Value::Null)),
        ("an installation id", json!({ "fid": "cIp8SQm6TeWbKxyz123_-A" })),
        ("an installation id as token", json!({ "token": "cIp8SQm6TeWbKxyz123_-A" })),
        ("a topic", json!({ "topic": "news" })),
        ("a condition", json!({ "condition": "'a' in topics" })),
        ("4096 bytes of data", with(&["data"], json!({ "k": "v".repeat(4095) }))),
    ]
}

/// Messages that Google's JSON front end refuses: no FCM error code, only the field.
fn misshapen_messages() -> Vec<(Value, &'static str)> {
    vec![
        (with(&["colour"], json!("red")), "message"),
        (with(&["android", "importance"], json!("high")), "message.android"),
        (with(&["data"], json!({ "a": "1", "b": 2 })), "message.data[1].value"),
        (with(&["data"], json!("text")), "message.data"),
        (with(&["android", "priority"], json!("urgent")), "message.android.priority"),
        (with(&["android", "priority"], json!("high")), "message.android.priority"),
        (with(&["android", "ttl"], json!(30)), "message.android.ttl"),
        (with(&["android", "ttl"], json!("30")), "message.android.ttl"),
        (with(&["android", "ttl"], json!("1e3s")), "message.android.ttl"),
        (with(&["android", "direct_boot_ok"], json!("true")), "message.android.direct_boot_ok"),
        (with(&["apns", "headers"], json!({ "apns-priority": 10 })), "message.apns.headers[0].value"),
        (with(&["apns", "payload"], json!([])), "message.apns.payload"),
        (with(&["android_v2", "priority"], json!("HIGH")), "message.android_v2"),
        (json!({ "token": registration_token("a"), "topic": "b" }), "message"),
        (json!({ "token": 5 }), "message.token"),
        (json!("text"), "message"),
    ]
}

/// Messages that FCM itself refuses.
fn refused_messages() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "data": {} }), "message"),
        (json!({ "token": "" }), "message"),
        (json!({ "token": "short" }), "message.token"),
        (json!({ "token": "has spaces in it and is long enough, however" }), "message.token"),
        (json!({ "fid": "too-short" }), "message.fid"),
        (json!({ "topic": "/topics/news" }), "message.topic"),
        (with(&["data"], json!({ "from": "x" })), "message.data"),
        (with(&["data"], json!({ "google.x": "x" })), "message.data"),
        (with(&["data"], json!({ "gcm.notification.x": "x" })), "message.data"),
        (with(&["android", "data"], json!({ "message_type": "x" })), "message.android.data"),
        (with(&["data"], json!({ "k": "v".repeat(4096) })), "message.data"),
        (json!({ "topic": "news", "data": { "k": "v".repeat(2048) } }), "message.data"),
        (with(&["android", "ttl"], json!("2419201s")), "message.android.ttl"),
        (with(&["android", "ttl"], json!("-1s")), "message.android.ttl"),
        (json!({ "token": registration_token("a"), "android": {}, "android_v2": {} }), "message.android_v2"),
        (with(&["apns", "headers"], json!({ "apns-push-type": "call" })), "message.apns.headers"),
        (with(&["apns", "headers"], json!({ "apns-priority": "high" })), "message.apns.headers"),
        (with(&["apns", "payload"], json!({ "aps": "x" })), "message.apns.payload.aps"),
        (with(&["apns", "payload"], json!({ "x": "y".repeat(4096) })), "message.apns.payload"),
    ]
}

#[tokio::test]
async fn messages_are_checked_as_google_checks_them() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let token = access_token(&simulator, &google).await;
    for (what, message) in good_messages() {
        let reply = google.answered(&fcm_message(&token, &message)).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.json());
        let name = reply.json()["name"].as_str().unwrap_or_default().to_owned();
        assert!(name.starts_with("projects/sip-phone-voip/messages/0:"), "{what}: {name}");
        assert_eq!(simulator.last_push()["name"], name, "{what}");
    }
    for (message, field) in misshapen_messages() {
        let reply = google.answered(&fcm_message(&token, &message)).await;
        assert_eq!(told(&reply), expected(400, "INVALID_ARGUMENT", "", field), "{message}");
    }
    for (message, field) in refused_messages() {
        let reply = google.answered(&fcm_message(&token, &message)).await;
        assert_eq!(told(&reply), expected(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", field), "{message}");
    }
}

#[tokio::test]
async fn the_request_around_the_message_is_checked_too() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let token = access_token(&simulator, &google).await;
    let good = fcm_message(&token, &with(&["data"], json!({ "k": "v" })));
    let invalid = |field| expected(400, "INVALID_ARGUMENT", "", field);
    let unauthenticated = || expected(401, "UNAUTHENTICATED", "", "");
    let elsewhere = |project: &str| good.clone().path(&format!("/v1/projects/{project}/messages:send"));
    let rows = [
        (good.clone(), expected(200, "", "", "")),
        (good.clone().unset("authorization"), unauthenticated()),
        (good.clone().set("authorization", "Bearer ya29.invented"), unauthenticated()),
        (good.clone().set("authorization", &format!("Basic {token}")), unauthenticated()),
        (good.clone().set("content-type", "text/plain"), invalid("")),
        (good.clone().set("content-type", "application/json; charset=UTF-8"), expected(200, "", "", "")),
        (good.clone().body(b"{"), invalid("")),
        (good.clone().body(b"[]"), invalid("")),
        (fcm_request(&token, &json!({ "message": { "topic": "x" }, "extra": 1 })), invalid("")),
        (fcm_request(&token, &json!({})), expected(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message")),
        (elsewhere("another-project"), expected(403, "PERMISSION_DENIED", "", "")),
        (elsewhere("123456789012"), expected(403, "PERMISSION_DENIED", "", "")),
        (elsewhere("No_Project"), expected(404, "NOT_FOUND", "", "")),
        // The order: credential, JSON, project.
        (elsewhere("another-project").body(b"{").unset("authorization"), unauthenticated()),
        (elsewhere("another-project").body(b"{"), invalid("")),
    ];
    for (ask, expected) in rows {
        let reply = google.answered(&ask).await;
        assert_eq!(told(&reply), expected, "{} {:?}", ask.path, String::from_utf8_lossy(&ask.body));
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_get_googles_html_page() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let good = fcm_message("any", &json!({}));
    let mut get = good.clone().body(b"");
    get.method = Method::GET;
    for ask in [get, good.clone().path("/v1/projects/sip-phone-voip/messages"), good.path("/")] {
        let reply = google.answered(&ask).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (404, "text/html; charset=UTF-8"),
            "{}",
            ask.path
        );
    }
}

#[tokio::test]
async fn declared_tokens_answer_for_themselves() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let access = access_token(&simulator, &google).await;
    let phone = registration_token("phone");
    let rows = [
        (json!({}), expected(200, "", "", "")),
        (json!({ "state": "dead" }), expected(404, "NOT_FOUND", "UNREGISTERED", "")),
        (
            json!({ "project": "another-project" }),
            expected(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", ""),
        ),
        (json!({ "project": "sip-phone-voip" }), expected(200, "", "", "")),
    ];
    for (declaration, expected) in rows {
        simulator.told("PUT", &format!("/tokens/{}", phone.replace(':', "%3A")), &declaration);
        let reply = google.answered(&fcm_message(&access, &json!({ "token": phone }))).await;
        assert_eq!(told(&reply), expected, "{declaration}");
    }
}

#[tokio::test]
async fn what_reaches_no_phone_is_marked() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let access = access_token(&simulator, &google).await;
    let voip = with(&["apns", "headers"], json!({ "apns-push-type": "voip" }));
    assert_eq!(google.answered(&fcm_message(&access, &voip)).await.status, 200);
    assert_eq!(simulator.last_push()["reached"], false, "FCM cannot reach PushKit");
    let dry = json!({ "validate_only": true, "message": with(&["data"], json!({})) });
    let reply = google.answered(&fcm_request(&access, &dry)).await;
    assert_eq!(reply.json()["name"], "projects/sip-phone-voip/messages/fake_message_id");
    assert_eq!(simulator.last_push()["reached"], false, "validate_only delivers nothing");
    google.answered(&fcm_message(&access, &with(&["data"], json!({})))).await;
    let push = simulator.last_push();
    assert_eq!(
        (&push["reached"], &push["provider"], &push["host"]),
        (&json!(true), &json!("fcm"), &json!("google"))
    );
    assert_eq!((&push["project"], &push["environment"]), (&json!("sip-phone-voip"), &Value::Null));
}

#[tokio::test]
async fn access_tokens_end() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    let message = with(&["data"], json!({}));
    let first = access_token(&simulator, &google).await;
    assert_eq!(google.answered(&fcm_message(&first, &message)).await.status, 200);
    assert_eq!(simulator.told("POST", "/oauth/revoke", &json!({}))["revoked"], 1);
    assert_eq!(google.answered(&fcm_message(&first, &message)).await.status, 401);
    simulator.told("PUT", "/oauth", &json!({ "expires_in": 0 }));
    let expired = access_token(&simulator, &google).await;
    assert_eq!(google.answered(&fcm_message(&expired, &message)).await.status, 401);
    simulator.told("PUT", "/oauth", &json!({ "expires_in": 60 }));
    let reply = google.answered(&token_request(&assertion(&simulator, &Value::Null))).await;
    assert_eq!(reply.json()["expires_in"], 60);
}
