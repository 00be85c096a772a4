//! SIP messages to sleeping phones through the shipped configuration: what the sender, the phone and the push service each see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::phone::{Phone, Sent};
use support::shipped::{Setup, Shipped, apns_token, fcm_token};
use support::{DEADLINE, poll};

/// An iPhone with a token for calls, `number`, and one for alerts, `number + 100`.
fn register_iphone(shipped: &Shipped, user: &str, number: u8) {
    let body = json!({ "user": user, "token": apns_token(number), "platform": "ios",
        "alert_token": apns_token(number + 100) });
    let answer = shipped.rest("POST", "/api/register-push-token", &body);
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

/// The phone gets the message once and takes it, and its sender learns that.
fn delivered(shipped: &Shipped, sender: &mut Phone, sent: &Sent, phone: &mut Phone, text: &str) {
    let message = phone.expect_request("MESSAGE");
    assert_eq!((message.body.as_str(), message.header("Call-ID")), (text, Some(sent.call_id.as_str())));
    phone.answer_with(&message, 200, "");
    sender.expect_status(sent, 200);
    // a refresh is no second delivery, and neither is a repeated request
    phone.register();
    sender.send(sent.text.as_bytes());
    sender.expect_status(sent, 200);
    phone.settle();
    assert_eq!((phone.count("MESSAGE"), sender.statuses(sent)), (1, vec![200]));
    assert_nothing_waits(shipped);
}

fn assert_nothing_waits(shipped: &Shipped) {
    let calls = || shipped.kamailio.rpc(&["voip_push.calls"]);
    poll(DEADLINE, || calls().contains("parked: 0").then_some(())).unwrap_or_else(|| panic!("{}", calls()));
    let log = shipped.kamailio.log();
    let loud: Vec<&str> =
        log.lines().filter(|line| line.contains("ERROR:") || line.contains("WARNING:")).collect();
    assert!(loud.is_empty(), "{loud:#?}");
}

fn is_voip(push: &Value) -> bool {
    push["headers"]["apns-push-type"] == "voip"
        || push["headers"]["apns-topic"].as_str().is_some_and(|topic| topic.ends_with(".voip"))
}

#[test]
fn a_message_wakes_an_iphone_by_an_alert_and_is_delivered_once() {
    let shipped = Shipped::start("message-ios");
    register_iphone(&shipped, "bob", 1);
    let mut sender = Phone::udp("alice", shipped.port());
    let sent = sender.message("bob", "Hello");
    let push = &shipped.simulator.wait_for_pushes(0, 1)[0];
    let topic = shipped.simulator.fact("topic").strip_suffix(".voip").unwrap();
    assert_eq!((&push["status"], &push["token"]), (&json!(200), &json!(apns_token(101))));
    assert_eq!(push["headers"]["apns-push-type"], "alert");
    assert_eq!(push["headers"]["apns-topic"], topic);
    assert_eq!(push["payload"]["aps"]["alert"], json!({ "title": "alice", "body": "New message" }));
    assert_eq!(push["payload"]["call_id"], sent.call_id.as_str());
    assert!(!push.to_string().contains("Hello"), "what is said stays here: {push}");
    // its sender repeats it, as over UDP one does
    for _ in 0..3 {
        sender.send(sent.text.as_bytes());
    }
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    delivered(&shipped, &mut sender, &sent, &mut bob, "Hello");
    assert_eq!(shipped.simulator.pushes().len(), 1);
}

#[test]
fn a_message_wakes_an_iphone_silently_where_that_is_set() {
    let config = vec![("[log]", "[message]\nios_push_type = \"background\"\n[log]")];
    let shipped = Shipped::with("message-silent", Setup { config, ..Setup::default() });
    register_iphone(&shipped, "bob", 1);
    let mut sender = Phone::tcp("alice", shipped.port());
    let sent = sender.message("bob", "Hello");
    let push = &shipped.simulator.wait_for_pushes(0, 1)[0];
    assert_eq!(push["status"], 200, "{push}");
    let headers = &push["headers"];
    assert_eq!((&headers["apns-push-type"], &headers["apns-priority"]), (&json!("background"), &json!("5")));
    assert_eq!(push["payload"]["aps"], json!({ "content-available": 1 }));
    let mut bob = Phone::udp("bob", shipped.port());
    bob.register();
    delivered(&shipped, &mut sender, &sent, &mut bob, "Hello");
}

#[test]
fn a_message_wakes_an_android_phone_by_data() {
    let shipped = Shipped::start("message-android");
    shipped.register_token("carol", &fcm_token(1), "android");
    let mut sender = Phone::udp("alice", shipped.port());
    let sent = sender.message("carol", "Hello");
    let push = &shipped.simulator.wait_for_pushes(0, 1)[0];
    assert_eq!((&push["provider"], &push["status"]), (&json!("fcm"), &json!(200)));
    let message = &push["payload"]["message"];
    assert_eq!(message["android"]["priority"], "HIGH");
    let data = &message["data"];
    assert_eq!((&data["type"], &data["caller"]), (&json!("message"), &json!("alice")));
    assert_eq!((&data["call_id"], &data["sip_user"]), (&json!(sent.call_id), &json!("carol")));
    let mut carol = Phone::tcp("carol", shipped.port());
    carol.register();
    delivered(&shipped, &mut sender, &sent, &mut carol, "Hello");
}

#[test]
fn a_phone_that_is_there_gets_its_messages_without_a_push() {
    let shipped = Shipped::start("message-awake");
    shipped.register_token("carol", &fcm_token(1), "android");
    let mut carol = Phone::tcp("carol", shipped.port());
    carol.register();
    let mut sender = Phone::udp("alice", shipped.port());
    let sent = sender.message("carol", "Hello");
    delivered(&shipped, &mut sender, &sent, &mut carol, "Hello");
    assert!(shipped.simulator.pushes().is_empty());
}

#[test]
fn when_nobody_wakes_up_the_sender_gets_480_in_time_and_the_message_is_not_delivered_later() {
    let config = vec![("[log]", "[message]\nwake_seconds = 2\n[log]")];
    let shipped = Shipped::with("message-nobody", Setup { config, ..Setup::default() });
    register_iphone(&shipped, "bob", 1);
    let mut sender = Phone::udp("alice", shipped.port());
    let sent_at = Instant::now();
    let sent = sender.message("bob", "Hello");
    let refused = sender.expect_final(&sent);
    let took = refused.at - sent_at;
    assert_eq!((refused.status(), sender.statuses(&sent)), (480, vec![480]));
    assert!((Duration::from_millis(1800)..Duration::from_secs(15)).contains(&took), "{took:?}");
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    bob.settle();
    assert_eq!(bob.count("MESSAGE"), 0);
    assert!(!shipped.simulator.pushes().iter().any(is_voip));
}

#[test]
fn an_iphone_without_a_token_for_alerts_gets_no_push_for_a_message() {
    let shipped = Shipped::start("message-voip-only");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut sender = Phone::udp("alice", shipped.port());
    let sent = sender.message("bob", "Hello");
    assert_eq!(sender.expect_final(&sent).status(), 480);
    assert!(shipped.simulator.pushes().is_empty());
    assert_nothing_waits(&shipped);
}

#[test]
fn two_messages_of_one_conversation_reach_the_phone_that_wakes() {
    let shipped = Shipped::start("message-two");
    shipped.register_token("carol", &fcm_token(1), "android");
    let mut sender = Phone::udp("alice", shipped.port());
    let first = sender.message("carol", "Hello");
    let mut second = sender.message_request("carol", "Are you there?");
    second.text = second.text.replace(&second.call_id, &first.call_id);
    second.call_id.clone_from(&first.call_id);
    sender.send(second.text.as_bytes());
    shipped.simulator.wait_for_pushes(0, 1);
    poll(DEADLINE, || shipped.kamailio.rpc(&["voip_push.calls"]).contains("parked: 2").then_some(()))
        .expect("both wait");
    let mut carol = Phone::tcp("carol", shipped.port());
    carol.register();
    let mut texts = Vec::new();
    for _ in 0..2 {
        let message = carol.expect_request("MESSAGE");
        carol.answer_with(&message, 200, "");
        texts.push(message.body);
    }
    texts.sort();
    assert_eq!(texts, ["Are you there?", "Hello"]);
    sender.expect_status(&first, 200);
    sender.expect_status(&second, 200);
    carol.settle();
    assert_eq!(carol.count("MESSAGE"), 2);
    assert_nothing_waits(&shipped);
}
