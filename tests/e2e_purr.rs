//! Requests within dialogs that wake phones (RFC 8599 §6), through the shipped configuration: what both sides and the push service see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::json;
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
    // what comes after the answer is done, too, as far as it is on the same connection
    phone.settle();
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
    let mut target = format!("{};pn-purr={purr}", bob.contact());
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
        let here = format!("{};pn-purr={purr}", bob.contact());
        bob.answer_with(&arrived, 200, &format!("Contact: <{here}>\r\n"));
        let ok = dialog.caller.expect_status(&sent, 200);
        if method == "INVITE" {
            // this is where the dialog goes from here on
            (target, dialog.ok) = (here, dialog.ok.with_contact_of(&ok));
            dialog.caller.within("ACK", &sent, &dialog.ok);
            bob.expect_request("ACK");
        }
        bob.settle();
        assert_eq!(bob.count(method), 1);
    }
    assert_eq!(shipped.simulator.pushes().len(), 3);
    assert_eq!((stat(shipped, "dialogs_total"), stat(shipped, "useless_purrs_total")), (3, 0));
    assert_quiet(shipped);
}

/// A phone has registered over TCP, talks, and sleeps.
fn asleep(shipped: &Shipped, push: &str) -> Dialog {
    let mut bob = Phone::tcp("bob", shipped.port());
    let feature_caps = registered(&mut bob, push, "1");
    let dialog = Dialog::with(shipped, &mut bob, purr_of(&feature_caps));
    sleep(shipped, bob);
    dialog
}

/// Nothing was pushed or held for this request, which failed as it would have without a PURR.
fn assert_not_held(shipped: &Shipped, dialog: &mut Dialog, sent: &Sent) {
    let answer = dialog.caller.expect_final(sent);
    assert!(answer.status() >= 400 && answer.status() != 480, "{answer:?}");
    assert!(shipped.simulator.pushes().is_empty(), "{:?}", shipped.simulator.pushes());
    assert_eq!((stat(shipped, "parked_total"), stat(shipped, "dialogs_total")), (0, 0));
}

#[test]
fn an_iphone_on_udp_is_woken_silently_by_its_token_for_alerts() {
    let shipped = Shipped::start("purr-iphone");
    let tokens = format!("{}:voip&{}:remote", apns_token(1), apns_token(2));
    let push = iphone(&shipped, "&remote", &tokens);
    let mut bob = Phone::udp("bob", shipped.port());
    let purr = purr_of(&registered(&mut bob, &push, "1")).to_owned();
    poll(DEADLINE, || (shipped.token_status("bob") == 200).then_some(())).expect("its token is stored");
    let mut dialog = Dialog::with(&shipped, &mut bob, &purr);
    drop(bob);
    let sent = dialog.send("UPDATE");
    let seen = &shipped.simulator.wait_for_pushes(0, 1)[0];
    assert_eq!((&seen["status"], &seen["token"]), (&json!(200), &json!(apns_token(2))));
    let headers = &seen["headers"];
    assert_eq!(headers["apns-topic"], shipped.simulator.fact("topic").strip_suffix(".voip").unwrap());
    assert_eq!((&headers["apns-push-type"], &headers["apns-priority"]), (&json!("background"), &json!("5")));
    assert_eq!(seen["payload"], json!({ "aps": { "content-available": 1 }, "type": "refresh" }));
    // whoever has sent it repeats it, as over UDP one does
    dialog.caller.send(sent.text.as_bytes());
    let mut bob = Phone::udp("bob", shipped.port());
    registered(&mut bob, &push, "1");
    let arrived = bob.expect_request("UPDATE");
    bob.answer(&arrived, 200);
    dialog.caller.expect_status(&sent, 200);
    // its old address is registered, too, and gets nothing
    registered(&mut bob, &push, "1");
    bob.settle();
    assert_eq!((bob.count("UPDATE"), shipped.simulator.pushes().len()), (1, 1));
    assert_quiet(&shipped);
}

#[test]
fn when_nobody_wakes_up_there_is_480_in_time_and_nothing_is_delivered_later() {
    let shipped = Shipped::waking("purr-nobody", "wake_seconds = 2");
    let push = android(&shipped, 1);
    let mut dialog = asleep(&shipped, &push);
    for method in ["INVITE", "INFO"] {
        let sent_at = Instant::now();
        let sent = dialog.send(method);
        let refused = dialog.caller.expect_final(&sent);
        assert_eq!(refused.status(), 480);
        let took = refused.at - sent_at;
        assert!((Duration::from_millis(1800)..Duration::from_secs(15)).contains(&took), "{took:?}");
        if method == "INVITE" {
            dialog.caller.ack_failure(&sent, &refused);
        }
    }
    let mut bob = Phone::tcp("bob", shipped.port());
    registered(&mut bob, &push, "1");
    bob.settle();
    assert_eq!((bob.count("INFO"), bob.count("INVITE"), shipped.simulator.pushes().len()), (0, 0, 2));
    assert_eq!(stat(&shipped, "wake_timeout_total"), 2);
    assert_quiet(&shipped);
}

#[test]
fn a_phone_whose_token_is_dead_gets_no_chance_and_its_caller_480_at_once() {
    let shipped = Shipped::waking("purr-dead", "wake_seconds = 60");
    let mut dialog = asleep(&shipped, &android(&shipped, 1));
    shipped.simulator.behave(&fcm_token(1), json!([{ "status": 404, "reason": "UNREGISTERED" }]));
    let sent = dialog.send("INFO");
    assert_eq!(dialog.caller.expect_final(&sent).status(), 480);
    let again = dialog.send("INFO");
    let answer = dialog.caller.expect_final(&again);
    assert!(answer.status() >= 400 && answer.status() != 480, "its device is forgotten: {answer:?}");
    assert_eq!((stat(&shipped, "dialogs_total"), stat(&shipped, "useless_purrs_total")), (1, 1));
}

#[test]
fn a_phone_that_is_there_gets_its_requests_without_a_push_wherever_it_is_now() {
    let shipped = Shipped::start("purr-awake");
    let push = android(&shipped, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    let purr = purr_of(&registered(&mut bob, &push, "1")).to_owned();
    let mut dialog = Dialog::with(&shipped, &mut bob, &purr);
    for moves in [false, true] {
        if moves {
            sleep(&shipped, bob);
            bob = Phone::tcp("bob", shipped.port());
            registered(&mut bob, &push, "1");
        }
        let sent = dialog.send("INFO");
        let arrived = bob.expect_request("INFO");
        bob.answer(&arrived, 200);
        dialog.caller.expect_status(&sent, 200);
        assert_eq!(bob.count("INFO"), 1);
    }
    assert!(shipped.simulator.pushes().is_empty());
    assert_quiet(&shipped);
}

#[test]
fn another_phone_of_the_same_user_neither_lets_a_request_go_on_nor_gets_it() {
    let shipped = Shipped::start("purr-other-device");
    let mut dialog = asleep(&shipped, &android(&shipped, 1));
    let sent = dialog.send("INFO");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut tablet = Phone::tcp("bob", shipped.port());
    registered(&mut tablet, &android(&shipped, 2), "2");
    tablet.settle();
    assert!(shipped.kamailio.rpc(&["voip_push.calls"]).contains("parked: 1"));
    let mut bob = Phone::tcp("bob", shipped.port());
    registered(&mut bob, &android(&shipped, 1), "1");
    let arrived = bob.expect_request("INFO");
    bob.answer(&arrived, 200);
    dialog.caller.expect_status(&sent, 200);
    tablet.settle();
    assert_eq!((tablet.count("INFO"), bob.count("INFO"), shipped.simulator.pushes().len()), (0, 1, 1));
    assert_quiet(&shipped);
}

#[test]
fn each_registration_has_a_new_purr_and_the_old_one_wakes_while_its_dialog_lives() {
    let shipped = Shipped::start("purr-new");
    let push = android(&shipped, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    let first = purr_of(&registered(&mut bob, &push, "1")).to_owned();
    let mut dialog = Dialog::with(&shipped, &mut bob, &first);
    let others: Vec<String> = (0..3).map(|_| purr_of(&registered(&mut bob, &push, "1")).to_owned()).collect();
    assert!(!others.contains(&first) && others[0] != others[1] && others[1] != others[2]);
    // another token, as Google gives one from time to time
    registered(&mut bob, &android(&shipped, 7), "1");
    sleep(&shipped, bob);
    let sent = dialog.send("INFO");
    assert_eq!(shipped.simulator.wait_for_pushes(0, 1)[0]["token"], fcm_token(7));
    let mut bob = Phone::tcp("bob", shipped.port());
    registered(&mut bob, &android(&shipped, 7), "1");
    let arrived = bob.expect_request("INFO");
    bob.answer(&arrived, 200);
    dialog.caller.expect_status(&sent, 200);
}

#[test]
fn a_purr_that_is_none_of_ours_changes_nothing() {
    let shipped = Shipped::start("purr-forged");
    let push = android(&shipped, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    let purr = purr_of(&registered(&mut bob, &push, "1")).to_owned();
    let last = if purr.ends_with('A') { "B" } else { "A" };
    let changed = format!("{}{last}", &purr[..purr.len() - 1]);
    for forged in ["x", &purr[1..], &changed, &"A".repeat(purr.len())] {
        let mut dialog = Dialog::with(&shipped, &mut bob, forged);
        let sent = dialog.send("INFO");
        let arrived = bob.expect_request("INFO");
        bob.answer(&arrived, 200);
        dialog.caller.expect_status(&sent, 200);
    }
    assert_eq!((stat(&shipped, "useless_purrs_total"), stat(&shipped, "dialogs_total")), (4, 0));
    let mut dialog = Dialog::with(&shipped, &mut bob, "x");
    sleep(&shipped, bob);
    let sent = dialog.send("INFO");
    assert_not_held(&shipped, &mut dialog, &sent);
}

#[test]
fn somebody_elses_purr_wakes_nobody_and_sends_nothing_to_him() {
    let shipped = Shipped::start("purr-stolen");
    let mut bob = Phone::tcp("bob", shipped.port());
    let purr = purr_of(&registered(&mut bob, &android(&shipped, 1), "1")).to_owned();
    let mut eve = Phone::tcp("eve", shipped.port());
    registered(&mut eve, &android(&shipped, 2), "1");
    let mut dialog = Dialog::with(&shipped, &mut eve, &purr);
    let sent = dialog.send("INFO");
    let arrived = eve.expect_request("INFO");
    eve.answer(&arrived, 200);
    dialog.caller.expect_status(&sent, 200);
    sleep(&shipped, eve);
    let sent = dialog.send("INFO");
    assert_not_held(&shipped, &mut dialog, &sent);
    bob.settle();
    assert_eq!((bob.count("INFO"), stat(&shipped, "useless_purrs_total")), (0, 2));
}

#[test]
fn a_phone_that_has_taken_leave_is_not_woken() {
    let shipped = Shipped::start("purr-leave");
    let mut bob = Phone::tcp("bob", shipped.port());
    let push = android(&shipped, 1);
    let purr = purr_of(&registered(&mut bob, &push, "1")).to_owned();
    let mut dialog = Dialog::with(&shipped, &mut bob, &purr);
    assert_eq!(registered(&mut bob, "", "1"), "", "it wants no push any more");
    sleep(&shipped, bob);
    let sent = dialog.send("BYE");
    assert_not_held(&shipped, &mut dialog, &sent);
}

#[test]
fn an_iphone_that_takes_only_calls_gets_no_purr() {
    let shipped = Shipped::start("purr-voip-only");
    let mut bob = Phone::tcp("bob", shipped.port());
    let tokens = format!("{}:voip&{}:remote", apns_token(1), apns_token(2));
    let purr = purr_of(&registered(&mut bob, &iphone(&shipped, "&remote", &tokens), "1")).to_owned();
    let mut dialog = Dialog::with(&shipped, &mut bob, &purr);
    assert_eq!(registered(&mut bob, &iphone(&shipped, "", &apns_token(1)), "1"), "*;+sip.pns=\"apns\"");
    sleep(&shipped, bob);
    // a VoIP push must be a call, and this is none
    let sent = dialog.send("INFO");
    assert_not_held(&shipped, &mut dialog, &sent);
}

#[test]
fn a_held_request_that_is_cancelled_ends_at_once_and_no_phone_is_told_that_its_call_is_over() {
    let shipped = Shipped::start("purr-cancel");
    let push = android(&shipped, 1);
    let mut dialog = asleep(&shipped, &push);
    let sent = dialog.send("INVITE");
    shipped.simulator.wait_for_pushes(0, 1);
    dialog.caller.expect_status(&sent, 100);
    let cancel = dialog.caller.cancel(&sent);
    dialog.caller.expect_status(&cancel, 200);
    let ended = dialog.caller.expect_status(&sent, 487);
    dialog.caller.ack_failure(&sent, &ended);
    let mut bob = Phone::tcp("bob", shipped.port());
    registered(&mut bob, &push, "1");
    bob.settle();
    assert_eq!((bob.count("INVITE"), shipped.simulator.pushes().len()), (0, 1));
    assert_quiet(&shipped);
}

#[test]
fn purrs_are_for_whom_the_administrator_says_and_users_of_several_domains_have_them() {
    let config = vec![("[log]", "[sip]\npurr = \"asked\"\n[log]")];
    let defines = vec![("WITH_MULTIDOMAIN", "")];
    let shipped = Shipped::with("purr-asked", Setup { config, defines, ..Setup::default() });
    let push = android(&shipped, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    assert_eq!(registered(&mut bob, &push, "1"), "*;+sip.pns=\"fcm\"");
    let asks = "1>\";+sip.pnspurr;+x=\"<";
    let purr = purr_of(&registered(&mut bob, &push, asks)).to_owned();
    let mut dialog = Dialog::with(&shipped, &mut bob, &purr);
    sleep(&shipped, bob);
    let sent = dialog.send("INFO");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    registered(&mut bob, &push, asks);
    let arrived = bob.expect_request("INFO");
    bob.answer(&arrived, 200);
    dialog.caller.expect_status(&sent, 200);
    assert_quiet(&shipped);
}

/// Phones may say nothing for 600 ms.
fn impatient(name: &str) -> Shipped {
    let config = vec![("[log]", "[reachable]\nprovisional_ms = 600\n[log]")];
    Shipped::with(name, Setup { config, ..Setup::default() })
}

#[test]
fn a_phone_that_seems_to_be_there_and_says_nothing_is_pushed_to_and_gets_it_where_it_comes() {
    for method in ["INVITE", "INFO"] {
        let shipped = impatient(&format!("purr-silent-{method}"));
        let push = android(&shipped, 1);
        let mut frozen = Phone::tcp("bob", shipped.port());
        let purr = purr_of(&registered(&mut frozen, &push, "1")).to_owned();
        let mut dialog = Dialog::with(&shipped, &mut frozen, &purr);
        let sent = dialog.send(method);
        // its connection is open, and nobody reads
        assert_eq!(shipped.simulator.wait_for_pushes(0, 1)[0]["token"], fcm_token(1));
        let mut bob = Phone::tcp("bob", shipped.port());
        registered(&mut bob, &push, "1");
        let arrived = bob.expect_request(method);
        assert!(arrived.start.contains(&frozen.contact()), "as the dialog has it: {arrived:?}");
        bob.answer(&arrived, 200);
        dialog.caller.expect_status(&sent, 200);
        registered(&mut bob, &push, "1");
        let before = usize::from(method == "INVITE");
        assert_eq!((frozen.count(method) - before, bob.count(method)), (1, 1));
        assert_eq!((shipped.simulator.pushes().len(), stat(&shipped, "silent_total")), (1, 1));
        assert_quiet(&shipped);
    }
}

#[test]
fn a_phone_that_wakes_on_its_old_connection_gets_it_once() {
    let shipped = impatient("purr-thawed");
    let push = android(&shipped, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    let purr = purr_of(&registered(&mut bob, &push, "1")).to_owned();
    let mut dialog = Dialog::with(&shipped, &mut bob, &purr);
    let sent = dialog.send("INFO");
    shipped.simulator.wait_for_pushes(0, 1);
    registered(&mut bob, &push, "1");
    let arrived = bob.expect_request("INFO");
    bob.answer(&arrived, 200);
    dialog.caller.expect_status(&sent, 200);
    bob.settle();
    assert_eq!((bob.count("INFO"), shipped.simulator.pushes().len()), (1, 1));
    assert_quiet(&shipped);
}
