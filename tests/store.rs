//! The SQLite file: its schema and those before it, what somebody has done to it by hand, several processes at once.
//! What every store does is in stores.rs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Scratch, run};
use voip_push::model::{Device, Environment, Extra, NewDevice, Provider, Token, User};
use voip_push::store::{Limits, Registered, SqliteStore, TokenStore};

fn file(scratch: &Scratch) -> PathBuf {
    scratch.path().join("tokens.db")
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).unwrap()
}

fn hex(number: usize) -> String {
    format!("{number:064x}")
}

fn phone(user: &str, device_id: &str, number: usize) -> NewDevice {
    let extra = Extra { device_id: Some(device_id), ..Extra::default() };
    NewDevice::parse(user, &hex(number), "ios", &extra).unwrap()
}

fn phone_with(user: &str, device_id: &str, number: usize, extra: Extra<'_>) -> NewDevice {
    NewDevice::parse(user, &hex(number), "ios", &Extra { device_id: Some(device_id), ..extra }).unwrap()
}

/// More than any test registers, where the limit is not what it is about.
const MANY: Limits = Limits { devices_per_user: u32::MAX, users_per_token: 1 };

/// Registers without a limit, and it works.
fn register(store: &mut SqliteStore, device: &NewDevice, now_ms: i64) -> Registered {
    store.register(device, now_ms, MANY).unwrap().unwrap()
}

fn devices(store: &mut SqliteStore, name: &str) -> Vec<Device> {
    store.devices(&user(name), 0).unwrap()
}

fn user(text: &str) -> User {
    User::parse(text).unwrap()
}

fn sqlite(path: &Path, sql: &str) -> String {
    let output = run(Command::new("sqlite3").arg(path).arg(sql), "sqlite3");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_file_is_in_wal_mode_not_for_everybody_and_has_the_seeds_columns() {
    let scratch = Scratch::new("store-file");
    SqliteStore::prepare(&file(&scratch)).unwrap();
    assert_eq!(sqlite(&file(&scratch), "PRAGMA journal_mode"), "wal");
    let mode = std::fs::metadata(file(&scratch)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o007, 0, "{mode:o}");
    let columns = sqlite(&file(&scratch), "SELECT group_concat(name) FROM pragma_table_info('push_tokens')");
    for column in [
        "user_id",
        "token",
        "platform",
        "created_at",
        "device_id",
        "provider",
        "registered_at_ms",
        "updated_at",
    ] {
        assert!(columns.split(',').any(|found| found == column), "{column} is not in {columns}");
    }
    let key = "SELECT group_concat(name) FROM pragma_table_info('push_tokens') WHERE pk > 0 ORDER BY pk";
    assert_eq!(sqlite(&file(&scratch), key), "user_id,device_id");
}

/// Somebody has followed the seed's document and has a table with tokens in it already.
#[test]
fn the_seeds_own_table_is_taken_over() {
    let scratch = Scratch::new("store-migrate");
    let seed = "CREATE TABLE push_tokens (user_id VARCHAR(50) PRIMARY KEY, token TEXT, platform VARCHAR(10),
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);";
    sqlite(&file(&scratch), seed);
    let fcm = format!("c1:APA91b{}", "x".repeat(130));
    for (name, token, platform) in
        [("ios", &hex(1), "ios"), ("droid", &fcm, "android"), ("odd", &fcm, "windows")]
    {
        sqlite(
            &file(&scratch),
            &format!(
                "INSERT INTO push_tokens VALUES ('{name}', '{token}', '{platform}', '2026-01-02 03:04:05')"
            ),
        );
    }
    let mut store = open(&file(&scratch));
    let ios = devices(&mut store, "ios").remove(0);
    assert_eq!((ios.provider(), ios.registered_at_ms), (Provider::Apns, 1_767_323_045_000));
    assert_eq!(devices(&mut store, "droid")[0].provider(), Provider::Fcm);
    assert!(devices(&mut store, "odd").is_empty());
    drop(store);
    assert_eq!(sqlite(&file(&scratch), "PRAGMA user_version"), "4");
    register(&mut open(&file(&scratch)), &phone("ios", "", 3), 1);
}

/// In the seed's table nothing kept a token from standing at many users, nor in capital letters.
#[test]
fn a_token_of_several_users_of_the_seeds_table_stays_the_last_ones() {
    let scratch = Scratch::new("store-migrate-twice");
    let seed = "CREATE TABLE push_tokens (user_id VARCHAR(50) PRIMARY KEY, token TEXT, platform VARCHAR(10),
        created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);";
    sqlite(&file(&scratch), seed);
    for (name, token, day) in
        [("older", hex(0xab), 1), ("last", hex(0xab).to_uppercase(), 3), ("old", hex(0xab), 2)]
    {
        let row = format!("('{name}', '{token}', 'iOS', '2026-01-0{day} 00:00:00')");
        sqlite(&file(&scratch), &format!("INSERT INTO push_tokens VALUES {row}"));
    }
    let mut store = open(&file(&scratch));
    let left = ["older", "last", "old"].map(|name| devices(&mut store, name).len());
    assert_eq!(left, [0, 1, 0]);
    let token = Token::parse(Provider::Apns, &hex(0xab)).unwrap();
    assert_eq!(store.retire(&token, i64::MAX).unwrap(), 1, "capital letters are no other token");
}

/// `store/v1.db` was written by the version that had schema 1.
#[test]
fn a_file_of_schema_1_is_taken_over() {
    let scratch = Scratch::new("store-v1");
    let v1 = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/v1.db");
    std::fs::copy(v1, file(&scratch)).unwrap();
    assert_eq!(sqlite(&file(&scratch), "PRAGMA user_version"), "1");
    let mut store = open(&file(&scratch));
    let bobs = devices(&mut store, "bob");
    assert_eq!(bobs.iter().map(|device| device.device_id.as_str()).collect::<Vec<_>>(), ["ipad", ""]);
    assert_eq!(
        (bobs[0].environment, bobs[0].app.as_deref()),
        (Some(Environment::Sandbox), Some("org.example.pad.voip"))
    );
    assert_eq!(
        (bobs[1].registered_at_ms, bobs[1].expires_at_ms, &bobs[1].alert),
        (1_700_000_000_000, None, &None)
    );
    assert_eq!(devices(&mut store, "carol")[0].provider(), Provider::Fcm);
    // One phone stood there for two users, and once under two device ids: the last registration keeps it.
    assert_eq!((devices(&mut store, "alice").len(), devices(&mut store, "dave").len()), (0, 1));
    let erins = devices(&mut store, "erin");
    assert_eq!((erins.len(), erins[0].device_id.as_str()), (1, "new"));
    assert_eq!(register(&mut store, &phone("alice", "", 7), 1_800_000_000_000), Registered::New);
    assert!(devices(&mut store, "dave").is_empty());
    drop(store);
    assert_eq!(sqlite(&file(&scratch), "PRAGMA user_version"), "4");
    assert_eq!(sqlite(&file(&scratch), "PRAGMA integrity_check"), "ok");
}

#[test]
fn a_schema_of_a_later_version_is_not_touched() {
    let scratch = Scratch::new("store-later");
    drop(open(&file(&scratch)));
    sqlite(&file(&scratch), "PRAGMA user_version = 5");
    let refused = SqliteStore::open(&file(&scratch)).err().unwrap().to_string();
    assert!(refused.contains("schema 5") && refused.contains("install a newer one"), "{refused}");
}

#[test]
fn what_has_expired_is_deleted_by_the_next_registration_of_anybody() {
    let scratch = Scratch::new("store-expires");
    let mut store = open(&file(&scratch));
    let minute = Extra { expires_s: Some(60), ..Extra::default() };
    register(&mut store, &phone_with("bob", "short", 1, minute), 1_000);
    register(&mut store, &phone("bob", "long", 2), 1_000);
    let rows = || sqlite(&file(&scratch), "SELECT count(*) FROM push_tokens");
    assert_eq!(rows(), "2");
    register(&mut store, &phone("carol", "", 3), 61_000);
    assert_eq!(rows(), "2", "the expired one has gone, another came");
}

#[test]
fn a_row_that_somebody_spoiled_by_hand_does_not_hide_the_others() {
    let scratch = Scratch::new("store-odd");
    let mut store = open(&file(&scratch));
    register(&mut store, &phone("bob", "good", 1), 1);
    register(&mut store, &phone("bob", "bad", 2), 2);
    sqlite(&file(&scratch), "UPDATE push_tokens SET token = 'zz' WHERE device_id = 'bad'");
    let devices = devices(&mut store, "bob");
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].device_id, "good");
}

/// Eight processes (the test program itself, started again) register 200 devices each at the same time, all of them opening and
/// migrating the file too.
#[test]
fn several_processes_write_at_once_and_nothing_is_lost() {
    const PROCESSES: usize = 8;
    const EACH: usize = 200;
    if let Ok(number) = std::env::var("STORE_TEST_WRITER") {
        let path = PathBuf::from(std::env::var("STORE_TEST_FILE").unwrap());
        let mut store = open(&path);
        for turn in 0..EACH {
            let own = number.parse::<usize>().unwrap() * EACH + turn;
            register(&mut store, &phone("bob", &format!("{number}-{turn}"), own), 1);
        }
        return;
    }
    let scratch = Scratch::new("store-processes");
    let writer = |number: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "several_processes_write_at_once_and_nothing_is_lost", "--nocapture"])
            .env("STORE_TEST_WRITER", number.to_string())
            .env("STORE_TEST_FILE", file(&scratch))
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let writers: Vec<_> = (0..PROCESSES).map(writer).collect();
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    assert_eq!(devices(&mut open(&file(&scratch)), "bob").len(), PROCESSES * EACH);
}

#[test]
fn a_file_of_version_2_is_brought_up_to_date() {
    let scratch = Scratch::new("store-v2");
    let path = file(&scratch);
    register(&mut open(&path), &phone("bob", "1", 1), 1000);
    let unique = "DROP INDEX push_tokens_by_token; CREATE UNIQUE INDEX push_tokens_by_token ON push_tokens (provider, token)";
    sqlite(&path, &format!("{unique}; DROP TABLE refreshes; PRAGMA user_version = 2"));
    let mut store = open(&path);
    assert_eq!(devices(&mut store, "bob").len(), 1);
    store.plan_refresh(&user("bob"), "1", 1, 9000).unwrap();
    assert_eq!(store.take_refreshes(2, 1000, 10).unwrap().len(), 1);
}

/// Three accounts of one phone.
const THREE: Limits = Limits { devices_per_user: u32::MAX, users_per_token: 3 };

#[test]
fn in_a_file_of_version_3_a_token_had_one_owner_and_may_have_more_from_then_on() {
    let scratch = Scratch::new("store-v3");
    let path = file(&scratch);
    register(&mut open(&path), &phone("alice", "x", 1), 1000);
    let unique = "DROP INDEX push_tokens_by_token; CREATE UNIQUE INDEX push_tokens_by_token ON push_tokens (provider, token)";
    sqlite(&path, &format!("{unique}; PRAGMA user_version = 3"));
    let mut store = open(&path);
    store.register(&phone("bob", "x", 1), 2000, THREE).unwrap();
    assert_eq!(["alice", "bob"].map(|name| devices(&mut store, name).len()), [1, 1]);
    assert_eq!(sqlite(&path, "PRAGMA user_version"), "4");
    assert_eq!(sqlite(&path, "PRAGMA integrity_check"), "ok");
}

#[test]
fn several_may_open_a_new_file_at_once() {
    let scratch = Scratch::new("store-new");
    for round in 0..100 {
        let path = scratch.path().join(format!("tokens-{round}.db"));
        let all = std::sync::Barrier::new(4);
        let open_it = || {
            all.wait();
            SqliteStore::open(&path).map(drop)
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open_it)).collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), Ok(()), "round {round}");
            }
        });
    }
}

#[test]
fn opening_a_file_writes_nothing() {
    let scratch = Scratch::new("store-log");
    let path = file(&scratch);
    register(&mut open(&path), &phone("alice", "", 1), 1);
    let log = scratch.path().join("tokens.db-wal");
    assert!(!log.exists(), "whoever is last takes the log away");
    let len = || std::fs::metadata(&log).map_or(0, |log| log.len());
    let mut store = open(&path);
    assert_eq!(devices(&mut store, "alice").len(), 1);
    assert_eq!(len(), 0);
    register(&mut store, &phone("alice", "", 1), 2);
    assert!(len() > 0, "this is where a write would be seen");
}

#[test]
fn the_file_opens_while_somebody_else_writes() {
    let scratch = Scratch::new("store-busy-open");
    let path = file(&scratch);
    register(&mut open(&path), &phone("alice", "", 1), 1);
    let mut writer =
        Command::new("sqlite3").arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = writer.stdin.take().unwrap();
    let mut output = BufReader::new(writer.stdout.take().unwrap());
    input.write_all(b"BEGIN IMMEDIATE; SELECT 'writing';\n").unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "writing\n");
    assert_eq!(devices(&mut open(&path), "alice").len(), 1);
    drop(input);
    writer.wait().unwrap();
}
