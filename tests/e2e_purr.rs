//! Requests within dialogs that wake phones (RFC 8599 §6), through the shipped configuration: what both sides and the push service see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::debian;
use support::phone::{Message, Phone, Sent};
use support::shipped::{Setup, Shipped, apns_token, fcm_token};
use support::{DEADLINE, poll};

/// What an Android phone registers with.
fn android(shipped: &Shipped, number: u8) -> String {
    let token = fcm_token(number).replace(':', "%3A");
    format!(";pn-provider=fcm;pn-param={};pn-prid={token}", shipped.simulator.fact("project"))
}

/// What an iPhone registers with: a token for calls, and with `&remote` one for alerts.
fn iphone(shipped: &Shipped, services: &str, token: &str) -> String {
    let (team, topic) = (shipped.simulator.fact("team_id"), shipped.simulator.fact("topic"));
    format!(";pn-provider=apns;pn-param={team}.{topic}{services};pn-prid={token}")
}

/// Registers with these parameters, as the phone of this instance, and says what the 200 says about push.
fn registered(phone: &mut Phone, uri_params: &str, instance: &str) -> String {
    let mut sent = phone.register_request(600);
    let contact = format!("<{}>", phone.contact());
    let with = format!("<{}{uri_params}>;+sip.instance=\"<urn:x:{instance}>\"", phone.contact());
    sent.text = sent.text.replace(&contact, &with);
    phone.send(sent.text.as_bytes());
    let answer = phone.expect_status(&sent, 200);
    answer.header("Feature-Caps").unwrap_or_default().to_owned()
}

fn purr_of(feature_caps: &str) -> &str {
    let purr = feature_caps.split_once("+sip.pnspurr=\"").and_then(|(_, rest)| rest.split('"').next());
    purr.unwrap_or_else(|| panic!("no PURR in {feature_caps}"))
}

/// A dialog, from the caller's side.
struct Dialog {
    caller: Phone,
    invite: Sent,
    ok: Message,
    requests: u32,
}

impl Dialog {
    /// The phone is called and answers, with a Contact that has this PURR.
    fn with(shipped: &Shipped, phone: &mut Phone, purr: &str) -> Dialog {
        let mut caller = Phone::udp("alice", shipped.port());
        let invite = caller.invite(&phone.user.clone());
        let ring = phone.expect_request("INVITE");
        let contact = format!("Contact: <{};pn-purr={purr}>\r\n", phone.contact());
        phone.answer_with(&ring, 200, &contact);
        let ok = caller.expect_status(&invite, 200);
        assert!(ok.contact().contains(&format!(";pn-purr={purr}")), "the PURR is for the other side to see");
        caller.within("ACK", &invite, &ok);
        phone.expect_request("ACK");
        Dialog { caller, invite, ok, requests: 0 }
    }

    /// A request within it; its CSeq is higher than that of all before it.
    fn send(&mut self, method: &str) -> Sent {
        let mut invite = self.invite.clone();
        for _ in 0..self.requests {
            invite = invite.next();
        }
        self.requests += 1;
        self.caller.within(method, &invite, &self.ok)
    }
}

fn sleep(shipped: &Shipped, phone: Phone) {
    let port = phone.port().to_string();
    drop(phone);
    let is_gone = || (!shipped.kamailio.rpc(&["core.tcp_list"]).contains(&port)).then_some(());
    poll(DEADLINE, is_gone).expect("the connection is closed");
}

fn stat(shipped: &Shipped, name: &str) -> u64 {
    let stats = shipped.kamailio.rpc(&["voip_push.stats"]);
    let line = stats.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{name} is not in {stats}")).parse().unwrap()
}

fn assert_quiet(shipped: &Shipped) {
    let calls = || shipped.kamailio.rpc(&["voip_push.calls"]);
    poll(DEADLINE, || calls().contains("parked: 0").then_some(())).unwrap_or_else(|| panic!("{}", calls()));
    let log = shipped.kamailio.log();
    let loud: Vec<&str> =
        log.lines().filter(|line| line.contains("ERROR:") || line.contains("WARNING:")).collect();
    assert!(loud.is_empty(), "{loud:#?}");
}

#[test]
fn a_request_within_a_dialog_wakes_an_android_phone_and_arrives_once() {
    wakes_an_android_phone(&Shipped::start("purr-android"));
}

#[test]
fn kamailio_6_0_does_the_same() {
    let setup = Setup { installation: Some(debian::trixie()), ..Setup::default() };
    wakes_an_android_phone(&Shipped::with("purr-trixie", setup));
}

#[test]
#[ignore = "Debian unstable moves: cargo test -- --ignored kamailio_6_1"]
fn kamailio_6_1_does_the_same() {
    let setup = Setup { installation: Some(debian::sid()), ..Setup::default() };
    wakes_an_android_phone(&Shipped::with("purr-sid", setup));
}

/// Over TCP, so that the phone comes back from another port; by INFO, a new INVITE and BYE.
fn wakes_an_android_phone(shipped: &Shipped) {
    let push = android(shipped, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    let feature_caps = registered(&mut bob, &push, "1");
    assert!(feature_caps.starts_with("*;+sip.pns=\"fcm\";+sip.pnspurr=\""), "{feature_caps}");
    let purr = purr_of(&feature_caps).to_owned();
    let target = format!("{};pn-purr={purr}", bob.contact());
    let mut dialog = Dialog::with(shipped, &mut bob, &purr);
    for (at, method) in ["INFO", "INVITE", "BYE"].into_iter().enumerate() {
        sleep(shipped, bob);
        let sent = dialog.send(method);
        let seen = &shipped.simulator.wait_for_pushes(0, at + 1)[at];
        assert_eq!((&seen["provider"], &seen["status"]), (&json!("fcm"), &json!(200)));
        assert_eq!(seen["payload"]["message"]["data"], json!({ "type": "refresh" }));
        assert_eq!(seen["payload"]["message"]["android"]["priority"], "HIGH");
        bob = Phone::tcp("bob", shipped.port());
        registered(&mut bob, &push, "1");
        let arrived = bob.expect_request(method);
        assert_eq!(arrived.start, format!("{method} {target} SIP/2.0"), "as the dialog has it");
        let contact = format!("Contact: <{target}>\r\n");
        bob.answer_with(&arrived, 200, &contact);
        let ok = dialog.caller.expect_status(&sent, 200);
        if method == "INVITE" {
            let mut invite = sent.clone();
            invite.text.clear();
            dialog.caller.within("ACK", &invite, &ok);
        }
        bob.settle();
        assert_eq!(bob.count(method), 1);
    }
    assert_eq!(shipped.simulator.pushes().len(), 3);
    assert_eq!((stat(shipped, "dialogs_total"), stat(shipped, "useless_purrs_total")), (3, 0));
    assert_quiet(shipped);
}
