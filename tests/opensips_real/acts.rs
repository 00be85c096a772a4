//! Scripts of the test's own in a real OpenSIPS: wrong input, reloads, a dead sender, load.
//!
//! It refuses to test the sample, which has tests beside it.

use super::{CONFIG, NO_LIMITS, Rig, token};
use crate::support::kamailio::Place;
use crate::support::opensips::{Installation, Opensips};
use crate::support::simulator::Simulator;
use crate::support::sip::{self, Answer};
use crate::support::sipp::{Sipp, scenario};
use crate::support::{DEADLINE, poll};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
	case "number":
		$var(number) = 7;
		lookup_token($var(number));
		$var(rc) = $rc;
		break;
	case "read-only":
		lookup_token("bob", $ci, $avp(platform));
		$var(rc) = $rc;
		break;
	case "launch-nowhere":
		launch(send_voip_push("bob", "$fU", "$ci"), NOWHERE, "$ci");
		$var(rc) = $rc;
		break;
	case "async":
		async(send_voip_push("bob", "$fU", "$ci", , $avp(accepted), $avp(reason)), PUSHED, 5);
	case "failing":
		t_newtran();
		t_on_failure("FAILED");
		$T_fr_timeout = 1;
		$ru = "sip:bob@127.0.0.1:9";
		t_relay();
		exit;
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
failure_route[FAILED] {
	async(send_voip_push("bob", "$fU", "$ci", , $avp(accepted), $avp(reason)), PUSHED);
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

pub fn wrong_arguments_get_a_number_and_wrong_scripts_are_not_taken() {
    let rig = start_with_routes(ACTS);
    assert_eq!(rig.rc("register", &format!("X-Token: {}\r\n", token(1))), "1");
    assert_eq!(rig.rc("lookup", ""), "1");
    assert_eq!(rig.rc("null", ""), "-1", "OpenSIPS itself refuses a variable without a value");
    assert_eq!(rig.rc("null-in-text", ""), "-6");
    assert_eq!(rig.rc("number", ""), "-1", "the user 7, whom nobody knows, or no text to OpenSIPS");
    assert_eq!(rig.rc("read-only", ""), "1");
    assert_eq!(rig.rc("launch-nowhere", ""), "1");
    rig.simulator.wait_for_pushes(0, 1);
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

/// A module that was taken out of a configuration leaves a route that is never run.
pub fn our_event_may_be_named_without_us() {
    let routes = "route { send_reply(200, \"OK\"); }\n\
                  event_route[E_VOIP_PUSH_RESULT] { xlog(\"result $param(status)\\n\"); }\n";
    let rig = {
        let place = Place::new("real");
        let simulator = Simulator::start(&place.scratch, &[]);
        let config = with_routes(&simulator, routes);
        let ours = config.lines().filter(|line| !line.contains("voip_push"));
        let config: String = ours.map(|line| format!("{line}\n")).collect();
        Rig { opensips: Opensips::start(&Installation::named(), place, &config), simulator }
    };
    assert_eq!(rig.act("", "").status, 200);
    rig.stop();
}

pub fn where_there_is_no_event_loop_the_function_waits() {
    let rig = start_with_routes(ACTS);
    assert_eq!(rig.rc("register", &format!("X-Token: {}\r\n", token(1))), "1");
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 200 }]));
    let answer = rig.act("failing", "");
    assert_eq!(
        (answer.header("X-Rc"), answer.header("X-Accepted")),
        (Some("1"), Some("1")),
        "{}",
        answer.head
    );
    rig.opensips.wait_for_log("async detected in non-request");
    rig.stop();
}

pub fn the_script_is_reloaded_while_pushes_are_under_way() {
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
pub fn nobody_is_stuck_when_the_sender_dies() {
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
    let mut opensips = rig.opensips;
    let ended = poll(DEADLINE, || (!opensips.is_alive()).then_some(()));
    let log = opensips.log();
    assert!(ended.is_some(), "OpenSIPS goes on without its sender:\n{log}");
    assert!(!log.contains("panic"), "{log}");
}

/// Two workers, a provider that takes 300 ms, 100 calls a second. What it prints is worth something where `VOIP_PUSH_MODULE` names a
/// release build; that all calls are answered holds with any.
pub fn five_hundred_calls_keep_no_worker() {
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
        let (median, worst) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        println!(
            "{how}: 500 calls answered in {all:.2?}; another request in {median:.2?} at the median of {}, {worst:.2?} at the 99th \
             percentile",
            took.len()
        );
        assert!(ended.success(), "{how}: {}", sipp.screen());
        rig.simulator.wait_for_pushes(0, 500);
        let stats = rig.opensips.manage("voip_push:stats", &json!({}));
        assert_eq!(stats["result"]["calls_total"], 500, "{stats}");
        rig.stop();
    }
}
