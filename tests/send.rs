//! `voip-push send` and `completions`, the real binary: what is shown, what arrives, and what the sender would do next.
#![cfg(feature = "command")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};
use support::Scratch;
use support::simulator::Simulator;

const TOPIC: &str = "org.example.phone.voip";

fn apns(number: u32) -> String {
    format!("a{number:063x}")
}

fn fcm() -> String {
    format!("c1:APA91b{}", "x".repeat(130))
}

fn run(simulator: &Simulator, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
    command.args(args).arg("--config").arg(simulator.config()).stdin(Stdio::null());
    command.output().unwrap()
}

/// What it prints, and its exit code.
#[track_caller]
fn send(simulator: &Simulator, args: &[&str]) -> (i32, String) {
    let output = run(simulator, &[&["send"], args].concat());
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn add(simulator: &Simulator, args: &[&str]) {
    let output = run(simulator, &[&["token", "add"], args].concat());
    assert!(output.status.success(), "{output:?}");
}

/// The value of a row, as ` outcome`.
#[track_caller]
fn row<'a>(text: &'a str, name: &str) -> &'a str {
    let start = format!("  {name:<8} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

#[test]
fn a_push_is_shown_from_its_request_to_what_would_come_next() {
    let scratch = Scratch::new("send-good");
    let simulator = Simulator::start(&scratch, &[]);
    add(&simulator, &["alice@example.org", &apns(1), "ios", "--device", "phone", "--app", TOPIC]);
    add(&simulator, &["alice@example.org", &fcm(), "android", "--device", "tablet"]);
    let args = [
        "alice@example.org",
        "--caller",
        "\"Bob\" <sip:+4930123@example.org>",
        "--call-id",
        "c-1",
        "--media",
        "video",
    ];
    let (code, text) = send(&simulator, &[&args[..], &["--device", "phone"]].concat());
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.lines().next().unwrap(), "alice@example.org device phone: ios, token …0001");
    assert_eq!(row(&text, "by"), format!("apns production team ABCDE12345 key KEY1234567, for {TOPIC}"));
    let url = format!("POST {}/3/device/…0001", simulator.fact("apns"));
    assert_eq!(row(&text, "request"), url);
    assert!(
        row(&text, "answer").starts_with("HTTP 200 after ") && row(&text, "answer").ends_with(" ms"),
        "{text}"
    );
    assert_eq!(row(&text, "outcome"), "accepted");
    assert_eq!(row(&text, "next"), "nothing: the provider has it, and delivers it within 30 s or not at all");
    let push = &simulator.wait_for_pushes(0, 1)[0];
    for line in [
        "authorization: bearer eyJ0e…",
        "apns-push-type: voip",
        &format!("apns-topic: {TOPIC}"),
        "apns-priority: 10",
        &format!("apns-id: {}", push["headers"]["apns-id"].as_str().unwrap()),
    ] {
        assert!(text.lines().any(|found| found.trim() == line), "{line} is not in\n{text}");
    }
    assert_eq!(
        (&push["payload"]["call_id"], &push["payload"]["hasVideo"], &push["token"]),
        (&json!("c-1"), &json!(true), &json!(apns(1)))
    );
    assert!(text.contains("\"call_id\": \"c-1\"") && text.contains("Bob") && !text.contains(&apns(1)));

    let (code, text) = send(&simulator, &[&args[..], &["--json", "--full"]].concat());
    let devices: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, devices.len()), (0, 2), "each device of the user");
    let android =
        devices.iter().find(|device| device["device"].as_str().unwrap().contains("tablet")).unwrap();
    assert_eq!(android["request"]["body"]["message"]["token"], fcm());
    assert_eq!((&android["answer"]["status"], &android["outcome"]), (&json!(200), &json!("accepted")));
    assert!(
        !text.contains(&"x".repeat(131)) && !text.contains("eyJ0eXAi"),
        "no authorization is shown whole"
    );
}

#[test]
fn a_dry_run_sends_nothing_and_asks_nobody() {
    let scratch = Scratch::new("send-dry");
    let simulator = Simulator::start(&scratch, &[]);
    add(&simulator, &["alice", &apns(1), "ios"]);
    add(&simulator, &["alice", &fcm(), "android", "--device", "tablet"]);
    let (code, text) = send(&simulator, &["alice", "--dry-run"]);
    assert_eq!(
        (code, text.matches("authorization: bearer (made when it is sent)").count()),
        (0, 2),
        "{text}"
    );
    assert!(!text.contains("answer") && text.contains("/messages:send"));
    let stats = simulator.get("/stats");
    assert_eq!((simulator.pushes(), &stats["oauth_exchanges"]), (vec![], &json!(0)));

    let (code, text) = send(&simulator, &["alice", "--device", "tablet", "--validate-only"]);
    assert!(code == 0 && text.contains("\"validate_only\": true"), "{text}");
    assert_eq!(simulator.wait_for_pushes(0, 1)[0]["reached"], false);
    let refused = run(&simulator, &["send", "alice", "--device", "", "--validate-only"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn every_outcome_says_what_the_sender_would_do() {
    let scratch = Scratch::new("send-bad");
    let simulator = Simulator::start(&scratch, &[]);
    add(&simulator, &["alice", &apns(1), "ios"]);
    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let later_ms = now_ms + 60_000;
    let rows = [
        (
            json!({ "status": 410, "timestamp_ms": later_ms }),
            "token_gone",
            "it deletes the token, dead since ",
        ),
        (
            json!({ "status": 410, "timestamp_ms": 1000 }),
            "token_gone",
            "it keeps the token, which was registered at ",
        ),
        (
            json!({ "status": 400, "reason": "BadDeviceToken" }),
            "rejected: BadDeviceToken",
            "it tries Apple's other environment where a credential serves it, keeps the token, and else leaves this device alone for 600 s",
        ),
        (
            json!({ "status": 400, "reason": "DeviceTokenNotForTopic" }),
            "rejected: DeviceTokenNotForTopic",
            "it keeps the token, which is not of this app, and leaves this device alone for 600 s",
        ),
        (
            json!({ "status": 400, "reason": "TopicDisallowed" }),
            "rejected: TopicDisallowed",
            "it keeps the token, and does not use this credential for this app for 600 s",
        ),
        (
            json!({ "status": 413, "reason": "PayloadTooLarge" }),
            "rejected: PayloadTooLarge",
            "it gives this push up and keeps the token",
        ),
        (
            json!({ "status": 429, "reason": "TooManyRequests", "retry_after_s": 3 }),
            "throttled: TooManyRequests",
            "it tries once more after 3 s, while the phone could still ring",
        ),
        (
            json!({ "status": 429, "reason": "TooManyRequests", "retry_after_s": 300 }),
            "throttled: TooManyRequests",
            "it gives up: a phone that rings for 30 s would not ring any more by then",
        ),
        (
            json!({ "status": 503 }),
            "unavailable: ServiceUnavailable",
            "it tries once more after 100 ms, while the phone could still ring",
        ),
        (
            json!({ "status": 403, "reason": "InvalidProviderToken" }),
            "credential_refused: InvalidProviderToken",
            "it makes a new authorization and tries once more at once; ",
        ),
        (
            json!({ "status": 502, "body": "<html>bad gateway</html>" }),
            "unavailable: HTTP 502 with a body that is not JSON",
            "it tries once more after 100 ms",
        ),
    ];
    for (behaviour, outcome, next) in rows {
        simulator.behave(&apns(1), json!([behaviour]));
        let (code, text) = send(&simulator, &["alice"]);
        assert_eq!((code, row(&text, "outcome")), (1, outcome), "{text}");
        assert!(row(&text, "next").starts_with(next), "{text}");
    }
    let (code, _) = send(&simulator, &["alice"]);
    assert_eq!(code, 0, "the token is still there: nothing was deleted");
}

#[test]
fn each_kind_goes_where_it_may_go() {
    let scratch = Scratch::new("send-kinds");
    let simulator = Simulator::start(&scratch, &[]);
    add(&simulator, &["alice", &apns(1), "ios", "--alert-token", &apns(2)]);
    add(&simulator, &["bob", &apns(3), "ios"]);
    add(&simulator, &["carol", &fcm(), "android"]);
    for (kind, push_type) in [
        ("missed", "alert"),
        ("message", "alert"),
        ("message_background", "background"),
        ("refresh", "background"),
    ] {
        let (code, text) = send(&simulator, &["alice", "--kind", kind]);
        assert!(
            code == 0
                && text.contains(&format!("apns-push-type: {push_type}"))
                && text.contains("/3/device/…0002"),
            "{kind}: {text}"
        );
        let (code, text) = send(&simulator, &["bob", "--kind", kind]);
        assert!(
            code == 1 && row(&text, "next").starts_with("nothing is sent: this device is not told of that"),
            "{kind}: {text}"
        );
    }
    let (code, text) = send(&simulator, &["alice", "--kind", "cancelled"]);
    assert_eq!(
        (code, row(&text, "outcome")),
        (1, "rejected: an iPhone is not told by a push that a call is over"),
        "{text}"
    );
    let (code, text) = send(&simulator, &["carol", "--kind", "answered_elsewhere"]);
    assert!(code == 0 && text.contains("answered_elsewhere"), "{text}");
}

#[test]
fn a_token_may_be_named_and_what_is_missing_is_told() {
    let scratch = Scratch::new("send-named");
    let simulator = Simulator::start(&scratch, &[]);
    let (code, text) =
        send(&simulator, &["dave", "--token", &apns(7), "--platform", "ios", "--environment", "sandbox"]);
    assert!(code == 0 && row(&text, "by").starts_with("apns sandbox "), "{text}");
    let (code, text) = send(
        &simulator,
        &["dave", "--token", &apns(7), "--platform", "ios", "--app", "org.example.other.voip"],
    );
    assert_eq!(
        (code, row(&text, "next")),
        (1, "nothing is sent: no credential in the configuration serves org.example.other.voip")
    );
    simulator.put("/behaviour/oauth", &json!([{ "status": 400, "reason": "invalid_grant" }]));
    let (code, text) = send(&simulator, &["dave", "--token", &fcm(), "--platform", "android"]);
    assert_eq!((code, row(&text, "outcome")), (1, "credential_refused: OAuth2: HTTP 400 invalid_grant"));
    for (args, code, said) in [
        (&["dave"][..], 1, "voip-push: dave has no device\n"),
        (&["a b"], 2, "voip-push: user: "),
        (&["dave", "--token", "short", "--platform", "ios"], 2, "voip-push: token: "),
        (&["dave", "--kind", "shout"], 2, "error: invalid value 'shout' for '--kind <KIND>'"),
        (&["dave", "--token", "short"], 2, "error: the following required arguments were not provided:"),
    ] {
        let output = run(&simulator, &[&["send"], args].concat());
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && why.starts_with(said), "{why}");
    }
}

#[test]
fn shells_get_completions_that_know_every_subcommand() {
    for (shell, mark) in
        [("bash", "-F _voip__push "), ("zsh", "#compdef voip-push"), ("fish", "complete -c voip-push")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
        let output = command.args(["completions", shell]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(mark), "{shell}");
        for subcommand in ["check", "send", "watch", "token", "simulate", "key", "completions"] {
            assert!(text.contains(subcommand), "{shell} does not know {subcommand}");
        }
    }
    let mut bash = Command::new("bash");
    let script = format!(
        "source <({} completions bash); COMP_WORDS=(voip-push to); COMP_CWORD=1; _voip__push voip-push to voip-push; echo \"${{COMPREPLY[@]}}\"",
        env!("CARGO_BIN_EXE_voip-push")
    );
    assert_eq!(String::from_utf8(bash.args(["-c", &script]).output().unwrap().stdout).unwrap(), "token\n");
}
