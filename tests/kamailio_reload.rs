//! The configuration is read again while real Kamailios run: every process follows, no call is lost, and what is wrong changes
//! nothing.

#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stderr, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use support::kamailio::{Installation, Options};
use support::phone::{Phone, Sent};
use support::rig::{NO_LIMITS, Rig, on, token};
use support::shipped::fcm_token;
use support::sip::{self, Answer};
use support::{DEADLINE, debian, poll, settings};

on!(
    kamailio_5_6,
    super::Installation::of_this_machine(),
    [
        a_key_is_rotated,
        apps_come_and_go,
        what_is_wrong_changes_nothing_and_is_said,
        no_call_is_lost_while_keys_change,
        a_parked_call_waits_on_and_the_next_waits_as_told,
        the_log_is_louder_or_quieter_in_all_processes,
        a_new_token_store_waits_for_a_restart,
        without_a_sender_process_each_worker_follows,
    ]
);
on!(
    kamailio_6_0,
    super::debian::trixie(),
    [
        a_key_is_rotated,
        apps_come_and_go,
        what_is_wrong_changes_nothing_and_is_said,
        no_call_is_lost_while_keys_change,
        a_parked_call_waits_on_and_the_next_waits_as_told,
        the_log_is_louder_or_quieter_in_all_processes,
    ]
);

const SENDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_sender.cfg");
const PARK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_park.cfg");

const OLD_KEY: &str = "KEY1234567";
const NEW_KEY: &str = "NEWKEY4567";

fn start(installation: &Installation, changes: &[(&str, &str)]) -> Rig {
    start_with(installation, SENDER, changes, |options| options)
}

fn start_with(
    installation: &Installation,
    config: &str,
    changes: &[(&str, &str)],
    more: impl FnOnce(Options) -> Options,
) -> Rig {
    let changes: Vec<_> = [NO_LIMITS].iter().chain(changes).copied().collect();
    let topics = ["--topic", "org.example.phone.voip", "--topic", "org.other.voip"];
    Rig::start(installation, config, &topics, &changes, more)
}

impl Rig {
    fn register(&self, user: &str, token: &str, platform: &str) {
        let headers = format!("X-Do: register\r\nX-Token: {token}\r\nX-Platform: {platform}\r\n");
        let uri = format!("sip:{user}@example.org");
        let answer = self.kamailio.send_sip(sip::request("MESSAGE", &uri, &headers, b""));
        assert_eq!(answer.header("X-Rc"), Some("1"), "{}", answer.head);
    }

    fn act(&self, what: &str, user: &str) -> Answer {
        let uri = format!("sip:{user}@example.org");
        self.kamailio.send_sip(sip::request("INVITE", &uri, &format!("X-Do: {what}\r\n"), b""))
    }

    /// A call whose pushes are waited for: what the script sees of them.
    fn call(&self, user: &str) -> String {
        self.act("async", user)
            .header("X-Status")
            .unwrap_or_else(|| panic!("{}", self.kamailio.log()))
            .to_owned()
    }

    fn reload(&self) -> String {
        self.kamailio
            .try_rpc(&["voip_push.reload"])
            .unwrap_or_else(|why| panic!("{why}\n{}", self.kamailio.log()))
    }

    /// Makes another key that Apple takes as well.
    fn new_key(&self) -> PathBuf {
        let file = self.simulator.config().with_file_name(format!("AuthKey_{NEW_KEY}.p8"));
        settings::p256_key(&file);
        let public_pem = settings::public_half(&file);
        self.simulator.put(&format!("/keys/{NEW_KEY}"), &json!({ "public_pem": public_pem }));
        file
    }

    fn connections(&self) -> (u64, u64) {
        let apns = &self.simulator.get("/stats")["connections"]["apns"];
        (apns["opened"].as_u64().unwrap(), apns["current"].as_u64().unwrap())
    }

    fn lines(&self, text: &str) -> usize {
        self.kamailio.log().matches(text).count()
    }
}

fn a_key_is_rotated(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register("bob", &token(1), "ios");
    assert_eq!(rig.call("bob"), "1");
    // The same settings again: nothing is opened anew.
    assert!(rig.reload().contains("generation: 1"));
    assert_eq!((rig.call("bob").as_str(), rig.connections()), ("1", (1, 1)));
    // One push is under way when its key goes, and one comes afterwards.
    rig.simulator.behave(&token(1), json!([{ "delay_ms": 1000 }]));
    assert_eq!(rig.act("queue", "bob").header("X-Rc"), Some("1"));
    rig.simulator.wait_for_pushes(2, 1);
    rig.new_key();
    rig.simulator.change_config(&[(OLD_KEY, NEW_KEY)]);
    assert!(rig.reload().contains("generation: 2"));
    rig.simulator.delete(&format!("/keys/{OLD_KEY}"));
    assert_eq!(rig.call("bob"), "1");
    rig.kamailio.wait_for_log("result=1 accepted=1 devices=1 user=bob", DEADLINE);
    assert_eq!(rig.connections().0, 2, "a key has connections of its own");
    poll(DEADLINE, || (rig.connections().1 == 1).then_some(())).expect("those of the old key end");
    for text in [
        "team ABCDE12345 key NEWKEY4567: the sender uses this credential from now on",
        "team ABCDE12345 key KEY1234567: the sender uses this credential no more",
    ] {
        rig.kamailio.wait_for_log(text, DEADLINE);
    }
    assert_eq!((rig.stat("reloads_total"), rig.stat("reloads_refused_total")), (2, 0));
}

fn apps_come_and_go(installation: &Installation) {
    let (both, first) = ("[\"org.example.phone.voip\",\"org.other.voip\"]", "[\"org.example.phone.voip\"]");
    let fcm = ("[[fcm]]", "[[fcm]] # all of it");
    let rig = start(installation, &[(both, first), fcm]);
    let whole = fs::read_to_string(rig.simulator.config()).unwrap();
    let section = whole.find("[[fcm]]").unwrap()..whole.find("[rest]").unwrap();
    rig.register("bob", &token(1), "ios");
    rig.register("eve", &fcm_token(1), "android");
    fs::write(
        rig.simulator.config(),
        whole.replace(&whole[section], "").replace(first, "[\"org.other.voip\"]"),
    )
    .unwrap();
    rig.reload();
    assert_eq!((rig.call("bob").as_str(), rig.call("eve").as_str()), ("1", "-4"));
    assert_eq!(rig.simulator.pushes().last().unwrap()["topic"], "org.other.voip");
    fs::write(rig.simulator.config(), &whole).unwrap();
    rig.reload();
    assert_eq!((rig.call("bob").as_str(), rig.call("eve").as_str()), ("1", "1"));
    assert_eq!(rig.connections().0, 1, "another app of the same key needs no other connection");
    for row in [
        "pushes_total{provider=\"apns\",app=\"org.other.voip\",outcome=\"accepted\"}",
        "pushes_total{provider=\"apns\",app=\"org.example.phone.voip\",outcome=\"accepted\"}",
        "pushes_total{provider=\"fcm\",app=\"sip-phone-voip\",outcome=\"accepted\"}",
    ] {
        assert_eq!(rig.stat(row), 1, "{row}");
    }
    // Kamailio asks by position, which a new app must not move.
    let own = rig.kamailio.rpc(&["stats.get_statistics", "voip_push:"]);
    for line in [
        "voip_push:reloads_total = 2",
        "voip_push:pushes_fcm_sip_phone_voip_accepted_total = 1",
        "voip_push:queued_now = 0",
    ] {
        assert!(own.contains(line), "{line} is not in {own}");
    }
}

fn what_is_wrong_changes_nothing_and_is_said(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register("bob", &token(1), "ios");
    let (config, key) =
        (rig.simulator.config(), rig.simulator.config().with_file_name(format!("AuthKey_{OLD_KEY}.p8")));
    let (whole, away) = (fs::read_to_string(&config).unwrap(), key.with_extension("away"));
    let half = whole[..whole.find("environment").unwrap() + 15].to_owned();
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    let mut refused = 0;
    let mut refuse = |text: &str| {
        let why = rig.kamailio.try_rpc(&["voip_push.reload"]).unwrap_err();
        assert!(why.contains(text), "{text}: {why}");
        refused += 1;
        let line = rig.kamailio.wait_for_log(text, DEADLINE);
        assert!(line.contains("reload refused, all settings stay as they were: "), "{line}");
        assert_eq!(rig.lines("reload refused"), refused);
        assert_eq!((rig.stat("reloads_refused_total"), rig.call("bob")), (refused as u64, "1".to_owned()));
    };
    fs::write(&config, half).unwrap();
    refuse("voip-push.toml: line ");
    fs::write(&config, whole.replace("ring_seconds = 30", "ring_seconds = 3000")).unwrap();
    refuse("[call] ring_seconds: is 3000; give a number from 5 to 180");
    fs::write(&config, whole.replace("ca.pem", "api-keys")).unwrap();
    refuse("api-keys has no certificate in PEM form");
    fs::write(&config, &whole).unwrap();
    fs::rename(&key, &away).unwrap();
    refuse("AuthKey_KEY1234567.p8 does not exist");
    fs::rename(&away, &key).unwrap();
    mode(0o644);
    refuse("AuthKey_KEY1234567.p8 has mode 0644");
    mode(0o600);
    fs::rename(&config, &away).unwrap();
    refuse("voip-push.toml does not exist");
    fs::rename(&away, &config).unwrap();
    assert!(rig.reload().contains("generation: 1"));
    assert_eq!((rig.stat("reloads_total"), rig.call("bob")), (1, "1".to_owned()));
}

fn no_call_is_lost_while_keys_change(installation: &Installation) {
    const CALLS: usize = 300;
    const EVERY: usize = 20;
    let rig = start(installation, &[]);
    rig.register("bob", &token(1), "ios");
    rig.new_key();
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 50 }]));
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| (0..CALLS / 6).map(|_| rig.call("bob")).collect::<Vec<_>>()))
            .collect();
        let mut keys = [OLD_KEY, NEW_KEY];
        for round in 1..CALLS / EVERY {
            let arrived = || (rig.simulator.pushes().len() >= round * EVERY).then_some(());
            poll(DEADLINE, arrived).expect("the calls go on");
            rig.simulator.change_config(&[(keys[0], keys[1])]);
            keys.reverse();
            rig.reload();
        }
        for caller in callers {
            assert!(caller.join().unwrap().iter().all(|status| status == "1"), "{}", rig.kamailio.log());
        }
    });
    assert_eq!(rig.simulator.pushes().len(), CALLS);
    assert_eq!(rig.stat("reloads_total"), (CALLS / EVERY - 1) as u64);
    assert_eq!(
        (rig.stat("calls_failed_total"), rig.stat("resume_failed_total"), rig.stat("panics_total")),
        (0, 0, 0)
    );
    // The last reload may have come after the last of them.
    assert_eq!(rig.call("bob"), "1");
    let is_alone = poll(DEADLINE, || (rig.connections().1 == 1).then_some(()));
    is_alone.unwrap_or_else(|| panic!("opened and left: {:?}\n{}", rig.connections(), rig.kamailio.log()));
}

fn park(rig: &Rig, caller: &mut Phone, callee: &str) -> Sent {
    let invite = caller.invite(callee);
    caller.expect_status(&invite, 100);
    poll(DEADLINE, || (rig.stat("parked") == 1).then_some(())).expect("it is parked");
    invite
}

fn a_parked_call_waits_on_and_the_next_waits_as_told(installation: &Installation) {
    let rig = start_with(installation, PARK, &[], |options| options);
    for (user, number) in [("bob", 1), ("eve", 2)] {
        let headers = format!("X-Token: {}\r\nX-Device: {number}\r\n", token(number));
        let uri = format!("sip:{user}@sip.example.org");
        assert_eq!(rig.kamailio.send_sip(sip::request("MESSAGE", &uri, &headers, b"")).status, 200);
    }
    let mut caller = Phone::udp("alice", rig.kamailio.port());
    let invite = park(&rig, &mut caller, "bob");
    rig.simulator.change_config(&[("wake_seconds = 15", "wake_seconds = 1")]);
    rig.reload();
    let short = park_another(&rig, &mut caller);
    let refused = caller.expect_final(&short);
    assert_eq!(refused.status(), 480, "{refused:?}");
    caller.ack_failure(&short, &refused);
    let mut bob = Phone::tcp("bob", rig.kamailio.port());
    bob.register();
    let ring = bob.expect_request("INVITE");
    bob.answer(&ring, 200);
    let ok = caller.expect_status(&invite, 200);
    caller.within("ACK", &invite, &ok);
    assert_eq!((rig.stat("woken_total"), rig.stat("wake_timeout_total"), rig.stat("parked")), (1, 1, 0));
}

/// A call to a phone that never comes, while another is parked.
fn park_another(rig: &Rig, caller: &mut Phone) -> Sent {
    let invite = caller.invite("eve");
    caller.expect_status(&invite, 100);
    poll(DEADLINE, || (rig.stat("parked_total") == 2).then_some(())).expect("it is parked");
    invite
}

fn the_log_is_louder_or_quieter_in_all_processes(installation: &Installation) {
    let rig = start(installation, &[]);
    let level = |words: &[&str]| rig.kamailio.rpc(&[&["voip_push.log_level"], words].concat());
    rig.register("bob", &token(1), "ios");
    assert_eq!(rig.call("bob"), "1");
    let said = |rig: &Rig| (rig.lines("registered user="), rig.lines("outcome=accepted"));
    poll(DEADLINE, || (said(&rig) == (1, 1)).then_some(())).expect("worker and sender say what they do");
    let now = level(&[]);
    assert!(now.contains("level: info") && now.contains("from: file") && !now.contains("hidden"), "{now}");
    assert!(level(&["error"]).contains("from: command"));
    rig.register("bob", &token(1), "ios");
    assert_eq!((rig.call("bob").as_str(), rig.simulator.pushes().len()), ("1", 2));
    level(&["info"]);
    rig.register("bob", &token(1), "ios");
    assert_eq!(rig.call("bob"), "1");
    poll(DEADLINE, || (said(&rig) == (2, 2)).then_some(())).unwrap_or_else(|| panic!("{:?}", said(&rig)));
    assert!(level(&["debug"]).contains("hidden: Kamailio's own debug level shows less"));
    rig.kamailio.rpc(&["corex.debug", "3"]);
    poll(DEADLINE, || (!level(&[]).contains("hidden")).then_some(())).expect("now it shows all");
    assert!(
        rig.kamailio
            .try_rpc(&["voip_push.log_level", "loud"])
            .unwrap_err()
            .contains("level: is none of off, error")
    );
    // A reload goes back to the file's.
    rig.simulator.change_config(&[("level = \"info\"", "level = \"warn\"")]);
    rig.reload();
    let now = level(&[]);
    assert!(now.contains("level: warn") && now.contains("from: file"), "{now}");
    assert_eq!((rig.call("bob").as_str(), said(&rig)), ("1", (2, 2)));
}

fn a_new_token_store_waits_for_a_restart(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register("bob", &token(1), "ios");
    let other = rig.simulator.config().with_file_name("other.db");
    rig.simulator.change_config(&[("tokens.db", "other.db")]);
    assert!(rig.reload().contains("after_restart: [store]"));
    rig.kamailio
        .wait_for_log("the new value of [store] takes effect when the server is started again", DEADLINE);
    assert_eq!((rig.call("bob").as_str(), other.exists()), ("1", false));
}

fn without_a_sender_process_each_worker_follows(installation: &Installation) {
    let rig = start_with(installation, SENDER, &[], |mut options| {
        options.forks = false;
        options
    });
    rig.register("bob", &token(1), "ios");
    assert_eq!(rig.act("queue", "bob").header("X-Rc"), Some("1"));
    rig.simulator.wait_for_pushes(0, 1);
    rig.new_key();
    rig.simulator.change_config(&[(OLD_KEY, NEW_KEY)]);
    let answered = poll(Duration::from_secs(5), || rig.kamailio.try_rpc(&["voip_push.reload"]).ok());
    assert!(answered.is_some(), "{}", rig.kamailio.log());
    rig.simulator.delete(&format!("/keys/{OLD_KEY}"));
    assert_eq!(rig.act("queue", "bob").header("X-Rc"), Some("1"));
    rig.kamailio.wait_for_log("key NEWKEY4567: the sender uses this credential from now on", DEADLINE);
    let answer = &rig.simulator.wait_for_pushes(1, 1)[0];
    assert_eq!(answer["status"], 200, "{answer}");
}
