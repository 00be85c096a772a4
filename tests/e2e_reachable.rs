//! Phones that need no push, since they are there: what they, their callers and the push service see, through the shipped configuration.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::time::{Duration, Instant};
use support::debian;
use support::phone::{Message, Phone, Sent};
use support::shipped::{Setup, Shipped, apns_token, fcm_token};
use support::{DEADLINE, poll};

const PROVISIONAL: Duration = Duration::from_millis(600);

/// Phones may say nothing for [`PROVISIONAL`].
fn start(name: &str, more: &'static str) -> Shipped {
    let config = vec![("[log]", more)];
    Shipped::with(name, Setup { config, ..Setup::default() })
}

const DEFAULT: &str = "[reachable]\nprovisional_ms = 600\n[log]";

/// The phone is answered, and the caller hangs up.
fn talk(caller: &mut Phone, invite: &Sent, phone: &mut Phone, ring: &Message) {
    phone.answer(ring, 200);
    let ok = caller.expect_status(invite, 200);
    caller.within("ACK", invite, &ok);
    phone.expect_request("ACK");
    let bye = caller.within("BYE", invite, &ok);
    let end = phone.expect_request("BYE");
    phone.answer(&end, 200);
    caller.expect_status(&bye, 200);
}

fn stat(shipped: &Shipped, name: &str) -> u64 {
    let stats = shipped.kamailio.rpc(&["voip_push.stats"]);
    let line = stats.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{name} is not in {stats}")).parse().unwrap()
}

fn assert_quiet(shipped: &Shipped) {
    let log = shipped.kamailio.log();
    // tm of 6.1 says so of the CANCELs here; nothing is left behind.
    let is_known = |line: &&str| line.contains("dropping orphaned transaction") && line.contains("{CANCEL ");
    let is_loud = |line: &&str| line.contains("ERROR:") || line.contains("WARNING:");
    let loud: Vec<&str> = log.lines().filter(|line| is_loud(line) && !is_known(line)).collect();
    assert!(loud.is_empty(), "{loud:#?}");
}

#[test]
fn a_phone_that_is_there_rings_at_once_and_is_never_pushed_to() {
    let shipped = start("live", DEFAULT);
    shipped.register_token("carol", &fcm_token(1), "android");
    shipped.register_token("bob", &apns_token(1), "ios");
    for callee in ["carol", "bob"] {
        let mut phone = Phone::tcp(callee, shipped.port());
        phone.register();
        let mut caller = Phone::udp("alice", shipped.port());
        let invite = caller.invite(callee);
        let ring = phone.expect_request("INVITE");
        phone.answer(&ring, 180);
        caller.expect_status(&invite, 180);
        // it rings for longer than a phone may say nothing
        caller.pause(2 * PROVISIONAL);
        talk(&mut caller, &invite, &mut phone, &ring);
        phone.settle();
        assert_eq!(phone.count("INVITE"), 1);
    }
    assert!(shipped.simulator.pushes().is_empty(), "{:?}", shipped.simulator.pushes());
    assert_eq!((stat(&shipped, "spared_total"), stat(&shipped, "silent_total")), (2, 0));
    assert_quiet(&shipped);
}

#[test]
fn a_phone_that_seems_to_be_there_and_says_nothing_is_pushed_to_and_rings_when_it_comes() {
    let shipped = start("frozen", DEFAULT);
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut frozen = Phone::tcp("bob", shipped.port());
    frozen.register();
    let mut caller = Phone::udp("alice", shipped.port());
    let called_at = Instant::now();
    let invite = caller.invite("bob");
    // its connection takes the INVITE, and the app does not run
    let unheard = frozen.expect_request("INVITE");
    assert!(shipped.simulator.pushes().is_empty());
    let push = &shipped.simulator.wait_for_pushes(0, 1)[0];
    let took = called_at.elapsed();
    assert!((PROVISIONAL..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert_eq!(push["payload"]["call_id"], invite.call_id.as_str());
    let mut awake = Phone::tcp("bob", shipped.port());
    awake.register();
    let ring = awake.expect_request("INVITE");
    awake.answer(&ring, 180);
    caller.expect_status(&invite, 180);
    // its old self hears of the call, too, and that it was answered
    frozen.answer(&unheard, 180);
    talk(&mut caller, &invite, &mut awake, &ring);
    let stop = frozen.expect_request("CANCEL");
    frozen.answer(&stop, 200);
    frozen.answer(&unheard, 487);
    frozen.expect_request("ACK");
    assert_eq!((awake.count("INVITE"), shipped.simulator.pushes().len()), (1, 1));
    assert_eq!((stat(&shipped, "spared_total"), stat(&shipped, "silent_total")), (1, 1));
    assert_quiet(&shipped);
}

/// Registers as the phone of an instance (RFC 5626), which the registrar knows by it on whatever connection it comes.
fn register_instance(phone: &mut Phone) {
    let mut sent = phone.register_request(600);
    let plain = format!("Contact: <{}>", phone.contact());
    let with = format!("{plain};+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"");
    sent.text = sent.text.replace(&plain, &with);
    phone.send(sent.text.as_bytes());
    phone.expect_status(&sent, 200);
}

#[test]
fn a_phone_that_the_registrar_knows_by_its_instance_rings_on_its_new_connection() {
    let shipped = start("instance", DEFAULT);
    shipped.register_token("bob", &apns_token(1), "ios");
    // Its network has gone, and nobody has told the server.
    let mut gone = Phone::tcp("bob", shipped.port());
    register_instance(&mut gone);
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    gone.expect_request("INVITE");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut back = Phone::tcp("bob", shipped.port());
    register_instance(&mut back);
    let ring = back.expect_request("INVITE");
    // The same place again, while it rings: once is enough.
    register_instance(&mut back);
    back.answer(&ring, 180);
    caller.expect_status(&invite, 180);
    talk(&mut caller, &invite, &mut back, &ring);
    assert_eq!((back.count("INVITE"), gone.count("INVITE"), shipped.simulator.pushes().len()), (1, 1, 1));
}

#[test]
fn a_call_that_ends_before_a_silent_phone_is_doubted_is_never_pushed() {
    let shipped = start("brief", DEFAULT);
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut frozen = Phone::tcp("bob", shipped.port());
    frozen.register();
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    frozen.expect_request("INVITE");
    let cancel = caller.cancel(&invite);
    caller.expect_status(&cancel, 200);
    caller.pause(2 * PROVISIONAL);
    assert!(shipped.simulator.pushes().is_empty());
}

#[test]
fn an_iphone_that_registered_too_long_ago_is_called_and_pushed_to_at_once() {
    let shipped = start("interval", "[reachable]\nios_seconds = 0\nprovisional_ms = 10000\n[log]");
    shipped.register_token("bob", &apns_token(1), "ios");
    shipped.register_token("carol", &fcm_token(1), "android");
    for (callee, pushes) in [("bob", 1), ("carol", 1)] {
        let mut phone = Phone::tcp(callee, shipped.port());
        phone.register();
        let mut caller = Phone::udp("alice", shipped.port());
        let invite = caller.invite(callee);
        let ring = phone.expect_request("INVITE");
        phone.answer(&ring, 180);
        assert_eq!(shipped.simulator.wait_for_pushes(0, pushes).len(), pushes);
        talk(&mut caller, &invite, &mut phone, &ring);
    }
    assert_eq!(shipped.simulator.pushes()[0]["token"], apns_token(1));
}

/// Registers as an iPhone with the token and the instance of this number (RFC 8599).
fn register(shipped: &Shipped, phone: &mut Phone, number: u8) {
    let fact = |name| shipped.simulator.fact(name);
    let token = apns_token(number);
    let param = format!("{}.{}", fact("team_id"), fact("topic"));
    let uri_params = format!(";pn-provider=apns;pn-param={param};pn-prid={token}");
    let mut sent = phone.register_request(600);
    let contact = format!("<{}>", phone.contact());
    let with = format!("<{}{uri_params}>;+sip.instance=\"<urn:uuid:{number}>\"", phone.contact());
    sent.text = sent.text.replace(&contact, &with);
    phone.send(sent.text.as_bytes());
    phone.expect_status(&sent, 200);
    phone.settle();
}

#[test]
fn of_several_phones_that_seem_to_be_there_only_the_silent_one_is_pushed_to() {
    only_the_silent_one_is_pushed_to(&start("several-live", DEFAULT));
}

#[test]
fn kamailio_6_0_does_the_same() {
    let setup =
        Setup { config: vec![("[log]", DEFAULT)], installation: Some(debian::trixie()), ..Setup::default() };
    only_the_silent_one_is_pushed_to(&Shipped::with("several-trixie", setup));
}

#[test]
#[ignore = "Debian unstable moves: cargo test -- --ignored kamailio_6_1"]
fn kamailio_6_1_does_the_same() {
    let setup =
        Setup { config: vec![("[log]", DEFAULT)], installation: Some(debian::sid()), ..Setup::default() };
    only_the_silent_one_is_pushed_to(&Shipped::with("several-sid", setup));
}

fn only_the_silent_one_is_pushed_to(shipped: &Shipped) {
    let mut phones: Vec<Phone> = (0..3).map(|_| Phone::tcp("bob", shipped.port())).collect();
    for (number, phone) in (1..).zip(&mut phones) {
        register(shipped, phone, number);
    }
    let mut caller = Phone::udp("alice", shipped.port());
    for silent in 0..3_u8 {
        let before = shipped.simulator.pushes().len();
        let invite = caller.invite("bob");
        let rings: Vec<Message> = phones.iter_mut().map(|phone| phone.expect_request("INVITE")).collect();
        let answering = |at: &usize| *at != usize::from(silent);
        for at in (0..3).filter(answering) {
            phones[at].answer(&rings[at], 180);
        }
        let pushes = shipped.simulator.wait_for_pushes(0, before + 1);
        assert_eq!(pushes[before]["token"], apns_token(silent + 1));
        caller.pause(PROVISIONAL);
        assert_eq!(shipped.simulator.pushes().len(), before + 1);
        let cancel = caller.cancel(&invite);
        caller.expect_status(&cancel, 200);
        phones[usize::from(silent)].answer(&rings[usize::from(silent)], 180);
        for (phone, ring) in phones.iter_mut().zip(&rings) {
            let stop = phone.expect_request("CANCEL");
            phone.answer(&stop, 200);
            phone.answer(ring, 487);
            phone.expect_request("ACK");
        }
        let refused = caller.expect_status(&invite, 487);
        caller.ack_failure(&invite, &refused);
    }
    assert_quiet(shipped);
}

#[test]
fn a_sleeping_phone_is_woken_while_the_desk_phone_rings() {
    let shipped = start("desk", DEFAULT);
    // his iPhone has handed in its token with REGISTER, and sleeps
    let mut iphone = Phone::tcp("bob", shipped.port());
    register(&shipped, &mut iphone, 1);
    let port = iphone.port();
    drop(iphone);
    poll(DEADLINE, || {
        (!shipped.kamailio.rpc(&["core.tcp_list"]).contains(&format!("src_port: {port}"))).then_some(())
    })
    .expect("the server notices a closed connection");
    let mut desk = Phone::tcp("bob", shipped.port());
    desk.register();
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    let at_desk = desk.expect_request("INVITE");
    desk.answer(&at_desk, 180);
    let pushes = shipped.simulator.wait_for_pushes(0, 1);
    assert_eq!((&pushes[0]["token"], &pushes[0]["status"]), (&json!(apns_token(1)), &json!(200)));
    let mut awake = Phone::tcp("bob", shipped.port());
    register(&shipped, &mut awake, 1);
    let ring = awake.expect_request("INVITE");
    awake.answer(&ring, 180);
    talk(&mut caller, &invite, &mut awake, &ring);
    let stop = desk.expect_request("CANCEL");
    desk.answer(&stop, 200);
    desk.answer(&at_desk, 487);
    desk.expect_request("ACK");
    // it is awake now, and is called without a push
    let invite = caller.invite("bob");
    let ring = awake.expect_request("INVITE");
    awake.answer(&ring, 180);
    talk(&mut caller, &invite, &mut awake, &ring);
    caller.pause(2 * PROVISIONAL);
    assert_eq!(shipped.simulator.pushes().len(), 1);
    assert_quiet(&shipped);
}

#[test]
fn a_phone_on_udp_is_called_and_pushed_to_at_once() {
    let shipped = start("udp", DEFAULT);
    shipped.register_token("carol", &fcm_token(1), "android");
    let mut carol = Phone::udp("carol", shipped.port());
    carol.register();
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("carol");
    let ring = carol.expect_request("INVITE");
    carol.answer(&ring, 180);
    shipped.simulator.wait_for_pushes(0, 1);
    talk(&mut caller, &invite, &mut carol, &ring);
    assert_eq!(stat(&shipped, "spared_total"), 0);
}

#[test]
fn a_silent_phone_is_pushed_to_for_a_message_too_and_gets_it_once() {
    let shipped = start("frozen-message", DEFAULT);
    shipped.register_token("carol", &fcm_token(1), "android");
    let mut frozen = Phone::tcp("carol", shipped.port());
    frozen.register();
    let mut sender = Phone::udp("alice", shipped.port());
    let sent = sender.message("carol", "Hello");
    frozen.expect_request("MESSAGE");
    let push = &shipped.simulator.wait_for_pushes(0, 1)[0];
    assert_eq!(push["payload"]["message"]["data"]["type"], "message");
    let mut awake = Phone::tcp("carol", shipped.port());
    awake.register();
    let message = awake.expect_request("MESSAGE");
    awake.answer_with(&message, 200, "");
    sender.expect_status(&sent, 200);
    assert_eq!((awake.count("MESSAGE"), sender.statuses(&sent)), (1, vec![200]));
}
