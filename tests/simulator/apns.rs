//! APNs' checks, one row each, and the rules of its connections.

use http::Method;
use serde_json::{Value, json};

use crate::client::*;
use crate::harness::{Simulator, wait_for};

type Bend = fn(Ask) -> Ask;

/// What is sent, and what Apple answers.
const CHECKS: &[(&str, Bend, u16, &str)] = &[
    ("a VoIP push", |ask| ask, 200, ""),
    ("only what is needed", |a| a.unset("apns-id").unset("apns-priority").unset("apns-expiration"), 200, ""),
    ("priority 5", |a| a.set("apns-priority", "5"), 200, ""),
    ("an expiration", |a| a.set("apns-expiration", "1795362607"), 200, ""),
    (
        "a scheme in capitals",
        |a| {
            let t = a.headers[0].1.replace("bearer", "Bearer");
            a.set("authorization", &t)
        },
        200,
        "",
    ),
    ("an alert", |a| a.set("apns-push-type", "alert").set("apns-topic", BUNDLE), 200, ""),
    (
        "a background push",
        |a| a.set("apns-push-type", "background").set("apns-topic", BUNDLE).set("apns-priority", "5"),
        200,
        "",
    ),
    ("capital hexadecimal", |a| a.path(&format!("/3/device/{}", "AB".repeat(32))), 200, ""),
    ("a long token", |a| a.path(&format!("/3/device/{}", "ab".repeat(80))), 200, ""),
    (
        "GET",
        |mut a| {
            a.method = Method::GET;
            a.body(b"")
        },
        405,
        "MethodNotAllowed",
    ),
    ("another path", |a| a.path("/2/device/00"), 404, "BadPath"),
    ("a path behind the token", |a| a.path("/3/device/00/x"), 404, "BadPath"),
    ("no path at all", |a| a.path("/"), 404, "BadPath"),
    ("no token", |a| a.path("/3/device/"), 400, "MissingDeviceToken"),
    ("no token, no slash", |a| a.path("/3/device"), 400, "MissingDeviceToken"),
    ("two topics", |a| a.add("apns-topic", TOPIC), 400, "DuplicateHeaders"),
    (
        "two authorizations",
        |a| {
            let t = a.headers[0].1.clone();
            a.add("authorization", &t)
        },
        400,
        "DuplicateHeaders",
    ),
    ("an id in capitals", |a| a.set("apns-id", "EABEAE54-14A8-11E5-B60B-1697F925EC7B"), 400, "BadMessageId"),
    ("an id without hyphens", |a| a.set("apns-id", "eabeae5414a811e5b60b1697f925ec7b"), 400, "BadMessageId"),
    ("a worded expiration", |a| a.set("apns-expiration", "soon"), 400, "BadExpirationDate"),
    ("a negative expiration", |a| a.set("apns-expiration", "-1"), 400, "BadExpirationDate"),
    ("priority 7", |a| a.set("apns-priority", "7"), 400, "BadPriority"),
    ("priority high", |a| a.set("apns-priority", "high"), 400, "BadPriority"),
    (
        "background with 10",
        |a| a.set("apns-push-type", "background").set("apns-topic", BUNDLE),
        400,
        "BadPriority",
    ),
    ("a collapse id of 64", |a| a.set("apns-collapse-id", &"c".repeat(64)), 200, ""),
    ("a collapse id of 65", |a| a.set("apns-collapse-id", &"c".repeat(65)), 400, "BadCollapseId"),
    ("no push type", |a| a.unset("apns-push-type"), 400, "InvalidPushType"),
    ("an unknown push type", |a| a.set("apns-push-type", "VoIP"), 400, "InvalidPushType"),
    ("voip to the bundle", |a| a.set("apns-topic", BUNDLE), 400, "InvalidPushType"),
    ("alert to .voip", |a| a.set("apns-push-type", "alert"), 400, "InvalidPushType"),
    ("no topic", |a| a.unset("apns-topic"), 400, "MissingTopic"),
    ("another app", |a| a.set("apns-topic", "org.example.other.voip"), 400, "TopicDisallowed"),
    ("a topic with a space", |a| a.set("apns-topic", "org example.voip"), 400, "BadTopic"),
    ("no body", |a| a.body(b""), 400, "PayloadEmpty"),
    ("5120 bytes", |a| a.body(payload(5120)), 200, ""),
    ("5121 bytes", |a| a.body(payload(5121)), 413, "PayloadTooLarge"),
    ("far too much", |a| a.body(payload(400_000)), 413, "PayloadTooLarge"),
    (
        "an alert of 4096",
        |a| a.set("apns-push-type", "alert").set("apns-topic", BUNDLE).body(payload(4096)),
        200,
        "",
    ),
    (
        "an alert of 4097",
        |a| a.set("apns-push-type", "alert").set("apns-topic", BUNDLE).body(payload(4097)),
        413,
        "PayloadTooLarge",
    ),
    ("no JSON", |a| a.body(b"call"), 400, "BadPayload"),
    ("an array", |a| a.body(b"[{}]"), 400, "BadPayload"),
    ("two objects", |a| a.body(b"{}{}"), 400, "BadPayload"),
    ("a short token", |a| a.path("/3/device/abcdef"), 400, "BadDeviceToken"),
    ("the token of zeros", |a| a.path(&format!("/3/device/{}", "0".repeat(64))), 400, "BadDeviceToken"),
    ("an odd token", |a| a.path(&format!("/3/device/{}", "a".repeat(65))), 400, "BadDeviceToken"),
    ("no hexadecimal", |a| a.path(&format!("/3/device/{}", "xy".repeat(32))), 400, "BadDeviceToken"),
    // Two mistakes at once: the order.
    ("path before token", |a| a.path("/x").unset("authorization"), 404, "BadPath"),
    (
        "duplicates before token",
        |a| a.add("apns-topic", TOPIC).unset("authorization"),
        400,
        "DuplicateHeaders",
    ),
    ("token before topic", |a| a.unset("authorization").unset("apns-topic"), 403, "MissingProviderToken"),
    ("id before priority", |a| a.set("apns-id", "x").set("apns-priority", "x"), 400, "BadMessageId"),
    ("priority before topic", |a| a.set("apns-priority", "x").unset("apns-topic"), 400, "BadPriority"),
    ("topic before payload", |a| a.unset("apns-topic").body(b""), 400, "MissingTopic"),
    ("payload before device", |a| a.path("/3/device/xy").body(b""), 400, "PayloadEmpty"),
];

/// A JSON object of exactly this length.
fn payload(len: usize) -> Vec<u8> {
    let empty_len = r#"{"pad":""}"#.len();
    format!(r#"{{"pad":"{}"}}"#, "p".repeat(len - empty_len)).into_bytes()
}

fn is_lower_case_uuid(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok_and(|uuid| uuid.to_string() == text)
}

#[tokio::test]
async fn each_check_has_its_status_and_reason() {
    let simulator = Simulator::start();
    let jwt = provider_token(&simulator, 0);
    for (what, bend, status, reason) in CHECKS {
        let apns = Client::connect(&simulator, "apns").await;
        let ask = bend(voip_push(&jwt, &device_token(1)));
        let reply = apns.answered(&ask).await;
        assert_eq!((reply.status, reply.reason().as_str()), (*status, *reason), "{what}");
        assert!(is_lower_case_uuid(reply.header("apns-id")), "{what}: {}", reply.header("apns-id"));
        assert!(reply.json()["timestamp"].is_null(), "{what}: only a 410 has a timestamp");
        assert_eq!(reply.body.is_empty(), *status == 200, "{what}");
        let listed = simulator.last_push();
        assert_eq!(listed["status"], *status, "{what}: the list says the same");
        assert_eq!(listed["reason"].as_str().unwrap_or_default(), *reason, "{what}: the list says the same");
    }
    let answers = simulator.get("/stats")["requests"]["apns"].clone();
    let counted: u64 = answers.as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    assert_eq!(counted, CHECKS.len() as u64, "{answers}");
}

#[tokio::test]
async fn an_accepted_push_is_listed_with_all_that_it_said() {
    let simulator = Simulator::start();
    let jwt = provider_token(&simulator, 60);
    let apns = Client::connect(&simulator, "apns").await;
    let reply = apns.answered(&voip_push(&jwt, &device_token(7))).await;
    assert_eq!(
        reply.header("apns-id"),
        "eabeae54-14a8-11e5-b60b-1697f925ec7b",
        "the request's own id comes back"
    );
    assert_eq!(reply.header("apns-unique-id"), "", "only the sandbox has it");
    let push = simulator.last_push();
    for (field, expected) in [
        ("seq", json!(1)),
        ("provider", json!("apns")),
        ("environment", json!("production")),
        ("host", json!("apns")),
        ("connection", json!(1)),
        ("token", json!(device_token(7))),
        ("topic", json!(TOPIC)),
        ("apns_id", json!("eabeae54-14a8-11e5-b60b-1697f925ec7b")),
        ("status", json!(200)),
        ("reached", json!(true)),
        ("goaway", json!(false)),
        ("reset", json!(false)),
        ("payload", json!({ "aps": {}, "call_id": "a84b4c76e66710@atlanta", "caller": "bob" })),
    ] {
        assert_eq!(push[field], expected, "{field}");
    }
    assert_eq!(push["headers"]["apns-priority"], "10");
    assert_eq!(push["headers"]["authorization"], Value::Null, "credentials are not listed");
    let iat = push["jwt_iat"].as_i64().expect("the iat is listed instead");
    assert!((59..70).contains(&(now_s() - iat)), "{iat}");
    assert!(push["time_unix_ms"].as_i64().is_some_and(|ms| (now_s() * 1000 - ms).abs() < 30_000));
}

#[tokio::test]
async fn the_sandbox_is_another_host_with_a_unique_id() {
    let simulator = Simulator::start();
    let sandbox = Client::connect(&simulator, "apns_sandbox").await;
    let reply = sandbox.answered(&voip_push(&provider_token(&simulator, 0), &device_token(1))).await;
    assert_eq!(reply.status, 200);
    assert!(is_lower_case_uuid(reply.header("apns-unique-id")));
    assert_eq!(simulator.last_push()["environment"], "sandbox");
}

#[tokio::test]
async fn declared_tokens_answer_for_themselves() {
    let simulator = Simulator::start();
    let jwt = provider_token(&simulator, 0);
    let rows = [
        (json!({ "state": "registered" }), 200, "", None),
        (
            json!({ "state": "dead", "dead_since_ms": 1_700_000_000_123_u64 }),
            410,
            "Unregistered",
            Some(1_700_000_000_123_u64),
        ),
        (json!({ "environment": "sandbox" }), 400, "BadDeviceToken", None),
        (json!({ "environment": "production" }), 200, "", None),
        (json!({ "topics": [BUNDLE] }), 400, "DeviceTokenNotForTopic", None),
        (json!({ "topics": [BUNDLE, TOPIC] }), 200, "", None),
        (json!({ "environment": "sandbox", "state": "dead" }), 400, "BadDeviceToken", None),
    ];
    let apns = Client::connect(&simulator, "apns").await;
    for (declaration, status, reason, timestamp_ms) in rows {
        simulator.told("PUT", &format!("/tokens/{}", "AB".repeat(32)), &declaration);
        // Hexadecimal compares without case.
        let reply = apns.answered(&voip_push(&jwt, &"ab".repeat(32))).await;
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason), "{declaration}");
        assert_eq!(reply.json()["timestamp"].as_u64(), timestamp_ms, "{declaration}");
    }
}

#[tokio::test]
async fn known_only_refuses_strangers() {
    let simulator = Simulator::with(&["--known-only"]);
    let jwt = provider_token(&simulator, 0);
    let apns = Client::connect(&simulator, "apns").await;
    simulator.told("PUT", &format!("/tokens/{}", device_token(1)), &json!({}));
    assert_eq!(apns.answered(&voip_push(&jwt, &device_token(1))).await.status, 200);
    assert_eq!(apns.answered(&voip_push(&jwt, &device_token(2))).await.reason(), "BadDeviceToken");
}

#[tokio::test]
async fn one_stream_until_a_provider_token_was_accepted() {
    let simulator = Simulator::start();
    let jwt = provider_token(&simulator, 0);
    let slow = json!([{ "delay_ms": 500 }]);
    let apns = Client::connect(&simulator, "apns").await;
    // A refused provider token opens nothing: the next pair meets the same rule.
    assert_eq!(apns.answered(&voip_push("x.y.z", &device_token(1))).await.reason(), "InvalidProviderToken");
    simulator.told("PUT", "/behaviour/apns", &slow);
    let first = apns.start(&voip_push(&jwt, &device_token(1))).await.expect("one stream is allowed");
    let early = apns.ask(&voip_push(&jwt, &device_token(2))).await.expect_err("a second one is not");
    assert_eq!(early.reason(), Some(h2::Reason::REFUSED_STREAM));
    assert_eq!(finish(first).await.expect("the first is answered").status, 200);
    simulator.told("PUT", "/behaviour/apns", &json!([{ "delay_ms": 1000, "times": 50 }]));
    let mut open = Vec::new();
    for number in 0..50 {
        open.push(apns.start(&voip_push(&jwt, &device_token(number))).await.expect("now many are"));
    }
    for response in open {
        assert_eq!(finish(response).await.expect("each is answered").status, 200);
    }
    let stats = simulator.get("/stats");
    assert_eq!(stats["violations"]["early_stream"], 1);
    assert_eq!(stats["connections"]["apns"]["max_concurrent_streams"], 50);
    assert_eq!(simulator.get("/pushes")["last"], 52, "the refused stream carried no push");
}

#[tokio::test]
async fn only_http2_is_spoken() {
    let simulator = Simulator::start();
    let url = simulator.ready("apns");
    let refused = tls(&simulator, url, &[b"http/1.1"]).await.expect_err("no common protocol");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    let mut silent = tls(&simulator, url, &[]).await.expect("the handshake itself works");
    let mut buffer = [0; 64];
    let end = tokio::io::AsyncReadExt::read(&mut silent, &mut buffer).await;
    assert!(matches!(end, Ok(0) | Err(_)), "closed without a word: {end:?}");
    assert_eq!(simulator.get("/stats")["violations"]["no_h2"], 2);
}

#[tokio::test]
async fn a_client_that_trusts_another_ca_is_counted() {
    let (simulator, other) = (Simulator::start(), Simulator::start());
    let refused = tls(&other, simulator.ready("apns"), &[b"h2"]).await.expect_err("another CA signed it");
    assert!(refused.to_string().contains("invalid peer certificate"), "{refused}");
    wait_for("the count", || (simulator.get("/stats")["violations"]["tls_failed"] == 1).then_some(()));
    assert_eq!(simulator.get("/stats")["connections"]["apns"]["opened"], 0);
}
