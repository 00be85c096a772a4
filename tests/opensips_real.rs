//! The OpenSIPS module and the sample configuration in a real OpenSIPS, where the environment names one:
//! `OPENSIPS=/usr/sbin/opensips OPENSIPS_MODULES=/usr/lib/…/opensips/modules cargo test --test opensips_real -- --ignored`.
//!
//! It refuses to run without: its tests are reported as ignored then.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "this is how a test fails and tells"
)]

mod support;

use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::kamailio::Place;
use support::opensips::{Installation, Opensips};
use support::phone::{Message, Phone, Sent};
use support::shipped::fcm_token;
use support::simulator::Simulator;
use support::sip::{self, Answer};
use support::sipp::{Sipp, scenario};
use support::{DEADLINE, poll};

const CONFIG: &str = include_str!("../opensips-cfg/opensips.cfg");
const ROUTES: &str = include_str!("../opensips-cfg/voip-push.cfg");

/// One user may be called as often as a test wants.
const NO_LIMITS: (&str, &str) = ("[call]", "[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\n[call]");

struct Rig {
    opensips: Opensips,
    simulator: Simulator,
}

/// The sample as it is shipped, with some of its text changed.
fn start(changes: &[(&str, &str)]) -> Rig {
    let place = Place::new("real");
    let simulator = Simulator::start(&place.scratch, &[]);
    let toml = simulator.change_config(&[NO_LIMITS]);
    let change = |text: &str| changes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    for (from, _) in changes {
        assert!(CONFIG.contains(from) || ROUTES.contains(from), "{from} is not in the sample");
    }
    // the file to include has the module in it, which is put in place as in the main file
    let module = place.scratch.path().join("voip_push.so").display().to_string();
    let routes = change(ROUTES)
        .replace("/etc/voip-push/voip-push.toml", &toml.display().to_string())
        .replace("loadmodule \"voip_push.so\"", &format!("loadmodule \"{module}\""));
    let routes = place.scratch.write("voip-push.cfg", routes);
    let config = change(CONFIG).replace("/etc/opensips/voip-push.cfg", &routes.display().to_string());
    Rig { opensips: Opensips::start(&Installation::named(), place, &config), simulator }
}

fn token(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

impl Rig {
    fn phone(&self, user: &str) -> Phone {
        Phone::udp(user, self.opensips.port())
    }

    /// A REGISTER with more in its Contact URI and more headers.
    fn register(&self, phone: &mut Phone, uri_parameters: &str, headers: &str, expires_s: u32) -> Message {
        let mut sent = phone.register_request(expires_s);
        let contact = phone.contact();
        sent.text = sent.text.replace(&format!("<{contact}>"), &format!("<{contact}{uri_parameters}>"));
        sent.text = sent.text.replace("Expires:", &format!("{headers}Expires:"));
        phone.send(sent.text.as_bytes());
        phone.expect_status(&sent, 200)
    }

    fn rfc_8599(&self, number: u8) -> String {
        let topic = self.simulator.fact("topic");
        format!(";pn-provider=apns;pn-prid={};pn-param=ABCDE12345.{topic}", token(number))
    }

    /// Stores a token for a user whose phone then goes to sleep.
    fn sleeping(&self, user: &str, number: u8) -> Phone {
        let mut phone = self.phone(user);
        let headers = format!("X-Push-Token: {}\r\nX-Push-Platform: ios\r\n", token(number));
        self.register(&mut phone, "", &headers, 600);
        self.register(&mut phone, "", "", 0);
        phone
    }

    /// The call rings, is answered, and ends.
    fn talk(&self, caller: &mut Phone, call: &Sent, phone: &mut Phone) {
        let invite = phone.expect_request("INVITE");
        assert_eq!(invite.header("Call-ID"), Some(call.call_id.as_str()));
        phone.answer(&invite, 180);
        phone.answer(&invite, 200);
        let answer = caller.expect_status(call, 200);
        caller.within("ACK", call, &answer);
        phone.expect_request("ACK");
        let bye = caller.within("BYE", call, &answer);
        let request = phone.expect_request("BYE");
        phone.answer(&request, 200);
        caller.expect_status(&bye, 200);
    }

    fn stop(self) {
        let (_, log) = self.opensips.stop();
        for bad in ["CRITICAL", "ERROR:voip_push", "BUG", "panic"] {
            assert!(!log.contains(bad), "{bad} in:\n{log}");
        }
        assert!(!log.contains(&token(1)), "a token is in the log:\n{log}");
    }
}

/// Every test needs an OpenSIPS.
macro_rules! tests {
    ($($name:ident)*) => {
        mod real {
            $(#[test]
            #[ignore = "needs a real OpenSIPS: OPENSIPS=program OPENSIPS_MODULES=directory"]
            fn $name() {
                super::$name();
            })*
        }
    };
}

tests! {
    a_phone_by_rfc_8599_is_woken
    a_phone_whose_token_is_stored_is_woken
    a_phone_that_is_registered_rings_at_once
    a_phone_without_a_token_is_called_as_ever
    a_dead_token_ends_the_call_at_once
    nobody_registers_in_time
    the_callee_declines
    the_caller_gives_up
    administrators_get_answers
    a_client_from_before_rfc_8599_is_woken
    wrong_arguments_get_a_number_and_wrong_scripts_are_not_taken
    the_script_is_reloaded_while_pushes_are_under_way
    nobody_is_stuck_when_the_sender_dies
    five_hundred_calls_keep_no_worker
}

fn a_phone_by_rfc_8599_is_woken() {
    let rig = start(&[]);
    let (mut caller, mut phone) = (rig.phone("alice"), rig.phone("bob"));
    let answer = rig.register(&mut phone, &rig.rfc_8599(1), "", 600);
    assert!(
        answer.header("Feature-Caps").is_some_and(|caps| caps.contains("+sip.pns=\"apns\"")),
        "{answer:?}"
    );
    let call = caller.invite("bob");
    let pushes = rig.simulator.wait_for_pushes(0, 1);
    assert_eq!(pushes[0]["token"], token(1).as_str());
    let payload = pushes[0].to_string();
    assert!(payload.contains("alice") && payload.contains(&call.call_id), "{payload}");
    rig.register(&mut phone, &rig.rfc_8599(1), "", 600);
    rig.talk(&mut caller, &call, &mut phone);
    assert_eq!(rig.simulator.pushes().len(), 1);
    rig.stop();
}

fn a_phone_whose_token_is_stored_is_woken() {
    let rig = start(&[]);
    let (mut caller, mut phone) = (rig.phone("alice"), rig.sleeping("bob", 1));
    let call = caller.invite("bob");
    let pushes = rig.simulator.wait_for_pushes(0, 1);
    assert_eq!(pushes[0]["token"], token(1).as_str());
    caller.expect_status(&call, 100);
    phone.register();
    rig.talk(&mut caller, &call, &mut phone);
    assert_eq!(phone.count("INVITE"), 1);
    rig.stop();
}

fn a_phone_that_is_registered_rings_at_once() {
    let rig = start(&[]);
    let (mut caller, mut phone) = (rig.phone("alice"), rig.sleeping("bob", 1));
    phone.register();
    let call = caller.invite("bob");
    rig.talk(&mut caller, &call, &mut phone);
    rig.simulator.wait_for_pushes(0, 1);
    rig.stop();
}

fn a_phone_without_a_token_is_called_as_ever() {
    let rig = start(&[]);
    let (mut caller, mut phone) = (rig.phone("alice"), rig.phone("bob"));
    phone.register();
    let call = caller.invite("bob");
    rig.talk(&mut caller, &call, &mut phone);
    let call = caller.invite("carol");
    caller.expect_status(&call, 404);
    assert!(rig.simulator.pushes().is_empty());
    rig.stop();
}

fn a_dead_token_ends_the_call_at_once() {
    let rig = start(&[]);
    let (mut caller, _phone) = (rig.phone("alice"), rig.sleeping("bob", 1));
    rig.simulator.behave(&token(1), json!([{ "status": 410, "reason": "Unregistered" }]));
    let begin = Instant::now();
    let call = caller.invite("bob");
    let answer = caller.expect_status(&call, 480);
    caller.ack_failure(&call, &answer);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    rig.opensips.wait_for_log("no phone to wake (-2)");
    let call = caller.invite("bob");
    caller.expect_status(&call, 404);
    rig.stop();
}

fn nobody_registers_in_time() {
    let changes = [
        ("$T_fr_inv_timeout = 20", "$T_fr_inv_timeout = 3"),
        ("\"pn_refresh_timeout\", 15", "\"pn_refresh_timeout\", 2"),
    ];
    let rig = start(&changes);
    let mut caller = rig.phone("alice");
    let _stored = rig.sleeping("bob", 1);
    let mut standard = rig.phone("carol");
    rig.register(&mut standard, &rig.rfc_8599(2), "", 600);
    for callee in ["bob", "carol"] {
        let begin = Instant::now();
        let call = caller.invite(callee);
        let answer = caller.expect_final(&call);
        assert_eq!(answer.status(), 480, "{callee}: {answer:?}");
        caller.ack_failure(&call, &answer);
        assert!(begin.elapsed() < Duration::from_secs(9), "{callee}: {:?}", begin.elapsed());
    }
    assert_eq!(rig.simulator.pushes().len(), 2);
    rig.stop();
}

fn the_callee_declines() {
    let rig = start(&[]);
    let (mut caller, mut phone) = (rig.phone("alice"), rig.sleeping("bob", 1));
    let call = caller.invite("bob");
    rig.simulator.wait_for_pushes(0, 1);
    phone.register();
    let invite = phone.expect_request("INVITE");
    phone.answer(&invite, 486);
    let answer = caller.expect_final(&call);
    assert_eq!(answer.status(), 486);
    caller.ack_failure(&call, &answer);
    rig.stop();
}

fn the_caller_gives_up() {
    let rig = start(&[]);
    let (mut caller, mut phone) = (rig.phone("alice"), rig.sleeping("bob", 1));
    let call = caller.invite("bob");
    rig.opensips.wait_for_log("waits for the phone");
    let give_up = |caller: &mut Phone, call: &Sent| {
        let cancel = caller.cancel(call);
        caller.expect_status(&cancel, 200);
        let answer = caller.expect_status(call, 487);
        caller.ack_failure(call, &answer);
    };
    give_up(&mut caller, &call);
    // before the answers of the push services are in
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 400 }]));
    let call = caller.invite("bob");
    caller.expect_status(&call, 100);
    give_up(&mut caller, &call);
    phone.register();
    phone.settle_bare(rig.opensips.port());
    assert_eq!(phone.count("INVITE"), 0);
    rig.stop();
}

fn a_client_from_before_rfc_8599_is_woken() {
    let rig = start(&[]);
    let (mut caller, mut phone) = (rig.phone("alice"), rig.phone("bob"));
    let project = rig.simulator.fact("project");
    let token = fcm_token(1);
    rig.register(&mut phone, &format!(";pn-type=firebase;app-id={project};pn-tok={token}"), "", 600);
    let call = caller.invite("bob");
    rig.simulator.wait_for_pushes(0, 1);
    rig.talk(&mut caller, &call, &mut phone);
    rig.stop();
}

/// The modules of the sample and other routes.
fn start_with_routes(routes: &str) -> Rig {
    let place = Place::new("real");
    let simulator = Simulator::start(&place.scratch, &[]);
    let config = with_routes(&simulator, routes);
    Rig { opensips: Opensips::start(&Installation::named(), place, &config), simulator }
}

fn with_routes(simulator: &Simulator, routes: &str) -> String {
    // a busy machine answers late
    let toml = simulator.change_config(&[NO_LIMITS, ("wait_ms = 800", "wait_ms = 3000")]);
    let (modules, _) = CONFIG.split_once("####### Routing Logic").unwrap();
    let modules = modules.replace("udp_workers=4", "udp_workers=2").replace(
        "include_file \"/etc/opensips/voip-push.cfg\"",
        &format!("loadmodule \"voip_push.so\"\nmodparam(\"voip_push\", \"config\", \"{}\")", toml.display()),
    );
    format!("{modules}\n{routes}")
}

/// Each does what the header X-Do says, and answers with the return code.
const ACTS: &str = r#"
route {
	if (is_method("OPTIONS")) { send_reply(200, "OK"); exit; }
	if (is_method("ACK")) { t_check_trans(); exit; }
	switch ($hdr(X-Do)) {
	case "register":
		register_token("bob", "$hdr(X-Token)", "ios");
		$var(rc) = $rc;
		break;
	case "null":
		lookup_token($avp(nothing));
		$var(rc) = $rc;
		break;
	case "null-in-text":
		lookup_token("$avp(nothing)x");
		$var(rc) = $rc;
		break;
	case "garbage":
		register_token("bob", "$hdr(X-Token)", "$rU");
		$var(rc) = $rc;
		break;
	case "lookup":
		lookup_token("bob", $avp(token), $avp(platform), , $avp(app));
		$var(rc) = $rc;
		break;
	case "async":
		async(send_voip_push("bob", "$fU", "$ci", , $avp(accepted), $avp(reason)), PUSHED, 5);
	case "launch":
		launch(send_voip_push("bob", "$fU", "$ci", , $avp(accepted), $avp(reason)), LAUNCHED, "$ci");
		$var(rc) = $rc;
		break;
	case "queue":
		queue_voip_push("bob", "$fU", "$ci");
		$var(rc) = $rc;
		break;
	}
	append_to_reply("X-Rc: $var(rc)\r\n");
	send_reply(480, "Done");
}
route[PUSHED] {
	$var(rc) = $rc;
	append_to_reply("X-Rc: $var(rc)\r\nX-Accepted: $avp(accepted)\r\nX-Reason: $avp(reason)\r\n");
	t_reply(480, "Done");
}
route[LAUNCHED] { xlog("L_NOTICE", "launched $rc $avp(accepted) $param(1)\n"); }
event_route[E_VOIP_PUSH_RESULT] { xlog("L_NOTICE", "result $param(status) $param(call_id)\n"); }
"#;

impl Rig {
    fn act(&self, what: &str, headers: &str) -> Answer {
        let headers = format!("X-Do: {what}\r\n{headers}");
        self.opensips.send_sip(sip::request("INVITE", "sip:bob@example.org", &headers, b""))
    }

    fn rc(&self, what: &str, headers: &str) -> String {
        let answer = self.act(what, headers);
        answer.header("X-Rc").unwrap_or_else(|| panic!("{}", answer.head)).to_owned()
    }
}

fn wrong_arguments_get_a_number_and_wrong_scripts_are_not_taken() {
    let rig = start_with_routes(ACTS);
    assert_eq!(rig.rc("register", &format!("X-Token: {}\r\n", token(1))), "1");
    assert_eq!(rig.rc("lookup", ""), "1");
    assert_eq!(rig.rc("null", ""), "-1", "OpenSIPS itself refuses a variable without a value");
    assert_eq!(rig.rc("null-in-text", ""), "-6");
    assert_eq!(rig.rc("garbage", &format!("X-Token: {}\r\n", token(2))), "-6");
    let answer = rig.act("async", "");
    assert_eq!(
        (answer.header("X-Rc"), answer.header("X-Accepted")),
        (Some("1"), Some("1")),
        "{}",
        answer.head
    );
    assert_eq!(rig.rc("launch", ""), "1");
    rig.opensips.wait_for_log("launched 1 1 ");
    assert_eq!(rig.rc("queue", ""), "1");
    rig.opensips.wait_for_log("result 1 ");
    rig.simulator.behave(&token(1), json!([{ "status": 410, "reason": "Unregistered" }]));
    assert_eq!(rig.act("async", "").header("X-Rc"), Some("-2"));
    // without a device the report route is run all the same
    let gone = poll(DEADLINE, || (rig.rc("lookup", "") == "-1").then_some(()));
    gone.expect("a dead token is deleted");
    rig.act("launch", "");
    rig.opensips.wait_for_log("launched -1 ");

    let simulator = Simulator::start(&rig.opensips.place.scratch, &[]);
    for (wrong, says) in [
        ("lookup_token(\"bob\", \"text\");", "lookup_token"),
        ("lookup_token();", "lookup_token"),
        ("async(queue_voip_push(\"b\", \"a\", \"c\"), HERE);", "queue_voip_push"),
    ] {
        let routes = format!("route {{ {wrong} }}\nroute[HERE] {{ exit; }}\n");
        let config = with_routes(&simulator, &routes);
        simulator.change_config(&[(NO_LIMITS.1, NO_LIMITS.0), ("wait_ms = 3000", "wait_ms = 800")]);
        let (ended, log) = Opensips::refused(&Installation::named(), Place::new("real"), &config);
        assert!(!ended.success() && log.contains(says), "{wrong}: {log}");
    }
}

fn the_script_is_reloaded_while_pushes_are_under_way() {
    let rig = start_with_routes(ACTS);
    assert_eq!(rig.rc("register", &format!("X-Token: {}\r\n", token(1))), "1");
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 600 }]));
    let calls: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| rig.act("async", ""))).collect();
        rig.simulator.wait_for_pushes(0, 8);
        let reloaded = rig.opensips.manage("reload_routes", &json!({}));
        assert_eq!(reloaded["result"], "OK", "{reloaded}");
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for answer in calls {
        assert_eq!(answer.header("X-Rc"), Some("1"), "{}", answer.head);
    }
    assert_eq!(rig.act("async", "").header("X-Rc"), Some("1"));
    rig.stop();
}

/// OpenSIPS ends when one of its processes dies, which the administrator's supervisor sees; until then every call is answered.
fn nobody_is_stuck_when_the_sender_dies() {
    let rig = start_with_routes(ACTS);
    assert_eq!(rig.rc("register", &format!("X-Token: {}\r\n", token(1))), "1");
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "stall": true }]));
    let sender = rig.opensips.process("voip_push sender");
    let signal = |signal| {
        // SAFETY: the sender of the OpenSIPS that this test has started.
        assert_eq!(unsafe { libc::kill(sender, signal) }, 0);
    };
    signal(libc::SIGSTOP);
    let answer = rig.act("async", "");
    assert_eq!(answer.header("X-Rc"), Some("-3"), "{}", answer.head);
    signal(libc::SIGKILL);
    signal(libc::SIGCONT);
    let mut opensips = rig.opensips;
    let ended = poll(DEADLINE, || (!opensips.is_alive()).then_some(()));
    let log = opensips.log();
    assert!(ended.is_some() || log.contains("the sender has gone"), "{log}");
    assert!(!log.contains("panic"), "{log}");
}

/// Numbers of issue "OpenSIPS: the same file, native, without blocking": two workers, a provider that takes 300 ms, 100 calls a
/// second.
fn five_hundred_calls_keep_no_worker() {
    for how in ["async", "launch"] {
        let rig = start_with_routes(ACTS);
        assert_eq!(rig.rc("register", &format!("X-Token: {}\r\n", token(1))), "1");
        rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 300 }]));
        let begin = Instant::now();
        let target = format!("127.0.0.1:{}", rig.opensips.port());
        let args = ["-r", "100", "-m", "500", "-l", "500", "-key", "do", how, "-s", "bob", &target];
        let scratch = &rig.opensips.place.scratch;
        let mut sipp = Sipp::start(scratch, "load", &scenario("asks.xml"), &args);
        let mut took = Vec::new();
        let done = Arc::new(AtomicBool::new(false));
        let probe = {
            let (done, port) = (Arc::clone(&done), rig.opensips.port());
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let uri = format!("sip:127.0.0.1:{port}");
                    if sip::try_send(port, &sip::request("OPTIONS", &uri, "", b"")).is_some() {
                        took.push(asked.elapsed());
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                took
            })
        };
        let ended = sipp.wait();
        let all = begin.elapsed();
        done.store(true, Ordering::Relaxed);
        let mut took = probe.join().unwrap();
        took.sort();
        let median = took[took.len() / 2];
        println!(
            "{how}: 500 calls answered in {all:.2?}; another request in {median:.2?} at the median of {}",
            took.len()
        );
        assert!(ended.success(), "{how}: {}", sipp.screen());
        assert!(median < Duration::from_millis(20), "{how}: {median:?}");
        rig.simulator.wait_for_pushes(0, 500);
        let stats = rig.opensips.manage("voip_push:stats", &json!({}));
        assert_eq!(stats["result"]["calls_total"], 500, "{stats}");
        rig.stop();
    }
}

fn administrators_get_answers() {
    let rig = start(&[]);
    let _phone = rig.sleeping("bob", 1);
    let tokens = rig.opensips.manage("voip_push:tokens", &json!({ "user": "bob" }));
    assert_eq!(tokens["result"]["devices"][0]["platform"], "ios", "{tokens}");
    assert!(!tokens.to_string().contains(&token(1)));
    let sent =
        rig.opensips.manage("voip_push:send", &json!({ "user": "bob", "call_id": "c1", "caller": "alice" }));
    assert_eq!(sent["result"], json!({ "devices": 1, "accepted": 1 }), "{sent}");
    let nobody = rig.opensips.manage("voip_push:send", &json!({ "user": "x", "call_id": "c1" }));
    assert_eq!(nobody["error"]["code"], 404, "{nobody}");
    let stats = rig.opensips.manage("voip_push:stats", &json!({}));
    assert_eq!(stats["result"]["calls_total"], 1, "{stats}");
    let statistics = rig.opensips.manage("get_statistics", &json!({ "statistics": ["voip_push:"] }));
    assert_eq!(statistics["result"]["voip_push:calls_total"], 1, "{statistics}");
    rig.opensips.process("voip_push sender");
    rig.stop();
}
