//! Misconduct on request: per token, per service, per connection.

use std::time::{Duration, Instant};

use h2::Reason;
use serde_json::{Value, json};

use crate::client::*;
use crate::harness::{DEADLINE, Simulator};

async fn apns(simulator: &Simulator) -> (Client, Ask) {
    let client = Client::connect(simulator, "apns").await;
    let push = voip_push(&provider_token(simulator, 0), &device_token(1));
    // The first push opens the connection for many.
    let other = voip_push(&push.headers[0].1["bearer ".len()..], &device_token(99));
    assert_eq!(client.answered(&other).await.status, 200);
    (client, push)
}

fn declare(simulator: &Simulator, behaviours: &Value) {
    let path = format!("/tokens/{}", device_token(1));
    simulator.told("PUT", &path, &json!({ "behaviours": behaviours }));
}

#[tokio::test]
async fn statuses_come_with_their_usual_reason_and_in_order() {
    let simulator = Simulator::start();
    let (client, push) = apns(&simulator).await;
    declare(
        &simulator,
        &json!([
            { "status": 410, "timestamp_ms": 1_700_000_000_000_u64 },
            { "status": 410, "reason": "ExpiredToken" },
            { "status": 429, "retry_after_s": 7 },
            { "status": 500, "times": 2 },
            { "status": 503 },
            { "status": 403, "reason": "ExpiredProviderToken" },
        ]),
    );
    let reply = client.answered(&push).await;
    assert_eq!((reply.status, reply.reason().as_str()), (410, "Unregistered"));
    assert_eq!(reply.json()["timestamp"], 1_700_000_000_000_u64);
    let reply = client.answered(&push).await;
    assert_eq!((reply.status, reply.reason().as_str()), (410, "ExpiredToken"));
    assert!(reply.json()["timestamp"].as_i64().is_some_and(|ms| (now_s() * 1000 - ms).abs() < 30_000));
    let reply = client.answered(&push).await;
    assert_eq!((reply.status, reply.reason().as_str()), (429, "TooManyRequests"));
    assert_eq!(reply.header("retry-after"), "7");
    for (status, reason) in [
        (500, "InternalServerError"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (403, "ExpiredProviderToken"),
        (200, ""),
    ] {
        let reply = client.answered(&push).await;
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason));
    }
}

#[tokio::test]
async fn a_request_that_is_wrong_anyway_uses_no_behaviour_up() {
    let simulator = Simulator::start();
    let (client, push) = apns(&simulator).await;
    declare(&simulator, &json!([{ "status": 503 }]));
    assert_eq!(client.answered(&push.clone().unset("apns-topic")).await.reason(), "MissingTopic");
    let sandbox = Client::connect(&simulator, "apns_sandbox").await;
    let path = format!("/tokens/{}", device_token(1));
    simulator.told("PUT", &path, &json!({ "environment": "production", "behaviours": [{ "status": 503 }] }));
    assert_eq!(sandbox.answered(&push).await.reason(), "BadDeviceToken");
    assert_eq!(client.answered(&push).await.status, 503);
    assert_eq!(client.answered(&push).await.status, 200);
}

#[tokio::test]
async fn zero_times_is_for_ever_until_replaced() {
    let simulator = Simulator::start();
    let (client, push) = apns(&simulator).await;
    declare(&simulator, &json!([{ "status": 500, "times": 0 }]));
    for _ in 0..5 {
        assert_eq!(client.answered(&push).await.status, 500);
    }
    declare(&simulator, &json!([]));
    assert_eq!(client.answered(&push).await.status, 200);
}

#[tokio::test]
async fn a_delay_delays_and_nothing_else() {
    let simulator = Simulator::with(&["--latency-ms", "100"]);
    let (client, push) = apns(&simulator).await;
    declare(&simulator, &json!([{ "delay_ms": 300 }]));
    let start = Instant::now();
    assert_eq!(client.answered(&push).await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(simulator.last_push()["duration_ms"].as_f64().is_some_and(|ms| ms >= 400.0));
}

#[tokio::test]
async fn streams_are_reset_or_left_alone() {
    let simulator = Simulator::start();
    let (client, push) = apns(&simulator).await;
    declare(&simulator, &json!([{ "reset": true }, { "reset": true, "reset_code": 7 }, { "stall": true }]));
    for reason in [Reason::INTERNAL_ERROR, Reason::REFUSED_STREAM] {
        let error = client.ask(&push).await.expect_err("there is no answer");
        assert_eq!(error.reason(), Some(reason));
        let listed = simulator.last_push();
        assert_eq!((&listed["reset"], &listed["status"]), (&json!(true), &Value::Null));
    }
    let stalled = client.start(&push).await.expect("the stream opens");
    assert_eq!(client.answered(&push).await.status, 200, "its neighbours go on");
    let pushes = simulator.get("/pushes?after=0")["pushes"].clone();
    let stalls: Vec<&Value> =
        pushes.as_array().into_iter().flatten().filter(|push| push["stall"] == true).collect();
    assert_eq!(stalls.len(), 1);
    assert_eq!(simulator.get("/stats")["requests"]["apns"]["none"], 3);
    assert!(tokio::time::timeout(Duration::from_millis(200), stalled).await.is_err(), "still nothing");
}

#[tokio::test]
async fn goaway_follows_the_answer() {
    let simulator = Simulator::start();
    let (client, push) = apns(&simulator).await;
    declare(&simulator, &json!([{ "goaway": true }]));
    assert_eq!(client.answered(&push).await.status, 200);
    assert_eq!(simulator.last_push()["goaway"], true);
    tokio::time::timeout(DEADLINE, client.ended)
        .await
        .expect("the connection ends")
        .expect("no panic")
        .expect("well");
}

#[tokio::test]
async fn the_control_api_ends_connections() {
    let simulator = Simulator::start();
    for (path, body, graceful) in [
        ("/connections/goaway", json!({}), true),
        ("/connections/goaway", json!({ "host": "apns", "abrupt": true }), false),
        ("/connections/close", json!({ "host": "apns" }), false),
    ] {
        let (client, push) = apns(&simulator).await;
        // Where the stream must be lost it has to be open still, however slow the machine is.
        declare(&simulator, &json!([{ "delay_ms": if graceful { 300 } else { 60_000 } }]));
        let open = client.start(&push).await.expect("the stream opens");
        // The behaviour is used up as soon as the push is there.
        let used_up = || simulator.get(&format!("/tokens/{}", device_token(1)))["behaviours"] == json!([]);
        let arrived = async {
            while !used_up() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, arrived).await.expect("the push arrives");
        let told = simulator.told("POST", path, &body);
        assert_eq!(told["connections"], 1, "{path} {body}");
        assert_eq!(finish(open).await.is_ok(), graceful, "{path} {body}: the open stream");
        tokio::time::timeout(DEADLINE, client.ended).await.expect("it ends").expect("no panic").ok();
    }
    assert_eq!(simulator.told("POST", "/connections/close", &json!({ "host": "google" }))["connections"], 0);
}

#[tokio::test]
async fn a_service_misbehaves_for_every_token() {
    let simulator = Simulator::start();
    let (client, push) = apns(&simulator).await;
    let page = "<html><body>Service Unavailable</body></html>";
    simulator.told(
        "PUT",
        "/behaviour/apns",
        &json!({ "behaviours": [{ "status": 503, "body": page, "times": 0 }] }),
    );
    let reply = client.answered(&push).await;
    assert_eq!((reply.status, reply.body.as_ref()), (503, page.as_bytes()));
    assert_eq!(reply.header("content-type"), "text/html; charset=UTF-8");
    let sandbox = Client::connect(&simulator, "apns_sandbox").await;
    assert_eq!(sandbox.answered(&push).await.status, 200, "the other host is well");
    simulator.told("DELETE", "/behaviour/apns", &json!({}));
    assert_eq!(client.answered(&push).await.status, 200);
}

#[tokio::test]
async fn google_misbehaves_too() {
    let simulator = Simulator::start();
    let google = Client::connect(&simulator, "google").await;
    simulator.told("PUT", "/behaviour/oauth", &json!([{ "status": 503 }]));
    assert_eq!(google.answered(&token_request(&assertion(&simulator, &Value::Null))).await.status, 503);
    let access = access_token(&simulator, &google).await;
    let ask = fcm_message(&access, &json!({ "token": registration_token("phone") }));
    let rows = [
        (json!({ "status": 429, "retry_after_s": 60 }), "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"),
        (json!({ "status": 500 }), "INTERNAL", "INTERNAL"),
        (json!({ "status": 503 }), "UNAVAILABLE", "UNAVAILABLE"),
        (json!({ "status": 401 }), "UNAUTHENTICATED", ""),
        (
            json!({ "status": 401, "reason": "THIRD_PARTY_AUTH_ERROR" }),
            "UNAUTHENTICATED",
            "THIRD_PARTY_AUTH_ERROR",
        ),
        (json!({ "status": 404 }), "NOT_FOUND", "UNREGISTERED"),
        (json!({ "status": 404, "reason": "NOT_FOUND" }), "NOT_FOUND", ""),
    ];
    for (behaviour, status, error_code) in rows {
        simulator.told("PUT", "/behaviour/fcm", &json!([behaviour]));
        let reply = google.answered(&ask).await;
        assert_eq!(reply.status, behaviour["status"].as_u64().unwrap_or(0) as u16);
        let error = reply.json()["error"].clone();
        assert_eq!(error["status"], status, "{behaviour}");
        assert_eq!(error["details"][0]["errorCode"].as_str().unwrap_or_default(), error_code, "{behaviour}");
        let retry_after = behaviour["retry_after_s"].as_u64().map_or_else(String::new, |s| s.to_string());
        assert_eq!(reply.header("retry-after"), retry_after, "{behaviour}");
    }
    assert_eq!(google.answered(&ask).await.status, 200);
}
