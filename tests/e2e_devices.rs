//! One user with several devices, through the shipped configuration: two iPhones and an Android phone ring, one answers, and the
//! others are told, each in the way that it can be.

#![allow(clippy::panic, clippy::unwrap_used, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use std::time::Instant;
use support::phone::{Message, Phone, Sent};
use support::shipped::{Setup, Shipped, apns_token, fcm_token};
use support::{DEADLINE, poll};

const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
/// The tokens for alerts of the iPhones 1 and 2 are 11 and 12.
const ALERTS: u8 = 10;

/// bob has two iPhones, which take alerts as well, and an Android phone. All sleep.
fn start(name: &str) -> Shipped {
    let config = vec![("[call]", "[call]\nmissed_call_alert = true")];
    let shipped = Shipped::with(name, Setup { config, ..Setup::default() });
    for number in [1, 2] {
        let (token, alert_token) = (apns_token(number), apns_token(ALERTS + number));
        let body = json!({ "user": "bob", "token": token, "platform": "ios", "device_id": format!("iphone-{number}"),
            "alert_token": alert_token });
        assert_eq!(shipped.rest("POST", "/api/register-push-token", &body).status, 201);
    }
    let body = json!({ "user": "bob", "token": fcm_token(3), "platform": "android", "device_id": "android" });
    assert_eq!(shipped.rest("POST", "/api/register-push-token", &body).status, 201);
    shipped
}

/// alice calls bob; each of his devices is pushed to once, for this very call.
fn call(shipped: &Shipped, caller: &mut Phone) -> Sent {
    let invite = caller.invite("bob");
    caller.expect_status(&invite, 100);
    let pushes = shipped.simulator.wait_for_pushes(0, 3);
    assert_eq!(pushes.len(), 3, "{pushes:?}");
    for number in [1, 2] {
        let [push] = &pushes_to(shipped, &apns_token(number))[..] else { panic!("{pushes:?}") };
        assert_eq!((&push["status"], &push["headers"]["apns-push-type"]), (&json!(200), &json!("voip")));
        assert_eq!(push["payload"]["call_id"], invite.call_id.as_str());
    }
    let [push] = &pushes_to(shipped, &fcm_token(3))[..] else { panic!("{pushes:?}") };
    assert_eq!((&push["status"], &data(push)["call_id"]), (&json!(200), &json!(invite.call_id)));
    let ids: Vec<&Value> = pushes
        .iter()
        .map(|push| if push["provider"] == "fcm" { &data(push)["id"] } else { &push["payload"]["id"] })
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0] && id.is_string()), "one call, one id: {ids:?}");
    invite
}

/// What the simulator has got for a token, in its journal.
fn pushes_to(shipped: &Shipped, token: &str) -> Vec<Value> {
    shipped.simulator.pushes().into_iter().filter(|push| push["token"] == token).collect()
}

fn data(push: &Value) -> &Value {
    &push["payload"]["message"]["data"]
}

fn ring(phone: &mut Phone) -> Message {
    phone.register();
    let ring = phone.expect_request("INVITE");
    phone.answer(&ring, 180);
    ring
}

fn take_up(caller: &mut Phone, invite: &Sent, phone: &mut Phone, ring: &Message) -> Message {
    phone.answer(ring, 200);
    let ok = caller.expect_status(invite, 200);
    caller.within("ACK", invite, &ok);
    phone.expect_request("ACK");
    ok
}

/// Its INVITE is cancelled: somebody else has answered.
fn expect_stop(phone: &mut Phone, ring: &Message) {
    let stop = phone.expect_request("CANCEL");
    assert_eq!(stop.header("Reason"), Some(ELSEWHERE), "{stop:?}");
    phone.answer(&stop, 200);
    phone.answer(ring, 487);
    phone.expect_request("ACK");
}

/// The call goes on until its caller hangs up.
fn hang_up(caller: &mut Phone, invite: &Sent, ok: &Message, phone: &mut Phone) {
    let bye = caller.within("BYE", invite, ok);
    let end = phone.expect_request("BYE");
    phone.answer(&end, 200);
    caller.expect_status(&bye, 200);
}

/// By push, the Android phone has learned of the call and of its end, and each iPhone of the call and nothing else: a second VoIP
/// push would make Apple end the app, and whoever's other phone has answered has missed nothing.
fn assert_told_by_push(shipped: &Shipped, invite: &Sent) {
    let android = || Some(pushes_to(shipped, &fcm_token(3))).filter(|pushes| pushes.len() > 1);
    let android = poll(DEADLINE, android).expect("the Android phone is told");
    let [called, ended] = &android[..] else { panic!("{android:?}") };
    let end = data(ended);
    assert_eq!((&end["type"], &end["reason"]), (&json!("cancel"), &json!("answered_elsewhere")));
    assert_eq!((&end["id"], &end["call_id"]), (&data(called)["id"], &json!(invite.call_id)));
    assert_eq!(
        (&ended["status"], &ended["payload"]["message"]["android"]["priority"]),
        (&json!(200), &json!("HIGH"))
    );
    for number in [1, 2] {
        assert_eq!(pushes_to(shipped, &apns_token(number)).len(), 1, "iPhone {number}");
        assert_eq!(pushes_to(shipped, &apns_token(ALERTS + number)).len(), 0, "iPhone {number}");
    }
    assert_eq!(shipped.simulator.pushes().len(), 4);
}

/// Nothing is left of any call, and nothing was worth a warning.
fn assert_quiet(shipped: &Shipped) {
    let facts =
        || ["voip_push.calls", "tm.stats", "voip_push.stats"].map(|name| shipped.kamailio.rpc(&[name]));
    let idle = || {
        let [calls, tm, stats] = facts();
        let number =
            |name| tm.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().parse::<u32>().ok());
        let is_idle = calls.contains("parked: 0")
            && number("current:") == Some(0)
            && stats.contains("late_failed_total: 0\n");
        is_idle.then_some(())
    };
    poll(2 * DEADLINE, idle).unwrap_or_else(|| panic!("{:?}", facts()));
    let log = shipped.kamailio.log();
    let is_loud = |line: &&str| {
        line.contains(" ERROR: ") || line.contains(" CRITICAL: ") || line.contains(" WARNING: ")
    };
    let loud: Vec<&str> = log.lines().filter(is_loud).collect();
    assert!(loud.is_empty(), "{loud:#?}");
}

#[test]
fn two_iphones_and_an_android_phone_ring_and_two_are_told_that_the_third_has_answered() {
    let shipped = start("three-ring");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = call(&shipped, &mut caller);
    // They wake one after the other; the Android phone is on UDP.
    let mut phones = [
        Phone::tcp("bob", shipped.port()),
        Phone::udp("bob", shipped.port()),
        Phone::tcp("bob", shipped.port()),
    ];
    let rings = phones.each_mut().map(ring);
    caller.expect_status(&invite, 180);
    let ok = take_up(&mut caller, &invite, &mut phones[2], &rings[2]);
    for (phone, ring) in phones.iter_mut().zip(&rings).take(2) {
        expect_stop(phone, ring);
    }
    assert_told_by_push(&shipped, &invite);
    hang_up(&mut caller, &invite, &ok, &mut phones[2]);
    for (at, phone) in phones.iter_mut().enumerate() {
        // A refresh after the call is no late phone.
        phone.register();
        phone.settle();
        let seen = (phone.count("INVITE"), phone.count("CANCEL"), phone.count("BYE"));
        assert_eq!(seen, if at == 2 { (1, 0, 1) } else { (1, 1, 0) }, "phone {at}");
    }
    assert_eq!(caller.statuses(&invite).iter().filter(|status| **status >= 200).count(), 1);
    assert!(shipped.kamailio.rpc(&["voip_push.stats"]).contains("late_told_total: 0\n"));
    assert_told_by_push(&shipped, &invite);
    assert_quiet(&shipped);
}

#[test]
fn phones_that_wake_when_another_has_answered_are_told_on_the_wire() {
    let shipped = start("two-late");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = call(&shipped, &mut caller);
    let mut first = Phone::tcp("bob", shipped.port());
    let first_ring = ring(&mut first);
    caller.expect_status(&invite, 180);
    let ok = take_up(&mut caller, &invite, &mut first, &first_ring);
    // The Android phone sleeps on, and is told by push; then it wakes, and so does the second iPhone.
    assert_told_by_push(&shipped, &invite);
    for mut late in [Phone::tcp("bob", shipped.port()), Phone::udp("bob", shipped.port())] {
        let its_ring = ring(&mut late);
        assert_eq!(its_ring.header("Call-ID"), Some(invite.call_id.as_str()));
        expect_stop(&mut late, &its_ring);
        // A refresh is no further phone.
        late.register();
        late.pause(Duration::from_millis(500));
        assert_eq!((late.count("INVITE"), late.count("CANCEL")), (1, 1));
    }
    let stats = || shipped.kamailio.rpc(&["voip_push.stats"]);
    poll(DEADLINE, || stats().contains("late_told_total: 2\n").then_some(()))
        .unwrap_or_else(|| panic!("{}", stats()));
    // The call that goes on has not noticed.
    assert_eq!((first.count("INVITE"), first.count("CANCEL")), (1, 0));
    hang_up(&mut caller, &invite, &ok, &mut first);
    assert_told_by_push(&shipped, &invite);
    assert_quiet(&shipped);
}

/// bob's iPhone, which has handed in its token with REGISTER and sleeps, as long as `wake_seconds`.
fn sleeping_iphone(name: &str, wake_seconds: &'static str) -> Shipped {
    let shipped = Shipped::waking(name, wake_seconds);
    let mut iphone = Phone::tcp("bob", shipped.port());
    register_iphone(&shipped, &mut iphone);
    sleep(&shipped, iphone);
    shipped
}

/// The phone's connection ends without a word.
fn sleep(shipped: &Shipped, phone: Phone) {
    let port = phone.port();
    drop(phone);
    let gone =
        || (!shipped.kamailio.rpc(&["core.tcp_list"]).contains(&format!("src_port: {port}"))).then_some(());
    poll(DEADLINE, gone).expect("the server notices a closed connection");
}

/// Registers as an iPhone with a token and an instance (RFC 8599).
fn register_iphone(shipped: &Shipped, phone: &mut Phone) {
    let fact = |name| shipped.simulator.fact(name);
    let push =
        format!(";pn-provider=apns;pn-param={}.{};pn-prid={}", fact("team_id"), fact("topic"), apns_token(1));
    let contact = phone.contact();
    let with = format!("<{contact}{push}>;+sip.instance=\"<urn:uuid:1>\"");
    let mut sent = phone.register_request(600);
    sent.text = sent.text.replace(&format!("<{contact}>"), &with);
    phone.send(sent.text.as_bytes());
    phone.expect_status(&sent, 200);
}

/// The phone declines the call with this status.
fn decline(phone: &mut Phone, status: u16) {
    let ring = phone.expect_request("INVITE");
    phone.answer(&ring, 180);
    phone.answer(&ring, status);
    phone.expect_request("ACK");
}

fn expect_failure(caller: &mut Phone, invite: &Sent, status: u16) -> Instant {
    let refused = caller.expect_final(invite);
    assert_eq!(refused.status(), status, "{refused:?}");
    caller.ack_failure(invite, &refused);
    refused.at
}

fn expect_parked(shipped: &Shipped) {
    let calls = || shipped.kamailio.rpc(&["voip_push.calls"]);
    poll(DEADLINE, || calls().contains("parked: 1").then_some(())).unwrap_or_else(|| panic!("{}", calls()));
}

#[test]
fn a_call_that_the_desk_declines_waits_for_the_phone_that_was_pushed() {
    let shipped = sleeping_iphone("desk-busy", "wake_seconds = 15");
    for (pushes, status) in (1..).zip([486, 480, 408, 503]) {
        let mut desk = Phone::udp("bob", shipped.port());
        desk.register();
        // The desk's registration was not just before the call.
        desk.pause(Duration::from_millis(700));
        let mut caller = Phone::udp("alice", shipped.port());
        let invite = caller.invite("bob");
        decline(&mut desk, status);
        expect_parked(&shipped);
        shipped.simulator.wait_for_pushes(0, pushes);
        // The desk's refresh is no phone that has come.
        desk.register();
        let mut iphone = Phone::tcp("bob", shipped.port());
        register_iphone(&shipped, &mut iphone);
        let its_ring = iphone.expect_request("INVITE");
        iphone.answer(&its_ring, 180);
        caller.expect_status(&invite, 180);
        let ok = take_up(&mut caller, &invite, &mut iphone, &its_ring);
        hang_up(&mut caller, &invite, &ok, &mut iphone);
        assert_eq!((desk.count("INVITE"), iphone.count("INVITE")), (1, 1), "{status}");
        let stats = shipped.kamailio.rpc(&["voip_push.stats"]);
        assert!(stats.contains(&format!("parked_total: {pushes}\n")), "it waits on: {stats}");
        sleep(&shipped, iphone);
        let bye = desk.register_request(0);
        desk.send(bye.text.as_bytes());
        desk.expect_status(&bye, 200);
    }
    assert_eq!(shipped.simulator.pushes().len(), 4);
    assert_quiet(&shipped);
}

#[test]
fn when_the_phone_that_was_pushed_does_not_come_the_caller_hears_what_the_desk_said() {
    let shipped = sleeping_iphone("desk-busy-alone", "wake_seconds = 2");
    let mut desk = Phone::tcp("bob", shipped.port());
    desk.register();
    let mut caller = Phone::udp("alice", shipped.port());
    let called_at = Instant::now();
    let invite = caller.invite("bob");
    decline(&mut desk, 486);
    expect_parked(&shipped);
    let took = expect_failure(&mut caller, &invite, 486) - called_at;
    assert!((1800..15_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(desk.count("INVITE"), 1);
    assert_quiet(&shipped);
}

#[test]
fn a_desk_that_declines_for_all_or_too_late_ends_the_call() {
    let shipped = sleeping_iphone("desk-603", "wake_seconds = 1");
    let mut desk = Phone::tcp("bob", shipped.port());
    desk.register();
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    decline(&mut desk, 603);
    expect_failure(&mut caller, &invite, 603);
    let invite = caller.invite("bob");
    let at_desk = desk.expect_request("INVITE");
    desk.answer(&at_desk, 180);
    // It rings for longer than the phone that was pushed may take to wake.
    desk.pause(Duration::from_millis(1300));
    desk.answer(&at_desk, 486);
    expect_failure(&mut caller, &invite, 486);
    assert!(shipped.kamailio.rpc(&["voip_push.stats"]).contains("parked_total: 0\n"));
    assert_quiet(&shipped);
}

#[test]
fn a_phone_that_declines_and_was_pushed_itself_is_not_waited_for() {
    let shipped = Shipped::with(
        "declined",
        Setup {
            config: vec![(
                "[call]",
                "[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\ncalls_per_user = 0\n[call]",
            )],
            ..Setup::default()
        },
    );
    // It is there on UDP, and so is pushed to all the same: it has declined, whatever it says of itself. Often it does so before the
    // worker that has called it comes to push.
    shipped.register_token("carol", &fcm_token(1), "android");
    let mut carol = Phone::udp("carol", shipped.port());
    carol.register();
    for round in 0..60 {
        let mut caller = Phone::udp("alice", shipped.port());
        let called_at = Instant::now();
        let invite = caller.invite("carol");
        decline(&mut carol, 486);
        let took = expect_failure(&mut caller, &invite, 486) - called_at;
        assert!(took < Duration::from_secs(5), "round {round}: {took:?}");
    }
    assert_eq!(carol.count("INVITE"), 60);
    assert_quiet(&shipped);
}

#[test]
fn of_two_phones_that_wake_and_decline_the_first_waits_for_the_second_and_the_second_for_none() {
    let shipped = Shipped::start("both-decline");
    for number in [1, 2] {
        let body = json!({ "user": "bob", "token": apns_token(number), "platform": "ios", "device_id": format!("{number}") });
        assert_eq!(shipped.rest("POST", "/api/register-push-token", &body).status, 201);
    }
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    let mut phones = [(); 2].map(|()| Phone::tcp("bob", shipped.port()));
    for (phone, status) in phones.iter_mut().zip([486, 480]) {
        expect_parked(&shipped);
        phone.register();
        decline(phone, status);
    }
    let declined_at = Instant::now();
    let told_at = expect_failure(&mut caller, &invite, 480);
    assert!(told_at.saturating_duration_since(declined_at) < Duration::from_secs(5));
    assert_eq!(phones.each_mut().map(|phone| phone.count("INVITE")), [1, 1]);
    assert_quiet(&shipped);
}

#[test]
fn a_call_that_waits_after_a_desk_has_declined_ends_when_the_last_token_proves_dead() {
    let shipped = sleeping_iphone("desk-dead", "wake_seconds = 15");
    shipped
        .simulator
        .behave(&apns_token(1), json!([{ "delay_ms": 700, "status": 410, "reason": "Unregistered" }]));
    let mut desk = Phone::tcp("bob", shipped.port());
    desk.register();
    let mut caller = Phone::udp("alice", shipped.port());
    let called_at = Instant::now();
    let invite = caller.invite("bob");
    decline(&mut desk, 486);
    let took = expect_failure(&mut caller, &invite, 486) - called_at;
    assert!((600..8000).contains(&took.as_millis()), "{took:?}");
}
