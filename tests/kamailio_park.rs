//! Calls that wait for a phone in real Kamailios, through the module's own functions: every hard case that we know of.

#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stderr, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use support::kamailio::Installation;
use support::phone::{Message, Phone, Sent};
use support::rig::{NO_LIMITS, Rig, on, token};
use support::{DEADLINE, debian, poll, sip, wait_until_idle};

on!(
    kamailio_5_6,
    super::Installation::of_this_machine(),
    [
        a_phone_that_registers_is_called,
        a_phone_that_registers_before_the_push_was_answered_is_called,
        a_phone_that_registers_before_the_call_is_parked_is_called,
        an_earlier_registration_does_not_wake_twice,
        a_phone_that_registers_at_the_very_moment_rings_once,
        registrations_and_retransmissions_at_once_ring_the_phone_once,
        a_rejected_registration_wakes_nobody,
        an_unauthenticated_registration_wakes_nobody,
        two_callers_both_reach_the_phone,
        a_caller_who_hangs_up_while_parked_gets_487,
        when_nobody_wakes_the_caller_gets_480_in_time,
        when_every_token_is_dead_the_caller_gets_480_at_once,
        a_refused_credential_is_named_when_the_time_is_over,
        further_phones_ring_too_and_stop_when_one_answers,
        a_sleeping_phone_joins_a_call_that_rings_at_a_desk,
        when_the_desk_declines_the_call_waits_for_the_sleeping_phone,
        a_phone_whose_connection_is_gone_rings_on_its_new_one,
        a_phone_whose_connection_is_gone_joins_a_call_on_its_new_one,
        a_planned_stop_answers_parked_calls,
        a_planned_stop_of_callers_on_tcp_is_announced,
        a_stopped_sender_ends_parked_calls_by_tm,
        a_full_socket_ends_a_call_at_once_and_the_others_wait_on,
        an_administrator_is_answered,
        what_is_wrong_with_parking_is_told,
        registrations_of_others_do_not_reach_the_sender,
        cancel_and_registration_race_to_one_end,
        many_parked_calls_all_ring,
        pushes_are_tried_no_more_when_the_caller_hangs_up,
        pushes_are_tried_no_more_when_the_phone_has_come,
        pushes_to_other_devices_are_tried_until_the_call_is_answered,
    ]
);
on!(
    kamailio_6_0,
    super::debian::trixie(),
    [
        a_phone_that_registers_is_called,
        registrations_and_retransmissions_at_once_ring_the_phone_once,
        a_caller_who_hangs_up_while_parked_gets_487,
        when_nobody_wakes_the_caller_gets_480_in_time,
        further_phones_ring_too_and_stop_when_one_answers,
        a_sleeping_phone_joins_a_call_that_rings_at_a_desk,
        a_planned_stop_answers_parked_calls,
    ]
);

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_park.cfg");
/// How long nothing may take that happens at once.
const AT_ONCE: Duration = Duration::from_secs(6);

fn start(installation: &Installation, changes: &[(&str, &str)]) -> Rig {
    let changes: Vec<_> = [NO_LIMITS].iter().chain(changes).copied().collect();
    Rig::start(installation, CONFIG, &[], &changes, |mut options| {
        options.args.extend(["-m", "256"].map(Into::into));
        options
    })
}

impl Rig {
    fn register_token(&self, user: &str, number: u8) {
        let headers = format!("X-Token: {}\r\nX-Device: {number}\r\n", token(number));
        let uri = format!("sip:{user}@sip.example.org");
        assert_eq!(self.kamailio.send_sip(sip::request("MESSAGE", &uri, &headers, b"")).status, 200);
    }

    fn caller(&self, user: &str) -> Phone {
        Phone::udp(user, self.kamailio.port())
    }

    fn tcp(&self, user: &str) -> Phone {
        Phone::tcp(user, self.kamailio.port())
    }

    fn expect_parked(&self, how_many: u64) {
        let parked = poll(DEADLINE, || (self.stat("parked") == how_many).then_some(()));
        parked.unwrap_or_else(|| panic!("{} are parked\n{}", self.stat("parked"), self.kamailio.log()));
    }

    /// A call to a user that has been parked.
    fn park(&self, caller: &mut Phone, callee: &str) -> Sent {
        let parked = self.stat("parked");
        let invite = caller.invite(callee);
        caller.expect_status(&invite, 100);
        self.expect_parked(parked + 1);
        invite
    }

    /// No call is left behind, and nothing was worth a warning.
    fn assert_quiet(&self) {
        self.assert_nothing_left();
        let log = self.kamailio.log();
        let is_loud =
            |line: &&str| line.contains("ERROR:") || line.contains("WARNING:") || line.contains("CRITICAL:");
        // tm says so of a contact that it has already, which a race between two wakes can bring about; nothing is lost by it.
        let is_known = |line: &&str| line.contains("t_append_branches(): failure to add branches");
        let loud: Vec<&str> = log.lines().filter(is_loud).filter(|line| !is_known(line)).collect();
        assert!(loud.is_empty(), "{loud:#?}");
    }

    /// No call is left behind, with us or in tm.
    fn assert_nothing_left(&self) {
        self.expect_parked(0);
        let stats = || self.kamailio.rpc(&["tm.stats"]);
        let all_freed = || {
            let stats = stats();
            let number = |name| {
                stats.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().parse::<u32>().ok())
            };
            (number("current:") == Some(0) && number("created:") == number("freed:")).then_some(())
        };
        poll(DEADLINE, all_freed).unwrap_or_else(|| panic!("{}", stats()));
    }
}

/// An INVITE with more headers.
fn invite_with(caller: &mut Phone, callee: &str, headers: &str) -> Sent {
    let mut invite = caller.invite_request(callee);
    invite.text = invite.text.replace("Max-Forwards:", &format!("{headers}Max-Forwards:"));
    caller.send(invite.text.as_bytes());
    invite
}

/// The phone rings, is answered, and the caller hangs up.
fn talk(caller: &mut Phone, invite: &Sent, phone: &mut Phone) -> Message {
    let ring = phone.expect_request("INVITE");
    phone.answer(&ring, 180);
    caller.expect_status(invite, 180);
    answer(caller, invite, phone, &ring);
    ring
}

fn answer(caller: &mut Phone, invite: &Sent, phone: &mut Phone, ring: &Message) {
    phone.answer(ring, 200);
    let ok = caller.expect_status(invite, 200);
    caller.within("ACK", invite, &ok);
    phone.expect_request("ACK");
    let bye = caller.within("BYE", invite, &ok);
    let end = phone.expect_request("BYE");
    phone.answer(&end, 200);
    caller.expect_status(&bye, 200);
}

/// The caller's side of a call that fails.
fn expect_failure(caller: &mut Phone, invite: &Sent, status: u16) -> Message {
    let refused = caller.expect_final(invite);
    assert_eq!(refused.status(), status, "{refused:?}");
    caller.ack_failure(invite, &refused);
    refused
}

/// The phone goes to sleep as a polite app does.
fn unregister(phone: &mut Phone) {
    let bye = phone.register_request(0);
    phone.send(bye.text.as_bytes());
    phone.expect_status(&bye, 200);
}

fn signal(pid: libc::pid_t, number: libc::c_int) {
    // SAFETY: sends a signal to a process of the Kamailio that this test has started.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0);
}

fn a_phone_that_registers_is_called(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    let push = &rig.simulator.wait_for_pushes(0, 1)[0];
    assert_eq!(push["payload"]["call_id"], invite.call_id.as_str());
    let mut bob = rig.tcp("bob");
    bob.register();
    talk(&mut caller, &invite, &mut bob);
    assert_eq!(caller.statuses(&invite), [100, 180, 200]);
    assert_eq!((bob.count("INVITE"), rig.simulator.pushes().len()), (1, 1));
    let line = rig.kamailio.wait_for_log("woken status=1 ", DEADLINE);
    assert!(line.contains(&format!("user=bob call_id={} pid={}", invite.call_id, rig.sender())), "{line}");
    assert_eq!((rig.stat("parked_total"), rig.stat("woken_total"), rig.stat("late_total")), (1, 1, 0));
    rig.assert_quiet();
}

fn a_phone_that_registers_before_the_push_was_answered_is_called(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    for delay_ms in [0, 20, 300] {
        rig.simulator.behave(&token(1), json!([{ "delay_ms": delay_ms }]));
        let mut caller = rig.caller("alice");
        let mut bob = rig.tcp("bob");
        let invite = caller.invite("bob");
        caller.expect_status(&invite, 100);
        bob.register();
        talk(&mut caller, &invite, &mut bob);
        bob.settle();
        assert_eq!(bob.count("INVITE"), 1, "push answered after {delay_ms} ms");
        unregister(&mut bob);
    }
    rig.assert_quiet();
}

fn a_phone_that_registers_before_the_call_is_parked_is_called(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let mut bob = rig.tcp("bob");
    // The call has looked for contacts and found none; it is parked half a second later.
    let invite = invite_with(&mut caller, "bob", "X-Pause-Ms: 500\r\n");
    rig.simulator.wait_for_pushes(0, 1);
    bob.register();
    assert_eq!(rig.stat("parked_total"), 0, "the registration was first");
    talk(&mut caller, &invite, &mut bob);
    assert_eq!((bob.count("INVITE"), rig.stat("parked_total"), rig.stat("woken_total")), (1, 1, 1));
    rig.assert_quiet();
}

fn an_earlier_registration_does_not_wake_twice(installation: &Installation) {
    let rig = start(installation, &[("wake_seconds = 15", "wake_seconds = 2")]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let mut bob = rig.tcp("bob");
    // The 200 goes out before the calls are woken: only what is settled was earlier.
    let come_and_go = |bob: &mut Phone| {
        bob.register();
        unregister(bob);
        bob.settle();
    };
    come_and_go(&mut bob);
    // Without follow_call it looks to the sender as if the call had missed it: its route finds nothing and parks it again, once.
    for (headers, again) in [("X-No-Follow: 1\r\n", 1), ("", 1)] {
        let called_at = Instant::now();
        let invite = invite_with(&mut caller, "bob", headers);
        let refused = expect_failure(&mut caller, &invite, 480);
        let took = refused.at - called_at;
        assert!((1800..15_000).contains(&took.as_millis()), "{took:?}");
        let log = rig.kamailio.log();
        assert_eq!(log.matches("parked again").count(), again, "{log}");
        come_and_go(&mut bob);
    }
    rig.assert_quiet();
}

fn a_phone_that_registers_at_the_very_moment_rings_once(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    for round in 0..25 {
        let mut caller = rig.caller("alice");
        let mut bob = rig.tcp("bob");
        let invite = caller.invite_request("bob");
        let register = bob.register_request(600);
        if round % 2 == 0 {
            caller.send(invite.text.as_bytes());
            bob.send(register.text.as_bytes());
        } else {
            bob.send(register.text.as_bytes());
            caller.send(invite.text.as_bytes());
        }
        talk(&mut caller, &invite, &mut bob);
        bob.settle();
        assert_eq!(bob.count("INVITE"), 1, "round {round}");
        unregister(&mut bob);
    }
    rig.assert_quiet();
}

fn registrations_and_retransmissions_at_once_ring_the_phone_once(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    for round in 0..10 {
        let mut caller = rig.caller("alice");
        let mut bob = rig.caller("bob");
        let invite = caller.invite("bob");
        caller.expect_status(&invite, 100);
        caller.send(invite.text.as_bytes());
        rig.simulator.wait_for_pushes(0, round + 1);
        let register = bob.register_request(600);
        // The app's second thread: the same contact under a Call-ID of its own.
        let other = register.text.replace("Call-ID: reg-", "Call-ID: other-");
        for text in [&register.text, &register.text, &other] {
            bob.send(text.as_bytes());
        }
        caller.send(invite.text.as_bytes());
        talk(&mut caller, &invite, &mut bob);
        bob.settle();
        assert_eq!(bob.count("INVITE"), 1, "round {round}");
        assert_eq!(rig.simulator.pushes().len(), round + 1, "a repeated INVITE is no second push");
        // A repeated INVITE may get its 100 late.
        let statuses: Vec<u16> =
            caller.statuses(&invite).into_iter().filter(|status| *status > 100).collect();
        assert_eq!(statuses, [180, 200], "round {round}");
        unregister(&mut bob);
    }
    assert_eq!(rig.stat("woken_total"), rig.stat("parked_total"));
    rig.assert_quiet();
}

fn a_rejected_registration_wakes_nobody(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    let mut mallory = rig.tcp("bob");
    let wrong = mallory.register_request(600);
    mallory.send(wrong.text.replace("Max-Forwards:", "X-Wrong-Password: 1\r\nMax-Forwards:").as_bytes());
    mallory.expect_status(&wrong, 401);
    mallory.settle();
    assert_eq!((rig.stat("parked"), rig.stat("woken_total"), mallory.count("INVITE")), (1, 0, 0));
    let mut bob = rig.tcp("bob");
    bob.register();
    talk(&mut caller, &invite, &mut bob);
    assert_eq!(mallory.count("INVITE"), 0);
}

fn an_unauthenticated_registration_wakes_nobody(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    let mut mallory = rig.tcp("bob");
    let with = |request: &Sent, headers: &str| request.text.replace("Max-Forwards:", headers);
    let bare = mallory.register_request(600);
    mallory.send(with(&bare, "X-Digest: 1\r\nMax-Forwards:").as_bytes());
    let challenge = mallory.expect_status(&bare, 401);
    let nonce = challenge
        .header("WWW-Authenticate")
        .and_then(|text| text.split("nonce=\"").nth(1)?.split('"').next());
    let guess = format!(
        "X-Digest: 1\r\nAuthorization: Digest username=\"bob\", realm=\"sip.example.org\", nonce=\"{}\", \
         uri=\"sip:sip.example.org\", response=\"{}\"\r\nMax-Forwards:",
        nonce.unwrap(),
        "0".repeat(32)
    );
    let guessed = mallory.register_request(600);
    mallory.send(with(&guessed, &guess).as_bytes());
    mallory.expect_status(&guessed, 401);
    // Refused by the registrar: a star takes all contacts away, and only that (RFC 3261 section 10.2.2).
    let star = mallory.register_request(600);
    mallory.send(star.text.replace(&format!("<{}>", mallory.contact()), "*").as_bytes());
    assert!(mallory.expect_final(&star).status() >= 400);
    mallory.settle();
    assert_eq!((rig.stat("parked"), rig.stat("woken_total"), mallory.count("INVITE")), (1, 0, 0));
    let mut bob = rig.tcp("bob");
    bob.register();
    talk(&mut caller, &invite, &mut bob);
    assert_eq!(mallory.count("INVITE"), 0);
}

fn two_callers_both_reach_the_phone(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut callers = [rig.caller("alice"), rig.caller("dave")];
    let invites = callers.each_mut().map(|caller| rig.park(caller, "bob"));
    rig.simulator.wait_for_pushes(0, 2);
    let mut bob = rig.tcp("bob");
    bob.register();
    for _ in 0..2 {
        let ring = bob.expect_request("INVITE");
        let which =
            invites.iter().position(|invite| ring.header("Call-ID") == Some(&invite.call_id)).unwrap();
        answer(&mut callers[which], &invites[which], &mut bob, &ring);
    }
    bob.settle();
    assert_eq!((bob.count("INVITE"), rig.simulator.pushes().len(), rig.stat("woken_total")), (2, 2, 2));
    rig.assert_quiet();
}

fn a_caller_who_hangs_up_while_parked_gets_487(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    let cancel = caller.cancel(&invite);
    caller.expect_status(&cancel, 200);
    expect_failure(&mut caller, &invite, 487);
    // We know at once, not only when the time is over.
    let asked = Instant::now();
    rig.expect_parked(0);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    let mut bob = rig.tcp("bob");
    bob.register();
    bob.settle();
    assert_eq!(bob.count("INVITE"), 0);
    poll(DEADLINE, || (rig.stat("late_total") == 1).then_some(())).expect("he is late");
    assert_eq!((rig.stat("woken_total"), rig.stat("resume_failed_total")), (0, 0));
    rig.assert_quiet();
}

fn when_nobody_wakes_the_caller_gets_480_in_time(installation: &Installation) {
    let rig = start(installation, &[("wake_seconds = 15", "wake_seconds = 2")]);
    rig.register_token("bob", 1);
    for (headers, range) in [("", 1900..12_000), ("X-Seconds: 1\r\n", 900..12_000)] {
        let mut caller = rig.caller("alice");
        let called_at = Instant::now();
        let invite = invite_with(&mut caller, "bob", headers);
        let refused = expect_failure(&mut caller, &invite, 480);
        let took = refused.at - called_at;
        assert!(range.contains(&took.as_millis()), "{took:?}");
        assert_eq!(refused.header("X-Status"), Some("-3"));
        assert_eq!(refused.header("X-Reason"), Some("no phone has registered in time"));
    }
    let mut bob = rig.tcp("bob");
    bob.register();
    bob.settle();
    assert_eq!((bob.count("INVITE"), rig.stat("wake_timeout_total")), (0, 2));
    rig.assert_quiet();
}

fn when_every_token_is_dead_the_caller_gets_480_at_once(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    rig.register_token("bob", 2);
    for number in [1, 2] {
        rig.simulator
            .behave(&token(number), json!([{ "status": 410, "reason": "Unregistered", "delay_ms": 50 }]));
    }
    let mut caller = rig.caller("alice");
    let called_at = Instant::now();
    // The second time the answer is there before the call is parked.
    let invite = caller.invite("bob");
    let refused = expect_failure(&mut caller, &invite, 480);
    assert!(refused.at - called_at < AT_ONCE, "{:?}", refused.at - called_at);
    assert_eq!(refused.header("X-Status"), Some("-2"));
    let line = rig.kamailio.wait_for_log("woken status=-2", DEADLINE);
    assert!(line.contains("devices=2 accepted=0"), "{line}");
    let invite = caller.invite("bob");
    expect_failure(&mut caller, &invite, 404);

    rig.register_token("carol", 3);
    rig.simulator.behave(&token(3), json!([{ "status": 410, "reason": "Unregistered" }]));
    let called_at = Instant::now();
    let invite = invite_with(&mut caller, "carol", "X-Pause-Ms: 500\r\n");
    let refused = expect_failure(&mut caller, &invite, 480);
    assert!(refused.at - called_at < 2 * AT_ONCE, "{:?}", refused.at - called_at);
    assert_eq!(refused.header("X-Status"), Some("-2"));
    rig.assert_nothing_left();
}

fn a_refused_credential_is_named_when_the_time_is_over(installation: &Installation) {
    let rig = start(installation, &[("wake_seconds = 15", "wake_seconds = 2")]);
    rig.register_token("bob", 1);
    let refusal = json!([{ "times": 0, "status": 403, "reason": "InvalidProviderToken" }]);
    rig.simulator.put("/behaviour/apns", &refusal);
    let mut caller = rig.caller("alice");
    let invite = caller.invite("bob");
    let refused = expect_failure(&mut caller, &invite, 480);
    assert_eq!(refused.header("X-Status"), Some("-4"), "{refused:?}");
    rig.assert_nothing_left();
}

fn further_phones_ring_too_and_stop_when_one_answers(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    let mut phones: Vec<Phone> = (0..3).map(|_| rig.tcp("bob")).collect();
    let mut rings = Vec::new();
    for phone in &mut phones {
        phone.register();
        let ring = phone.expect_request("INVITE");
        phone.answer(&ring, 180);
        // A refresh is no second call.
        phone.register();
        phone.settle();
        rings.push(ring);
    }
    answer(&mut caller, &invite, &mut phones[1], &rings[1]);
    for at in [0, 2] {
        let stop = phones[at].expect_request("CANCEL");
        assert!(stop.header("Reason").is_some_and(|reason| reason.contains("cause=200")), "{stop:?}");
        phones[at].answer(&stop, 200);
        phones[at].answer(&rings[at], 487);
        phones[at].expect_request("ACK");
    }
    for phone in &mut phones {
        phone.settle();
        assert_eq!(phone.count("INVITE"), 1);
    }
    rig.assert_quiet();
}

fn a_sleeping_phone_joins_a_call_that_rings_at_a_desk(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut desk = rig.caller("bob");
    desk.register();
    let mut caller = rig.caller("alice");
    let invite = caller.invite("bob");
    let at_desk = desk.expect_request("INVITE");
    desk.answer(&at_desk, 180);
    desk.register();
    let mut phone = rig.tcp("bob");
    phone.register();
    let ring = phone.expect_request("INVITE");
    answer(&mut caller, &invite, &mut phone, &ring);
    let stop = desk.expect_request("CANCEL");
    desk.answer(&stop, 200);
    desk.answer(&at_desk, 487);
    desk.expect_request("ACK");
    assert_eq!((desk.count("INVITE"), phone.count("INVITE"), rig.stat("parked_total")), (1, 1, 0));
    rig.assert_quiet();
}

fn when_the_desk_declines_the_call_waits_for_the_sleeping_phone(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut desk = rig.caller("bob");
    desk.register();
    // The desk's registration was not just before the call.
    desk.pause(Duration::from_millis(3100));
    let mut caller = rig.caller("alice");
    let invite = invite_with(&mut caller, "bob", "X-Another: 1\r\n");
    let at_desk = desk.expect_request("INVITE");
    desk.answer(&at_desk, 486);
    desk.expect_request("ACK");
    rig.expect_parked(1);
    // The desk's refresh is no phone that has come.
    desk.register();
    let mut phone = rig.tcp("bob");
    phone.register();
    talk(&mut caller, &invite, &mut phone);
    desk.settle();
    assert_eq!((desk.count("INVITE"), phone.count("INVITE"), rig.stat("parked_total")), (1, 1, 1));
    rig.assert_quiet();
}

impl Rig {
    /// A phone with this contact registers, and its connection ends without a word.
    fn leave_a_stale_contact(&self, contact: &str) {
        let mut bob = self.tcp("bob");
        register_as(&mut bob, contact);
        let port = bob.port();
        drop(bob);
        let gone =
            || (!self.kamailio.rpc(&["core.tcp_list"]).contains(&format!("src_port: {port}"))).then_some(());
        poll(DEADLINE, gone).expect("the server notices a closed connection");
    }
}

/// Registers under a contact of the phone's own choice; the server reaches it through its connection.
fn register_as(phone: &mut Phone, contact: &str) {
    let register = phone.register_request(600);
    let text = register.text.replace(&format!("<{}>", phone.contact()), &format!("<{contact}>"));
    phone.send(text.as_bytes());
    phone.expect_status(&register, 200);
}

/// A contact that does not change with the connection, as phones behind NAT may have it.
const BEHIND_NAT: &str = "sip:bob@192.0.2.9:5060;transport=tcp";

fn a_phone_whose_connection_is_gone_rings_on_its_new_one(installation: &Installation) {
    for contact in [None, Some(BEHIND_NAT)] {
        let rig = start(installation, &[]);
        rig.register_token("bob", 1);
        rig.leave_a_stale_contact(BEHIND_NAT);
        let mut caller = rig.caller("alice");
        let invite = rig.park(&mut caller, "bob");
        rig.simulator.wait_for_pushes(0, 1);
        let mut awake = rig.tcp("bob");
        let own = awake.contact();
        register_as(&mut awake, contact.unwrap_or(&own));
        talk(&mut caller, &invite, &mut awake);
        assert_eq!((awake.count("INVITE"), rig.simulator.wait_for_pushes(0, 1).len()), (1, 1));
        rig.assert_nothing_left();
    }
}

fn a_phone_whose_connection_is_gone_joins_a_call_on_its_new_one(installation: &Installation) {
    for contact in [None, Some(BEHIND_NAT)] {
        let rig = start(installation, &[]);
        rig.register_token("bob", 1);
        rig.leave_a_stale_contact(BEHIND_NAT);
        let mut desk = rig.caller("bob");
        desk.register();
        let mut caller = rig.caller("alice");
        let invite = caller.invite("bob");
        let at_desk = desk.expect_request("INVITE");
        desk.answer(&at_desk, 180);
        caller.expect_status(&invite, 180);
        let mut awake = rig.tcp("bob");
        let own = awake.contact();
        register_as(&mut awake, contact.unwrap_or(&own));
        let ring = awake.expect_request("INVITE");
        answer(&mut caller, &invite, &mut awake, &ring);
        let stop = desk.expect_request("CANCEL");
        desk.answer(&stop, 200);
        desk.answer(&at_desk, 487);
        desk.expect_request("ACK");
        assert_eq!((awake.count("INVITE"), desk.count("INVITE")), (1, 1));
        rig.assert_nothing_left();
    }
}

fn a_planned_stop_answers_parked_calls(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut callers: Vec<Phone> = (0..5).map(|_| rig.caller("alice")).collect();
    let invites: Vec<Sent> = callers.iter_mut().map(|caller| rig.park(caller, "bob")).collect();
    let asked = Instant::now();
    let (status, log) = rig.kamailio.stop();
    assert!(status.success(), "{status}\n{log}");
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    for (caller, invite) in callers.iter_mut().zip(&invites) {
        let refused = caller.expect_final(invite);
        assert_eq!((refused.status(), refused.header("X-Reason")), (503, Some("the server stops")), "{log}");
    }
    assert!(log.contains("the server stops; 5 calls that wait for a phone go on in their routes"), "{log}");
}

/// When Kamailio stops, its TCP process is mostly gone before anybody could send through it, so callers on TCP seldom hear anything
/// then. An administrator who means well to them lets the calls go on before.
fn a_planned_stop_of_callers_on_tcp_is_announced(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut callers: Vec<Phone> = (0..3).map(|_| rig.tcp("alice")).collect();
    let invites: Vec<Sent> = callers.iter_mut().map(|caller| rig.park(caller, "bob")).collect();
    assert!(rig.kamailio.rpc(&["voip_push.calls"]).contains("parked: 3"));
    rig.kamailio.rpc(&["voip_push.calls", "release"]);
    for (caller, invite) in callers.iter_mut().zip(&invites) {
        expect_failure(caller, invite, 503);
    }
    rig.expect_parked(0);
    let mut silent = rig.tcp("alice");
    let invite = rig.park(&mut silent, "bob");
    let asked = Instant::now();
    let (status, log) = rig.kamailio.stop();
    assert!(status.success(), "{status}\n{log}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(!log.contains("the sender cannot be reached"), "{log}");
    assert!(log.contains("the server stops; 1 calls that wait for a phone go on in their routes"), "{log}");
    silent.pause(Duration::from_millis(50));
    // The TCP process and ours are told to stop at once; which of them is first decides whether its answer is sent.
    let heard = silent.statuses(&invite);
    assert!([&[100][..], &[100, 503]].contains(&&heard[..]), "{heard:?}\n{log}");
}

fn an_administrator_is_answered(installation: &Installation) {
    let rig = start(installation, &[]);
    assert!(rig.kamailio.rpc(&["voip_push.calls"]).contains("parked: 0"));
    assert!(rig.kamailio.rpc(&["voip_push.stats"]).contains("parked_total: 0"));
    assert!(rig.kamailio.rpc(&["voip_push.quarantine", "drop"]).contains("tokens: 0"));
    assert!(rig.kamailio.rpc(&["voip_push.quarantine", "release"]).contains("tokens: 0"));
}

fn a_stopped_sender_ends_parked_calls_by_tm(installation: &Installation) {
    let rig = start(installation, &[("wake_seconds = 15", "wake_seconds = 1")]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let sender = rig.sender();
    let invite = rig.park(&mut caller, "bob");
    wait_until_idle(sender);
    signal(sender, libc::SIGSTOP);
    let mut other = rig.caller("alice");
    let called_at = Instant::now();
    let second = other.invite("bob");
    other.expect_status(&second, 100);
    // The failure route that the script has armed says nothing about 408, so the caller gets that.
    expect_failure(&mut caller, &invite, 408);
    let refused = expect_failure(&mut other, &second, 408);
    assert!(refused.at - called_at < Duration::from_secs(15), "{:?}", refused.at - called_at);
    signal(sender, libc::SIGCONT);
    rig.assert_nothing_left();
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    let mut bob = rig.tcp("bob");
    bob.register();
    talk(&mut caller, &invite, &mut bob);
}

fn a_full_socket_ends_a_call_at_once_and_the_others_wait_on(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut callers = [rig.caller("alice"), rig.caller("alice")];
    let waiting = rig.park(&mut callers[0], "bob");
    let sender = rig.sender();
    wait_until_idle(sender);
    signal(sender, libc::SIGSTOP);
    let mut full = HashSet::new();
    let all_are_full = || {
        // The worker that gets it hands over until its socket takes no more.
        let fill = sip::request("MESSAGE", "sip:bob@sip.example.org", "X-Fill: 1\r\n", b"");
        let answer = rig.kamailio.send_sip(fill);
        assert_eq!(answer.header("X-Rc"), Some("-5"), "{}", answer.head);
        full.insert(answer.header("X-Pid").unwrap().to_owned());
        (full.len() == 3).then_some(())
    };
    poll(DEADLINE, all_are_full).expect("all three workers have their turn");
    let refused = invite_with(&mut callers[1], "bob", "X-No-Push: 1\r\n");
    let answer = expect_failure(&mut callers[1], &refused, 503);
    assert_eq!(answer.header("X-Reason"), Some("too many pushes are waiting"));
    signal(sender, libc::SIGCONT);
    let mut bob = rig.tcp("bob");
    bob.register();
    talk(&mut callers[0], &waiting, &mut bob);
    rig.assert_nothing_left();
}

fn what_is_wrong_with_parking_is_told(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    for seconds in ["0", "121", "x", "-1"] {
        let invite = invite_with(&mut caller, "bob", &format!("X-Seconds: {seconds}\r\n"));
        let refused = expect_failure(&mut caller, &invite, 500);
        assert_eq!(refused.header("X-Status"), Some("-6"), "{seconds}");
    }
    assert_eq!(rig.stat("parked_total"), 0);
    rig.assert_nothing_left();
}

fn registrations_of_others_do_not_reach_the_sender(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    let sender = rig.sender();
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{sender}/status")).unwrap();
        let line =
            status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    poll(DEADLINE, || (rig.stat("queued") == 0).then_some(())).expect("the push has ended");
    let before = switches();
    let mut others = rig.tcp("carol");
    for _ in 0..200 {
        others.register();
    }
    let woken = switches() - before;
    assert!(woken < 100, "the sender was woken {woken} times");
    let mut bob = rig.tcp("bob");
    bob.register();
    talk(&mut caller, &invite, &mut bob);
}

fn cancel_and_registration_race_to_one_end(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    for round in 0..40 {
        let mut caller = rig.caller("alice");
        let mut bob = rig.tcp("bob");
        let invite = rig.park(&mut caller, "bob");
        let register = bob.register_request(600);
        if round % 2 == 0 {
            caller.cancel(&invite);
            bob.send(register.text.as_bytes());
        } else {
            bob.send(register.text.as_bytes());
            caller.cancel(&invite);
        }
        let mut rings = None;
        let ended = poll(Duration::from_secs(4), || {
            caller.pause(Duration::from_millis(1));
            if rings.is_none() && bob.count("INVITE") == 1 {
                // tm sends a CANCEL when the phone has said something (RFC 3261 section 9.1).
                let ring = bob.expect_request("INVITE");
                bob.answer(&ring, 180);
                let stop = bob.expect_request("CANCEL");
                bob.answer(&stop, 200);
                bob.answer(&ring, 487);
                rings = Some(ring);
            }
            caller.statuses(&invite).contains(&487).then_some(())
        });
        ended.unwrap_or_else(|| {
            panic!("round {round}: {:?}, rings: {rings:?}, bob: {:?}", caller.statuses(&invite), bob.seen)
        });
        expect_failure(&mut caller, &invite, 487);
        unregister(&mut bob);
        let finals: Vec<u16> = caller.statuses(&invite).into_iter().filter(|status| *status >= 200).collect();
        assert_eq!(finals, [487], "round {round}");
        rig.expect_parked(0);
    }
    rig.assert_nothing_left();
}

fn many_parked_calls_all_ring(installation: &Installation) {
    const CALLS: usize = 300;
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    let mut caller = rig.caller("alice");
    let invites: Vec<Sent> = (0..CALLS)
        .map(|_| {
            let invite = caller.invite("bob");
            caller.expect_status(&invite, 100);
            invite
        })
        .collect();
    rig.expect_parked(CALLS as u64);
    let mut bob = rig.tcp("bob");
    bob.register();
    for _ in 0..CALLS {
        let ring = bob.expect_request("INVITE");
        bob.answer(&ring, 486);
    }
    for invite in &invites {
        expect_failure(&mut caller, invite, 486);
    }
    assert_eq!((bob.count("INVITE"), rig.stat("woken_total")), (CALLS, CALLS as u64));
    rig.assert_nothing_left();
}

impl Rig {
    /// The provider has enough of this token for some seconds: the push waits to be tried again.
    fn throttle(&self, number: u8) {
        let refusal = json!([{ "status": 429, "reason": "TooManyRequests", "retry_after_s": 3 }]);
        self.simulator.behave(&token(number), refusal);
    }

    fn expect_queued(&self, how_many: u64) {
        let reached = poll(DEADLINE, || (self.stat("queued") == how_many).then_some(()));
        reached.unwrap_or_else(|| panic!("{} are queued\n{}", self.stat("queued"), self.kamailio.log()));
    }

    /// Nothing is to be sent any more, and this much was.
    fn expect_given_up(&self, stopped: u64, pushes: usize) {
        self.expect_queued(0);
        let seen = (self.stat("stopped_total"), self.stat("retries_total"), self.simulator.pushes().len());
        assert_eq!(seen, (stopped, 0, pushes), "{}", self.kamailio.log());
    }
}

fn pushes_are_tried_no_more_when_the_caller_hangs_up(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    rig.throttle(1);
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    rig.simulator.wait_for_pushes(0, 1);
    let cancel = caller.cancel(&invite);
    caller.expect_status(&cancel, 200);
    expect_failure(&mut caller, &invite, 487);
    rig.expect_given_up(1, 1);
    // The next call is tried as often as always.
    rig.throttle(1);
    let invite = rig.park(&mut caller, "bob");
    rig.simulator.wait_for_pushes(1, 2);
    assert_eq!(rig.stat("retries_total"), 1);
    let cancel = caller.cancel(&invite);
    caller.expect_status(&cancel, 200);
    expect_failure(&mut caller, &invite, 487);
}

fn pushes_are_tried_no_more_when_the_phone_has_come(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    rig.throttle(1);
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    rig.simulator.wait_for_pushes(0, 1);
    let mut bob = rig.tcp("bob");
    bob.register();
    let ring = bob.expect_request("INVITE");
    rig.expect_given_up(1, 1);
    bob.answer(&ring, 180);
    answer(&mut caller, &invite, &mut bob, &ring);
    rig.assert_nothing_left();
}

fn pushes_to_other_devices_are_tried_until_the_call_is_answered(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register_token("bob", 1);
    rig.register_token("bob", 2);
    rig.throttle(2);
    let mut caller = rig.caller("alice");
    let invite = rig.park(&mut caller, "bob");
    rig.simulator.wait_for_pushes(0, 2);
    rig.expect_queued(1);
    let mut bob = rig.tcp("bob");
    bob.register();
    let ring = bob.expect_request("INVITE");
    bob.answer(&ring, 180);
    caller.expect_status(&invite, 180);
    assert_eq!((rig.stat("queued"), rig.stat("stopped_total")), (1, 0), "the other device sleeps still");
    answer(&mut caller, &invite, &mut bob, &ring);
    rig.expect_given_up(1, 2);
    rig.assert_nothing_left();
}
