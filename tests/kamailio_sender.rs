//! The sender as a process of its own inside real Kamailios: results come as events or resume calls, and its end is handled.

#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stderr, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};
use support::kamailio::{Installation, Kamailio, Options, Place};
use support::rig::{NO_LIMITS, Rig, on, token};
use support::simulator::Simulator;
use support::sip::{self, Answer};
use support::{DEADLINE, debian, poll, wait_until_idle};

on!(
    kamailio_5_6,
    super::Installation::of_this_machine(),
    [
        it_is_a_process_with_a_name_and_ends_with_the_server,
        the_result_of_a_queued_push_comes_as_an_event,
        an_administrator_sees_devices_and_tries_a_push,
        an_administrator_sees_what_is_in_quarantine,
        a_request_is_looked_up_for_once_unless_something_changes,
        a_call_goes_on_when_the_answers_are_in,
        what_is_wrong_with_a_call_is_told_before_it_is_held,
        many_calls_at_once_are_all_answered,
        a_call_under_way_is_answered_when_the_server_stops,
        what_is_lost_when_the_server_stops_is_written_down,
        all_workers_share_one_connection,
        a_stopped_sender_costs_a_call_its_time_and_no_more,
        a_killed_sender_ends_the_server_and_nothing_hangs,
        a_call_that_goes_on_has_its_usual_time_to_ring,
        a_cancelled_call_is_left_alone,
        without_tmx_the_configuration_is_refused,
        without_forking_each_process_sends_by_itself,
    ]
);
on!(
    kamailio_6_0,
    super::debian::trixie(),
    [
        it_is_a_process_with_a_name_and_ends_with_the_server,
        the_result_of_a_queued_push_comes_as_an_event,
        an_administrator_sees_devices_and_tries_a_push,
        an_administrator_sees_what_is_in_quarantine,
        a_request_is_looked_up_for_once_unless_something_changes,
        a_call_goes_on_when_the_answers_are_in,
        many_calls_at_once_are_all_answered,
        a_call_under_way_is_answered_when_the_server_stops,
        a_call_that_goes_on_has_its_usual_time_to_ring,
        without_tmx_the_configuration_is_refused,
    ]
);

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_sender.cfg");

fn start(installation: &Installation, changes: &[(&str, &str)]) -> Rig {
    start_with(installation, changes, |options| options)
}

fn start_with(
    installation: &Installation,
    changes: &[(&str, &str)],
    more: impl FnOnce(Options) -> Options,
) -> Rig {
    Rig::start(installation, CONFIG, &[], changes, more)
}

impl Rig {
    fn register(&self, user: &str, number: u8) {
        let headers = format!("X-Do: register\r\nX-Token: {}\r\n", token(number));
        let uri = format!("sip:{user}@example.org");
        let answer = self.kamailio.send_sip(sip::request("MESSAGE", &uri, &headers, b""));
        assert_eq!(answer.header("X-Rc"), Some("1"), "{}", answer.head);
    }

    fn act(&self, what: &str, user: &str) -> Answer {
        self.kamailio.send_sip(invite(what, user, ""))
    }
}

fn invite(what: &str, user: &str, more: &str) -> Vec<u8> {
    let uri = format!("sip:{user}@example.org");
    sip::request("INVITE", &uri, &format!("X-Do: {what}\r\n{more}"), b"")
}

fn signal(pid: libc::pid_t, number: libc::c_int) {
    // SAFETY: sends a signal to a process of the Kamailio that this test has started.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0);
}

/// Whether a process is there and not only a zombie.
fn lives(pid: libc::pid_t) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn it_is_a_process_with_a_name_and_ends_with_the_server(installation: &Installation) {
    let rig = start(installation, &[]);
    let sender = rig.sender();
    assert!(lives(sender));
    rig.register("bob", 1);
    let asked = Instant::now();
    let (status, log) = rig.kamailio.stop();
    assert!(status.success(), "{status}\n{log}");
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert!(!lives(sender));
    let loud: Vec<&str> =
        log.lines().filter(|line| line.contains("ALERT") || line.contains("ERROR:")).collect();
    assert!(loud.is_empty(), "{loud:#?}");
    assert!(log.contains("INFO: voip_push: the sender stops; 0 pushes are under way"), "{log}");
}

fn the_result_of_a_queued_push_comes_as_an_event(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register("bob", 1);
    rig.register("dead", 2);
    rig.register("chain", 3);
    rig.register("next", 4);
    let sender = rig.sender();
    rig.simulator.behave(&token(2), json!([{ "status": 410, "reason": "Unregistered" }]));
    assert_eq!(rig.act("queue", "bob").header("X-Rc"), Some("1"));
    let line = rig.kamailio.wait_for_log("result=1 accepted=1 devices=1 user=bob call_id=", DEADLINE);
    assert!(line.contains(&format!("pid={sender} reason=ok")), "{line}");
    assert_eq!(rig.act("queue", "dead").header("X-Rc"), Some("1"));
    rig.kamailio.wait_for_log("result=-2 accepted=0 devices=1 user=dead call_id=", DEADLINE);
    assert_eq!(rig.act("queue", "nobody").header("X-Rc"), Some("-1"));
    // An event route may queue again, but not wait for itself.
    assert_eq!(rig.act("queue", "chain").header("X-Rc"), Some("1"));
    rig.kamailio.wait_for_log("result=1 accepted=1 devices=1 user=next", DEADLINE);
    let line = rig.kamailio.wait_for_log("waiting in the sender: ", DEADLINE);
    assert!(line.contains("-8 internal error: send_voip_push waits"), "{line}");
    assert_eq!(rig.stat("calls_total"), 4);
    assert_eq!(rig.stat("calls_failed_total"), 1);
}

fn an_administrator_sees_devices_and_tries_a_push(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register("bob", 1);
    rig.register("dead", 2);
    rig.simulator.behave(&token(2), json!([{ "status": 410, "reason": "Unregistered" }]));
    let devices = rig.kamailio.rpc(&["voip_push.tokens", "bob"]);
    assert!(devices.contains("platform: ios") && devices.contains("provider: apns"), "{devices}");
    assert!(devices.contains("token: token(apns …") && devices.contains("registered: 20"), "{devices}");
    assert!(!devices.contains(&token(1)), "{devices}");
    let sent = rig.kamailio.rpc(&["voip_push.send", "bob", "alice", "trial-1"]);
    for line in ["devices: 1", "accepted: 1", "call_id: trial-1", "outcome: accepted", "attempts: 1"] {
        assert!(sent.contains(line), "{line} is not in\n{sent}");
    }
    assert_eq!(rig.simulator.wait_for_pushes(0, 1)[0]["token"], token(1));
    // The sender has seen the certificate, and every process shows it.
    let shown = rig.kamailio.rpc(&["stats.get_statistics", "voip_push:"]);
    let ends = "provider_certificate_expiry_timestamp_seconds_apns_127_0_0_1_";
    let ends = shown.lines().find(|line| line.contains(ends) && line.ends_with("_now = 67090118400"));
    assert!(ends.is_some() && shown.contains("key_age_seconds_apns_"), "{shown}");
    let sent = rig.kamailio.rpc(&["voip_push.send", "dead"]);
    for line in ["accepted: 0", "unanswered: 0", "call_id: voip-push-test-", "outcome: token_gone"] {
        assert!(sent.contains(line), "{line} is not in\n{sent}");
    }
    for (words, says) in [
        (&["voip_push.tokens", "dead"][..], "no device for this user"),
        (&["voip_push.send", "dead"], "no device for this user"),
        (&["voip_push.tokens"], "usage: voip_push.tokens USER"),
        (&["voip_push.send"], "usage: voip_push.send USER [CALLER [CALL-ID]]"),
    ] {
        let refused = rig.kamailio.try_rpc(words).unwrap_err();
        assert!(refused.contains(says), "{words:?}: {refused}");
    }
}

fn an_administrator_sees_what_is_in_quarantine(installation: &Installation) {
    let rig = start(installation, &[("[call]", "[quarantine]\ndead_tokens = 1\n[call]")]);
    let list = || rig.kamailio.rpc(&["voip_push.quarantine", "list"]);
    let open = list();
    let credentials = open.matches("credential: ").count();
    assert_eq!(open.matches("state: open").count(), credentials, "{open}");
    assert!(open.contains("credential: apns production team ") && !open.contains("since"), "{open}");
    for number in 1..=3 {
        let user = format!("user-{number}");
        rig.register(&user, number);
        rig.simulator.behave(&token(number), json!([{ "status": 410, "reason": "Unregistered" }]));
        assert!(rig.kamailio.rpc(&["voip_push.send", &user]).contains("outcome: token_gone"));
    }
    let held = list();
    assert!(held.contains("state: closed") && held.contains("tokens: 2"), "{held}");
    assert!(held.contains("since: 20"), "{held}");
    assert_eq!(held.matches("state: open").count(), credentials - 1, "{held}");
    let shown = rig.kamailio.rpc(&["voip_push.stats"]);
    let line = shown.lines().find(|line| line.contains("credential_quarantine{provider=\"apns\""));
    assert!(line.is_some_and(|line| line.ends_with("}: 2")), "{shown}");
    rig.kamailio.rpc(&["voip_push.quarantine", "drop"]);
    assert!(poll(DEADLINE, || (list() == open).then_some(())).is_some(), "{}", list());
    let refused = rig.kamailio.try_rpc(&["voip_push.quarantine"]).unwrap_err();
    assert!(refused.contains("usage: voip_push.quarantine list|release|drop"), "{refused}");
}

fn a_request_is_looked_up_for_once_unless_something_changes(installation: &Installation) {
    let rig = start(installation, &[NO_LIMITS]);
    rig.register("bob", 1);
    let lookups_of = |what: &str| {
        let before = rig.stat("lookup_found_total");
        assert_eq!(rig.act(what, "bob").header("X-Rc"), Some("1"));
        rig.stat("lookup_found_total") - before
    };
    assert_eq!(lookups_of("queue"), 1);
    // What was found counts for a moment only, which a busy machine may take away between the two functions.
    assert!((0..50).any(|_| lookups_of("look-and-queue") == 1));
    // Another request, at once: it asks for itself.
    assert_eq!(lookups_of("queue"), 1);
    let renewed = invite("look-renew-and-queue", "bob", &format!("X-Token: {}\r\n", token(2)));
    assert_eq!(rig.kamailio.send_sip(renewed).header("X-Rc"), Some("1"));
    let arrived = || rig.simulator.pushes().into_iter().find(|push| push["token"] == token(2));
    assert!(poll(DEADLINE, arrived).is_some(), "{:?}", rig.simulator.pushes());
}

fn a_call_goes_on_when_the_answers_are_in(installation: &Installation) {
    let rig = start(installation, &[("wait_ms = 800", "wait_ms = 300")]);
    // a token of zeros is nobody's, which the simulator knows
    for (number, user) in [(1, "bob"), (2, "dead"), (3, "slow")] {
        rig.register(user, number);
    }
    rig.simulator.behave(&token(2), json!([{ "status": 410, "reason": "Unregistered" }]));
    rig.simulator.behave(&token(3), json!([{ "delay_ms": 2000 }]));
    let sender = rig.sender().to_string();
    for (how, user, status, about) in [
        ("async", "bob", "1", "1 1 bob "),
        ("newtran", "bob", "1", "1 1 bob "),
        ("async", "dead", "-2", "1 0 dead "),
        ("async", "slow", "-3", "1 0 slow "),
    ] {
        let asked = Instant::now();
        let answer = rig.act(how, user);
        assert_eq!(
            (answer.status, answer.header("X-Status")),
            (480, Some(status)),
            "{user}: {}",
            answer.head
        );
        assert_eq!(answer.header("X-Pid"), Some(sender.as_str()), "{}", answer.head);
        let seen = answer.header("X-About").unwrap();
        let call_id = answer.header("Call-ID").unwrap();
        assert_eq!(seen, format!("{about}{call_id}"));
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    }
    assert_eq!(rig.stat("resume_failed_total"), 0);
}

fn what_is_wrong_with_a_call_is_told_before_it_is_held(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register("bob", 1);
    for (how, user, rc) in [("async", "nobody", "-1"), ("no-route", "bob", "-6"), ("async", "a%00b", "-1")] {
        let answer = rig.act(how, user);
        assert_eq!((answer.status, answer.header("X-Rc")), (200, Some(rc)), "{}", answer.head);
        assert_eq!(answer.header("X-Status"), Some(rc));
    }
    let answer = rig.act("no-route", "bob");
    assert_eq!(answer.header("X-Reason"), Some("route: route[NOWHERE] is not in the configuration"));
}

fn many_calls_at_once_are_all_answered(installation: &Installation) {
    const CALLS: usize = 500;
    let rig = start_with(installation, &[NO_LIMITS], |mut options| {
        options.args.extend(["-m", "256"].map(Into::into));
        options
    });
    rig.register("bob", 1);
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "delay_ms": 100 }]));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    receive_buffer(&socket, 4 << 20);
    socket.connect(("127.0.0.1", rig.kamailio.port())).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut finals: HashMap<String, u16> = HashMap::new();
    let mut sent = 0;
    let end = Instant::now() + DEADLINE;
    while finals.len() < CALLS && Instant::now() < end {
        if sent < CALLS {
            socket.send(&invite("async", "bob", "")).unwrap();
            sent += 1;
        }
        let mut buffer = [0; 65_536];
        if sent < CALLS && sent % 50 != 0 {
            continue;
        }
        while let Ok(len) = socket.recv(&mut buffer) {
            let answer = Answer::parse(&buffer[..len]);
            if answer.status >= 200 {
                let call_id = answer.header("Call-ID").unwrap().to_owned();
                socket.send(&ack(&answer)).unwrap();
                finals.insert(call_id, answer.status);
            }
        }
    }
    let lost = CALLS - finals.len();
    assert_eq!(
        (lost, finals.values().filter(|status| **status != 480).count()),
        (0, 0),
        "{}",
        rig.kamailio.log()
    );
    assert_eq!(rig.stat("resume_failed_total"), 0);
}

/// The ACK to a final answer that is no success (RFC 3261 section 17.1.1.3).
fn ack(answer: &Answer) -> Vec<u8> {
    let uri = "sip:bob@example.org";
    let mut lines = vec![format!("ACK {uri} SIP/2.0")];
    for name in ["Via", "From", "To", "Call-ID"] {
        lines.push(format!("{name}: {}", answer.header(name).unwrap()));
    }
    lines.push("CSeq: 1 ACK\r\nMax-Forwards: 10\r\nContent-Length: 0\r\n\r\n".to_owned());
    lines.join("\r\n").into_bytes()
}

fn receive_buffer(socket: &UdpSocket, len: libc::c_int) {
    use std::os::fd::AsRawFd;
    // SAFETY: an open socket and a number of the size given.
    unsafe {
        let (level, option) = (libc::SOL_SOCKET, libc::SO_RCVBUF);
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const len).cast(),
            size_of_val(&len) as u32,
        );
    }
}

fn a_call_under_way_is_answered_when_the_server_stops(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register("bob", 1);
    rig.simulator.behave(&token(1), json!([{ "delay_ms": 500 }]));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", rig.kamailio.port())).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.send(&invite("async", "bob", "")).unwrap();
    let mut buffer = [0; 65_536];
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(Answer::parse(&buffer[..len]).status, 100);
    poll(DEADLINE, || (rig.stat("queued") == 1).then_some(())).expect("the push is under way");
    let (status, log) = rig.kamailio.stop();
    let len = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}\n{log}"));
    let answer = Answer::parse(&buffer[..len]);
    assert_eq!((answer.status, answer.header("X-Status")), (480, Some("1")), "{}", answer.head);
    assert!(status.success(), "{status}\n{log}");
    assert!(log.contains("the sender stops; 1 pushes are under way"), "{log}");
}

fn what_is_lost_when_the_server_stops_is_written_down(installation: &Installation) {
    let rig = start(installation, &[("[call]", "[sender]\nstop_ms = 300\n[call]")]);
    rig.register("bob", 1);
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "stall": true }]));
    assert_eq!(rig.act("queue", "bob").header("X-Rc"), Some("1"));
    rig.simulator.wait_for_pushes(0, 1);
    let asked = Instant::now();
    let (status, log) = rig.kamailio.stop();
    assert!(status.success(), "{status}\n{log}");
    // Not a measurement: the provider would have had five seconds, and the phone half a minute.
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    assert!(log.contains("the sender stops with 1 pushes unanswered"), "{log}");
}

fn all_workers_share_one_connection(installation: &Installation) {
    let rig = start(installation, &[NO_LIMITS]);
    rig.register("bob", 1);
    for _ in 0..30 {
        assert_eq!(rig.act("async", "bob").header("X-Status"), Some("1"));
    }
    assert_eq!(rig.simulator.get("/stats")["connections"]["apns"]["opened"], 1);
}

fn a_stopped_sender_costs_a_call_its_time_and_no_more(installation: &Installation) {
    let rig = start(installation, &[("wait_ms = 800", "wait_ms = 100")]);
    rig.register("bob", 1);
    let sender = rig.sender();
    assert_eq!(rig.act("async", "bob").status, 480);
    wait_until_idle(sender);
    signal(sender, libc::SIGSTOP);
    let asked = Instant::now();
    // The worker does not wait for it.
    assert_eq!(rig.act("queue", "bob").header("X-Rc"), Some("1"));
    let answers = [rig.act("async", "bob"), rig.act("relay", "bob")];
    // By then the safety net, 2 s later, has ended both: the first without a failure route, the second with the script's.
    assert_eq!(answers.map(|answer| answer.status), [408, 504]);
    // Not a measurement: without the net it would be tm's half a minute and more.
    assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
    signal(sender, libc::SIGCONT);
    // Afterwards both are over and it leaves them alone.
    poll(DEADLINE, || (rig.stat("resume_failed_total") == 2).then_some(())).expect("they are counted");
    assert_eq!(rig.act("async", "bob").status, 480);
    rig.kamailio.wait_for_log("a call was over before it could go on in route[", DEADLINE);
}

fn a_killed_sender_ends_the_server_and_nothing_hangs(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register("bob", 1);
    rig.act("queue", "bob");
    let worker = rig.kamailio.process("udp receiver child=0");
    signal(rig.sender(), libc::SIGKILL);
    let mut kamailio = rig.kamailio;
    let ended = poll(Duration::from_secs(5), || (!kamailio.is_alive()).then_some(()));
    assert!(ended.is_some(), "{}", kamailio.log());
    assert!(!lives(worker));
}

fn a_call_that_goes_on_has_its_usual_time_to_ring(installation: &Installation) {
    let rig = start(installation, &[("wait_ms = 800", "wait_ms = 100")]);
    rig.register("bob", 1);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(DEADLINE)).unwrap();
    let to = format!("X-To: sip:127.0.0.1:{}\r\n", phone.local_addr().unwrap().port());
    let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
    caller.connect(("127.0.0.1", rig.kamailio.port())).unwrap();
    caller.set_read_timeout(Some(Duration::from_millis(3000))).unwrap();
    caller.send(&invite("relay", "bob", &to)).unwrap();
    let mut buffer = [0; 65_536];
    let (len, server) = phone.recv_from(&mut buffer).unwrap();
    let ring = String::from_utf8_lossy(&buffer[..len]).into_owned();
    assert!(ring.starts_with("INVITE "), "{ring}");
    // A phone that is silent for longer than the call could be held: the safety net was at 2.1 s.
    let asked = Instant::now();
    let mut statuses = Vec::new();
    while asked.elapsed() < Duration::from_millis(2900) {
        if let Ok(len) = caller.recv(&mut buffer) {
            statuses.push(Answer::parse(&buffer[..len]).status);
        }
    }
    assert!(statuses.iter().all(|status| *status == 100), "{statuses:?}");
    let busy = ring.replacen(ring.lines().next().unwrap(), "SIP/2.0 486 Busy Here", 1);
    phone.send_to(busy.as_bytes(), server).unwrap();
    let len = caller.recv(&mut buffer).unwrap();
    assert_eq!(Answer::parse(&buffer[..len]).status, 504, "the failure route was still armed");
}

fn a_cancelled_call_is_left_alone(installation: &Installation) {
    let rig = start(installation, &[]);
    rig.register("bob", 1);
    rig.simulator.behave(&token(1), json!([{ "delay_ms": 300 }]));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", rig.kamailio.port())).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let call = invite("async", "bob", "");
    socket.send(&call).unwrap();
    let mut buffer = [0; 65_536];
    socket.recv(&mut buffer).unwrap();
    let text = String::from_utf8(call).unwrap();
    socket.send(text.replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL").as_bytes()).unwrap();
    let mut statuses: Vec<u16> = Vec::new();
    while statuses.len() < 2 {
        let len = socket.recv(&mut buffer).unwrap();
        statuses.push(Answer::parse(&buffer[..len]).status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 487]);
    poll(DEADLINE, || (rig.stat("queued") == 0).then_some(())).expect("the push ends");
    assert_eq!(rig.act("async", "bob").status, 480);
}

fn without_tmx_the_configuration_is_refused(installation: &Installation) {
    let place = Place::new("sender-tmx");
    let simulator = Simulator::start(&place.scratch, &[]);
    let options = Options::file(place, CONFIG).on(installation);
    let options = options.define("CONFIG", &format!("\"{}\"", simulator.config().display()));
    let (status, log) = Kamailio::refused(options.define("NO_TMX", ""));
    assert!(!status.success());
    let line = "ERROR: voip_push: send_voip_push_async, park_call and wake_dialog: \
                needs the modules tm.so and tmx.so; load both";
    assert!(log.contains(line), "{log}");
}

fn without_forking_each_process_sends_by_itself(installation: &Installation) {
    let rig = start_with(installation, &[], |mut options| {
        options.forks = false;
        options
    });
    rig.register("bob", 1);
    assert_eq!(rig.act("queue", "bob").header("X-Rc"), Some("1"));
    rig.simulator.wait_for_pushes(0, 1);
    let answer = rig.act("async", "bob");
    assert_eq!(answer.header("X-Rc"), Some("-8"), "{}", answer.head);
    assert!(answer.header("X-Reason").unwrap().contains("fork=no"), "{}", answer.head);
}
