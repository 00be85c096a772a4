//! `voip-push watch`, the real binary: asks a real Kamailio through kamcmd, and an OpenSIPS' tool by what it prints.
#![cfg(feature = "command")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use support::kamailio::{Kamailio, Options, Place};
use support::simulator::Simulator;
use support::{Scratch, ends_with_us, sip};

fn watch(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
    command.arg("watch").args(args).stdin(Stdio::null());
    command
}

fn printed(output: &Output) -> String {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

fn act(kamailio: &Kamailio, what: &str) {
    let token = format!("a{:063x}", 1);
    let headers = format!(
        "X-Do: {what}\r\nX-User: alice\r\nX-Token: {token}\r\nX-Platform: ios\r\nX-Caller: Bob\r\nX-Call: c-{what}\r\n"
    );
    let answer = kamailio.send_sip(sip::request("MESSAGE", "sip:alice@example.org", &headers, b""));
    assert_eq!(answer.header("X-Rc"), Some("1"), "{what}: {}", answer.head);
}

#[test]
fn a_real_kamailio_is_watched() {
    let place = Place::new("watch");
    let simulator = Simulator::start(&place.scratch, &[]);
    let socket = format!("unix:{}", place.control_socket().display());
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_module.cfg");
    let options =
        Options::file(place, config).define("CONFIG", &format!("\"{}\"", simulator.config().display()));
    let kamailio = Kamailio::start(options);
    kamailio.rpc(&["voip_push.stats"]);
    let ask = ["--server", "kamailio", "--socket", &socket];
    let quiet = printed(&watch(&[&ask[..], &["--once"]].concat()).output().unwrap());
    assert!(quiet.contains("nothing has happened yet") && !quiet.contains('\u{1b}'), "{quiet}");

    let mut live = watch(&[&ask[..], &["--every", "1"]].concat());
    let mut live = ends_with_us(&mut live).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(live.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("voip_push, asked by kamcmd, 20"), "{first}");
    act(&kamailio, "register");
    act(&kamailio, "send");
    let is_registered = |line: &String| line.starts_with("registered_total");
    let row = lines.map(Result::unwrap).find(is_registered).expect("it is shown until it is ended");
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(row[1], "1", "{row:?}");
    assert!(row[2].parse::<f64>().unwrap() > 0.0, "it came between two looks: {row:?}");
    live.kill().unwrap();
    live.wait().unwrap();

    let once = printed(&watch(&[&ask[..], &["--once"]].concat()).output().unwrap());
    let rows = words(&once);
    assert!(
        rows.contains(&vec!["pushes_total{provider=apns,app=org.example.phone.voip,outcome=accepted}", "1"]),
        "{once}"
    );
    assert!(rows.contains(&vec!["queued", "0"]), "{once}");
    let latency = rows.iter().find(|row| row.first() == Some(&"push_seconds{provider=apns}")).unwrap();
    assert_eq!(latency[latency.len() - 4..], ["1", "since", "the", "start"], "{once}");
    let all: Value =
        serde_json::from_str(&printed(&watch(&[&ask[..], &["--json"]].concat()).output().unwrap())).unwrap();
    assert_eq!(
        (&all["registered_total"], &all["push_seconds_bucket{provider=\"apns\",le=\"+Inf\"}"]),
        (&json!(1), &json!(1))
    );
}

/// A program that prints this for its last word.
fn tool(scratch: &Scratch, script: &str) -> PathBuf {
    let path = scratch.write("opensips-cli", format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn opensips_is_asked_by_its_own_tool() {
    let scratch = Scratch::new("watch-opensips");
    let script = r#"[ "$1 $2" = "-x mi" ] || exit 9
case "$3" in
voip_push:stats) echo '{ "calls_total": 7, "pushes_total{provider=\"apns\",app=\"a.voip\",outcome=\"accepted\"}": 6, "queued": 1 }' ;;
*) echo 'ERROR: command not found' >&2; exit 1 ;;
esac"#;
    let tool = tool(&scratch, script);
    let once = watch(&["--server", "opensips", "--once", "--program"]).arg(&tool).output().unwrap();
    let once = printed(&once);
    assert!(
        words(&once).contains(&vec!["calls_total", "7"]) && words(&once).contains(&vec!["queued", "1"]),
        "{once}"
    );
}

#[test]
fn a_server_that_cannot_be_asked_is_told_in_one_line() {
    let scratch = Scratch::new("watch-none");
    let socket = format!("unix:{}", scratch.path().join("none").display());
    let silent = tool(&scratch, "exit 0");
    let failing = Scratch::new("watch-failing");
    let failing_tool = tool(&failing, "echo 'no such command' >&2; exit 1");
    let silent_says = "voip-push: opensips-cli has told no numbers; is voip_push.so loaded?\n".to_owned();
    let failing_says = format!(
        "voip-push: {}: no such command; does the server run, and may you use its socket?\n",
        failing_tool.display()
    );
    let missing_says = "voip-push: /nowhere/kamcmd cannot be run: No such file or directory (os error 2); install it, or name it with --program\n".to_owned();
    for (args, says) in [
        (["--server", "opensips", "--program", silent.to_str().unwrap()], silent_says),
        (["--server", "opensips", "--program", failing_tool.to_str().unwrap()], failing_says),
        (["--server", "kamailio", "--program", "/nowhere/kamcmd"], missing_says),
    ] {
        let output = watch(&args).output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(1), says));
    }
    let output = watch(&["--server", "kamailio", "--socket", &socket]).output().unwrap();
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && why.contains("does the server run, and may you use its socket?"),
        "{why}"
    );
}
