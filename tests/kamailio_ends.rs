//! The ends of calls with the configuration that we ship: what phones are told by push, and what one that wakes when its call is
//! over sees on the wire.

#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stderr, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::kamailio::{Installation, Kamailio, Options, Place, Ready};
use support::phone::{Message, Phone, Sent};
use support::rig::on;
use support::shipped::{Setup, Shipped, apns_token, fcm_token};
use support::simulator::Simulator;
use support::{DEADLINE, debian, poll, sip};

on!(
    kamailio_5_6,
    super::Installation::of_this_machine(),
    [
        a_caller_who_hangs_up_is_missed_on_udp,
        a_caller_who_hangs_up_is_missed_on_tcp,
        a_caller_who_hangs_up_is_missed_on_tls,
        a_call_that_was_answered_elsewhere_is_told_so_on_udp,
        a_call_that_was_answered_elsewhere_is_told_so_on_tcp,
        a_call_that_was_answered_elsewhere_is_told_so_on_tls,
        a_phone_that_comes_when_the_time_is_over_is_told,
        two_phones_that_are_late_at_once_are_both_told,
        a_phone_that_answers_at_once_is_told_goodbye,
        a_phone_that_was_rung_is_not_told_again,
        a_phone_that_comes_much_too_late_is_not_told,
        a_call_that_nobody_was_pushed_for_is_not_told_of,
        a_forged_late_call_is_like_any_other,
        cancel_and_registration_at_once_leave_no_phone_ringing,
        android_learns_that_the_caller_has_hung_up_and_an_iphone_what_it_missed,
        android_learns_that_another_phone_has_answered,
        android_learns_that_another_phone_has_declined,
        android_learns_that_nobody_has_come_in_time,
        without_a_udp_socket_an_administrator_is_told,
    ]
);
on!(
    kamailio_6_0,
    super::debian::trixie(),
    [
        a_caller_who_hangs_up_is_missed_on_udp,
        a_call_that_was_answered_elsewhere_is_told_so_on_tcp,
        a_phone_that_answers_at_once_is_told_goodbye,
    ]
);

const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

struct Rig(Shipped);

#[derive(Debug, Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

fn start(installation: &Installation, config: &[(&'static str, &'static str)]) -> Rig {
    // Unpacked ones come without tls.so.
    let tls = installation.modules.join("tls.so").is_file();
    let installation = Some(installation.clone());
    let setup = Setup { config: config.to_vec(), tls, installation, ..Setup::default() };
    let rig = Rig(Shipped::with("late", setup));
    rig.register_device(1);
    rig
}

impl Rig {
    /// One more iPhone of bob's.
    fn register_device(&self, number: u8) {
        let (token, device_id) = (apns_token(number), number.to_string());
        let body = json!({ "user": "bob", "token": token, "platform": "ios", "device_id": device_id });
        let answer = self.0.rest("POST", "/api/register-push-token", &body);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }

    fn phone(&self, user: &str, transport: Transport) -> Phone {
        match transport {
            Transport::Udp => Phone::udp(user, self.0.port()),
            Transport::Tcp => Phone::tcp(user, self.0.port()),
            Transport::Tls => {
                let port = self.0.tls_port;
                assert!(
                    port != 0,
                    "needs Debian's package kamailio-tls-modules; run make test, which installs it"
                );
                Phone::tls(user, port)
            }
        }
    }

    fn caller(&self) -> Phone {
        self.phone("alice", Transport::Udp)
    }

    fn stat(&self, name: &str) -> u64 {
        self.0.kamailio.stat(name)
    }

    fn expect_stat(&self, name: &str, value: u64) {
        let found = poll(DEADLINE, || (self.stat(name) == value).then_some(()));
        found.unwrap_or_else(|| panic!("{name} is {}\n{}", self.stat(name), self.0.kamailio.log()));
    }

    /// A call with a body to bob, who sleeps.
    fn park(&self, caller: &mut Phone) -> Sent {
        let parked = self.stat("parked");
        let mut invite = caller.invite_request("bob");
        let body = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len());
        invite.text = invite.text.replace("Content-Length: 0\r\n\r\n", &body);
        caller.send(invite.text.as_bytes());
        caller.expect_status(&invite, 100);
        self.expect_stat("parked", parked + 1);
        invite
    }

    /// Nothing is left of any call, in tm or with us, and nothing was worth a warning.
    fn assert_clean(&self) {
        let stats = || self.0.kamailio.rpc(&["tm.stats"]);
        let all_freed = || {
            let stats = stats();
            let number = |name| {
                stats.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().parse::<u32>().ok())
            };
            (number("current:") == Some(0) && number("created:") == number("freed:")).then_some(())
        };
        poll(2 * DEADLINE, all_freed).unwrap_or_else(|| panic!("{}", stats()));
        assert_eq!((self.stat("parked"), self.stat("late_failed_total")), (0, 0));
        let log = self.0.kamailio.log();
        let is_loud = |line: &&str| [" ERROR: ", " CRITICAL: "].iter().any(|level| line.contains(level));
        let is_ours = |line: &&str| line.contains("voip_push") && line.contains(" WARNING: ");
        let loud: Vec<&str> = log.lines().filter(|line| is_loud(line) || is_ours(line)).collect();
        assert!(loud.is_empty(), "{loud:#?}");
    }
}

/// Hangs up before anybody has answered.
fn hang_up(caller: &mut Phone, invite: &Sent, reason: Option<&str>) {
    let mut cancel = invite.text.split("\r\n\r\n").next().unwrap().replace("INVITE ", "CANCEL ");
    cancel = cancel.replace(&format!("Content-Length: {}", SDP.len()), "Content-Length: 0");
    cancel = cancel.replace(" INVITE", " CANCEL").replace("Content-Type: application/sdp\r\n", "");
    let reason = reason.map(|reason| format!("\r\nReason: {reason}")).unwrap_or_default();
    caller.send(format!("{cancel}{reason}\r\n\r\n").as_bytes());
    let refused = caller.expect_final(invite);
    assert_eq!(refused.status(), 487, "{refused:?}");
    caller.ack_failure(invite, &refused);
}

/// The phone has registered, and gets the INVITE of a call that is over.
fn expect_late_invite(phone: &mut Phone, caller: &Sent) -> Message {
    let late = phone.expect_request("INVITE");
    assert_eq!(late.header("Call-ID"), Some(caller.call_id.as_str()));
    assert!(caller.text.contains(late.header("From").unwrap()), "{late:?}");
    assert!(caller.text.contains(late.header("CSeq").unwrap()), "{late:?}");
    assert_eq!(late.body, SDP);
    assert_eq!(late.header("X-Voip-Push-Late"), None, "{late:?}");
    let from_caller = |via: &str| caller.text.contains(via.split(";received").next().unwrap());
    assert!(!late.all("Via").any(from_caller), "{late:?}");
    late
}

/// It rings, is cancelled with this reason, and all is well.
fn expect_told(phone: &mut Phone, caller: &Sent, reason: Option<&str>) {
    let late = expect_late_invite(phone, caller);
    phone.answer(&late, 180);
    let cancel = phone.expect_request("CANCEL");
    assert_eq!(cancel.header("Reason"), reason, "{cancel:?}");
    assert_eq!(cancel.header("X-Voip-Push-Late"), None, "{cancel:?}");
    assert_eq!(cancel.header("Call-ID"), Some(caller.call_id.as_str()));
    phone.answer(&cancel, 200);
    phone.answer(&late, 487);
    phone.expect_request("ACK");
}

fn hangs_up(installation: &Installation, transport: Transport) {
    let rig = start(installation, &[]);
    for (number, reason) in [(1, None), (2, Some("Q.850;cause=16;text=\"Normal call clearing\""))] {
        let mut caller = rig.caller();
        let invite = rig.park(&mut caller);
        hang_up(&mut caller, &invite, reason);
        let mut bob = rig.phone("bob", transport);
        bob.register();
        expect_told(&mut bob, &invite, reason);
        rig.expect_stat("late_told_total", number);
        // A refresh is no second phone.
        bob.register();
        bob.pause(Duration::from_millis(500));
        assert_eq!(bob.count("INVITE"), 1);
        unregister(&mut bob);
    }
    rig.assert_clean();
}

/// The phone goes to sleep as a polite app does.
fn unregister(phone: &mut Phone) {
    let bye = phone.register_request(0);
    phone.send(bye.text.as_bytes());
    phone.expect_status(&bye, 200);
}

fn a_caller_who_hangs_up_is_missed_on_udp(installation: &Installation) {
    hangs_up(installation, Transport::Udp);
}

fn a_caller_who_hangs_up_is_missed_on_tcp(installation: &Installation) {
    hangs_up(installation, Transport::Tcp);
}

fn a_caller_who_hangs_up_is_missed_on_tls(installation: &Installation) {
    hangs_up(installation, Transport::Tls);
}

/// A phone of bob's has woken and answered; the call goes on.
fn answered_elsewhere(rig: &Rig, caller: &mut Phone) -> (Sent, Phone, Message) {
    let invite = rig.park(caller);
    // A push that was not sent when the call is over is given up.
    rig.0.simulator.wait_for_pushes(0, 2);
    let mut first = rig.phone("bob", Transport::Tcp);
    first.register();
    let ring = first.expect_request("INVITE");
    first.answer(&ring, 200);
    let ok = caller.expect_status(&invite, 200);
    caller.within("ACK", &invite, &ok);
    first.expect_request("ACK");
    (invite, first, ok)
}

fn answered(installation: &Installation, transport: Transport) {
    let rig = start(installation, &[]);
    rig.register_device(2);
    let mut caller = rig.caller();
    let (invite, mut first, ok) = answered_elsewhere(&rig, &mut caller);
    let mut late = rig.phone("bob", transport);
    late.register();
    expect_told(&mut late, &invite, Some(ELSEWHERE));
    rig.expect_stat("late_told_total", 1);
    // The call that goes on has not noticed.
    assert_eq!(first.count("INVITE"), 1);
    let bye = caller.within("BYE", &invite, &ok);
    let end = first.expect_request("BYE");
    first.answer(&end, 200);
    caller.expect_status(&bye, 200);
    rig.assert_clean();
}

fn a_call_that_was_answered_elsewhere_is_told_so_on_udp(installation: &Installation) {
    answered(installation, Transport::Udp);
}

fn a_call_that_was_answered_elsewhere_is_told_so_on_tcp(installation: &Installation) {
    answered(installation, Transport::Tcp);
}

fn a_call_that_was_answered_elsewhere_is_told_so_on_tls(installation: &Installation) {
    answered(installation, Transport::Tls);
}

fn a_phone_that_comes_when_the_time_is_over_is_told(installation: &Installation) {
    let rig = start(installation, &[("wake_seconds = 15", "wake_seconds = 1")]);
    let mut caller = rig.phone("alice", Transport::Tls);
    let invite = rig.park(&mut caller);
    let refused = caller.expect_final(&invite);
    assert_eq!(refused.status(), 480);
    caller.ack_failure(&invite, &refused);
    let mut bob = rig.phone("bob", Transport::Tcp);
    bob.register();
    expect_told(&mut bob, &invite, None);
    rig.assert_clean();
}

fn two_phones_that_are_late_at_once_are_both_told(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_device(2);
    let mut caller = rig.caller();
    let invite = rig.park(&mut caller);
    hang_up(&mut caller, &invite, None);
    let mut phones = [rig.phone("bob", Transport::Udp), rig.phone("bob", Transport::Tls)];
    for phone in &mut phones {
        let register = phone.register_request(600);
        phone.send(register.text.as_bytes());
    }
    for phone in &mut phones {
        expect_told(phone, &invite, None);
    }
    rig.expect_stat("late_told_total", 2);
    for phone in &mut phones {
        phone.pause(Duration::from_millis(300));
        assert_eq!(phone.count("INVITE"), 1);
    }
    rig.assert_clean();
}

/// His user had pressed "answer" on the lock screen before the INVITE was there.
fn a_phone_that_answers_at_once_is_told_goodbye(installation: &Installation) {
    let rig = start(installation, &[]);
    let mut caller = rig.caller();
    let invite = rig.park(&mut caller);
    hang_up(&mut caller, &invite, None);
    let mut bob = rig.phone("bob", Transport::Tcp);
    bob.register();
    let late = expect_late_invite(&mut bob, &invite);
    bob.answer(&late, 200);
    let ack = bob.expect_request("ACK");
    let bye = bob.expect_request("BYE");
    bob.answer(&bye, 200);
    // What makes a request the module's own is for no phone.
    assert!(ack.header("X-Voip-Push-Late").is_none() && bye.header("X-Voip-Push-Late").is_none());
    rig.expect_stat("late_told_total", 1);
    bob.pause(Duration::from_millis(700));
    assert_eq!((bob.count("BYE"), bob.count("CANCEL")), (1, 0));
    rig.assert_clean();
}

fn a_phone_that_was_rung_is_not_told_again(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_device(2);
    let mut caller = rig.caller();
    let (_, mut first, _) = answered_elsewhere(&rig, &mut caller);
    first.register();
    first.pause(Duration::from_secs(1));
    assert_eq!(first.count("INVITE"), 1);
    assert_eq!(rig.stat("late_told_total"), 0);
}

fn a_phone_that_comes_much_too_late_is_not_told(installation: &Installation) {
    let late = ("wake_seconds = 15", "wake_seconds = 15\nlate_seconds = 1");
    let off = ("wake_seconds = 15", "wake_seconds = 15\nlate_seconds = 0");
    for config in [late, off] {
        let rig = start(installation, &[config]);
        let mut caller = rig.caller();
        let invite = rig.park(&mut caller);
        hang_up(&mut caller, &invite, None);
        caller.pause(Duration::from_millis(1200));
        let mut bob = rig.phone("bob", Transport::Tcp);
        bob.register();
        bob.pause(Duration::from_secs(1));
        assert_eq!(bob.count("INVITE"), 0);
        rig.assert_clean();
    }
}

fn a_call_that_nobody_was_pushed_for_is_not_told_of(installation: &Installation) {
    let rig = start(installation, &[]);
    let mut desk = rig.phone("bob", Transport::Tcp);
    desk.register();
    let mut caller = rig.caller();
    let invite = caller.invite("bob");
    let ring = desk.expect_request("INVITE");
    desk.answer(&ring, 486);
    let refused = caller.expect_final(&invite);
    assert_eq!(refused.status(), 486);
    caller.ack_failure(&invite, &refused);
    let mut other = rig.phone("bob", Transport::Tcp);
    other.register();
    other.pause(Duration::from_secs(1));
    assert_eq!(other.count("INVITE"), 0);
}

fn a_forged_late_call_is_like_any_other(installation: &Installation) {
    let rig = start(installation, &[]);
    let mut caller = rig.caller();
    let invite = rig.park(&mut caller);
    hang_up(&mut caller, &invite, None);
    let mut bob = rig.phone("bob", Transport::Tcp);
    bob.register();
    expect_told(&mut bob, &invite, None);
    // Whoever guesses the header gets what all get: here, for a domain that is not ours, no relaying.
    for value in ["0 uloc-1", &format!("{} uloc-1", "0".repeat(32)), ""] {
        let headers = format!("X-Voip-Push-Late: {value}\r\n");
        let answer =
            rig.0.kamailio.send_sip(sip::request("INVITE", "sip:bob@elsewhere.example", &headers, b""));
        assert_eq!(answer.status, 403, "{value}: {answer:?}");
    }
    bob.settle();
    assert_eq!(bob.count("INVITE"), 1);
}

fn cancel_and_registration_at_once_leave_no_phone_ringing(installation: &Installation) {
    let rig =
        start(installation, &[("[call]", "[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\n[call]")]);
    for round in 0..20 {
        let mut caller = rig.caller();
        let mut bob = rig.phone("bob", Transport::Tcp);
        let invite = rig.park(&mut caller);
        let register = bob.register_request(600);
        if round % 2 == 0 {
            caller.cancel(&invite);
            bob.send(register.text.as_bytes());
        } else {
            bob.send(register.text.as_bytes());
            caller.cancel(&invite);
        }
        // In time or late: he learns of the call, and that it is over, and that once.
        let ring = bob.expect_request("INVITE");
        bob.answer(&ring, 180);
        let stop = bob.expect_request("CANCEL");
        bob.answer(&stop, 200);
        bob.answer(&ring, 487);
        bob.expect_request("ACK");
        let refused = caller.expect_final(&invite);
        assert_eq!(refused.status(), 487);
        caller.ack_failure(&invite, &refused);
        bob.pause(Duration::from_millis(400));
        assert_eq!(bob.count("INVITE"), 1, "round {round}");
        unregister(&mut bob);
    }
    let told = rig.stat("late_told_total");
    assert!((1..=20).contains(&told), "{told}");
}

const ALERT: (&str, &str) = ("[call]", "[call]\nmissed_call_alert = true");
const ALERT_TOKEN: u8 = 9;

/// bob has an iPhone that takes alerts, and an Android phone.
fn start_with_android(installation: &Installation) -> Rig {
    let rig = start(installation, &[ALERT, ("wake_seconds = 15", "wake_seconds = 2")]);
    let (token, alert) = (apns_token(1), apns_token(ALERT_TOKEN));
    let iphone =
        json!({ "user": "bob", "token": token, "platform": "ios", "device_id": "1", "alert_token": alert });
    let android = json!({ "user": "bob", "token": fcm_token(2), "platform": "android", "device_id": "2" });
    for device in [iphone, android] {
        let answer = rig.0.rest("POST", "/api/register-push-token", &device);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    }
    rig
}

impl Rig {
    /// What the three tokens have got, once the Android phone was told: the iPhone's VoIP pushes, its alerts, the Android's messages.
    fn told(&self, invite: &Sent) -> (usize, Vec<Value>, Vec<Value>) {
        let of = |token: &str| {
            let pushes = self.0.simulator.pushes().into_iter().filter(|push| push["token"] == token);
            pushes.map(|push| push["payload"].clone()).collect::<Vec<_>>()
        };
        let android = || of(&fcm_token(2));
        poll(DEADLINE, || (android().len() >= 2).then_some(())).unwrap_or_else(|| panic!("{:?}", android()));
        self.expect_stat("queued", 0);
        let android = android().into_iter().map(|payload| payload["message"]["data"].clone());
        let android: Vec<Value> = android.filter(|data| data["call_id"] == invite.call_id.as_str()).collect();
        (of(&apns_token(1)).len(), of(&apns_token(ALERT_TOKEN)), android)
    }
}

/// The Android phone was called, and then told this once, about the same call.
fn assert_ended(android: &[Value], reason: &str) {
    let [call, end] = android else { panic!("{android:?}") };
    assert_eq!((&end["type"], &end["reason"]), (&json!("cancel"), &json!(reason)));
    assert_eq!((&end["id"], &call["type"]), (&call["id"], &Value::Null));
}

fn android_learns_that_the_caller_has_hung_up_and_an_iphone_what_it_missed(installation: &Installation) {
    let rig = start_with_android(installation);
    let mut caller = rig.caller();
    let invite = rig.park(&mut caller);
    rig.0.simulator.wait_for_pushes(0, 2);
    hang_up(&mut caller, &invite, None);
    let (voip, alerts, android) = rig.told(&invite);
    assert_ended(&android, "cancelled");
    assert_eq!((voip, alerts.len()), (1, 1));
    assert_eq!(alerts[0]["aps"]["alert"], json!({ "title": "Missed call", "body": "alice" }));
    assert_eq!(alerts[0]["id"], android[0]["id"]);
    // The iPhone wakes after all: it is told on the wire, and that is no third end.
    let mut bob = rig.phone("bob", Transport::Tcp);
    bob.register();
    expect_told(&mut bob, &invite, None);
    let (voip, alerts, android) = rig.told(&invite);
    assert_eq!((voip, alerts.len(), android.len()), (1, 1, 2));
    rig.assert_clean();
}

fn android_learns_that_another_phone_has_answered(installation: &Installation) {
    let rig = start_with_android(installation);
    let mut caller = rig.caller();
    let (invite, mut first, ok) = answered_elsewhere(&rig, &mut caller);
    let (voip, alerts, android) = rig.told(&invite);
    assert_ended(&android, "answered_elsewhere");
    assert_eq!((voip, alerts.len()), (1, 0));
    let mut late = rig.phone("bob", Transport::Udp);
    late.register();
    expect_told(&mut late, &invite, Some(ELSEWHERE));
    let bye = caller.within("BYE", &invite, &ok);
    let end = first.expect_request("BYE");
    first.answer(&end, 200);
    caller.expect_status(&bye, 200);
    let (voip, alerts, android) = rig.told(&invite);
    assert_eq!((voip, alerts.len(), android.len()), (1, 0, 2));
    rig.assert_clean();
}

fn android_learns_that_another_phone_has_declined(installation: &Installation) {
    let rig = start_with_android(installation);
    let mut caller = rig.caller();
    let invite = rig.park(&mut caller);
    rig.0.simulator.wait_for_pushes(0, 2);
    let mut first = rig.phone("bob", Transport::Tcp);
    first.register();
    let ring = first.expect_request("INVITE");
    first.answer(&ring, 603);
    let refused = caller.expect_final(&invite);
    assert_eq!(refused.status(), 603);
    caller.ack_failure(&invite, &refused);
    let (voip, alerts, android) = rig.told(&invite);
    assert_ended(&android, "declined_elsewhere");
    assert_eq!((voip, alerts.len()), (1, 0));
    let mut late = rig.phone("bob", Transport::Udp);
    late.register();
    expect_told(&mut late, &invite, Some("SIP;cause=603"));
    rig.assert_clean();
}

fn android_learns_that_nobody_has_come_in_time(installation: &Installation) {
    let rig = start_with_android(installation);
    let mut caller = rig.caller();
    let invite = rig.park(&mut caller);
    let refused = caller.expect_final(&invite);
    assert_eq!(refused.status(), 480);
    caller.ack_failure(&invite, &refused);
    let (voip, alerts, android) = rig.told(&invite);
    assert_ended(&android, "cancelled");
    assert_eq!((voip, alerts.len()), (1, 1));
}

fn without_a_udp_socket_an_administrator_is_told(installation: &Installation) {
    let place = Place::new("no-udp");
    let simulator = Simulator::start(&place.scratch, &[]);
    let modules = ["ctl", "tm", "sl", "pv", "xlog", "rr", "textops", "siputils", "usrloc", "registrar"];
    let modules: String = modules.iter().map(|name| format!("loadmodule \"{name}.so\"\n")).collect();
    let text = format!(
        "{modules}#!define VOIP_PUSH_CONFIG \"{}\"\ninclude_file \"{}/kamailio-cfg/voip-push.cfg\"\n\
         request_route {{ route(VOIP_PUSH_LATE); sl_send_reply(\"200\", \"OK\"); }}\n",
        simulator.config().display(),
        env!("CARGO_MANIFEST_DIR"),
    );
    let port = place.port;
    let mut options = Options::text(place, text).on(installation);
    options.listen = false;
    options.args.extend(["-l".into(), format!("tcp:127.0.0.1:{port}").into()]);
    options.ready = Ready::Log("voip_push".to_owned());
    let kamailio = Kamailio::start(options);
    let line = kamailio.wait_for_log("are not told", DEADLINE);
    assert!(line.contains("Kamailio listens on no UDP socket; give it one"), "{line}");
}
