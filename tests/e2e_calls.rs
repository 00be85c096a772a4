//! Calls through the shipped configuration: what the caller, the phone and the push service each see.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::time::{Duration, Instant};
use support::debian;
use support::kamailio::Installation;
use support::phone::{Message, Phone, Sent};
use support::shipped::{NOBODY_IS_LATE, Setup, Shipped, apns_token, fcm_token};
use support::{DEADLINE, poll};

/// How long nothing may take that happens at once.
const AT_ONCE: Duration = Duration::from_millis(1500);

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
fn expect_failure(caller: &mut Phone, invite: &Sent, status: u16) -> Instant {
    let refused = caller.expect_final(invite);
    assert_eq!(refused.status(), status, "{refused:?}");
    caller.ack_failure(invite, &refused);
    refused.at
}

#[test]
fn a_sleeping_iphone_wakes_rings_and_answers() {
    let shipped = Shipped::start("iphone");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    caller.expect_status(&invite, 100);
    let push = &shipped.simulator.wait_for_pushes(0, 1)[0];
    assert_eq!((&push["status"], &push["token"]), (&json!(200), &json!(apns_token(1))));
    assert_eq!(push["headers"]["apns-push-type"], "voip");
    assert_eq!(push["headers"]["apns-priority"], "10");
    assert_eq!(push["headers"]["apns-topic"], shipped.simulator.fact("topic"));
    assert_eq!(push["payload"]["call_id"], invite.call_id.as_str());
    assert_eq!((&push["payload"]["caller"], &push["payload"]["sip_user"]), (&json!("alice"), &json!("bob")));

    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    talk(&mut caller, &invite, &mut bob);
    assert_eq!(caller.statuses(&invite), [100, 180, 200]);
    assert_eq!((bob.count("INVITE"), shipped.simulator.pushes().len()), (1, 1));
}

#[test]
fn a_registered_android_phone_rings_at_once_without_a_push() {
    let shipped = Shipped::start("android");
    shipped.register_token("carol", &fcm_token(1), "android");
    let mut carol = Phone::tcp("carol", shipped.port());
    carol.register();
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("carol");
    talk(&mut caller, &invite, &mut carol);
    assert_eq!((carol.count("INVITE"), shipped.simulator.pushes().len()), (1, 0));
}

#[test]
fn a_sleeping_android_phone_is_woken_through_fcm() {
    let shipped = Shipped::start("fcm");
    shipped.register_token("carol", &fcm_token(1), "android");
    let mut caller = Phone::tcp("alice", shipped.port());
    let invite = caller.invite("carol");
    let push = &shipped.simulator.wait_for_pushes(0, 1)[0];
    assert_eq!((&push["provider"], &push["status"]), (&json!("fcm"), &json!(200)));
    assert_eq!(push["payload"]["message"]["android"]["priority"], "HIGH");
    assert_eq!(push["payload"]["message"]["data"]["call_id"], invite.call_id.as_str());
    let mut carol = Phone::udp("carol", shipped.port());
    carol.register();
    talk(&mut caller, &invite, &mut carol);
    assert_eq!((carol.count("INVITE"), shipped.simulator.pushes().len()), (1, 1));
}

#[test]
fn users_without_a_token_are_called_as_before() {
    let shipped = Shipped::start("before");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("nobody");
    expect_failure(&mut caller, &invite, 404);
    let mut desk = Phone::udp("desk", shipped.port());
    desk.register();
    let invite = caller.invite("desk");
    talk(&mut caller, &invite, &mut desk);
    assert_eq!(shipped.simulator.pushes().len(), 0);
}

#[test]
fn when_nobody_wakes_up_the_caller_gets_480_when_the_wake_time_is_over() {
    let shipped = Shipped::waking("nobody-wakes", "wake_seconds = 2");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let called_at = Instant::now();
    let invite = caller.invite("bob");
    caller.expect_status(&invite, 100);
    let took = expect_failure(&mut caller, &invite, 480) - called_at;
    assert!((1800..15_000).contains(&took.as_millis()), "{took:?}");
    // too late for this call
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    bob.settle();
    assert_eq!(bob.count("INVITE"), 0);
    assert_quiet(&shipped);
}

#[test]
fn a_dead_token_ends_the_call_at_once_and_is_forgotten() {
    let shipped = Shipped::start("dead");
    shipped.register_token("bob", &apns_token(1), "ios");
    assert_eq!(shipped.token_status("bob"), 200);
    shipped.simulator.behave(&apns_token(1), json!([{ "status": 410, "reason": "Unregistered" }]));
    let mut caller = Phone::udp("alice", shipped.port());
    let called_at = Instant::now();
    let invite = caller.invite("bob");
    let took = expect_failure(&mut caller, &invite, 480) - called_at;
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!((shipped.token_status("bob"), shipped.simulator.pushes().len()), (404, 1));
    let invite = caller.invite("bob");
    expect_failure(&mut caller, &invite, 404);
    assert_nothing_left(&shipped);
}

#[test]
fn a_refused_credential_deletes_nothing_and_the_phone_may_still_come() {
    let shipped = Shipped::start("credential");
    shipped.register_token("bob", &apns_token(1), "ios");
    let refusal = json!([{ "times": 0, "status": 403, "reason": "InvalidProviderToken" }]);
    shipped.simulator.put("/behaviour/apns", &refusal);
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    talk(&mut caller, &invite, &mut bob);
    assert_eq!(shipped.token_status("bob"), 200);
}

#[test]
fn a_caller_who_hangs_up_gets_487_and_the_phone_that_wakes_later_is_not_called() {
    let shipped = Shipped::start("cancel");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    let cancel = caller.cancel(&invite);
    caller.expect_status(&cancel, 200);
    expect_failure(&mut caller, &invite, 487);
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    bob.settle();
    assert_eq!(bob.count("INVITE"), 0);
    assert_quiet(&shipped);
}

#[test]
fn a_caller_who_hangs_up_while_the_woken_phone_rings_stops_it() {
    let shipped = Shipped::start("cancel-ring");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    let ring = bob.expect_request("INVITE");
    bob.answer(&ring, 180);
    caller.expect_status(&invite, 180);
    let cancel = caller.cancel(&invite);
    caller.expect_status(&cancel, 200);
    let stop = bob.expect_request("CANCEL");
    bob.answer(&stop, 200);
    bob.answer(&ring, 487);
    bob.expect_request("ACK");
    expect_failure(&mut caller, &invite, 487);
    // another of his phones wakes later
    let mut tablet = Phone::tcp("bob", shipped.port());
    tablet.register();
    tablet.settle();
    assert_eq!(tablet.count("INVITE"), 0);
    assert_quiet(&shipped);
}

#[test]
fn a_phone_that_registers_before_the_push_is_answered_rings_once() {
    let shipped = Shipped::start("early");
    shipped.register_token("bob", &apns_token(1), "ios");
    for delay_ms in [0, 20, 300] {
        shipped.simulator.behave(&apns_token(1), json!([{ "delay_ms": delay_ms }]));
        let mut caller = Phone::udp("alice", shipped.port());
        let mut bob = Phone::tcp("bob", shipped.port());
        let invite = caller.invite("bob");
        caller.expect_status(&invite, 100);
        bob.register();
        talk(&mut caller, &invite, &mut bob);
        bob.settle();
        assert_eq!(bob.count("INVITE"), 1, "push answered after {delay_ms} ms");
        unregister(&mut bob);
    }
    assert_quiet(&shipped);
}

#[test]
fn a_phone_that_registers_at_the_very_moment_of_the_call_rings_once() {
    // Each of these phones is a new one that says nothing of who it is, so it would be told of the calls of those before.
    let config = vec![NOBODY_IS_LATE];
    let shipped = Shipped::with("moment", Setup { config, ..Setup::default() });
    shipped.register_token("bob", &apns_token(1), "ios");
    for round in 0..20 {
        let mut caller = Phone::udp("alice", shipped.port());
        let mut bob = Phone::tcp("bob", shipped.port());
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
    assert_quiet(&shipped);
}

#[test]
fn three_registrations_at_once_ring_the_phone_once() {
    let shipped = Shipped::start("three");
    shipped.register_token("bob", &apns_token(1), "ios");
    for round in 0..10 {
        let mut caller = Phone::udp("alice", shipped.port());
        let mut bob = Phone::udp("bob", shipped.port());
        let invite = caller.invite("bob");
        caller.expect_status(&invite, 100);
        let register = bob.register_request(600);
        // the app's second thread: the same contact under a Call-ID of its own
        let other = register.text.replace("Call-ID: reg-", "Call-ID: other-");
        for text in [&register.text, &register.text, &other] {
            bob.send(text.as_bytes());
        }
        talk(&mut caller, &invite, &mut bob);
        assert_eq!(
            (bob.count("INVITE"), caller.statuses(&invite)),
            (1, vec![100, 180, 200]),
            "round {round}"
        );
        unregister(&mut bob);
    }
    assert_quiet(&shipped);
}

#[test]
fn a_refused_registration_and_a_good_bye_wake_nobody() {
    let shipped = Shipped::start("refused");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    unregister(&mut bob);
    // a star takes all contacts away, and only that (RFC 3261 section 10.2.2)
    let star = bob.register_request(600);
    bob.send(star.text.replace(&format!("<{}>", bob.contact()), "*").as_bytes());
    assert!(bob.expect_final(&star).status() >= 400);
    bob.settle();
    assert!(shipped.kamailio.rpc(&["voip_push.stats"]).contains("woken_total: 0\n"));
    assert_eq!(bob.count("INVITE"), 0);
    bob.register();
    talk(&mut caller, &invite, &mut bob);
    assert_eq!(bob.count("INVITE"), 1);
}

#[test]
fn a_planned_stop_answers_the_calls_that_wait() {
    let shipped = Shipped::start("planned-stop");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut callers: Vec<Phone> = (0..3).map(|_| Phone::udp("alice", shipped.port())).collect();
    let invites: Vec<Sent> = callers.iter_mut().map(|caller| caller.invite("bob")).collect();
    let calls = || shipped.kamailio.rpc(&["voip_push.calls"]);
    poll(DEADLINE, || calls().contains("parked: 3").then_some(())).expect("they wait");
    let (status, log) = shipped.kamailio.stop();
    assert!(status.success(), "{status}\n{log}");
    for (caller, invite) in callers.iter_mut().zip(&invites) {
        assert_eq!(caller.expect_final(invite).status(), 503, "{log}");
    }
}

#[test]
fn a_phone_whose_connection_is_gone_joins_a_call_that_rings_at_a_desk() {
    let shipped = Shipped::start("stale-joins");
    shipped.register_token("bob", &apns_token(1), "ios");
    // a contact that does not change with the connection
    let fixed = "sip:bob@192.0.2.9:5060;transport=tcp";
    let register_as = |phone: &mut Phone| {
        let register = phone.register_request(600);
        phone
            .send(register.text.replace(&format!("<{}>", phone.contact()), &format!("<{fixed}>")).as_bytes());
        phone.expect_status(&register, 200);
    };
    let mut bob = Phone::tcp("bob", shipped.port());
    register_as(&mut bob);
    let port = bob.port();
    drop(bob);
    wait_until_closed(&shipped, port);
    let mut desk = Phone::udp("bob", shipped.port());
    desk.register();
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    let at_desk = desk.expect_request("INVITE");
    desk.answer(&at_desk, 180);
    caller.expect_status(&invite, 180);
    let mut awake = Phone::tcp("bob", shipped.port());
    register_as(&mut awake);
    let ring = awake.expect_request("INVITE");
    answer(&mut caller, &invite, &mut awake, &ring);
    let stop = desk.expect_request("CANCEL");
    desk.answer(&stop, 200);
    desk.answer(&at_desk, 487);
    desk.expect_request("ACK");
    assert_eq!((awake.count("INVITE"), desk.count("INVITE")), (1, 1));
    assert_nothing_left(&shipped);
}

#[test]
fn two_callers_both_reach_the_phone_that_wakes() {
    let shipped = Shipped::start("two");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut callers = [Phone::udp("alice", shipped.port()), Phone::udp("dave", shipped.port())];
    let invites = callers.each_mut().map(|caller| caller.invite("bob"));
    shipped.simulator.wait_for_pushes(0, 2);
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    for _ in 0..2 {
        let ring = bob.expect_request("INVITE");
        let which = invites.iter().position(|invite| ring.header("Call-ID") == Some(&invite.call_id));
        let which = which.expect("it is one of the two calls");
        answer(&mut callers[which], &invites[which], &mut bob, &ring);
    }
    bob.settle();
    assert_eq!((bob.count("INVITE"), shipped.simulator.pushes().len()), (2, 2));
}

#[test]
fn a_repeated_invite_is_no_second_push() {
    let shipped = Shipped::start("repeated");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    for _ in 0..3 {
        caller.send(invite.text.as_bytes());
        caller.expect_status(&invite, 100);
    }
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    talk(&mut caller, &invite, &mut bob);
    assert_eq!((bob.count("INVITE"), shipped.simulator.pushes().len()), (1, 1));
}

#[test]
fn all_phones_of_a_user_ring_and_the_others_stop_when_one_answers() {
    let shipped = Shipped::start("several");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    caller.expect_status(&invite, 100);
    let mut phones: Vec<Phone> = (0..3).map(|_| Phone::tcp("bob", shipped.port())).collect();
    let mut rings = Vec::new();
    for phone in &mut phones {
        phone.register();
        let ring = phone.expect_request("INVITE");
        phone.answer(&ring, 180);
        // a refresh is no second call
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
    assert_quiet(&shipped);
}

#[test]
fn a_contact_whose_connection_is_gone_is_pushed_to_and_rings_on_the_new_one() {
    let shipped = Shipped::start("stale");
    shipped.register_token("bob", &apns_token(1), "ios");
    // Another program, or another phone behind the same NAT, has the address that the phone had.
    let (mut bob, stranger) = Phone::tcp_before_stranger("bob", shipped.port());
    bob.register();
    let port = bob.port();
    drop(bob);
    wait_until_closed(&shipped, port);
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut awake = Phone::tcp("bob", shipped.port());
    awake.register();
    talk(&mut caller, &invite, &mut awake);
    assert_eq!(shipped.simulator.pushes().len(), 1);
    assert!(stranger.accept().is_err(), "the server has connected to the phone's old address");
}

#[test]
fn a_user_who_is_called_all_the_time_does_not_fill_the_memory() {
    let shipped = Shipped::start("flood");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let calls: Vec<Sent> = (0..8).map(|_| caller.invite("bob")).collect();
    shipped.simulator.wait_for_pushes(0, 8);
    for _ in 0..3 {
        let one_too_many = caller.invite("bob");
        expect_failure(&mut caller, &one_too_many, 480);
    }
    assert!(shipped.kamailio.rpc(&["voip_push.stats"]).contains("too_many_calls_total: 3"));
    assert_eq!(shipped.kamailio.log().matches("too many calls to one user").count(), 1);
    for call in &calls {
        let cancel = caller.cancel(call);
        caller.expect_status(&cancel, 200);
        expect_failure(&mut caller, call, 487);
    }
    // The sender counts calls out, some time after their callers have heard of it.
    let is_empty = || shipped.kamailio.rpc(&["voip_push.stats"]).contains("parked: 0\n").then_some(());
    poll(DEADLINE, is_empty).unwrap();
    let again = caller.invite("bob");
    caller.expect_status(&again, 100);
    shipped.simulator.wait_for_pushes(0, 9);
    assert_eq!(shipped.simulator.pushes().len(), 9);
}

#[test]
fn users_of_several_domains_are_told_apart() {
    let defines =
        vec![("WITH_MULTIDOMAIN", ""), ("SIP_DOMAIN", "\"sip.example.org\"\nalias=\"other.example.org\"")];
    let shipped = Shipped::with("domains", Setup { defines, ..Setup::default() });
    shipped.register_token("bob@other.example.org", &apns_token(1), "ios");
    shipped.register_token("bob@sip.example.org", &apns_token(2), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    assert_eq!(shipped.simulator.wait_for_pushes(0, 1)[0]["token"], apns_token(2));
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    talk(&mut caller, &invite, &mut bob);
}

#[test]
fn an_administrators_own_routes_see_branches_replies_and_failures() {
    let defines = vec![
        ("VOIP_PUSH_ON_BRANCH", "MY_BRANCH"),
        ("VOIP_PUSH_ON_REPLY", "MY_REPLY"),
        ("VOIP_PUSH_ON_FAILURE", "MY_FAILURE"),
    ];
    let routes = "route[MY_BRANCH] { append_hf(\"X-Mine: branch\\r\\n\"); }\n\
                  route[MY_REPLY] { append_hf(\"X-Mine: reply\\r\\n\"); }\n\
                  route[MY_FAILURE] { t_reply(\"603\", \"Mine\"); exit; }";
    let shipped = Shipped::with("hooks", Setup { defines, routes: routes.to_owned(), ..Setup::default() });
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let mut bob = Phone::tcp("bob", shipped.port());
    for asleep in [true, false] {
        let invite = caller.invite("bob");
        if asleep {
            caller.expect_status(&invite, 100);
            bob.register();
        }
        let ring = bob.expect_request("INVITE");
        assert_eq!(ring.header("X-Mine"), Some("branch"));
        bob.answer(&ring, 180);
        assert_eq!(caller.expect_status(&invite, 180).header("X-Mine"), Some("reply"));
        bob.answer(&ring, 486);
        bob.expect_request("ACK");
        expect_failure(&mut caller, &invite, 603);
    }
    assert_quiet(&shipped);
}

#[test]
fn who_wakes_nobody_can_be_sent_to_a_voice_mailbox() {
    let mailbox_port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = mailbox_port.local_addr().unwrap().port();
    let mut mailbox = Phone::on_socket("mailbox", mailbox_port);
    let setup = Setup {
        config: vec![("wake_seconds = 15", "wake_seconds = 1")],
        defines: vec![("VOIP_PUSH_ON_NOBODY", "MAILBOX")],
        routes: format!("route[MAILBOX] {{ $du = \"sip:127.0.0.1:{port}\"; if (t_relay()) exit; }}"),
        ..Setup::default()
    };
    let shipped = Shipped::with("mailbox", setup);
    mailbox.serves(shipped.port());
    shipped.register_token("bob", &apns_token(1), "ios");
    shipped.register_token("carol", &apns_token(2), "ios");
    shipped.simulator.behave(&apns_token(2), json!([{ "status": 410, "reason": "Unregistered" }]));
    for callee in ["bob", "carol"] {
        let mut caller = Phone::udp("alice", shipped.port());
        let invite = caller.invite(callee);
        let ring = mailbox.expect_request("INVITE");
        answer(&mut caller, &invite, &mut mailbox, &ring);
        assert_eq!(mailbox.count("INVITE"), 1);
        mailbox.seen.clear();
    }
    assert_nothing_left(&shipped);
}

/// The whole way in another Kamailio than the machine's own.
fn wake_a_phone_in(name: &str, installation: Installation) {
    let shipped = Shipped::with(name, Setup { installation: Some(installation), ..Setup::default() });
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut phones = [Phone::tcp("bob", shipped.port()), Phone::udp("bob", shipped.port())];
    let rings = phones.each_mut().map(|phone| {
        phone.register();
        let ring = phone.expect_request("INVITE");
        phone.answer(&ring, 180);
        ring
    });
    answer(&mut caller, &invite, &mut phones[0], &rings[0]);
    let stop = phones[1].expect_request("CANCEL");
    phones[1].answer(&stop, 200);
    phones[1].answer(&rings[1], 487);
    phones[1].expect_request("ACK");
    shipped.simulator.behave(&apns_token(2), json!([{ "status": 410, "reason": "Unregistered" }]));
    shipped.register_token("carol", &apns_token(2), "ios");
    let invite = caller.invite("carol");
    expect_failure(&mut caller, &invite, 480);
    assert_nothing_left(&shipped);
}

#[test]
fn kamailio_6_0_does_the_same() {
    wake_a_phone_in("trixie", debian::trixie());
}

#[test]
#[ignore = "Debian unstable moves: cargo test -- --ignored kamailio_6_1"]
fn kamailio_6_1_does_the_same() {
    wake_a_phone_in("sid", debian::sid());
}

/// The phone goes to sleep as a polite app does.
fn unregister(phone: &mut Phone) {
    let bye = phone.register_request(0);
    phone.send(bye.text.as_bytes());
    phone.expect_status(&bye, 200);
}

/// Kamailio has noticed that the connection from this port is gone.
fn wait_until_closed(shipped: &Shipped, port: u16) {
    let gone = || {
        let list = shipped.kamailio.rpc(&["core.tcp_list"]);
        (!list.contains(&format!("src_port: {port}"))).then_some(())
    };
    poll(DEADLINE, gone).expect("the server notices a closed connection");
}

/// No call is left behind, and nothing was worth a warning.
fn assert_quiet(shipped: &Shipped) {
    let log = shipped.kamailio.log();
    let is_loud = |line: &&str| line.contains("ERROR:") || line.contains("WARNING:");
    let loud: Vec<&str> = log.lines().filter(is_loud).collect();
    assert!(loud.is_empty(), "{loud:#?}");
    assert_nothing_left(shipped);
}

/// No call is left behind, with us or in tm.
fn assert_nothing_left(shipped: &Shipped) {
    let calls = || shipped.kamailio.rpc(&["voip_push.calls"]);
    let none = || calls().contains("parked: 0").then_some(());
    poll(DEADLINE, none).unwrap_or_else(|| panic!("{}", calls()));
    let stats = || shipped.kamailio.rpc(&["tm.stats"]);
    let all_freed = || {
        let stats = stats();
        let number =
            |name| stats.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().parse::<u32>().ok());
        (number("current:") == Some(0) && number("created:") == number("freed:")).then_some(())
    };
    poll(DEADLINE, all_freed).unwrap_or_else(|| panic!("{}", stats()));
}
