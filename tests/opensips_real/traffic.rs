//! The sample under SIPp: many calls at the same time, each of which wakes a phone of its own.
//!
//! It refuses to know the answers: the scenarios are those of the Kamailio tests.

use super::{Rig, start_simulating, token};
use crate::support::Scratch;
use crate::support::phone::DOMAIN;
use crate::support::sipp::{self, Sipp};
use serde_json::json;
use std::fs;
use std::path::Path;

const CALLS: usize = 40;
/// An answer that arrives between a message and its repetition is no reason to give a call up.
const PATIENT: [&str; 2] = ["-default_behaviors", "all,-abortunexp"];

pub fn forty_calls_wake_forty_phones() {
    let scratch = Scratch::new("traffic");
    let wake = scratch.path().join("wake.sh");
    // Addresses on loopback are private ones to OpenSIPS, and SIPp registers from another port than it is called at.
    let no_nat = ("nat_uac_test(\"diff-ip-src-via,private-contact\")", "nat_uac_test(\"diff-ip-src-via\")");
    let rig = start_simulating(&[no_nat], &["--on-push", &format!("sh {}", wake.display())]);
    let calls = CALLS.to_string();
    let mut phones = Sipp::start(&scratch, "phones", &sipp::scenario("phone.xml"), &["-m", &calls]);
    write_wake(&scratch, &wake, rig.opensips.port(), phones.port);
    store_tokens(&rig);
    let users: String = (0..CALLS).map(|number| format!("user{number}\n")).collect();
    let users = scratch.write("users.csv", format!("SEQUENTIAL\n{users}"));
    let caller = fs::read_to_string(sipp::scenario("caller.xml")).unwrap().replace("[service]", "[field0]");
    let caller = scratch.write("callers.xml", caller);
    let (server, [option, value]) = (format!("127.0.0.1:{}", rig.opensips.port()), PATIENT);
    let args = [&server, "-m", &calls, "-r", "20", "-inf", users.to_str().unwrap(), option, value];
    let mut callers = Sipp::start(&scratch, "callers", &caller, &args);
    assert!(callers.wait().success(), "{}\n{}", callers.screen(), rig.opensips.log());
    assert!(phones.wait().success(), "{}", phones.screen());
    assert_eq!(rig.simulator.pushes().len(), CALLS);
    let stats = rig.opensips.manage("voip_push:stats", &json!({}));
    assert_eq!(stats["result"]["calls_total"], CALLS, "{stats}");
    rig.stop();
}

/// The command that wakes the phone of the user whom a push is for.
fn write_wake(scratch: &Scratch, file: &Path, server_port: u16, phone_port: u16) {
    let ports: Vec<String> = sipp::free_ports(CALLS).iter().map(u16::to_string).collect();
    let ports = scratch.write("ports", ports.join("\n"));
    let command = format!(
        "cd {} && number=${{VOIP_PUSH_SIP_USER#user}}\n\
         exec sipp 127.0.0.1:{server_port} -sf {} -i 127.0.0.1 -p $(sed -n $((number + 1))p {}) -m 1 -nostdin {} \
         -s \"$VOIP_PUSH_SIP_USER\" -key domain {DOMAIN} -key contact 127.0.0.1:{phone_port} >>wake.log 2>&1 </dev/null\n",
        scratch.path().display(),
        sipp::scenario("register.xml").display(),
        ports.display(),
        PATIENT.join(" "),
    );
    fs::write(file, command).unwrap();
}

fn store_tokens(rig: &Rig) {
    for number in 0..CALLS {
        let mut phone = rig.phone(&format!("user{number}"));
        // one of zeros only is none
        let token = token(u8::try_from(number + 1).unwrap());
        rig.register(&mut phone, "", &format!("X-Push-Token: {token}\r\nX-Push-Platform: ios\r\n"), 600);
        rig.register(&mut phone, "", "", 0);
    }
}
