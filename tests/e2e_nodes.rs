//! Two nodes that share their users: what caller and phone see when the call is at one of them and the phone at the other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};
use support::nodes::Nodes;
use support::phone::{Message, Phone, Sent};
use support::shipped::{NOBODY_IS_LATE, apns_token, fcm_token};
use support::{DEADLINE, poll};

/// The phone rings, is answered, and the caller hangs up.
fn talk(caller: &mut Phone, invite: &Sent, phone: &mut Phone) -> Message {
    let ring = phone.expect_request("INVITE");
    phone.answer(&ring, 180);
    caller.expect_status(invite, 180);
    phone.answer(&ring, 200);
    let ok = caller.expect_status(invite, 200);
    caller.within("ACK", invite, &ok);
    phone.expect_request("ACK");
    let bye = caller.within("BYE", invite, &ok);
    let end = phone.expect_request("BYE");
    phone.answer(&end, 200);
    caller.expect_status(&bye, 200);
    ring
}

#[test]
fn a_phone_that_is_registered_at_the_other_node_rings() {
    let nodes = Nodes::start("nodes-ring", &[]);
    for phone in [Phone::udp_at, Phone::tcp_at] {
        let mut bob = phone("bob", nodes.address(1));
        bob.register();
        let there = || {
            let mut caller = Phone::udp_at("alice", nodes.address(0));
            let invite = caller.invite("bob");
            let answer = caller.expect_any();
            (answer.status() == 100).then_some((caller, invite))
        };
        let (mut caller, invite) = poll(DEADLINE, there).expect("the contact is known at the other node");
        talk(&mut caller, &invite, &mut bob);
        let bye = bob.register_request(0);
        bob.send(bye.text.as_bytes());
        bob.expect_status(&bye, 200);
        let gone = || nodes.kamailios[0].rpc(&["ul.dump"]).contains("bob").then_some(());
        poll(DEADLINE, || gone().is_none().then_some(())).expect("the contact is gone at the other node");
    }
}

/// alice calls bob at this node, and waits.
fn call(nodes: &Nodes, node: usize) -> (Phone, Sent) {
    let mut caller = Phone::udp_at("alice", nodes.address(node));
    let invite = caller.invite("bob");
    caller.expect_status(&invite, 100);
    (caller, invite)
}

fn unregister(phone: &mut Phone) {
    let bye = phone.register_request(0);
    phone.send(bye.text.as_bytes());
    phone.expect_status(&bye, 200);
}

/// Both nodes have forgotten all contacts.
fn wait_until_forgotten(nodes: &Nodes) {
    for kamailio in &nodes.kamailios {
        let is_gone = || (!kamailio.rpc(&["ul.dump"]).contains("sip:bob@")).then_some(());
        poll(DEADLINE, is_gone).expect("the contact goes");
    }
}

/// Nothing is left of any call, and nothing was worth a warning.
fn assert_quiet(nodes: &Nodes) {
    for kamailio in &nodes.kamailios {
        let facts = || ["voip_push.calls", "tm.stats"].map(|name| kamailio.rpc(&[name]));
        let is_idle = || {
            let [calls, tm] = facts();
            (calls.contains("parked: 0") && tm.contains("current: 0")).then_some(())
        };
        poll(DEADLINE, is_idle).unwrap_or_else(|| panic!("something is left: {:?}", facts()));
        let log = kamailio.log();
        let loud = log.lines().filter(|line| line.contains(" ERROR:") || line.contains(" WARNING:"));
        let loud: Vec<&str> = loud.collect();
        assert!(loud.is_empty(), "{loud:#?}");
    }
}

#[test]
fn a_call_that_waits_at_one_node_rings_when_its_phone_registers_at_the_other() {
    let nodes = Nodes::start("nodes-wake", &[]);
    nodes.register_token("bob", &apns_token(1), "ios");
    for (number, phone) in [Phone::udp_at, Phone::tcp_at].into_iter().enumerate() {
        let (mut caller, invite) = call(&nodes, 0);
        nodes.simulator.wait_for_pushes(0, number + 1);
        let mut bob = phone("bob", nodes.address(1));
        bob.register();
        talk(&mut caller, &invite, &mut bob);
        assert_eq!((bob.count("INVITE"), caller.statuses(&invite)), (1, vec![100, 180, 200]));
        unregister(&mut bob);
        wait_until_forgotten(&nodes);
        // no word of this phone, which has gone, is to be told again to the next call
        caller.pause(Duration::from_millis(900));
    }
    assert_eq!(nodes.simulator.pushes().len(), 2);
    assert_eq!(stat(&nodes, 0, "node_wakes_heard_total"), 2);
    assert_quiet(&nodes);
}

/// A number of a node's statistics.
fn stat(nodes: &Nodes, node: usize, name: &str) -> u64 {
    let stats = nodes.kamailios[node].rpc(&["voip_push.stats"]);
    let value = stats.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {stats}"))
}

#[test]
fn word_of_a_phone_that_comes_before_its_contact_is_told_again() {
    let nodes = Nodes::start("nodes-overtakes", &[]);
    nodes.register_token("bob", &apns_token(1), "ios");
    let (mut caller, invite) = call(&nodes, 0);
    nodes.simulator.wait_for_pushes(0, 1);
    let halted = Halted::new(nodes.kamailios[0].rpc(&["core.psx"]), "dmq");
    let mut bob = Phone::tcp_at("bob", nodes.address(1));
    bob.register();
    let waits_again = || (stat(&nodes, 0, "parked_total") >= 2).then_some(());
    poll(DEADLINE, waits_again).expect("it has gone on, has found nobody, and waits again");
    drop(halted);
    talk(&mut caller, &invite, &mut bob);
    caller.pause(Duration::from_millis(900));
    assert_eq!((bob.count("INVITE"), caller.statuses(&invite)), (1, vec![100, 180, 200]));
    assert_quiet(&nodes);
}

#[test]
fn a_second_phone_that_nobody_names_rings_when_its_contact_comes_after_word_of_it() {
    let nodes = Nodes::start("nodes-nameless", &[]);
    nodes.register_token("bob", &apns_token(1), "ios");
    // The other node hears of the call when the phone there has registered, and cannot say who that was.
    let processes = |node: usize| nodes.kamailios[node].rpc(&["core.psx"]);
    let deaf = Halted::new(processes(1), "voip_push sender");
    let (mut caller, invite) = call(&nodes, 0);
    nodes.simulator.wait_for_pushes(0, 1);
    let halted = Halted::new(processes(0), "dmq");
    let mut bobs = [1, 0].map(|node| Phone::tcp_at("bob", nodes.address(node)));
    bobs.iter_mut().for_each(Phone::register);
    let [there, here] = &mut bobs;
    let first = here.expect_request("INVITE");
    here.answer(&first, 180);
    drop(deaf);
    let is_heard = || (stat(&nodes, 0, "node_wakes_heard_total") >= 1).then_some(());
    poll(DEADLINE, is_heard).expect("somebody has registered there");
    drop(halted);
    let second = there.expect_request("INVITE");
    there.answer(&second, 200);
    let ok = caller.expect_status(&invite, 200);
    caller.within("ACK", &invite, &ok);
    let stop = here.expect_request("CANCEL");
    here.answer(&stop, 200);
    here.answer(&first, 487);
    caller.pause(Duration::from_millis(900));
    assert_eq!(bobs.each_mut().map(|phone| phone.count("INVITE")), [1, 1]);
    assert_quiet(&nodes);
}

/// Processes of a Kamailio that stand still until this value goes.
struct Halted(Vec<libc::pid_t>);

impl Halted {
    /// Those whose description has this text, by what `core.psx` says.
    fn new(processes: String, text: &str) -> Halted {
        let lines: Vec<&str> = processes.lines().map(str::trim).collect();
        let pid = |pair: &[&str]| {
            let is_it = pair[1].strip_prefix("DSC: ").is_some_and(|name| name.to_lowercase().contains(text));
            is_it.then(|| pair[0].strip_prefix("PID: ")?.parse().ok()).flatten()
        };
        let pids: Vec<libc::pid_t> = lines.windows(2).filter_map(pid).collect();
        assert!(!pids.is_empty(), "no {text} in {processes}");
        let halted = Halted(pids);
        halted.signal(libc::SIGSTOP);
        halted
    }

    fn signal(&self, signal: libc::c_int) {
        for pid in &self.0 {
            // SAFETY: sends a signal to a process of the Kamailio that this test has started.
            unsafe { libc::kill(*pid, signal) };
        }
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        self.signal(libc::SIGCONT);
    }
}

#[test]
fn calls_that_wait_at_both_nodes_ring_when_the_phone_registers_at_one() {
    let nodes = Nodes::start("nodes-both", &[]);
    nodes.register_token("bob", &apns_token(1), "ios");
    let (mut here, to_here) = call(&nodes, 0);
    let (mut there, to_there) = call(&nodes, 1);
    nodes.simulator.wait_for_pushes(0, 2);
    let mut bob = Phone::tcp_at("bob", nodes.address(1));
    bob.register();
    let rings = [bob.expect_request("INVITE"), bob.expect_request("INVITE")];
    for ring in &rings {
        bob.answer(ring, 486);
    }
    for (caller, invite) in [(&mut here, &to_here), (&mut there, &to_there)] {
        let busy = caller.expect_final(invite);
        assert_eq!(busy.status(), 486);
        caller.ack_failure(invite, &busy);
    }
    bob.pause(Duration::from_millis(900));
    assert_eq!(bob.count("INVITE"), 2, "each call once");
    assert_quiet(&nodes);
}

/// Every phone has had every call, so none is told of one later.
fn assert_nobody_was_late(nodes: &Nodes) {
    for kamailio in &nodes.kamailios {
        let log = kamailio.log();
        assert!(!log.contains("late call_id="), "{log}");
    }
}

#[test]
fn two_phones_that_register_at_both_nodes_at_once_ring_once_each() {
    let nodes = Nodes::start("nodes-two", &[]);
    nodes.register_token("bob", &apns_token(1), "ios");
    for round in 0..6 {
        let (mut caller, invite) = call(&nodes, round % 2);
        let mut phones = [Phone::tcp_at("bob", nodes.address(0)), Phone::tcp_at("bob", nodes.address(1))];
        for phone in &mut phones {
            let register = phone.register_request(600);
            phone.send(register.text.as_bytes());
        }
        let rings = phones.each_mut().map(|phone| phone.expect_request("INVITE"));
        for (phone, ring) in phones.iter_mut().zip(&rings) {
            phone.answer(ring, 180);
        }
        let [first, second] = &mut phones;
        first.answer(&rings[0], 200);
        let ok = caller.expect_status(&invite, 200);
        caller.within("ACK", &invite, &ok);
        let stop = second.expect_request("CANCEL");
        second.answer(&stop, 200);
        second.answer(&rings[1], 487);
        second.expect_request("ACK");
        first.pause(Duration::from_millis(300));
        assert_eq!(phones.each_mut().map(|phone| phone.count("INVITE")), [1, 1], "round {round}");
        phones.iter_mut().for_each(unregister);
        wait_until_forgotten(&nodes);
    }
    assert_nobody_was_late(&nodes);
}

#[test]
fn a_phone_that_registers_at_the_other_node_at_the_very_moment_of_the_call_rings_once() {
    // Each of these phones is a new one that says nothing of who it is, so it would be told of the calls of those before.
    let nodes = Nodes::start("nodes-moment", &[NOBODY_IS_LATE]);
    nodes.register_token("bob", &apns_token(1), "ios");
    for round in 0..20 {
        let mut caller = Phone::udp_at("alice", nodes.address(0));
        let mut bob = Phone::tcp_at("bob", nodes.address(1));
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
        wait_until_forgotten(&nodes);
    }
}

#[test]
fn a_caller_who_hangs_up_while_the_phone_registers_elsewhere_gets_one_end() {
    let nodes = Nodes::start("nodes-cancel", &[]);
    nodes.register_token("bob", &apns_token(1), "ios");
    for round in 0..12 {
        let (mut caller, invite) = call(&nodes, 0);
        let mut bob = Phone::tcp_at("bob", nodes.address(1));
        let register = bob.register_request(600);
        bob.send(register.text.as_bytes());
        caller.pause(Duration::from_micros(700 * round));
        caller.cancel(&invite);
        let mut is_over = false;
        // the call may reach the phone when its caller has his end already, and is cancelled there once it rings
        let end = || {
            answer_what_comes(&mut bob);
            caller.pause(Duration::from_millis(5));
            is_over |= caller.statuses(&invite).iter().any(|status| *status >= 200);
            (is_over && bob.count("INVITE") == bob.count("CANCEL")).then_some(())
        };
        poll(DEADLINE, end).unwrap_or_else(|| panic!("round {round}: {:#?}", bob.seen));
        // a phone that the call did not reach is told that it is over, and no other one
        let told_at = Instant::now();
        while told_at.elapsed() < Duration::from_millis(450) {
            answer_what_comes(&mut bob);
        }
        let ends: Vec<u16> = caller.statuses(&invite).into_iter().filter(|status| *status >= 200).collect();
        assert_eq!(ends, [487], "round {round}");
        let refused = caller.expect_final(&invite);
        caller.ack_failure(&invite, &refused);
        let counts = (bob.count("INVITE"), bob.count("CANCEL"));
        let seen: Vec<&str> = bob.seen.iter().map(|message| message.start.as_str()).collect();
        assert!(counts.0 <= 1 && counts.0 == counts.1, "round {round}: {counts:?} {seen:#?}");
        unregister(&mut bob);
        wait_until_forgotten(&nodes);
    }
}

/// Rings where it is called, and ends where it is cancelled.
fn answer_what_comes(phone: &mut Phone) {
    phone.pause(Duration::from_millis(2));
    for request in phone.take_all().into_iter().filter(|message| message.status() == 0) {
        match request.method() {
            "INVITE" => phone.answer(&request, 180),
            "CANCEL" => {
                phone.answer(&request, 200);
                let rung = phone.seen.iter().find(|seen| seen.is_request("INVITE")).cloned();
                phone.answer(&rung.expect("who is cancelled was called"), 487);
            }
            _ => {}
        }
    }
}

#[test]
fn a_phone_that_registers_elsewhere_when_the_time_is_over_rings_or_the_caller_is_told() {
    let nodes = Nodes::start("nodes-timeout", &[("wake_seconds = 15", "wake_seconds = 1")]);
    nodes.register_token("bob", &apns_token(1), "ios");
    for late_by in [0, 4, 8, 12] {
        let (mut caller, invite) = call(&nodes, 0);
        caller.pause(Duration::from_millis(990 + late_by));
        let mut bob = Phone::tcp_at("bob", nodes.address(1));
        let register = bob.register_request(600);
        bob.send(register.text.as_bytes());
        caller.pause(Duration::from_millis(200));
        if bob.count("INVITE") > 0 {
            talk(&mut caller, &invite, &mut bob);
        } else {
            let refused = caller.expect_final(&invite);
            assert_eq!(refused.status(), 480);
            caller.ack_failure(&invite, &refused);
        }
        assert!(bob.count("INVITE") <= 1, "{late_by}");
        unregister(&mut bob);
        wait_until_forgotten(&nodes);
    }
}

#[test]
fn a_call_that_comes_to_both_nodes_is_pushed_once() {
    let nodes = Nodes::start("nodes-once", &[]);
    nodes.register_token("bob", &fcm_token(1), "android");
    for round in 0..4 {
        let mut callers = [0, 1].map(|node| Phone::udp_at("alice", nodes.address(node)));
        let (first, second) = callers.split_at_mut(1);
        // a load balancer that has tried the other node as well
        let invite = first[0].invite_request("bob");
        let again = second[0].strange_invite("bob", "<sip:alice@sip.example.org>", &invite.call_id);
        first[0].send(invite.text.as_bytes());
        second[0].send(again.text.as_bytes());
        first[0].expect_status(&invite, 100);
        second[0].expect_status(&again, 100);
        let pushed = || {
            (stat(&nodes, 0, "pushed_elsewhere_total") + stat(&nodes, 1, "pushed_elsewhere_total") > round)
                .then_some(())
        };
        poll(DEADLINE, pushed).expect("one of them leaves it to the other");
        let pushes = nodes.simulator.wait_for_pushes(0, 2 * round as usize + 1);
        assert_eq!(pushes.len(), 2 * round as usize + 1, "{pushes:?}");
        // both hang up; whoever has pushed tells the phone, once
        for (caller, invite) in callers.iter_mut().zip([&invite, &again]) {
            caller.cancel(invite);
            let refused = caller.expect_final(invite);
            assert!(refused.status() == 200 || refused.status() == 487);
        }
        let pushes = nodes.simulator.wait_for_pushes(0, 2 * round as usize + 2);
        let [.., called, ended] = &pushes[..] else { panic!("{pushes:?}") };
        let data = |push: &serde_json::Value| push["payload"]["message"]["data"].clone();
        assert_eq!(
            (&data(ended)["type"], &data(ended)["call_id"]),
            (&json!("cancel"), &data(called)["call_id"])
        );
    }
}

#[test]
fn the_node_that_has_not_pushed_lets_the_other_one_tell_the_phone_that_the_call_is_over() {
    let nodes = Nodes::start("nodes-tell", &[]);
    nodes.register_token("bob", &fcm_token(1), "android");
    let (mut first, invite) = call(&nodes, 0);
    nodes.simulator.wait_for_pushes(0, 1);
    let mut second = Phone::udp_at("alice", nodes.address(1));
    let again = second.strange_invite("bob", "<sip:alice@sip.example.org>", &invite.call_id);
    second.send(again.text.as_bytes());
    poll(DEADLINE, || (stat(&nodes, 1, "pushed_elsewhere_total") == 1).then_some(()))
        .expect("the other has pushed");
    second.cancel(&again);
    let pushes = nodes.simulator.wait_for_pushes(0, 2);
    assert_eq!(pushes[1]["payload"]["message"]["data"]["type"], "cancel", "{pushes:?}");
    // the first node's call waits on, and rings at whoever comes
    let mut bob = Phone::tcp_at("bob", nodes.address(1));
    bob.register();
    talk(&mut first, &invite, &mut bob);
    assert_eq!(bob.count("INVITE"), 1);
}

#[test]
fn a_call_rings_after_the_engine_was_away() {
    let mut nodes = Nodes::start("nodes-away", &[]);
    nodes.register_token("bob", &apns_token(1), "ios");
    let (mut caller, invite) = call(&nodes, 0);
    nodes.simulator.wait_for_pushes(0, 1);
    let others_know = || (stat(&nodes, 1, "node_words_heard_total") >= 1).then_some(());
    poll(DEADLINE, others_know).expect("the other node knows that the call waits");
    nodes.engine.kill();
    let mut bob = Phone::tcp_at("bob", nodes.address(1));
    bob.register();
    // a call at the phone's own node needs no engine
    let (mut local, to_local) = call(&nodes, 1);
    talk(&mut local, &to_local, &mut bob);
    assert_eq!(bob.count("INVITE"), 1, "the call at the other node waits");
    nodes.engine.restart();
    talk(&mut caller, &invite, &mut bob);
    assert_eq!((bob.count("INVITE"), stat(&nodes, 0, "node_reconnects_total")), (2, 1));
}

#[test]
fn a_phone_that_registers_elsewhere_when_the_call_is_over_is_told_so() {
    let nodes = Nodes::start("nodes-late", &[]);
    nodes.register_token("bob", &apns_token(1), "ios");
    let (mut caller, invite) = call(&nodes, 0);
    nodes.simulator.wait_for_pushes(0, 1);
    let accepted = || nodes.kamailios[0].log().contains("outcome=accepted").then_some(());
    poll(DEADLINE, accepted).expect("it is pushed");
    caller.cancel(&invite);
    let refused = caller.expect_final(&invite);
    caller.ack_failure(&invite, &refused);
    let mut bob = Phone::tcp_at("bob", nodes.address(1));
    bob.register();
    let ring = bob.expect_request("INVITE");
    assert_eq!(ring.header("Call-ID"), Some(invite.call_id.as_str()));
    bob.answer(&ring, 180);
    let stop = bob.expect_request("CANCEL");
    bob.answer(&stop, 200);
    bob.answer(&ring, 487);
    bob.expect_request("ACK");
    poll(DEADLINE, || (stat(&nodes, 0, "late_told_total") == 1).then_some(())).expect("it is told");
}

#[test]
fn the_timeline_of_a_call_says_where_its_phone_has_registered() {
    let nodes = Nodes::start("nodes-timeline", &[]);
    nodes.register_token("bob", &apns_token(1), "ios");
    let (mut caller, invite) = call(&nodes, 0);
    nodes.simulator.wait_for_pushes(0, 1);
    let mut bob = Phone::tcp_at("bob", nodes.address(1));
    bob.register();
    talk(&mut caller, &invite, &mut bob);
    let config = nodes.kamailios[0].place.scratch.path().join("voip-push.toml");
    let told = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
        let said = command.args(["call", &invite.call_id, "--config"]).arg(&config).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        said.contains("REGISTER      a phone of the user is there, at another machine").then_some(())
    };
    poll(DEADLINE, told).expect("the timeline says so");
}
