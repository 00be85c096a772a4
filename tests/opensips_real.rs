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

#[path = "opensips_real/acts.rs"]
mod acts;
#[path = "opensips_real/middle.rs"]
mod middle;
#[path = "opensips_real/silent.rs"]
mod silent;
mod support;
#[path = "opensips_real/traffic.rs"]
mod traffic;
#[path = "opensips_real/twice.rs"]
mod twice;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::kamailio::Place;
use support::opensips::{Installation, Opensips};
use support::phone::{Message, Phone, Sent};
use support::settings;
use support::shipped::fcm_token;
use support::simulator::Simulator;

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
    start_simulating(changes, &[])
}

fn start_simulating(changes: &[(&str, &str)], simulate: &[&str]) -> Rig {
    let place = Place::new("real");
    let simulator = Simulator::start(&place.scratch, simulate);
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
        assert!(!invite.start.contains("pn-prid"), "{}", invite.start);
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
    ($room:ident in $from:path: $($name:ident)*) => {
        mod $room {
            $(#[test]
            #[ignore = "needs a real OpenSIPS: OPENSIPS=program OPENSIPS_MODULES=directory"]
            fn $name() {
                use $from as from;
                from::$name();
            })*
        }
    };
}

tests! {
    sample in crate:
    a_phone_by_rfc_8599_is_woken
    a_phone_whose_token_is_stored_is_woken
    a_phone_on_tcp_is_woken
    a_phone_that_is_registered_rings_at_once
    a_phone_without_a_token_is_called_as_ever
    a_dead_token_ends_the_call_at_once
    nobody_registers_in_time
    the_callee_declines
    the_caller_gives_up
    administrators_get_answers
    a_key_is_rotated_while_a_call_waits
    a_client_from_before_rfc_8599_is_woken
    an_android_phone_is_told_that_the_caller_has_hung_up
}

tests! {
    scripts in crate::acts:
    wrong_arguments_get_a_number_and_wrong_scripts_are_not_taken
    our_event_may_be_named_without_us
    where_there_is_no_event_loop_the_function_waits
    the_script_is_reloaded_while_pushes_are_under_way
    nobody_is_stuck_when_the_sender_dies
    five_hundred_calls_keep_no_worker
}

tests! {
    moments in crate::twice:
    a_phone_that_registers_while_it_rings_rings_once
    a_phone_that_registers_in_the_very_moment_rings_once
    another_phone_that_registers_while_one_rings_rings_too
    a_phone_that_registers_during_the_push_rings_at_once
}

tests! {
    without_ringing in crate::silent:
    a_message_wakes_a_phone_and_is_delivered_once
    a_registration_that_runs_out_wakes_silently_or_not_at_all
    a_request_inside_a_call_wakes_silently
}

tests! {
    before_a_registrar in crate::middle:
    a_phone_at_mid_registrar_is_woken
    a_registration_at_mid_registrar_that_runs_out_wakes_silently
}

tests! {
    under_sipp in crate::traffic:
    forty_calls_wake_forty_phones
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
    rig.opensips.wait_for_log("waits for the phone");
    phone.register();
    rig.talk(&mut caller, &call, &mut phone);
    assert_eq!(phone.count("INVITE"), 1);
    rig.stop();
}

/// It is reached over the connection on which it has registered.
fn a_phone_on_tcp_is_woken() {
    let rig = start(&[]);
    let port = rig.opensips.port();
    let mut caller = Phone::tcp("alice", port);
    rig.sleeping("bob", 1);
    let call = caller.invite("bob");
    rig.opensips.wait_for_log("waits for the phone");
    let mut phone = Phone::tcp("bob", port);
    phone.register();
    rig.talk(&mut caller, &call, &mut phone);
    let mut phone = Phone::tcp("carol", port);
    rig.register(&mut phone, &rig.rfc_8599(2), "", 600);
    let call = caller.invite("carol");
    rig.simulator.wait_for_pushes(0, 2);
    rig.register(&mut phone, &rig.rfc_8599(2), "", 600);
    rig.talk(&mut caller, &call, &mut phone);
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

fn an_android_phone_is_told_that_the_caller_has_hung_up() {
    let rig = start(&[]);
    let (mut caller, mut phone) = (rig.phone("alice"), rig.phone("bob"));
    let headers = format!("X-Push-Token: {}\r\nX-Push-Platform: android\r\n", fcm_token(1));
    rig.register(&mut phone, "", &headers, 600);
    rig.register(&mut phone, "", "", 0);
    let call = caller.invite("bob");
    rig.simulator.wait_for_pushes(0, 1);
    rig.opensips.wait_for_log("waits for the phone");
    let cancel = caller.cancel(&call);
    caller.expect_status(&cancel, 200);
    let answer = caller.expect_status(&call, 487);
    caller.ack_failure(&call, &answer);
    let pushes = rig.simulator.wait_for_pushes(0, 2);
    assert!(pushes[1].to_string().contains("cancel"), "{}", pushes[1]);
    rig.stop();
}

/// What `voip_push:send` answers where Apple has accepted the push to the only phone.
fn sent_to_one(call_id: &str) -> Value {
    let answer = json!({ "provider": "apns", "outcome": "accepted", "reason": "", "attempts": 1 });
    json!({ "call_id": call_id, "devices": 1, "accepted": 1, "answers": [answer], "unanswered": 0 })
}

fn administrators_get_answers() {
    let rig = start(&[]);
    let _phone = rig.sleeping("bob", 1);
    let tokens = rig.opensips.manage("voip_push:tokens", &json!({ "user": "bob" }));
    assert_eq!(tokens["result"]["devices"][0]["platform"], "ios", "{tokens}");
    assert!(!tokens.to_string().contains(&token(1)));
    let sent =
        rig.opensips.manage("voip_push:send", &json!({ "user": "bob", "call_id": "c1", "caller": "alice" }));
    assert_eq!(sent["result"], sent_to_one("c1"), "{sent}");
    let nobody = rig.opensips.manage("voip_push:send", &json!({ "user": "x", "call_id": "c1" }));
    assert_eq!(nobody["error"]["code"], 404, "{nobody}");
    let stats = rig.opensips.manage("voip_push:stats", &json!({}));
    assert_eq!(stats["result"]["calls_total"], 1, "{stats}");
    let statistics = rig.opensips.manage("get_statistics", &json!({ "statistics": ["voip_push:"] }));
    assert_eq!(statistics["result"]["voip_push:calls_total"], 1, "{statistics}");
    rig.opensips.process("voip_push sender");
    rig.stop();
}

fn a_key_is_rotated_while_a_call_waits() {
    let rig = start(&[]);
    let mut phone = rig.sleeping("bob", 1);
    let mut caller = rig.phone("alice");
    let call = caller.invite("bob");
    rig.simulator.wait_for_pushes(0, 1);
    let (config, old) = (rig.simulator.config(), rig.simulator.fact("key_id").to_owned());
    let key = config.with_file_name("AuthKey_NEWKEY4567.p8");
    settings::p256_key(&key);
    rig.simulator.put("/keys/NEWKEY4567", &json!({ "public_pem": settings::public_half(&key) }));
    let whole = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, whole.replace(&old, "NEWKEY4567").replace("tokens.db", "other.db")).unwrap();
    let reload = || rig.opensips.manage("voip_push:reload", &json!({}));
    let reloaded = reload();
    assert_eq!(reloaded["result"], json!({ "generation": 1, "after_restart": "[store]" }), "{reloaded}");
    rig.simulator.delete(&format!("/keys/{old}"));
    rig.register(&mut phone, "", "", 600);
    rig.talk(&mut caller, &call, &mut phone);
    let send = |call_id: &str| {
        rig.opensips.manage("voip_push:send", &json!({ "user": "bob", "call_id": call_id }))["result"].clone()
    };
    assert_eq!(send("c1"), sent_to_one("c1"));
    let level = rig.opensips.manage("voip_push:log_level", &json!({ "level": "warn" }));
    assert_eq!(level["result"], json!({ "level": "warn", "from": "command" }), "{level}");
    std::fs::write(&config, &whole[..whole.len() / 2]).unwrap();
    let refused = reload();
    let why = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(why.contains("voip-push.toml: line "), "{refused}");
    assert_eq!(send("c2"), sent_to_one("c2"));
    let stats = rig.opensips.manage("voip_push:stats", &json!({}))["result"].clone();
    assert_eq!((&stats["reloads_total"], &stats["reloads_refused_total"]), (&json!(1), &json!(1)));
    let (_, log) = rig.opensips.stop();
    assert_eq!(log.matches("ERROR:voip_push:").count(), 1, "{log}");
    assert!(log.contains("reload refused, all settings stay as they were"), "{log}");
    assert!(log.contains("call_id=\"c1\"") && !log.contains("call_id=\"c2\""), "{log}");
}
