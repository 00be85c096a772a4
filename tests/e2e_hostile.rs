//! Malformed and hostile SIP at the shipped configuration: calls go on, nothing leaks, nothing ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use support::phone::{DOMAIN, Phone};
use support::shipped::{Shipped, apns_token};

/// Everybody still gets an answer, and the log has no token in it.
fn assert_unharmed(shipped: &mut Shipped) {
    for _ in 0..16 {
        Phone::udp("alice", shipped.port()).settle();
    }
    Phone::tcp("alice", shipped.port()).settle();
    assert!(shipped.kamailio.is_alive());
    let log = shipped.kamailio.log();
    for number in 1..=9 {
        assert!(!log.contains(&apns_token(number)), "a token is in the log:\n{log}");
    }
    for complaint in ["CRITICAL:", "BUG:", "ALERT:", "panic"] {
        assert!(!log.contains(complaint), "{log}");
    }
}

#[test]
fn a_callers_name_and_number_reach_the_phone_as_text_and_nothing_else() {
    let mut shipped = Shipped::start("names");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("eve", shipped.port());
    // a line break within a name is refused by Kamailio's own parser
    let folded =
        caller.strange_invite("bob", "\"Eve\r\n X-Injected: yes\" <sip:eve@sip.example.org>", "folded");
    caller.send(folded.text.as_bytes());
    assert_eq!(caller.expect_final(&folded).status(), 400);
    let mut seen = 0;
    for (from, shown) in [
        ("\"$var(x)$env(HOME)\" <sip:$ru$env(HOME)@sip.example.org>", "$var(x)$env(HOME)"),
        ("\"%0d%0aX: y\" <sip:eve%0d%0aX:%20y@sip.example.org>", "%0d%0aX: y"),
        ("\"\\\"},{\\\"aps\\\":\\\"\" <sip:a'b=c@sip.example.org>", "\"},{\"aps\":\""),
        ("<sip:+4930123456;phone-context=x@sip.example.org;user=phone>", "+4930123456"),
    ] {
        let call_id = format!("names-{seen}");
        let invite = caller.strange_invite("bob", from, &call_id);
        caller.send(invite.text.as_bytes());
        caller.expect_status(&invite, 100);
        let push = &shipped.simulator.wait_for_pushes(seen, 1)[0];
        seen = push["seq"].as_u64().unwrap();
        assert_eq!(
            (push["status"].as_u64(), push["payload"]["caller"].as_str()),
            (Some(200), Some(shown)),
            "{from}"
        );
        assert_eq!(push["payload"]["call_id"], call_id);
        assert!(push["headers"].as_object().unwrap().keys().all(|name| !name.contains("inject")));
        let cancel = caller.cancel(&invite);
        caller.expect_status(&cancel, 200);
    }
    assert_unharmed(&mut shipped);
}

#[test]
fn a_user_may_be_called_anything() {
    let mut shipped = Shipped::start("users");
    // the name in the token store, and in SIP, where some characters have to be escaped
    let users =
        [("$ru", "$ru"), ("$(var(vp_user)", "$(var(vp_user)"), ("o'brien", "o'brien"), ("a,b", "a,b")];
    let escaped = [("bob", "%62%6fb"), ("50%", "50%25"), ("a/b", "a%2Fb"), ("$tU", "%24tU"), ("Bob", "Bob")];
    for (number, (name, user)) in users.into_iter().chain(escaped).enumerate() {
        shipped.register_token(name, &apns_token(number as u8 + 1), "ios");
        let mut caller = Phone::udp("alice", shipped.port());
        let invite = caller.invite(user);
        let pushes = shipped.simulator.wait_for_pushes(number as u64, 1);
        assert_eq!(pushes[0]["payload"]["sip_user"], name);
        let mut phone = Phone::tcp(user, shipped.port());
        phone.register();
        let ring = phone.expect_request("INVITE");
        phone.answer(&ring, 486);
        phone.expect_request("ACK");
        let busy = caller.expect_final(&invite);
        assert_eq!(busy.status(), 486, "{user}");
        caller.ack_failure(&invite, &busy);
        phone.settle();
        assert_eq!(phone.count("INVITE"), 1, "{user}");
    }
    for user in ["J%C3%BCrgen", "%00", "%", "%zz", "%0d%0a"] {
        let mut caller = Phone::udp("alice", shipped.port());
        let invite = caller.invite(user);
        let refused = caller.expect_final(&invite);
        assert!(matches!(refused.status(), 400 | 404), "{user}: {refused:?}");
        caller.ack_failure(&invite, &refused);
    }
    assert_unharmed(&mut shipped);
}

#[test]
fn too_long_is_refused_and_never_pushed() {
    let mut shipped = Shipped::start("long");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let from = format!("<sip:alice@{DOMAIN}>");
    let long_call_id = caller.strange_invite("bob", &from, &"c".repeat(600));
    caller.send(long_call_id.text.as_bytes());
    let refused = caller.expect_final(&long_call_id);
    assert_eq!(refused.status(), 480);
    caller.ack_failure(&long_call_id, &refused);
    for len in [256, 1_000, 9_000, 60_000] {
        let user = "u".repeat(len);
        let invite = caller.invite_request(&user);
        // over UDP; the To header has a short one, so that it fits into a datagram
        let text = invite.text.replacen(&format!("To: <sip:{user}@"), "To: <sip:u@", 1);
        caller.send(text.as_bytes());
        let mut other = Phone::udp(&user, shipped.port());
        let register = other.register_request(600);
        other.send(register.text.as_bytes());
    }
    let huge_from = format!("\"{0}\" <sip:{0}@{DOMAIN}>", "f".repeat(20_000));
    let invite = caller.strange_invite("bob", &huge_from, "huge-from");
    caller.send(invite.text.as_bytes());
    // whoever calls may be shown cut, but is put through
    caller.expect_status(&invite, 100);
    let pushes = shipped.simulator.wait_for_pushes(0, 1);
    assert!(pushes[0]["payload"]["caller"].as_str().unwrap().len() <= 256);
    assert_eq!(shipped.simulator.pushes().len(), 1);
    assert_unharmed(&mut shipped);
}

#[test]
fn rubbish_ends_nothing() {
    let mut shipped = Shipped::start("rubbish");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let good = caller.invite_request("bob").text;
    let at = |part: &str| good.find(part).unwrap();
    let mut rubbish: Vec<Vec<u8>> = vec![
        b"\0\0\0\0".to_vec(),
        vec![0xff; 65_000],
        b"INVITE".to_vec(),
        b"INVITE sip:bob@sip.example.org SIP/2.0\r\n\r\n".to_vec(),
        good.replace("Call-ID: ", "Call-ID: a\0b").into_bytes(),
        good.replace("From: <sip:alice", "From: \"\0\0\" <sip:al\0ice").into_bytes(),
        good.replace("sip:bob@", "sip:b\0ob@").into_bytes(),
        good.replace("CSeq: 1 ", "CSeq: 99999999999 ").into_bytes(),
        good.replace(";tag=", ";gat=").into_bytes(),
        good.replace("To: <sip:bob@sip.example.org>", "To: <<<>>>").into_bytes(),
        good.replace("Content-Length: 0", "Content-Length: 99999").into_bytes(),
        good.replace("Max-Forwards: 70", "Max-Forwards: -1").into_bytes(),
        good.replace("sip:bob@sip.example.org SIP", "tel:+4930123456 SIP").into_bytes(),
    ];
    rubbish.extend((0..good.len()).step_by(7).map(|len| good.as_bytes()[..len].to_vec()));
    rubbish.push([&good.as_bytes()[..at("Via:")], "Via: x\r\n".repeat(3000).as_bytes()].concat());
    for bytes in &rubbish {
        caller.send(bytes);
        let mut stranger = Phone::tcp("mallory", shipped.port());
        stranger.send(bytes);
    }
    assert_unharmed(&mut shipped);
}

#[test]
fn a_push_that_fails_tells_no_token() {
    let mut shipped = Shipped::waking("tokens", "wake_seconds = 1");
    for (number, (status, reason)) in [
        (400, "BadDeviceToken"),
        (403, "InvalidProviderToken"),
        (410, "Unregistered"),
        (500, "InternalServerError"),
    ]
    .into_iter()
    .enumerate()
    {
        let token = apns_token(number as u8 + 1);
        shipped.register_token("bob", &token, "ios");
        let behaviour = serde_json::json!([{ "times": 0, "status": status, "reason": reason }]);
        shipped.simulator.behave(&token, behaviour);
        let mut caller = Phone::udp("alice", shipped.port());
        let invite = caller.invite("bob");
        let refused = caller.expect_final(&invite);
        assert_eq!(refused.status(), 480, "{reason}");
        caller.ack_failure(&invite, &refused);
    }
    assert_unharmed(&mut shipped);
}
