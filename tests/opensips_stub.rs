//! The OpenSIPS module in a stub host that does what OpenSIPS' versions do, by their documented layouts: always, and without an
//! OpenSIPS on the machine.

#![allow(clippy::panic, clippy::unwrap_used, reason = "this is how a test fails")]

#[path = "opensips_stub/host.rs"]
mod host;
mod support;

use host::{Host, Setup};
use serde_json::json;
use std::time::{Duration, Instant};
use support::settings;
use support::shipped::fcm_token;

/// One module of tests per version, so that a failure says which.
macro_rules! on {
    ($($name:ident $version:literal)*) => {
        $(mod $name {
            const VERSION: &str = $version;

            #[test]
            fn functions_do_what_they_say() {
                super::functions_do_what_they_say(VERSION);
            }

            #[test]
            fn the_worker_serves_others_meanwhile() {
                super::the_worker_serves_others_meanwhile(VERSION);
            }

            #[test]
            fn who_is_late_is_not_waited_for() {
                super::who_is_late_is_not_waited_for(VERSION);
            }

            #[test]
            fn a_sender_that_is_gone_or_stopped_holds_nobody_up() {
                super::a_sender_that_is_gone_or_stopped_holds_nobody_up(VERSION);
            }

            #[test]
            fn only_a_new_call_rings() {
                super::only_a_new_call_rings(VERSION);
            }

            #[test]
            fn a_stopped_sender_keeps_no_launched_call() {
                super::a_stopped_sender_keeps_no_launched_call(VERSION);
            }

            #[test]
            fn what_is_no_call_wakes_silently() {
                super::what_is_no_call_wakes_silently(VERSION);
            }

            #[test]
            fn messages_wake_phones_and_calls_show_what_the_sdp_offers() {
                super::messages_wake_phones_and_calls_show_what_the_sdp_offers(VERSION);
            }

            #[test]
            fn administrators_get_answers() {
                super::administrators_get_answers(VERSION);
            }

            #[test]
            fn pushes_are_in_flight_when_a_key_is_changed() {
                super::pushes_are_in_flight_when_a_key_is_changed(VERSION);
            }
        })*
    };
}

on! {
    opensips_3_4_2 "3.4.2"
    opensips_3_4 "3.4.18"
    opensips_3_5 "3.5.9"
    opensips_3_6 "3.6.8"
    opensips_4_0 "4.0.1"
}

fn token(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn registered(setup: &Setup<'_>) -> Host {
    let host = Host::start(setup);
    assert_eq!(host.ask(&format!("call register_token bob {} ios phone", token(1))), "called rc=1");
    host
}

fn functions_do_what_they_say(version: &str) {
    let host = registered(&Setup::of(version));
    assert_eq!(
        host.ask("call lookup_token bob $token $platform $provider $app $device_id $devices"),
        format!("called rc=1 token={} platform=ios provider=apns app= device_id=phone devices=1", token(1))
    );
    assert_eq!(host.ask("call lookup_token bob - - $provider"), "called rc=1 provider=apns");
    assert_eq!(host.ask("call send_voip_push bob alice c1 - $a $why"), "called rc=1 a=1 why=ok");
    assert_eq!(
        host.ask("call send_voip_push nobody alice c1 - - $why"),
        "called rc=-1 why=no device for this user"
    );
    let to = format!("call send_voip_push_to apns {} % carol alice c2 $why", token(2));
    assert_eq!(host.ask(&to), "called rc=1 why=ok");
    assert_eq!(host.ask("call queue_voip_push bob alice c3 video $why"), "called rc=1 why=ok");
    let event = host.anywhere("event ");
    assert_eq!(event, "event E_VOIP_PUSH_RESULT user=bob call_id=c3 status=1 reason=ok devices=1 accepted=1");
    host.simulator.behave(&token(1), json!([{ "status": 410, "reason": "Unregistered" }]));
    let refused = host.ask("call send_voip_push bob alice c4 - $a $why");
    assert!(refused.starts_with("called rc=-2 a=0 why=every push was rejected: apns"), "{refused}");
    assert_eq!(host.ask("call delete_token bob phone $why"), "called rc=-1 why=no device for this user");

    let pixel = format!("call register_token eve {} android", fcm_token(3));
    assert_eq!(host.ask(&pixel), "called rc=1");
    assert_eq!(host.ask("call send_voip_push eve alice c5"), "called rc=1");
    assert_eq!(host.ask("call cancel_voip_push eve c5 cancelled $devices"), "called rc=1 devices=1");
    assert_eq!(host.ask("call cancel_voip_push eve c5 bored"), "called rc=-6");
    let topic = host.simulator.fact("topic");
    let parameters = format!("pn-provider=apns;pn-prid={};pn-param=ABCDE12345.{topic}", token(5));
    let contact = format!("<sip:dan@192.0.2.1;{parameters}>");
    assert_eq!(
        host.ask(&format!("call register_contact dan {contact} 600 $devices $why")),
        "called rc=1 devices=1 why=ok"
    );
    let dan = host.ask("call lookup_token dan $token $platform $provider");
    assert_eq!(dan, format!("called rc=1 token={} platform=ios provider=apns", token(5)));
    assert_eq!(host.ask("call register_contact dan <sip:dan@192.0.2.1> 600"), "called rc=-1");
    for (bad, why) in [
        ("register_contact dan sip: 600", "rc=-6"),
        ("register_token % t ios - -", "rc=-6"),
        ("register_token bob x windows", "rc=-6"),
        ("register_token bob zz ios", "rc=-6"),
        ("send_voip_push bob alice %", "rc=-6"),
        ("send_voip_push bob alice c smell", "rc=-6"),
        ("send_voip_push_to smoke t a bob alice c", "rc=-6"),
    ] {
        assert_eq!(host.ask(&format!("call {bad}")), format!("called {why}"), "{bad}");
    }
    for not_taken in
        ["send_voip_push bob", "lookup_token bob text", "send_voip_push - a c", "park_call bob R"]
    {
        assert_eq!(host.ask(&format!("call {not_taken}")), "the script is not taken", "{not_taken}");
    }
    let log = host.stop();
    assert!(log.contains("WARNING:voip_push: register_token: platform: is neither"), "{log}");
    assert!(!log.contains(&token(1)), "a token is in the log");
}

fn the_worker_serves_others_meanwhile(version: &str) {
    let host = registered(&Setup { config: &[("wait_ms = 800", "wait_ms = 5000")], ..Setup::of(version) });
    assert_eq!(host.ask("call send_voip_push bob alice c0"), "called rc=1");
    let before = host.ask("fds");
    host.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 2000 }]));
    let start = Instant::now();
    for number in 1..=40 {
        let how = if number % 2 == 0 { "launch" } else { "async 0" };
        let started = host.ask(&format!("{how} send_voip_push bob alice c{number} - $accepted $why"));
        assert_eq!(started, format!("started {number}"));
    }
    assert_eq!(host.ask("call lookup_token bob - - $provider"), "called rc=1 provider=apns");
    assert!(start.elapsed() < Duration::from_millis(2000), "the worker waited: {:?}", start.elapsed());
    host.tell("wait");
    for _ in 1..=40 {
        let resumed = host.next("> resumed ");
        assert!(resumed.ends_with(" rc=1 accepted=1 why=ok"), "{resumed}");
    }
    host.next("> idle");
    assert!(start.elapsed() < Duration::from_secs(20), "not one after the other: {:?}", start.elapsed());
    assert_eq!(host.ask("fds"), before, "descriptors are left");
    // Nothing to wait for: the result is there at once, and the report route is run all the same.
    for how in ["launch", "async 2", "sync"] {
        let at_once = host.ask(&format!("{how} send_voip_push nobody alice c1 - - $why"));
        assert_eq!(at_once, "at once rc=-1 why=no device for this user");
    }
    // Where OpenSIPS has no event loop, it asks until it is done, and is to be answered once.
    assert_eq!(host.ask("sync send_voip_push bob alice c99 - $accepted"), "resumed 41 rc=1 accepted=1");
    assert_eq!(host.ask("fds"), before);
    host.stop();
}

fn who_is_late_is_not_waited_for(version: &str) {
    let host = registered(&Setup { config: &[("wait_ms = 800", "wait_ms = 10000")], ..Setup::of(version) });
    assert_eq!(host.ask("call send_voip_push bob alice c0"), "called rc=1");
    let before = host.ask("fds");
    host.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 1500 }]));
    assert_eq!(host.ask("async 1 send_voip_push bob alice c1 - $accepted $why"), "started 1");
    host.tell("wait");
    assert_eq!(
        host.next("> "),
        "> timed out 1 rc=-3 accepted=0 why=no provider accepted in time: 1 not answered yet"
    );
    host.next("> idle");
    for number in 2..=9 {
        assert_eq!(
            host.ask(&format!("async 9 send_voip_push bob alice d{number} - $a")),
            format!("started {number}")
        );
    }
    host.tell("expire");
    for _ in 2..=9 {
        let late = host.next("> ");
        assert!(late.ends_with(" rc=-3 a=0"), "{late}");
    }
    host.next("> idle");
    // The answers are there by now, and nobody waits for them: the sender has gone on, and so has the worker.
    host.simulator.wait_for_pushes(0, 10);
    host.simulator.put("/behaviour/apns", &json!([]));
    assert_eq!(host.ask("async 0 send_voip_push bob alice c10 - $accepted"), "started 10");
    host.tell("wait");
    assert_eq!(host.next("> "), "> resumed 10 rc=1 accepted=1");
    host.next("> idle");
    assert_eq!(host.ask("fds"), before);
    host.stop();
}

fn a_sender_that_is_gone_or_stopped_holds_nobody_up(version: &str) {
    let host = registered(&Setup { config: &[("wait_ms = 800", "wait_ms = 1000")], ..Setup::of(version) });
    host.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 100 }]));
    assert_eq!(host.ask("call send_voip_push bob alice c0"), "called rc=1");
    host.signal_sender(libc::SIGSTOP);
    // 3.4.2 and before have nothing that ends it without the script's own timeout.
    let how = if version == "3.4.2" { "async 3" } else { "async 0" };
    assert_eq!(host.ask(&format!("{how} send_voip_push bob alice c1 - $a")), "started 1");
    assert_eq!(host.ask("sync send_voip_push bob alice c2 - $a"), "resumed 2 rc=-3 a=0");
    assert_eq!(host.ask("call send_voip_push bob alice c3 - $a"), "called rc=-3 a=0");
    host.tell("wait");
    assert_eq!(host.next("> "), "> timed out 1 rc=-3 a=0");
    host.next("> idle");
    assert_eq!(host.ask("async 9 send_voip_push bob alice c4 - $a $why"), "started 3");
    host.signal_sender(libc::SIGKILL);
    host.tell("wait");
    assert_eq!(host.next("> "), "> resumed 3 rc=-5 a=0 why=the sender is not there");
    host.next("> idle");
    for how in ["call", "async 0", "launch"] {
        let answer = host.ask(&format!("{how} send_voip_push bob alice c5 - $a $why"));
        assert!(answer.ends_with(" rc=-5 a=0 why=the sender is not there"), "{answer}");
    }
    assert_eq!(host.ask("call queue_voip_push bob alice c6"), "called rc=-5");
    assert_eq!(host.ask("call lookup_token bob - $platform"), "called rc=1 platform=ios");
    assert!(host.stop().contains("ERROR:voip_push: the sender has gone"));
}

/// launch() has no timeout of OpenSIPS'.
fn a_stopped_sender_keeps_no_launched_call(version: &str) {
    let host = registered(&Setup { config: &[("wait_ms = 800", "wait_ms = 1500")], ..Setup::of(version) });
    assert_eq!(host.ask("call send_voip_push bob alice c0"), "called rc=1");
    let before = host.ask("fds");
    host.signal_sender(libc::SIGSTOP);
    assert_eq!(host.ask("launch send_voip_push bob alice c1 - $a"), "started 1");
    for number in 2..=3 {
        // each takes as long as the first may last
        let waited = host.ask(&format!("sync send_voip_push bob alice c{number} - $a"));
        assert_eq!(waited, format!("resumed {number} rc=-3 a=0"));
    }
    assert_eq!(host.ask("launch send_voip_push bob alice c4 - $a"), "started 4");
    host.signal_sender(libc::SIGCONT);
    host.tell("wait");
    let mut ends = [host.next("> "), host.next("> ")];
    ends.sort();
    assert_eq!(ends[0], "> resumed 1 rc=-3 a=0", "{ends:?}");
    assert!(ends[1].starts_with("> resumed 4 rc="), "{ends:?}");
    host.next("> idle");
    assert_eq!(host.ask("fds"), before);
    host.stop();
}

fn only_a_new_call_rings(version: &str) {
    let host = Host::start(&Setup::of(version));
    let (token, topic) = (token(7), host.simulator.fact("topic"));
    let contact = format!(
        "sip:bob@192.0.2.1;transport=tls;pn-provider=apns;pn-prid={token};pn-param=ABCDE12345.{topic}"
    );
    let ask = |how: &str, contact: &str, cause: &str| {
        host.ask(&format!("{how} send_voip_push_contact bob {contact} {cause} alice c1 - $why"))
    };
    assert_eq!(ask("call", &contact, "ini-INVITE"), "called rc=1 why=ok");
    for silent in ["mid-BYE", "mid-INVITE", "reg-refresh", "ini-MESSAGE"] {
        let why = format!("rc=-1 why=no push for {silent}: this phone takes none but for calls");
        assert_eq!(ask("call", &contact, silent), format!("called {why}"));
        assert_eq!(ask("launch", &contact, silent), format!("at once {why}"));
    }
    assert_eq!(host.simulator.pushes().len(), 1);
    assert_eq!(
        host.ask(&format!("launch send_voip_push_contact bob {contact} ini-INVITE alice c2 - $why")),
        "started 1"
    );
    host.tell("wait");
    assert_eq!(host.next("> "), "> resumed 1 rc=1 why=ok");
    host.next("> idle");
    let bad = ask("call", "sip:bob@192.0.2.1", "ini-INVITE");
    assert_eq!(bad, "called rc=-6 why=contact: has no push parameters");
    let pushes = host.simulator.wait_for_pushes(0, 2);
    assert!(pushes.iter().all(|push| push["token"] == token.as_str()), "{pushes:?}");
    host.stop();
}

/// A registration that runs out, and a request inside a call, wake a phone that can be woken without ringing.
fn what_is_no_call_wakes_silently(version: &str) {
    let host = Host::start(&Setup::of(version));
    let (project, topic) = (host.simulator.fact("project"), host.simulator.fact("topic"));
    let android = format!("sip:eve@192.0.2.2;pn-provider=fcm;pn-prid={};pn-param={project}", fcm_token(3));
    let (calls, alerts) = (token(8), token(9));
    let apple = format!(
        "sip:dan@192.0.2.3;pn-provider=apns;pn-prid={calls}:voip&{alerts}:remote;pn-param=ABCDE12345.{topic}&remote"
    );
    let mut seen = 0;
    let mut push = |contact: &str, cause: &str, call_id: &str| {
        let asked = format!("call send_voip_push_contact x {contact} {cause} alice {call_id} - $why");
        assert_eq!(host.ask(&asked), "called rc=1 why=ok", "{cause}");
        seen += 1;
        host.simulator.wait_for_pushes(0, seen)[seen - 1].clone()
    };
    for (cause, call_id) in
        [("reg-refresh", "%"), ("mid-INVITE", "m1"), ("mid-BYE", "m2"), ("ini-SUBSCRIBE", "m3")]
    {
        let pushed = push(&android, cause, call_id).to_string();
        assert!(pushed.contains("refresh") && !pushed.contains("alice"), "{pushed}");
        let pushed = push(&apple, cause, call_id);
        assert_eq!(
            (&pushed["token"], &pushed["headers"]["apns-push-type"]),
            (&json!(alerts), &json!("background")),
            "{pushed}"
        );
    }
    let pushed = push(&android, "ini-MESSAGE", "m4").to_string();
    assert!(pushed.contains("alice") && pushed.contains("message"), "{pushed}");
    let pushed = push(&apple, "ini-MESSAGE", "m4");
    assert_eq!(
        (&pushed["token"], &pushed["headers"]["apns-push-type"]),
        (&json!(alerts), &json!("alert")),
        "{pushed}"
    );
    let pushed = push(&apple, "ini-INVITE", "m5");
    assert_eq!(
        (&pushed["token"], &pushed["headers"]["apns-push-type"]),
        (&json!(calls), &json!("voip")),
        "{pushed}"
    );
    host.stop();
}

fn messages_wake_phones_and_calls_show_what_the_sdp_offers(version: &str) {
    let host = registered(&Setup::of(version));
    assert_eq!(host.ask(&format!("call register_token eve {} android", fcm_token(3))), "called rc=1");
    assert_eq!(host.ask("call queue_message_push eve alice m1 $why"), "called rc=1 why=ok");
    let event = host.anywhere("event ");
    assert_eq!(event, "event E_VOIP_PUSH_RESULT user=eve call_id=m1 status=1 reason=ok devices=1 accepted=1");
    let pushed = host.simulator.wait_for_pushes(0, 1)[0].to_string();
    assert!(pushed.contains("message") && pushed.contains("alice"), "{pushed}");
    // an iPhone with a token for calls only, and nobody
    for user in ["bob", "nobody"] {
        let none = host.ask(&format!("call queue_message_push {user} alice m2 $why"));
        assert_eq!(none, "called rc=-1 why=no device for this user", "{user}");
    }
    assert_eq!(host.ask("call queue_message_push eve alice %"), "called rc=-6");
    let topic = host.simulator.fact("topic");
    let contact = format!("sip:dan@h;pn-provider=apns;pn-prid={};pn-param=ABCDE12345.{topic}", token(5));
    let ways = [
        "call send_voip_push bob alice ID sdp".to_owned(),
        "call queue_voip_push bob alice ID SDP".to_owned(),
        "sync send_voip_push bob alice ID sdp".to_owned(),
        format!("call send_voip_push_contact dan {contact} ini-INVITE alice ID sdp"),
    ];
    let (mut number, mut seen) = (0, 1);
    for (body, has_pictures) in
        [("m=audio 4000", false), ("m=video 4002", true), ("m=video 0", false), ("-", false)]
    {
        assert_eq!(host.ask(&format!("body {body}")), "body");
        for way in &ways {
            number += 1;
            host.ask(&way.replace("ID", &format!("v{number}")));
            seen += 1;
            let pushed = host.simulator.wait_for_pushes(0, seen)[seen - 1].to_string();
            assert!(pushed.contains(&format!("\"hasVideo\":{has_pictures}")), "{way} {body}: {pushed}");
        }
    }
    assert_eq!(
        host.ask("call send_voip_push bob alice c smell - $why"),
        "called rc=-6 why=media: is none of audio, video and sdp"
    );
    host.stop();
}

fn administrators_get_answers(version: &str) {
    let host = registered(&Setup { environment: &[("STUB_NO_EVENTS", "1")], ..Setup::of(version) });
    assert_eq!(host.ask("call queue_voip_push bob alice c1"), "called rc=1");
    host.simulator.wait_for_pushes(0, 1);
    let sent = host.ask("mi voip_push:send user=bob call_id=c2 caller=alice");
    let answer = "answers=[ ={ provider=apns outcome=accepted reason= attempts=1";
    assert_eq!(sent, format!("mi devices=1 accepted=1 unanswered=0 call_id=c2 {answer}"));
    let sent = host.ask("mi voip_push:send user=bob");
    assert!(sent.starts_with("mi devices=1 accepted=1 unanswered=0 call_id=voip-push-test-"), "{sent}");
    assert_eq!(host.ask("mi voip_push:send user=carol call_id=c4"), "mierror 404 no device for this user");
    assert_eq!(host.ask("mi voip_push:send"), "mi no such command");
    let tokens = host.ask("mi voip_push:tokens user=bob");
    assert!(
        tokens.starts_with("mi devices=[ ={ platform=ios provider=apns app= device_id=phone"),
        "{tokens}"
    );
    assert!(!tokens.contains(&token(1)), "{tokens}");
    assert_eq!(
        host.ask("mi voip_push:quarantine action=keep"),
        "mierror 400 action: is none of list, release and drop"
    );
    assert_eq!(host.ask("mi voip_push:quarantine action=drop"), "mi tokens=0");
    let list = host.ask("mi voip_push:quarantine action=list");
    assert!(list.starts_with("mi credentials=[ ={ credential=apns production team "), "{list}");
    assert!(list.contains(" state=open tokens=0"), "{list}");
    let stats = host.ask("mi voip_push:stats");
    assert!(stats.contains(" calls_total=3 ") && stats.contains("outcome=\"accepted\"}=3"), "{stats}");
    assert_eq!(host.ask("stat calls_total"), "stat 3");
    let topic = host.simulator.fact("topic").replace('.', "_");
    assert_eq!(host.ask(&format!("stat pushes_apns_{topic}_accepted_total")), "stat 3");
    assert!(!host.output().contains("event "), "nobody has subscribed");
    host.stop();
}

fn pushes_are_in_flight_when_a_key_is_changed(version: &str) {
    const NEW_KEY: &str = "NEWKEY4567";
    let host = registered(&Setup { config: &[("wait_ms = 800", "wait_ms = 5000")], ..Setup::of(version) });
    assert_eq!(host.ask("call send_voip_push bob alice c0"), "called rc=1");
    host.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 700 }]));
    for number in 1..=10 {
        let how = if number % 2 == 0 { "launch" } else { "async 0" };
        let started = host.ask(&format!("{how} send_voip_push bob alice c{number} - $accepted"));
        assert_eq!(started, format!("started {number}"));
    }
    host.simulator.wait_for_pushes(1, 10);
    let key = host.simulator.config().with_file_name(format!("AuthKey_{NEW_KEY}.p8"));
    settings::p256_key(&key);
    let public_pem = settings::public_half(&key);
    host.simulator.put(&format!("/keys/{NEW_KEY}"), &json!({ "public_pem": public_pem }));
    let old_key = host.simulator.fact("key_id").to_owned();
    let whole = std::fs::read_to_string(host.simulator.config()).unwrap();
    std::fs::write(host.simulator.config(), &whole[..whole.len() / 2]).unwrap();
    let refused = host.ask("mi voip_push:reload");
    assert!(refused.starts_with("mierror 500 ") && refused.contains("voip-push.toml: line"), "{refused}");
    std::fs::write(host.simulator.config(), whole.replace(&old_key, NEW_KEY)).unwrap();
    assert_eq!(host.ask("mi voip_push:reload"), "mi generation=1");
    host.simulator.delete(&format!("/keys/{old_key}"));
    assert_eq!(host.ask("async 0 send_voip_push bob alice c11 - $accepted"), "started 11");
    host.tell("wait");
    for _ in 1..=11 {
        let resumed = host.next("> resumed ");
        assert!(resumed.ends_with(" rc=1 accepted=1"), "{resumed}");
    }
    host.next("> idle");
    assert_eq!(host.ask("stat reloads_total"), "stat 1");
    assert_eq!(host.ask("stat reloads_refused_total"), "stat 1");
    assert_eq!(host.ask("mi voip_push:log_level"), "mi level=info from=file");
    assert_eq!(host.ask("mi voip_push:log_level level=error"), "mi level=error from=command");
    let lines = host.log().lines().count();
    assert_eq!(host.ask("call send_voip_push bob alice c12"), "called rc=1");
    assert_eq!(host.log().lines().count(), lines, "{}", host.log());
    let unknown = host.ask("mi voip_push:log_level level=loud");
    assert!(unknown.starts_with("mierror 400 level: is none of off"), "{unknown}");
    let log = host.stop();
    assert_eq!(log.matches("ERROR:voip_push: reload refused").count(), 1, "{log}");
}

#[test]
fn valgrind_has_nothing_to_say() {
    for version in ["3.4.2", "4.0.1"] {
        let config = &[("wait_ms = 800", "wait_ms = 10000")];
        let host = registered(&Setup { under_valgrind: true, config, ..Setup::of(version) });
        assert_eq!(host.ask("call lookup_token bob - $platform"), "called rc=1 platform=ios");
        assert_eq!(host.ask("async 0 send_voip_push bob alice c1 - $a $why"), "started 1");
        host.tell("wait");
        assert_eq!(host.next("> "), "> resumed 1 rc=1 a=1 why=ok");
        host.next("> idle");
        assert_eq!(host.ask("async 0 send_voip_push bob alice c2 - $a"), "started 2");
        assert_eq!(host.ask("expire").split(" rc=").next(), Some("timed out 2"));
        host.next("> idle");
        assert!(host.ask("launch send_voip_push nobody alice c3").starts_with("at once rc=-1"));
        assert_eq!(host.ask("call queue_voip_push bob alice c4"), "called rc=1");
        host.anywhere("event ");
        assert!(host.ask("mi voip_push:tokens user=bob").contains("device_id=phone"));
        assert!(host.ask("stat calls_total").starts_with("stat "));
        host.stop();
    }
}

#[test]
fn other_versions_are_refused_in_the_hosts_own_words() {
    for version in ["3.3.9", "4.1.0"] {
        let (ended, output, _) = Host::refused(&Setup::of(version));
        assert_eq!(ended.code(), Some(1));
        let ours = env!("CARGO_PKG_VERSION");
        let why = format!(
            "refused: voip_push {ours} supports OpenSIPS 3.4, 3.5, 3.6, 4.0 on x86_64; this is 'opensips {version} (x86_64/linux)'"
        );
        assert!(output.starts_with(&why), "{output}");
        assert_eq!(output.lines().count(), 1);
    }
}

#[test]
fn who_insists_gets_the_layouts_that_he_names() {
    let insist = |value| Setup { environment: value, ..Setup::of("4.1.0") };
    let host = registered(&insist(&[("VOIP_PUSH_OPENSIPS_ABI", "4.0")]));
    assert_eq!(host.ask("async 0 send_voip_push bob alice c1 - $a"), "started 1");
    host.tell("wait");
    assert_eq!(host.next("> "), "> resumed 1 rc=1 a=1");
    host.stop();
    let (_, output, _) = Host::refused(&insist(&[("VOIP_PUSH_OPENSIPS_ABI", "yes")]));
    assert_eq!(output, "refused: VOIP_PUSH_OPENSIPS_ABI=yes is not one of 3.4, 3.5, 3.6, 4.0\n");
}

#[test]
fn a_core_that_lacks_a_symbol_is_refused_by_its_name() {
    let compile = &["-Devi_probe_event=evi_probe_event_of_another_kind"];
    let (ended, output, _) = Host::refused(&Setup { compile, ..Setup::of("3.6.8") });
    assert_eq!(ended.code(), Some(1));
    let why = "needs the symbol evi_probe_event, which this 'opensips 3.6.8 (x86_64/linux)' does not have";
    assert!(output.contains(why), "{output}");
}

#[test]
fn a_broken_configuration_stops_the_start_with_one_line() {
    let config = &[("[call]", "[calls]")];
    let (ended, output, log) = Host::refused(&Setup { config, ..Setup::of("3.6.8") });
    assert_eq!((ended.code(), output.as_str()), (Some(2), "mod_init failed\n"));
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR:voip_push:")).collect();
    assert_eq!(errors.len(), 1, "{log}");
    assert!(errors[0].contains("calls"), "{log}");
}
