//! Two nodes that share their users: what caller and phone see when the call is at one of them and the phone at the other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use support::nodes::Nodes;
use support::phone::{Message, Phone, Sent};
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
