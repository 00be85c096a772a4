//! The sample when phones register at awkward moments: each rings, and none twice.
//!
//! It refuses to rely on luck: what is to happen in between is made to happen there.

use super::{Rig, start, token};
use crate::support::phone::{Phone, Sent};
use crate::support::{DEADLINE, poll};
use serde_json::json;
use std::time::{Duration, Instant};

impl Rig {
    /// Nothing of this call reaches the phone any more.
    fn has_rung_once(&self, phone: &mut Phone, call: &Sent) {
        phone.settle_bare(self.opensips.port());
        assert_eq!(phone.count("INVITE"), 1, "{}:\n{}", call.call_id, self.opensips.log());
    }
}

/// Its registration is renewed while it rings, which an app does when a push wakes it.
pub fn a_phone_that_registers_while_it_rings_rings_once() {
    let rig = start(&[]);
    let mut caller = rig.phone("alice");
    // one whose token is stored and who is registered
    let mut phone = rig.sleeping("bob", 1);
    phone.register();
    let call = caller.invite("bob");
    let invite = phone.expect_request("INVITE");
    phone.answer(&invite, 180);
    caller.expect_status(&call, 180);
    phone.register();
    rig.has_rung_once(&mut phone, &call);
    // one who was woken, and registers again
    let mut phone = rig.sleeping("carol", 2);
    let call = caller.invite("carol");
    rig.opensips.wait_for_log(&format!("{}: waits for the phone", call.call_id));
    phone.register();
    let invite = phone.expect_request("INVITE");
    phone.answer(&invite, 180);
    caller.expect_status(&call, 180);
    phone.register();
    rig.has_rung_once(&mut phone, &call);
    // one by RFC 8599
    let mut phone = rig.phone("dan");
    rig.register(&mut phone, &rig.rfc_8599(3), "", 600);
    let call = caller.invite("dan");
    rig.simulator.wait_for_pushes(0, 3);
    rig.register(&mut phone, &rig.rfc_8599(3), "", 600);
    let invite = phone.expect_request("INVITE");
    phone.answer(&invite, 180);
    caller.expect_status(&call, 180);
    rig.register(&mut phone, &rig.rfc_8599(3), "", 600);
    rig.has_rung_once(&mut phone, &call);
    rig.stop();
}

/// Between the moment from which on registrations are watched and the lookup.
pub fn a_phone_that_registers_in_the_very_moment_rings_once() {
    let wait = "\txlog(\"L_NOTICE\", \"$ci: in between\\n\");\n\tusleep(500000);\n";
    let lookup = "\tlookup(\"location\");\n\t$var(found)";
    let rig = start(&[
        (lookup, &format!("{wait}{lookup}")),
        ("loadmodule \"nathelper.so\"", "loadmodule \"nathelper.so\"\nloadmodule \"cfgutils.so\""),
    ]);
    let mut caller = rig.phone("alice");
    for (number, is_awake) in [(1, false), (2, true)] {
        let user = if is_awake { "carol" } else { "bob" };
        let mut phone = rig.sleeping(user, number);
        if is_awake {
            phone.register();
        }
        let call = caller.invite(user);
        rig.opensips.wait_for_log(&format!("{}: in between", call.call_id));
        phone.register();
        let invite = phone.expect_request("INVITE");
        phone.answer(&invite, 180);
        caller.expect_status(&call, 180);
        // the worker that has found it has gone on
        rig.simulator.wait_for_pushes(0, number.into());
        rig.has_rung_once(&mut phone, &call);
        phone.answer(&invite, 200);
        assert_eq!(caller.expect_final(&call).status(), 200);
    }
    rig.stop();
}

pub fn another_phone_that_registers_while_one_rings_rings_too() {
    let rig = start(&[]);
    let (mut caller, mut desk, mut mobile) = (rig.phone("alice"), rig.sleeping("bob", 1), rig.phone("bob"));
    desk.register();
    let call = caller.invite("bob");
    let rings = desk.expect_request("INVITE");
    desk.answer(&rings, 180);
    caller.expect_status(&call, 180);
    mobile.register();
    rig.talk(&mut caller, &call, &mut mobile);
    desk.expect_request("CANCEL");
    rig.stop();
}

/// While the push services are asked: it gets the call at once, and once, whatever they say then.
pub fn a_phone_that_registers_during_the_push_rings_at_once() {
    let rig = start(&[]);
    let mut caller = rig.phone("alice");
    for (user, number, outcome) in [
        ("bob", 1, json!({ "delay_ms": 600 })),
        ("carol", 2, json!({ "delay_ms": 600, "status": 410, "reason": "Unregistered" })),
    ] {
        let mut phone = rig.sleeping(user, number);
        rig.simulator.behave(&token(number), json!([outcome]));
        let call = caller.invite(user);
        caller.expect_status(&call, 100);
        let begin = Instant::now();
        phone.register();
        let invite = phone.expect_request("INVITE");
        assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
        phone.answer(&invite, 180);
        caller.expect_status(&call, 180);
        rig.simulator.wait_for_pushes(0, number.into());
        // the answer is in, and the script has gone on
        let stats = || rig.opensips.manage("voip_push:stats", &json!({}));
        poll(DEADLINE, || (stats()["result"]["queued"] == 0).then_some(())).expect("the push ends");
        rig.has_rung_once(&mut phone, &call);
        phone.answer(&invite, 200);
        assert_eq!(caller.expect_final(&call).status(), 200, "{user}");
    }
    rig.stop();
}
