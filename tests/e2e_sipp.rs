//! Many calls at the same time with SIPp: each wakes a phone of its own and is answered.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use support::shipped::{Setup, Shipped, apns_token, fcm_token};
use support::sipp::{self, Sipp};
use support::{DEADLINE, Scratch, poll};

const CALLS: usize = 40;

/// The caller's scenario, with the callee from a file: each call is for another user.
fn calls_to_many(scratch: &Scratch) -> PathBuf {
    let one = fs::read_to_string(sipp::scenario("caller.xml")).unwrap();
    scratch.write("callers.xml", one.replace("[service]", "[field0]"))
}

fn users_file(scratch: &Scratch) -> PathBuf {
    let users: String = (0..CALLS).map(|number| format!("user{number}\n")).collect();
    scratch.write("users.csv", format!("SEQUENTIAL\n{users}"))
}

/// The command that wakes the phone of the user whom a push is for. It is written once the ports are known.
fn write_wake(scratch: &Scratch, file: &Path, server_port: u16, phone_port: u16) {
    let ports: Vec<String> = sipp::free_ports(CALLS).iter().map(u16::to_string).collect();
    let ports = scratch.write("ports", ports.join("\n"));
    let scenario = sipp::scenario("register.xml");
    let command = format!(
        "number=${{VOIP_PUSH_SIP_USER#user}}\n\
         exec sipp 127.0.0.1:{server_port} -sf {} -i 127.0.0.1 -p $(sed -n $((number + 1))p {}) -m 1 -nostdin -s \"$VOIP_PUSH_SIP_USER\" \
         -key domain {} -key contact 127.0.0.1:{phone_port} >/dev/null 2>&1 </dev/null\n",
        scenario.display(),
        ports.display(),
        support::phone::DOMAIN
    );
    fs::write(file, command).unwrap();
}

#[test]
fn forty_calls_wake_forty_phones() {
    let scratch = Scratch::new("sipp");
    let wake = scratch.path().join("wake.sh");
    let simulate = vec!["--on-push".to_owned(), format!("sh {}", wake.display())];
    let shipped = Shipped::with("forty", Setup { simulate, ..Setup::default() });
    let calls = CALLS.to_string();
    let mut phones = Sipp::start(&scratch, "phones", &sipp::scenario("phone.xml"), &["-m", &calls]);
    write_wake(&scratch, &wake, shipped.port(), phones.port);
    for number in 0..CALLS {
        let (token, platform) = if number % 2 == 0 {
            (apns_token(number as u8), "ios")
        } else {
            (fcm_token(number as u8), "android")
        };
        shipped.register_token(&format!("user{number}"), &token, platform);
    }
    let server = format!("127.0.0.1:{}", shipped.port());
    let users = users_file(&scratch);
    let args = [&server, "-m", &calls, "-r", "20", "-inf", users.to_str().unwrap()];
    let mut callers = Sipp::start(&scratch, "callers", &calls_to_many(&scratch), &args);
    assert!(callers.wait().success(), "{}\n{}", callers.screen(), shipped.kamailio.log());
    assert!(phones.wait().success(), "{}", phones.screen());
    assert_eq!(shipped.simulator.pushes().len(), CALLS);
    let traced = phones.traced();
    let invites = traced.iter().filter(|traced| !traced.sent && traced.start.starts_with("INVITE "));
    let invites = invites.map(|traced| &traced.via).collect::<HashSet<_>>().len();
    assert_eq!(invites, CALLS);
    let freed = || shipped.kamailio.rpc(&["tm.stats"]).contains("current: 0").then_some(());
    poll(DEADLINE, freed).unwrap_or_else(|| panic!("{}", shipped.kamailio.rpc(&["tm.stats"])));
}
