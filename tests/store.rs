//! The token store as its users see it: what is kept, what is replaced, what several processes do to each other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Scratch, run};
use voip_push::model::{Extra, NewDevice, Provider, Token, User};
use voip_push::store::{Registered, SqliteStore, TokenStore};

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

fn user(text: &str) -> User {
    User::parse(text).unwrap()
}

fn sqlite(path: &Path, sql: &str) -> String {
    let output = run(Command::new("sqlite3").arg(path).arg(sql), "sqlite3");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_seeds_registration_is_one_token_per_user_replaced_when_registered_again() {
    let scratch = Scratch::new("store-seed");
    let mut store = open(&file(&scratch));
    assert_eq!(store.register(&phone("564612", "", 1), 1000).unwrap(), Registered::New);
    assert_eq!(store.register(&phone("564612", "", 2), 2000).unwrap(), Registered::Renewed);
    let devices = store.devices(&user("564612")).unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!((devices[0].token.expose(), devices[0].registered_at_ms), (hex(2).as_str(), 2000));
}

#[test]
fn a_user_has_many_devices_and_the_newest_comes_first() {
    let scratch = Scratch::new("store-many");
    let mut store = open(&file(&scratch));
    for (number, device_id) in ["a", "b", "c"].into_iter().enumerate() {
        store.register(&phone("bob", device_id, number), 1000 + number as i64).unwrap();
    }
    store.register(&phone("bob", "a", 9), 5000).unwrap();
    store.register(&phone("alice", "a", 7), 6000).unwrap();
    let ids = |store: &mut SqliteStore| -> Vec<String> {
        store.devices(&user("bob")).unwrap().into_iter().map(|device| device.device_id).collect()
    };
    assert_eq!(ids(&mut store), ["a", "c", "b"]);
    assert_eq!(store.delete(&user("bob"), Some("c")).unwrap(), 1);
    assert_eq!(store.delete(&user("bob"), Some("c")).unwrap(), 0);
    assert_eq!(ids(&mut store), ["a", "b"]);
    assert_eq!(store.delete(&user("bob"), None).unwrap(), 2);
    assert_eq!(store.devices(&user("alice")).unwrap().len(), 1);
}

#[test]
fn a_dead_token_goes_unless_it_was_registered_again_or_is_another_one() {
    let scratch = Scratch::new("store-dead");
    let mut store = open(&file(&scratch));
    let token = |number| Token::parse(Provider::Apns, &hex(number)).unwrap();
    store.register(&phone("bob", "", 1), 2000).unwrap();
    assert!(!store.retire(&user("bob"), "", &token(1), 1999).unwrap(), "registered after it was found dead");
    assert!(!store.retire(&user("bob"), "", &token(2), 9999).unwrap(), "another token by now");
    assert!(!store.retire(&user("eve"), "", &token(1), 9999).unwrap(), "another user");
    assert!(store.retire(&user("bob"), "", &token(1), 2000).unwrap());
    assert!(store.devices(&user("bob")).unwrap().is_empty());
}

#[test]
fn a_clock_that_was_set_back_loses_no_registration() {
    let scratch = Scratch::new("store-clock");
    let mut store = open(&file(&scratch));
    store.register(&phone("bob", "", 1), 9000).unwrap();
    store.register(&phone("bob", "", 2), 1000).unwrap();
    let device = store.devices(&user("bob")).unwrap().remove(0);
    assert_eq!((device.token.expose(), device.registered_at_ms), (hex(2).as_str(), 9000));
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
    let ios = store.devices(&user("ios")).unwrap().remove(0);
    assert_eq!((ios.provider(), ios.registered_at_ms), (Provider::Apns, 1_767_323_045_000));
    assert_eq!(store.devices(&user("droid")).unwrap()[0].provider(), Provider::Fcm);
    assert!(store.devices(&user("odd")).unwrap().is_empty());
    drop(store);
    assert_eq!(sqlite(&file(&scratch), "PRAGMA user_version"), "1");
    open(&file(&scratch)).register(&phone("ios", "", 3), 1).unwrap();
}

#[test]
fn a_row_that_somebody_spoiled_by_hand_does_not_hide_the_others() {
    let scratch = Scratch::new("store-odd");
    let mut store = open(&file(&scratch));
    store.register(&phone("bob", "good", 1), 1).unwrap();
    store.register(&phone("bob", "bad", 2), 2).unwrap();
    sqlite(&file(&scratch), "UPDATE push_tokens SET token = 'zz' WHERE device_id = 'bad'");
    let devices = store.devices(&user("bob")).unwrap();
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
            store.register(&phone("bob", &format!("{number}-{turn}"), turn), 1).unwrap();
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
    assert_eq!(open(&file(&scratch)).devices(&user("bob")).unwrap().len(), PROCESSES * EACH);
}
