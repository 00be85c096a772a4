//! `voip-push key`, and what the REST API makes of its lines.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::{Scratch, settings};
use voip_push::config::{ApiKeys, Settings};
use voip_push::model::Scope;

fn key(args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
    command.arg("key").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn printed(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

fn add(file: &Path, name: &str, scope: &str) -> Output {
    key(&["add", name, "--scope", scope, "--file", file.to_str().unwrap()], "")
}

fn keys(file: &Path) -> ApiKeys {
    ApiKeys::parse(&fs::read_to_string(file).unwrap()).unwrap()
}

fn file(scratch: &Scratch) -> PathBuf {
    scratch.path().join("made-keys")
}

#[test]
fn a_key_is_printed_once_and_its_hash_is_kept() {
    let scratch = Scratch::new("keys-add");
    let (first, second) =
        (add(&file(&scratch), "app", "register,read"), add(&file(&scratch), "web", "admin"));
    let (first, second) = (printed(&first), printed(&second));
    assert!(first.len() >= 43 && first != second, "256 bits, and never the same");
    let text = fs::read_to_string(file(&scratch)).unwrap();
    assert!(!text.contains(first) && text.lines().count() == 2, "{text}");
    let mode = fs::metadata(file(&scratch)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o027, 0, "{mode:o}");
    let keys = keys(&file(&scratch));
    let app = keys.find(first).unwrap();
    assert_eq!(
        (app.name(), Scope::ALL.map(|scope| app.allows(scope))),
        ("app", [true, true, false, false, false])
    );
    assert_eq!(keys.find(second).unwrap().name(), "web");
}

#[test]
fn a_file_without_a_last_line_end_is_not_spoilt_and_a_wrong_one_not_touched() {
    let scratch = Scratch::new("keys-append");
    fs::write(file(&scratch), "plain-key-0123456789").unwrap();
    let made = add(&file(&scratch), "app", "read");
    assert!(keys(&file(&scratch)).find("plain-key-0123456789").is_some());
    assert!(keys(&file(&scratch)).find(printed(&made)).is_some());
    for (text, said) in [("app regster x\n", "line 1: scope"), ("app read sha256:12\n", "line 1: the hash")] {
        fs::write(file(&scratch), text).unwrap();
        let refused = add(&file(&scratch), "web", "read");
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && refused.stdout.is_empty() && why.contains(said), "{why}");
        assert_eq!(fs::read_to_string(file(&scratch)).unwrap(), text);
    }
}

#[test]
fn what_cannot_be_a_key_is_refused_in_one_line() {
    let scratch = Scratch::new("keys-refused");
    printed(&add(&file(&scratch), "app", "read"));
    let before = fs::read_to_string(file(&scratch)).unwrap();
    let missing = scratch.path().join("nowhere/keys");
    for (refused, code, said) in [
        (add(&file(&scratch), "app", "read"), 1, "has a key app already"),
        (add(&file(&scratch), "a b", "read"), 2, "name: "),
        (add(&file(&scratch), "web", "write"), 2, "none of register, read, delete, watch, admin"),
        (add(&missing, "web", "read"), 1, "No such file"),
        (key(&["hash", "web", "--scope", "read"], "short\n"), 2, "key: is shorter than 16"),
        (key(&["hash", "web", "--scope", "read"], ""), 2, "key: is shorter than 16"),
    ] {
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(code) && why.contains(said), "{refused:?}");
        assert!(refused.stdout.is_empty());
    }
    assert_eq!(fs::read_to_string(file(&scratch)).unwrap(), before);
}

/// The way from a key in plain text to its hash, as the warning tells it.
#[test]
fn a_plain_key_is_taken_with_a_warning_and_can_be_hashed() {
    let scratch = Scratch::new("keys-plain");
    let config = settings::write(&scratch);
    let api_keys = scratch.write("api-keys", "plain-key-0123456789\n");
    let old = Settings::load(&config).unwrap();
    assert!(old.api_keys.unwrap().find("plain-key-0123456789").unwrap().allows(Scope::Admin));
    let warning = old.warnings.join("\n");
    assert!(warning.contains("line 1") && warning.contains("voip-push key hash"), "{warning}");
    assert!(!warning.contains("plain-key"), "{warning}");
    let line = key(&["hash", "app", "--scope", "register"], "plain-key-0123456789\n");
    fs::write(api_keys, format!("{}\n", printed(&line))).unwrap();
    let new = Settings::load(&config).unwrap();
    assert!(new.warnings.is_empty(), "{:?}", new.warnings);
    let keys = new.api_keys.unwrap();
    let found = keys.find("plain-key-0123456789").unwrap();
    assert_eq!(
        (found.name(), Scope::ALL.map(|scope| found.allows(scope))),
        ("app", [true, false, false, false, false])
    );
}
