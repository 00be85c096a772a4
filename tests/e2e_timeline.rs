//! Why a phone did or did not ring: what `voip-push call` and `voip-push user` tell after real calls.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::process::{Command, Output};
use support::phone::Phone;
use support::shipped::{Setup, Shipped, apns_token};
use support::{DEADLINE, poll};

fn ask(shipped: &Shipped, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
    command.args(arguments).arg("--config").arg(shipped.simulator.config()).output().unwrap()
}

/// The timeline of a call, once it ends with these words.
fn timeline(shipped: &Shipped, call_id: &str, verdict: &str) -> String {
    let mut said = String::new();
    let found = poll(DEADLINE, || {
        let output = ask(shipped, &["call", call_id]);
        said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        said.trim_end().lines().last().filter(|line| line.contains(verdict)).map(|_| ())
    });
    assert!(found.is_some(), "{verdict} was not said:\n{said}");
    said
}

/// Each of these stands in a line of its own, in this order.
fn in_order(text: &str, expected: &[&str]) {
    let mut lines = text.lines();
    for part in expected {
        assert!(lines.any(|line| line.contains(part)), "{part} is missing, or too early, in\n{text}");
    }
}

#[test]
fn a_call_that_was_answered_is_told_step_by_step() {
    let shipped = Shipped::start("timeline");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    let ring = bob.expect_request("INVITE");
    bob.answer(&ring, 180);
    caller.expect_status(&invite, 180);
    bob.answer(&ring, 200);
    let ok = caller.expect_status(&invite, 200);
    caller.within("ACK", &invite, &ok);
    let told = timeline(&shipped, &invite.call_id, "A phone answered, ");
    in_order(
        &told,
        &[
            "  push          call to token(apns …0101)",
            "  held          for at most 15 s",
            "  REGISTER      a phone of the user is there",
            "  goes on       a phone has registered",
            "  INVITE        to 1 contact(s)",
            "  rings",
            "  answered",
        ],
    );
    in_order(&told, &["  pushed        call to token(apns …0101): accepted, 1 attempt(s), "]);
    assert!(!told.contains(&apns_token(1)), "{told}");
}

#[test]
fn a_phone_that_did_not_ring_has_its_reason() {
    let setup = Setup { config: vec![("wake_seconds = 15", "wake_seconds = 1")], ..Setup::default() };
    let shipped = Shipped::with("timeline-why", setup);
    shipped.register_token("bob", &apns_token(1), "ios");
    shipped.register_token("dora", &apns_token(2), "ios");
    shipped.simulator.behave(&apns_token(2), json!([{ "status": 410, "reason": "Unregistered" }]));
    let mut caller = Phone::udp("alice", shipped.port());
    let mut call = |user: &str| {
        let invite = caller.invite(user);
        let refused = caller.expect_final(&invite);
        assert_eq!(refused.status(), 480, "{refused:?}");
        caller.ack_failure(&invite, &refused);
        invite.call_id
    };
    let (to_bob, to_dora) = (call("bob"), call("dora"));
    let told = timeline(&shipped, &to_bob, "The push was accepted and no phone registered within ");
    in_order(
        &told,
        &["  held ", "  goes on       nobody has registered in time", "  ended         with 480"],
    );
    let told =
        timeline(&shipped, &to_dora, "Apple said that the token is dead; the app must register a new one");
    in_order(&told, &["  pushed        call to token(apns …0202): token_gone", "  ended         with 480"]);

    let about_dora = String::from_utf8(ask(&shipped, &["user", "dora"]).stdout).unwrap();
    let expected = ["dora has no device", &to_dora, "Apple said that the token is dead"];
    in_order(&about_dora, &expected);
    let about_bob = String::from_utf8(ask(&shipped, &["user", "bob"]).stdout).unwrap();
    in_order(&about_bob, &["bob has 1 device(s)", "token(apns …0101)", &to_bob, "no phone registered"]);
    assert!(!about_bob.contains(&apns_token(1)), "{about_bob}");
}

#[test]
fn a_caller_who_hangs_up_and_a_phone_that_comes_late_are_told() {
    let shipped = Shipped::start("timeline-late");
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    shipped.simulator.wait_for_pushes(0, 1);
    let cancel = caller.cancel(&invite);
    caller.expect_status(&cancel, 200);
    caller.expect_final(&invite);
    timeline(&shipped, &invite.call_id, "The caller hung up ");
    let mut bob = Phone::tcp("bob", shipped.port());
    bob.register();
    bob.expect_request("INVITE");
    let told = timeline(&shipped, &invite.call_id, "after the call was over: it woke too slowly");
    in_order(
        &told,
        &["  cancelled     by the caller", "  late          the phone is told that the call is over"],
    );
}

#[test]
fn what_nobody_knows_is_said_in_one_line() {
    let shipped = Shipped::start("timeline-none");
    for (arguments, expected) in [
        (["call", "nothing"], "timeline.db does not exist: no call was pushed for yet"),
        (["user", ""], "user: "),
    ] {
        let output = ask(&shipped, &arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn nothing_is_kept_where_nothing_is_to_be_kept() {
    let setup = Setup {
        config: vec![("wake_seconds = 15", "wake_seconds = 1\n[timeline]\nkeep_hours = 0")],
        ..Setup::default()
    };
    let shipped = Shipped::with("timeline-off", setup);
    shipped.register_token("bob", &apns_token(1), "ios");
    let mut caller = Phone::udp("alice", shipped.port());
    let invite = caller.invite("bob");
    let refused = caller.expect_final(&invite);
    caller.ack_failure(&invite, &refused);
    let said = String::from_utf8(ask(&shipped, &["call", &invite.call_id]).stderr).unwrap();
    assert!(said.contains("no timelines are kept: [timeline] keep_hours is 0"), "{said}");
    assert!(!shipped.simulator.config().with_file_name("timeline.db").exists());
}
