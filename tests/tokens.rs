//! `voip-push token`, the real binary, on a database of its own and beside a Kamailio that reads and writes the same one.
#![cfg(feature = "command")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use support::engine::{Cluster, Setup};
use support::kamailio::{Kamailio, Options, Place};
use support::{Scratch, settings, sip};

fn apns(number: u32) -> String {
    format!("a{number:063x}")
}

fn fcm(number: u32) -> String {
    format!("c{number}:APA91b{}", "x".repeat(130))
}

fn database(scratch: &Scratch) -> PathBuf {
    scratch.path().join("tokens.db")
}

fn command(database: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
    command.arg("token").args(args).arg("--database").arg(database).stdin(Stdio::null());
    command
}

fn token(database: &Path, args: &[&str]) -> Output {
    command(database, args).output().unwrap()
}

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What went into a pipe; the summary is on standard error then.
#[track_caller]
fn piped_out(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.starts_with("exported: ") && said.lines().count() == 1, "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The checksum in a summary.
#[track_caller]
fn checksum(summary: &str) -> String {
    let rest = summary.split_once("checksum ").unwrap_or_else(|| panic!("{summary}")).1;
    let hex: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    assert_eq!(hex.len(), 32, "{summary}");
    hex
}

/// The one line on standard error of a subcommand that has ended so.
#[track_caller]
fn refused(output: &Output, code: i32) -> String {
    let why = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), why.lines().count()), (Some(code), 1), "{why}");
    assert!(output.stdout.is_empty());
    why.trim_end().strip_prefix("voip-push: ").unwrap().to_owned()
}

#[test]
fn a_device_is_added_listed_shown_renewed_and_deleted() {
    let scratch = Scratch::new("tokens-one");
    let db = database(&scratch);
    let add = |more: &[&str]| token(&db, &[&["add", "alice@Example.org", &apns(1), "ios"], more].concat());
    let phone = ["--device", "phone", "--app", "org.example.phone.voip", "--environment", "sandbox"];
    assert_eq!(printed(&add(&phone)), "alice@example.org …0001: added\n");
    assert_eq!(printed(&add(&phone)), "alice@example.org …0001: renewed\n");
    let mut piped = command(&db, &["add", "bob", "-", "android"]);
    let mut child =
        piped.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{}\n", fcm(2)).as_bytes()).unwrap();
    assert_eq!(printed(&child.wait_with_output().unwrap()), "bob …xxxx: added\n");

    let list = printed(&token(&db, &["list"]));
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["USER", "DEVICE", "PLATFORM", "PROVIDER", "APP", "TOKEN", "REGISTERED"]);
    assert_eq!(
        rows[1][..6],
        ["alice@example.org", "phone", "ios", "apns", "org.example.phone.voip", "…0001"]
    );
    assert_eq!(rows[2][..6], ["bob", "-", "android", "fcm", "-", "…xxxx"]);
    assert!(rows[1][6].starts_with("20") && rows[1][6].ends_with('Z'), "{}", rows[1][6]);
    assert!(!list.contains(&apns(1)) && printed(&token(&db, &["list", "--full"])).contains(&apns(1)));
    let lines = |args: &[&str]| printed(&token(&db, args)).lines().count();
    assert_eq!(
        (lines(&["list", "bob"]), lines(&["list", "--provider", "apns"]), lines(&["list", "-n", "1"])),
        (2, 2, 2)
    );
    assert_eq!(lines(&["list", "--app", "org.example.phone.voip", "--json"]), 1);

    let show = printed(&token(&db, &["show", "alice@example.org"]));
    for line in [
        "alice@example.org",
        "  device       phone",
        "  token        …0001",
        "  environment  sandbox",
        "  expires      never",
    ] {
        assert!(show.lines().any(|found| found == line), "{line} is not in\n{show}");
    }
    let whole: Value =
        serde_json::from_str(&printed(&token(&db, &["show", "bob", "--json", "--full"]))).unwrap();
    assert_eq!((&whole["token"], &whole["platform"]), (&json!(fcm(2)), &json!("android")));

    assert_eq!(refused(&token(&db, &["delete", "bob", "--device", "x"]), 1), "bob has no device x");
    assert_eq!(printed(&token(&db, &["delete", "bob"])), "bob: 1 device deleted\n");
    assert_eq!(refused(&token(&db, &["delete", "bob"]), 1), "bob has no device");
    assert_eq!(refused(&token(&db, &["show", "bob"]), 1), "bob has no device");
    let mode = fs::metadata(&db).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line_without_the_token() {
    let scratch = Scratch::new("tokens-refused");
    let db = database(&scratch);
    let short = &apns(1)[..63];
    for (args, code, said) in [
        (
            &["add", "alice", short, "ios", "--provider", "apns"][..],
            2,
            "token: an APNs token has 64 to 200 hexadecimal digits, this one has 63",
        ),
        (&["add", "alice", &apns(1), "windows"], 2, "platform: is neither ios nor android"),
        (&["add", "a b", &apns(1), "ios"], 2, "user: "),
        (&["export", "/nowhere/x.csv"], 1, "/nowhere/x.csv: No such file or directory (os error 2)"),
        (&["import", "/nowhere/x.csv"], 1, "/nowhere/x.csv: No such file or directory (os error 2)"),
        (&["import", "tokens.txt"], 2, "add --format csv or --format jsonl"),
        (&["verify", "tokens.txt"], 2, "add --format csv or --format jsonl"),
    ] {
        let why = refused(&token(&db, args), code);
        assert!(why.starts_with(said) && !why.contains(short), "{why}");
    }
    let nowhere = scratch.path().join("nowhere/tokens.db");
    let why = refused(&token(&nowhere, &["list"]), 1);
    assert_eq!(
        why,
        format!(
            "the directory {} does not exist; make it for the SIP server's user",
            nowhere.parent().unwrap().display()
        )
    );
    let both = command(&db, &["list", "-c", "x"]).output().unwrap();
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn what_is_exported_is_what_is_imported_in_both_formats() {
    let scratch = Scratch::new("tokens-round");
    let db = database(&scratch);
    let lines = [
        json!({ "user": "alice", "token": apns(1), "platform": "ios", "provider": "apns", "device_id": "a,\"b", "app": "org.example.phone.voip",
            "environment": "sandbox", "registered_at_ms": 1_700_000_000_123i64, "expires_at_ms": 1_900_000_000_000i64,
            "alert_token": apns(2), "alert_app": "org.example.phone" }),
        json!({ "user": "alice", "token": fcm(3), "platform": "android", "provider": "fcm", "device_id": "tablet", "registered_at_ms": 1_700_000_000_000i64 }),
        json!({ "user": "bob@example.org", "token": fcm(4), "platform": "ios", "provider": "fcm", "registered_at_ms": 5 }),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let first = scratch.write("first.jsonl", &text);
    let done = printed(&token(&db, &["import", first.to_str().unwrap()]));
    let sum = checksum(&done);
    let counts = "3 new, 0 renewed, 0 left as they were";
    assert_eq!(done, format!("{}: 3 devices, checksum {sum}: {counts}\n", first.display()));
    for ending in ["csv", "jsonl"] {
        let file = scratch.path().join(format!("all.{ending}"));
        let shown = file.to_str().unwrap();
        let exported = printed(&token(&db, &["export", shown]));
        assert_eq!(exported, format!("{shown}: 3 devices, checksum {sum}\n"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let other = scratch.path().join(format!("{ending}.db"));
        assert!(
            printed(&token(&other, &["import", shown]))
                .ends_with(": 3 new, 0 renewed, 0 left as they were\n")
        );
        assert!(
            printed(&token(&other, &["import", shown]))
                .ends_with(": 0 new, 3 renewed, 0 left as they were\n"),
            "again does no harm"
        );
        let verified = printed(&token(&other, &["verify", shown]));
        assert_eq!(verified, format!("{}: 3 devices, checksum {sum}\n", other.display()));
        let exported = piped_out(&token(&other, &["export"]));
        let set = |text: &str| {
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap().to_string())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(set(&exported), set(&text), "{ending}");
    }
    let empty = piped_out(&token(&scratch.path().join("empty.db"), &["export", "-", "--format", "csv"]));
    assert_eq!(
        empty,
        "user,token,platform,provider,device_id,app,environment,registered_at_ms,expires_at_ms,alert_token,alert_app\n"
    );
}

/// `voip-push token export | voip-push token import`, from one database into another.
fn carried(from: &Path, to: &Path) -> (Output, Output) {
    let mut export = command(from, &["export"]);
    let mut export = export.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pipe = export.stdout.take().unwrap();
    let import = command(to, &["import"]).stdin(pipe).output().unwrap();
    (export.wait_with_output().unwrap(), import)
}

#[test]
fn a_pipe_carries_a_store_over_and_both_ends_say_the_same() {
    let scratch = Scratch::new("tokens-pipe");
    let (db, other) = (database(&scratch), scratch.path().join("other.db"));
    let file = scratch.write("all.csv", csv(3000, |_| None));
    printed(&token(&db, &["import", file.to_str().unwrap()]));
    let (export, import) = carried(&db, &other);
    let said = piped_out_summary(&export);
    let imported = printed(&import);
    assert_eq!(
        imported,
        format!("-: 3000 devices, checksum {}: 3000 new, 0 renewed, 0 left as they were\n", checksum(&said))
    );
    let exported = scratch.write("all.jsonl", piped_out(&token(&db, &["export"])));
    let exported = exported.to_str().unwrap();
    printed(&token(&other, &["verify", exported]));
    printed(&token(&other, &["delete", "user7"]));
    let why = refused(&token(&other, &["verify", exported]), 1);
    let here = checksum(&printed(&token(&other, &["verify"])));
    let (said, other) = (checksum(&said), other.display());
    assert_eq!(
        why,
        format!("{exported} has 3000 devices, checksum {said}; {other} has 2999 devices, checksum {here}")
    );
}

#[track_caller]
fn piped_out_summary(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Devices of every kind: several of one user, both providers, with and without what may be there.
fn mixed(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        let mut line = json!({ "user": format!("user{}@example.org", number / 2), "device_id": format!("phone{}", number % 2),
            "registered_at_ms": 1_700_000_000_000i64 + i64::from(number) });
        match number % 3 {
            0 => line["token"] = json!(fcm(number)),
            _ => line["token"] = json!(apns(number)),
        }
        line["platform"] = json!(if number % 3 == 0 { "android" } else { "ios" });
        if number % 5 == 0 {
            line["expires_at_ms"] = json!(1_600_000_000_000i64 + i64::from(number));
            line["app"] = json!("org.example.phone.voip");
        }
        if number % 3 == 1 {
            line["alert_token"] = json!(apns(number + 1_000_000));
            line["environment"] = json!("sandbox");
        }
        writeln!(text, "{line}").unwrap();
    }
    text
}

#[test]
fn ten_thousand_devices_go_into_a_cluster_and_come_back() {
    let scratch = Scratch::new("tokens-cluster");
    let cluster = Cluster::start(&scratch, &Setup::default());
    let url = PathBuf::from(cluster.settings().to_string());
    let (db, back) = (database(&scratch), scratch.path().join("back.db"));
    let file = scratch.write("all.jsonl", mixed(10_000));
    let file = file.to_str().unwrap();
    let sum = checksum(&printed(&token(&db, &["import", file])));
    for (from, to) in [(&db, &url), (&url, &back)] {
        let (export, import) = carried(from, to);
        let (said, imported) = (piped_out_summary(&export), printed(&import));
        assert_eq!(said, format!("exported: 10000 devices, checksum {sum}\n"));
        assert!(
            imported.ends_with(&format!("{sum}: 10000 new, 0 renewed, 0 left as they were\n")),
            "{imported}"
        );
    }
    for store in [&db, &url, &back] {
        let shown = store.display();
        let verified = printed(&token(store, &["verify", file]));
        assert_eq!(verified, format!("{shown}: 10000 devices, checksum {sum}\n"));
    }
    let again = printed(&token(&url, &["import", file]));
    assert!(again.ends_with(": 0 new, 10000 renewed, 0 left as they were\n"), "{again}");
    assert_eq!(checksum(&printed(&token(&url, &["verify"]))), sum, "again does no harm");
}

#[test]
fn a_pipe_that_finds_no_room_says_what_to_do() {
    let scratch = Scratch::new("tokens-room");
    let mut import = command(&database(&scratch), &["import"]);
    let why = refused(&import.env("TMPDIR", scratch.path().join("nowhere")).output().unwrap(), 1);
    assert!(
        why.ends_with("No such file or directory (os error 2); set TMPDIR to where there is room"),
        "{why}"
    );
    let url = token(Path::new("redis-cluster://here:x"), &["verify"]);
    let why = refused(&url, 2);
    assert_eq!(why, "redis-cluster://here:x has \"here:x\" where host or host:port is due");
}

/// So many devices as CSV, each line from the number of its device.
fn csv(count: u32, mut line: impl FnMut(u32) -> Option<String>) -> String {
    let mut text = String::from("platform,user,token,device_id\n");
    for number in 0..count {
        match line(number) {
            Some(other) => writeln!(text, "{other}").unwrap(),
            None => writeln!(text, "ios,user{number},{},phone", apns(number)).unwrap(),
        }
    }
    text
}

fn devices(db: &Path) -> i64 {
    Connection::open(db).unwrap().query_row("SELECT count(*) FROM push_tokens", [], |row| row.get(0)).unwrap()
}

#[test]
fn one_bad_line_and_nothing_has_happened() {
    let scratch = Scratch::new("tokens-bad");
    let db = database(&scratch);
    printed(&token(&db, &["add", "carol", &apns(99_999_999), "ios"]));
    let short = &apns(4711)[..63];
    let bad = csv(5000, |number| (number == 4711).then(|| format!("ios,user4711,{short},phone")));
    let file = scratch.write("bad.csv", bad);
    let why = refused(&token(&db, &["import", file.to_str().unwrap()]), 1);
    // 4711 lines and the header stand before it.
    assert_eq!(
        why,
        format!(
            "{}: line 4713: token: an FCM registration token has 64 to 4096 characters and an installation id 22, this one has 63 (the only bad line); nothing was imported",
            file.display()
        )
    );
    assert_eq!(devices(&db), 1, "carol only");
    let good = scratch.write("good.csv", csv(5000, |_| None));
    let looked = printed(&token(&db, &["import", "--dry-run", good.to_str().unwrap()]));
    let (good_shown, sum) = (good.display(), checksum(&looked));
    let expected =
        format!("{good_shown}: 5000 devices, checksum {sum}; all are in order; nothing was written\n");
    assert_eq!((&*looked, devices(&db)), (&*expected, 1));
    printed(&token(&db, &["import", good.to_str().unwrap()]));
    assert_eq!(devices(&db), 5001);
}

#[test]
fn every_kind_of_bad_line_is_told_without_what_stands_there() {
    let scratch = Scratch::new("tokens-kinds");
    let db = database(&scratch);
    let secret = fcm(1);
    let known = "user, token, platform, provider, device_id, app, environment, registered_at_ms, expires_at_ms, alert_token, alert_app";
    let rows = [
        (
            "csv",
            format!("user,tokne,platform\nalice,{secret},android\n"),
            format!(
                "line 1: the first line names the columns; \"tokne\" is none of {known} (the only bad line)"
            ),
        ),
        (
            "csv",
            "user,token\n".to_owned(),
            "line 1: the first line names the columns; platform is missing (the only bad line)".to_owned(),
        ),
        (
            "csv",
            format!("user,token,platform\n\nalice,{secret}\n"),
            "line 3: has 2 columns, the first line has 3 (the only bad line)".to_owned(),
        ),
        (
            "csv",
            format!("user,token,platform,registered_at_ms\nalice,{secret},android,{secret}\n"),
            "line 2: registered_at_ms: is not a number (the only bad line)".to_owned(),
        ),
        (
            "csv",
            "user,token,platform\nalice,t\u{e9},android\nbob,t,ios\n".to_owned(),
            "line 2: token: an FCM token has letters, digits and - _ : only (the first of 2 bad lines)"
                .to_owned(),
        ),
        (
            "jsonl",
            format!("\n{{\"user\":\"alice\",\"token\":\"{secret}\"}}\n"),
            "line 2: missing field `platform` (column ".to_owned(),
        ),
        (
            "jsonl",
            format!("{{\"user\":\"alice\",\"tokne\":\"{secret}\"}}\n"),
            "line 1: unknown field `tokne`, expected one of ".to_owned(),
        ),
        (
            "jsonl",
            format!("{{\"user\":\"alice\",\"registered_at_ms\":\"{secret}\"}}\n"),
            "line 1: is not a JSON object of texts and times (column ".to_owned(),
        ),
        ("jsonl", format!("{secret}\n"), "line 1: expected value (column 1) (the only bad line)".to_owned()),
        (
            "jsonl",
            format!(
                "{{\"user\":\"alice\",\"token\":\"{secret}\",\"platform\":\"android\",\"registered_at_ms\":99999999999999}}\n"
            ),
            "line 1: registered_at_ms: is not a time in ms since 1970 that has come (the only bad line)"
                .to_owned(),
        ),
    ];
    for (ending, text, said) in rows {
        let file = scratch.write(&format!("bad.{ending}"), text);
        let why = refused(&token(&db, &["import", file.to_str().unwrap()]), 1);
        assert!(why.starts_with(&format!("{}: {said}", file.display())), "{why}\nis not\n{said}");
        assert!(why.ends_with("; nothing was imported") && !why.contains(&secret), "{why}");
    }
    let latin = scratch.write("latin.csv", b"user,token,platform\nJ\xfcrgen,x,ios\n");
    assert!(refused(&token(&db, &["import", latin.to_str().unwrap()]), 1).contains("line 2: is not UTF-8"));
    assert!(!db.exists(), "the database was not even opened");
}

#[test]
fn who_has_registered_later_stays() {
    let scratch = Scratch::new("tokens-newer");
    let db = database(&scratch);
    let line = |user: &str, number: u32, registered_at_ms: i64| {
        format!(
            "{}\n",
            json!({ "user": user, "token": apns(number), "platform": "ios", "registered_at_ms": registered_at_ms })
        )
    };
    let import = |name: &str, text: String| {
        printed(&token(&db, &["import", scratch.write(name, text).to_str().unwrap()]))
    };
    import("new.jsonl", line("alice", 1, 2000) + &line("bob", 2, 2000));
    // Alice has another token by now, Bob's is Carol's by what the file says, and Dave has what was Alice's first.
    let old = line("alice", 9, 1000) + &line("carol", 2, 1999) + &line("dave", 3, 1);
    let old = import("old.jsonl", old);
    assert!(old.contains(": 3 devices, ") && old.ends_with(": 1 new, 0 renewed, 2 left as they were\n"));
    assert!(
        import("later.jsonl", line("carol", 2, 2001)).ends_with(": 1 new, 0 renewed, 0 left as they were\n")
    );
    let exported = piped_out(&token(&db, &["export", "-", "--format", "jsonl"]));
    let owners: Vec<(String, String)> = exported
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["user"].as_str().unwrap().to_owned(), line["token"].as_str().unwrap()[60..].to_owned())
        })
        .collect();
    let expected = [("alice", "0001"), ("carol", "0002"), ("dave", "0003")];
    assert_eq!(owners, expected.map(|(user, token)| (user.to_owned(), token.to_owned())));
}

/// A disk that is full half way through: here a limit on the size of files.
#[test]
fn an_import_that_is_broken_off_says_where_to_go_on() {
    let scratch = Scratch::new("tokens-full");
    let db = database(&scratch);
    let file = scratch.write("all.csv", csv(6000, |_| None));
    printed(&token(&db, &["list"]));
    let import = format!(
        "trap '' XFSZ; ulimit -f 2000; exec {} token import {} --database {}",
        env!("CARGO_BIN_EXE_voip-push"),
        file.display(),
        db.display()
    );
    let output = Command::new("sh").args(["-c", &import]).stdin(Stdio::null()).output().unwrap();
    let why = refused(&output, 1);
    let there = devices(&db);
    assert!(there > 0 && there < 6000 && there % 500 == 0, "whole batches: {there}");
    let line = there + 2;
    assert!(why.contains("SQLite: "), "{why}");
    assert!(why.ends_with(&format!("; everything before line {line} is imported, nothing from there on: go on with --from-line {line}")), "{why}");
    let rest = printed(&token(&db, &["import", file.to_str().unwrap(), "--from-line", &line.to_string()]));
    assert!(rest.ends_with(&format!(": {} new, 0 renewed, 0 left as they were\n", 6000 - there)), "{rest}");
    assert_eq!(devices(&db), 6000);
}

#[test]
fn a_terminal_sees_how_far_it_is_and_a_pipe_does_not() {
    let scratch = Scratch::new("tokens-bar");
    let db = database(&scratch);
    let file = scratch.write("all.csv", csv(20_000, |_| None));
    printed(&token(&db, &["import", file.to_str().unwrap()]));
    let shell = format!(
        "{} token import {} --database {}",
        env!("CARGO_BIN_EXE_voip-push"),
        file.display(),
        db.display()
    );
    let output =
        Command::new("script").args(["-qec", &shell, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success()
            && text.contains("imported [")
            && text.contains("/20000, ")
            && text.contains(" s left"),
        "{text}"
    );
    assert!(text.trim_end().ends_with(": 0 new, 20000 renewed, 0 left as they were"), "{text}");
}

#[test]
fn a_writer_waits_for_another() {
    let scratch = Scratch::new("tokens-busy");
    let db = database(&scratch);
    printed(&token(&db, &["list"]));
    let holder = Connection::open(&db).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut waiting = command(&db, &["add", "alice", &apns(1), "ios"]);
    let mut waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It has the file open, and still waits for the lock.
    let has_opened = || {
        let files = fs::read_dir(format!("/proc/{}/fd", waiting.id())).ok()?;
        files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|path| path == db)).then_some(())
    };
    support::poll(support::DEADLINE, has_opened).expect("it opens the database");
    assert!(waiting.try_wait().unwrap().is_none());
    holder.execute_batch("COMMIT").unwrap();
    assert_eq!(printed(&waiting.wait_with_output().unwrap()), "alice …0001: added\n");
}

/// A request of the script in kamailio_module.cfg: what it returned.
fn act(kamailio: &Kamailio, what: &str, user: &str, token: &str) -> i32 {
    let headers = format!("X-Do: {what}\r\nX-User: {user}\r\nX-Token: {token}\r\nX-Platform: ios\r\n");
    let answer = kamailio.send_sip(sip::request("MESSAGE", "sip:alice@example.org", &headers, b""));
    answer.header("X-Rc").unwrap_or_else(|| panic!("{}", answer.head)).parse().unwrap()
}

#[test]
fn a_running_kamailio_reads_and_writes_while_devices_are_imported() {
    let place = Place::new("tokens-kamailio");
    let toml = settings::write(&place.scratch);
    let db = toml.with_file_name("db/tokens.db");
    let file = place.scratch.write("all.csv", csv(20_000, |_| None));
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_module.cfg");
    let options = Options::file(place, config).define("CONFIG", &format!("\"{}\"", toml.display()));
    let kamailio = Kamailio::start(options);
    assert_eq!(act(&kamailio, "register", "carol", &apns(99_000_000)), 1);
    let mut import = Command::new(env!("CARGO_BIN_EXE_voip-push"));
    import.args(["token", "import"]).arg(&file).arg("--config").arg(&toml).stdin(Stdio::null());
    let (tell, ended) = mpsc::channel();
    let import = std::thread::spawn(move || {
        let output = import.output().unwrap();
        tell.send(()).unwrap();
        output
    });
    let mut beside = 0;
    while ended.recv_timeout(Duration::ZERO) == Err(mpsc::RecvTimeoutError::Timeout) {
        assert_eq!(act(&kamailio, "lookup", "carol", ""), 1, "reading");
        assert_eq!(act(&kamailio, "register", "dave", &apns(98_000_000 + beside)), 1, "writing");
        beside += 1;
    }
    assert!(beside > 3, "it went on beside: {beside}");
    assert!(printed(&import.join().unwrap()).ends_with(": 20000 new, 0 renewed, 0 left as they were\n"));
    assert_eq!(act(&kamailio, "lookup", "user4711", ""), 1, "the server knows what was imported");
    assert_eq!(printed(&token(&db, &["delete", "user4711"])), "user4711: 1 device deleted\n");
    assert_eq!(act(&kamailio, "lookup", "user4711", ""), -1);
    assert_eq!(devices(&db), 20_001);
    assert!(!kamailio.log().contains("database is locked"));
}
