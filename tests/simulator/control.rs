//! The control API itself: the list, the long poll, and what it says to mistakes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::*;
use crate::harness::Simulator;

fn seqs(answer: &Value) -> Vec<u64> {
    answer["pushes"].as_array().into_iter().flatten().filter_map(|push| push["seq"].as_u64()).collect()
}

#[tokio::test]
async fn the_list_goes_on_where_the_reader_stopped() {
    let simulator = Simulator::start();
    let client = Client::connect(&simulator, "apns").await;
    let push = voip_push(&provider_token(&simulator, 0), &device_token(1));
    for _ in 0..3 {
        client.answered(&push).await;
    }
    let all = simulator.get("/pushes");
    assert_eq!((seqs(&all), &all["last"]), (vec![1, 2, 3], &json!(3)));
    assert_eq!(seqs(&simulator.get("/pushes?after=2")), [3]);
    assert_eq!(seqs(&simulator.get("/pushes?after=3")), [0; 0]);
    simulator.told("DELETE", "/pushes", &json!({}));
    let none = simulator.get("/pushes");
    assert_eq!((seqs(&none), &none["last"]), (vec![], &json!(3)), "the numbers go on");
    client.answered(&push).await;
    assert_eq!(seqs(&simulator.get("/pushes?after=3")), [4]);
}

#[test]
fn a_long_poll_ends_with_the_first_push_or_with_its_time() {
    let simulator = Simulator::start();
    let start = Instant::now();
    assert_eq!(seqs(&simulator.get("/pushes?after=0&wait_ms=200")), [0; 0]);
    assert!(start.elapsed() >= Duration::from_millis(200));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let start = Instant::now();
            (seqs(&simulator.get("/pushes?after=0&wait_ms=30000")), start.elapsed())
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = Client::connect(&simulator, "apns").await;
            client.answered(&voip_push(&provider_token(&simulator, 0), &device_token(1))).await;
        });
        let (seqs, waited) = waiting.join().expect("no panic");
        assert_eq!(seqs, [1]);
        assert!(waited < Duration::from_secs(20), "{waited:?}");
    });
}

#[test]
fn mistakes_are_told_in_one_line() {
    let simulator = Simulator::start();
    let token = format!("/tokens/{}", device_token(1));
    let rows = [
        ("GET", "/nowhere", "", 404),
        ("POST", "/pushes", "", 405),
        ("GET", "/pushes?after=many", "", 400),
        ("GET", "/pushes?behind=1", "", 400),
        ("PUT", &token, "{", 400),
        ("PUT", &token, r#"{"state":"undead"}"#, 400),
        ("PUT", &token, r#"{"behaviour":[]}"#, 400),
        ("PUT", &token, r#"{"behaviours":[{"statuss":500}]}"#, 400),
        ("PUT", &token, r#"{"behaviours":[{"status":99}]}"#, 400),
        ("PUT", &token, r#"{"behaviours":[{"body":"x"}]}"#, 400),
        ("PUT", "/tokens/%zz", "{}", 400),
        ("PUT", "/tokens/", "{}", 400),
        ("GET", &token, "", 404),
        ("DELETE", &token, "", 404),
        ("PUT", "/behaviour/sms", "[]", 404),
        ("PUT", "/behaviour/fcm", "7", 400),
        ("POST", "/connections/goaway", r#"{"host":"fcm"}"#, 400),
        ("POST", "/connections/drop", "", 404),
        ("PUT", "/oauth", "{}", 400),
        ("PUT", "/oauth", r#"{"expires_in":-1}"#, 400),
        ("PUT", "/limits", r#"{"jwt_updates":"no"}"#, 400),
    ];
    for (method, path, body, status) in rows {
        let (answered, answer) = simulator.control(method, path, body);
        assert_eq!(answered, status, "{method} {path} {body}: {answer}");
        let line = answer["error"].as_str().unwrap_or_default();
        assert!(!line.is_empty() && !line.contains('\n'), "{method} {path} {body}: {answer}");
    }
    let huge = format!(r#"{{"project":"{}"}}"#, "x".repeat(300_000));
    assert_eq!(simulator.control("PUT", &token, &huge).0, 413);
}

#[test]
fn declarations_can_be_read_and_taken_back() {
    let simulator = Simulator::start();
    let path = format!("/tokens/{}", device_token(1));
    let declaration = json!({
        "state": "dead", "dead_since_ms": 5, "environment": "sandbox", "topics": [TOPIC], "project": "p-project",
        "behaviours": [{ "times": 2, "status": 429, "retry_after_s": 3 }, { "goaway": true }],
    });
    simulator.told("PUT", &path, &declaration);
    let shown = simulator.get(&path);
    for (field, value) in declaration.as_object().into_iter().flatten() {
        assert_eq!(&shown[field], value, "{field}");
    }
    simulator.told("DELETE", &path, &json!({}));
    assert_eq!(simulator.control("GET", &path, "").0, 404);
}
