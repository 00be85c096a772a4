//! `make demo`: the shipped configuration in a real Kamailio, the simulator for Apple and Google, SIPp for caller and phone. A
//! sleeping iPhone is called, then an Android phone that is registered; what went over the wire is printed with its times.
//!
//! It refuses to touch anything that it has not started itself, and to say that it worked unless both calls were answered.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is how a demo talks and fails"
)]

#[path = "../support/mod.rs"]
mod support;
mod timeline;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::shipped::{Setup, Shipped, apns_token, fcm_token};
use support::sipp::{self, Sipp};
use support::{Scratch, run};
use timeline::{Party, Timeline};

fn main() {
    // `cargo test FILTER` runs every test program; this one knows no filter but its own name
    let mut filters = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    if filters.peek().is_some() && !filters.any(|filter| "demo".contains(&filter)) {
        return;
    }
    let demo = Demo::start();
    demo.wake_an_iphone();
    demo.call_a_registered_android_phone();
    println!("\nBoth calls were answered.");
}

struct Demo {
    shipped: Shipped,
    scratch: Scratch,
}

impl Demo {
    fn start() -> Demo {
        let scratch = Scratch::new("demo");
        let simulate = vec!["--on-push".to_owned(), format!("sh {}", wake_script(&scratch).display())];
        let shipped = Shipped::with("demo-server", Setup { simulate, ..Setup::default() });
        let installation = support::kamailio::Installation::of_this_machine();
        println!("{} with kamailio-cfg/kamailio.cfg on 127.0.0.1:{}", installation.version(), shipped.port());
        println!("voip-push simulate stands in for APNs at {}", shipped.simulator.fact("apns"));
        println!("                           and for FCM at {}", shipped.simulator.fact("google"));
        Demo { shipped, scratch }
    }

    fn wake_an_iphone(&self) {
        println!("\n1. bob's iPhone sleeps: it is not registered. Its app has handed in a PushKit token:\n");
        self.register_token("bob", &apns_token(0xb0), "ios");
        let mut phone = self.phone("iphone");
        let trace = self.scratch.path().join("register.trace");
        self.write_wake_script(&phone, &trace);
        let caller = self.call("bob");
        assert!(phone.wait().success(), "{}", phone.screen());
        let mut timeline = Timeline::new(&caller, &phone.traced());
        timeline.extend(Party::Phone, &sipp::read_trace(&trace));
        timeline.push(&self.only_push());
        timeline.print();
    }

    fn call_a_registered_android_phone(&self) {
        println!(
            "\n2. carol's Android phone keeps its connection: it has a token, and is registered over TCP.\n"
        );
        self.register_token("carol", &fcm_token(0xca), "android");
        let phone = Sipp::start_connected_phone(&self.scratch, "android", "carol", &self.server());
        let caller = self.call("carol");
        let called: Vec<_> = phone.traced().into_iter().filter(|seen| seen.method != "REGISTER").collect();
        assert!(called.iter().any(|seen| seen.method == "BYE"), "{}", phone.screen());
        Timeline::new(&caller, &called).print();
        assert_eq!(self.shipped.simulator.pushes().len(), 1, "there was no second push");
        println!("             no push was sent");
    }

    /// As an app's server does it.
    fn register_token(&self, user: &str, token: &str, platform: &str) {
        let body = json!({ "user": user, "token": token, "platform": platform }).to_string();
        let url = format!("http://127.0.0.1:{}/api/register-push-token", self.shipped.http_port);
        let shown = body.replace(token, &format!("{}…", &token[..8]));
        println!(
            "   curl -H 'Authorization: Bearer …' -H 'Content-Type: application/json' {url} \\\n        -d '{shown}'"
        );
        let key = format!("Authorization: Bearer {}", self.shipped.simulator.fact("api_key"));
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--fail",
            "-w",
            " %{http_code}",
            "-H",
            &key,
            "-H",
            "Content-Type: application/json",
        ]);
        let answer = run(curl.args(["-d", &body, &url]), "curl").stdout;
        println!("   {}\n", String::from_utf8_lossy(&answer));
    }

    /// A phone that waits to be called; registering is another matter.
    fn phone(&self, name: &str) -> Sipp {
        Sipp::start(&self.scratch, name, &sipp::scenario("phone.xml"), &["-m", "1"])
    }

    fn server(&self) -> String {
        format!("127.0.0.1:{}", self.shipped.port())
    }

    /// Calls the user and waits for the call's end; gives what the caller saw.
    fn call(&self, user: &str) -> Vec<sipp::Traced> {
        let server = self.server();
        let args = [server.as_str(), "-s", user, "-m", "1", "-timeout", "30"];
        let mut caller =
            Sipp::start(&self.scratch, &format!("call-{user}"), &sipp::scenario("caller.xml"), &args);
        let answered = caller.wait().success();
        assert!(answered, "{user} did not answer:\n{}\n{}", caller.screen(), self.shipped.kamailio.log());
        caller.traced()
    }

    fn only_push(&self) -> Value {
        let pushes = self.shipped.simulator.pushes();
        assert_eq!(pushes.len(), 1, "{pushes:#?}");
        pushes[0].clone()
    }

    fn register_command(&self, user: &str, phone: &Sipp, trace: &Path) -> Command {
        let mut command = sipp::command(&sipp::scenario("register.xml"), sipp::free_ports(1)[0], trace);
        command.arg(self.server());
        command.args(["-s", user, "-m", "1", "-key", "contact", &format!("127.0.0.1:{}", phone.port)]);
        command
    }

    /// What the simulator runs for a push: the phone wakes up and registers.
    fn write_wake_script(&self, phone: &Sipp, trace: &Path) {
        let register = self.register_command("$VOIP_PUSH_SIP_USER", phone, trace);
        let words = std::iter::once(register.get_program()).chain(register.get_args());
        let quoted: Vec<String> = words.map(|word| format!("\"{}\"", word.display())).collect();
        let script = format!("TZ=UTC exec {} >/dev/null 2>&1 </dev/null\n", quoted.join(" "));
        fs::write(wake_script(&self.scratch), script).unwrap();
    }
}

fn wake_script(scratch: &Scratch) -> PathBuf {
    scratch.path().join("wake.sh")
}
