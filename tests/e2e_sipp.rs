//! Many calls at the same time with SIPp: each wakes a phone of its own and is answered.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use support::shipped::{Setup, Shipped, apns_token, fcm_token};
use support::sipp::{self, Sipp};
use support::{DEADLINE, Scratch, poll};

/// An answer that arrives between a message and its repetition is no reason to give a call up.
const PATIENT: [&str; 2] = ["-default_behaviors", "all,-abortunexp"];

/// So many calls, each to a user of its own, and what the two sides do.
struct Plan {
    name: &'static str,
    calls: usize,
    caller: String,
    waking_phone: String,
}

impl Plan {
    fn new(name: &'static str, calls: usize) -> Plan {
        let read = |name| fs::read_to_string(sipp::scenario(name)).unwrap();
        // The callee comes from a file: each call is for another user.
        let caller = read("caller.xml").replace("[service]", "[field0]");
        Plan { name, calls, caller, waking_phone: read("register.xml") }
    }

    fn users_file(&self, scratch: &Scratch) -> PathBuf {
        let users: String = (0..self.calls).map(|number| format!("user{number}\n")).collect();
        scratch.write("users.csv", format!("SEQUENTIAL\n{users}"))
    }

    /// The command that wakes the phone of the user whom a push is for. It is written once the ports are known.
    fn write_wake(&self, scratch: &Scratch, file: &Path, server_port: u16, phone_port: u16) {
        let ports: Vec<String> = sipp::free_ports(self.calls).iter().map(u16::to_string).collect();
        let ports = scratch.write("ports", ports.join("\n"));
        let scenario = scratch.write("wake.xml", &self.waking_phone);
        let command = format!(
            "number=${{VOIP_PUSH_SIP_USER#user}}\n\
             exec sipp 127.0.0.1:{server_port} -sf {} -i 127.0.0.1 -p $(sed -n $((number + 1))p {}) -m 1 -nostdin {} -s \"$VOIP_PUSH_SIP_USER\" \
             -key domain {} -key contact 127.0.0.1:{phone_port} >/dev/null 2>&1 </dev/null\n",
            scenario.display(),
            ports.display(),
            PATIENT.join(" "),
            support::phone::DOMAIN
        );
        fs::write(file, command).unwrap();
    }

    /// Makes the calls: each is pushed once, wakes its phone, rings there once, and is answered. Gives the topmost Via of every
    /// INVITE that was sent.
    fn run(&self) -> Vec<String> {
        let scratch = Scratch::new(self.name);
        let wake = scratch.path().join("wake.sh");
        let simulate = vec!["--on-push".to_owned(), format!("sh {}", wake.display())];
        let shipped = Shipped::with(self.name, Setup { simulate, ..Setup::default() });
        let calls = self.calls.to_string();
        let mut phones = Sipp::start(&scratch, "phones", &sipp::scenario("phone.xml"), &["-m", &calls]);
        self.write_wake(&scratch, &wake, shipped.port(), phones.port);
        register_tokens(&shipped, self.calls);
        let (server, users) = (format!("127.0.0.1:{}", shipped.port()), self.users_file(&scratch));
        let [option, value] = PATIENT;
        let args = [&server, "-m", &calls, "-r", "20", "-inf", users.to_str().unwrap(), option, value];
        let scenario = scratch.write("callers.xml", &self.caller);
        let mut callers = Sipp::start(&scratch, "callers", &scenario, &args);
        assert!(callers.wait().success(), "{}\n{}", callers.screen(), shipped.kamailio.log());
        assert!(phones.wait().success(), "{}", phones.screen());
        assert_eq!(shipped.simulator.pushes().len(), self.calls);
        assert_eq!(rings(&phones), self.calls);
        let freed = || shipped.kamailio.rpc(&["tm.stats"]).contains("current: 0").then_some(());
        poll(DEADLINE, freed).unwrap_or_else(|| panic!("{}", shipped.kamailio.rpc(&["tm.stats"])));
        let stats = shipped.kamailio.rpc(&["voip_push.stats"]);
        for name in ["parked_total", "woken_total"] {
            assert!(stats.contains(&format!("{name}: {calls}\n")), "{stats}");
        }
        let sent = callers.traced().into_iter().filter(|traced| traced.sent);
        sent.filter(|traced| traced.start.starts_with("INVITE ")).map(|traced| traced.via).collect()
    }
}

fn register_tokens(shipped: &Shipped, calls: usize) {
    for number in 0..calls {
        let (token, platform) = if number % 2 == 0 {
            (apns_token(number as u8 + 1), "ios")
        } else {
            (fcm_token(number as u8), "android")
        };
        shipped.register_token(&format!("user{number}"), &token, platform);
    }
}

/// How many different INVITEs the phones got; a retransmission is no other one.
fn rings(phones: &Sipp) -> usize {
    let traced = phones.traced();
    let invites = traced.iter().filter(|traced| !traced.sent && traced.start.starts_with("INVITE "));
    invites.map(|traced| &traced.via).collect::<HashSet<_>>().len()
}

/// A scenario whose first message goes out three times at once, the second one changed.
fn thrice(scenario: &str, change: impl Fn(&str) -> String) -> String {
    let (start, end) = (scenario.find("  <send").unwrap(), scenario.find("</send>\n").unwrap() + 8);
    let (head, last, rest) = (&scenario[..start], &scenario[start..end], &scenario[end..]);
    let first = last.replace(" retrans=\"500\"", "").replace(" start_rtd=\"answered\"", "");
    let last = last.replace("branch=[branch]", "branch=[branch-2]");
    format!("{head}{first}{}{last}{rest}", change(&first))
}

#[test]
fn forty_calls_wake_forty_phones() {
    Plan::new("forty", 40).run();
}

/// An INVITE arrives three times, and its phone's REGISTER twice and once more from another thread of the app.
#[test]
fn repeated_invites_and_registers_are_one_push_and_one_ring_each() {
    let plan = Plan::new("repeated-sipp", 12);
    let caller = thrice(&plan.caller, |message| message.replace("branch=[branch]", "branch=[branch-1]"));
    let other_thread = |message: &str| message.replace("Call-ID: [call_id]", "Call-ID: other///[call_id]");
    let waking_phone = thrice(&plan.waking_phone, other_thread);
    let sent = Plan { caller, waking_phone, ..plan }.run();
    let different = sent.iter().collect::<HashSet<_>>().len();
    assert!(different == plan.calls && sent.len() >= 3 * plan.calls, "{sent:#?}");
}
