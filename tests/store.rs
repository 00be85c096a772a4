//! The token store as its users see it: what is kept, what is replaced, what several processes do to each other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Scratch, run};
use voip_push::model::{Alert, Device, Environment, Extra, NewDevice, Provider, Token, User};
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
fn the_seeds_registration_is_one_token_per_user_replaced_when_registered_again() {
    let scratch = Scratch::new("store-seed");
    let mut store = open(&file(&scratch));
    assert_eq!(register(&mut store, &phone("564612", "", 1), 1000), Registered::New);
    assert_eq!(register(&mut store, &phone("564612", "", 2), 2000), Registered::Renewed);
    let devices = devices(&mut store, "564612");
    assert_eq!(devices.len(), 1);
    assert_eq!((devices[0].token.expose(), devices[0].registered_at_ms), (hex(2).as_str(), 2000));
}

#[test]
fn a_user_has_many_devices_and_the_newest_comes_first() {
    let scratch = Scratch::new("store-many");
    let mut store = open(&file(&scratch));
    for (number, device_id) in ["a", "b", "c"].into_iter().enumerate() {
        register(&mut store, &phone("bob", device_id, number), 1000 + number as i64);
    }
    register(&mut store, &phone("bob", "a", 9), 5000);
    register(&mut store, &phone("alice", "a", 7), 6000);
    let ids = |store: &mut SqliteStore| -> Vec<String> {
        devices(store, "bob").into_iter().map(|device| device.device_id).collect()
    };
    assert_eq!(ids(&mut store), ["a", "c", "b"]);
    assert_eq!(store.delete(&user("bob"), Some("c")).unwrap(), 1);
    assert_eq!(store.delete(&user("bob"), Some("c")).unwrap(), 0);
    assert_eq!(ids(&mut store), ["a", "b"]);
    assert_eq!(store.delete(&user("bob"), None).unwrap(), 2);
    assert_eq!(devices(&mut store, "alice").len(), 1);
}

#[test]
fn a_dead_token_goes_unless_it_was_registered_again_or_is_another_one() {
    let scratch = Scratch::new("store-dead");
    let mut store = open(&file(&scratch));
    let token = |number| Token::parse(Provider::Apns, &hex(number)).unwrap();
    register(&mut store, &phone("bob", "", 1), 2000);
    assert_eq!(store.retire(&token(1), 1999).unwrap(), 0, "registered after it was found dead");
    assert_eq!(store.retire(&token(2), 9999).unwrap(), 0, "another token by now");
    let of_fcm = Token::parse(Provider::Fcm, &hex(1)).unwrap();
    assert_eq!(store.retire(&of_fcm, 9999).unwrap(), 0, "another provider's");
    assert_eq!(store.retire(&token(1), 2000).unwrap(), 1);
    assert!(devices(&mut store, "bob").is_empty());
}

#[test]
fn a_dead_token_for_alerts_goes_alone_unless_it_was_registered_again_or_is_another_one() {
    let scratch = Scratch::new("store-dead-alert");
    let mut store = open(&file(&scratch));
    let token = |number| Token::parse(Provider::Apns, &hex(number)).unwrap();
    let alert = Some(Box::new(Alert { token: token(9), app: Some("org.example.phone".to_owned()) }));
    let with_alert = NewDevice { alert, ..phone("bob", "", 1) };
    register(&mut store, &with_alert, 2000);
    assert!(
        !store.retire_alert(&user("bob"), "", &token(9), 1999).unwrap(),
        "registered after it was found dead"
    );
    assert!(!store.retire_alert(&user("bob"), "", &token(1), 9999).unwrap(), "the token for calls");
    assert!(!store.retire_alert(&user("eve"), "", &token(9), 9999).unwrap(), "another user");
    assert!(devices(&mut store, "bob")[0].alert.is_some());
    assert!(store.retire_alert(&user("bob"), "", &token(9), 2000).unwrap());
    let device = devices(&mut store, "bob").remove(0);
    assert_eq!((device.alert, device.token.expose()), (None, hex(1).as_str()));
    register(&mut store, &with_alert, 3000);
    assert!(devices(&mut store, "bob")[0].alert.is_some());
}

#[test]
fn a_clock_that_was_set_back_loses_no_registration() {
    let scratch = Scratch::new("store-clock");
    let mut store = open(&file(&scratch));
    register(&mut store, &phone("bob", "", 1), 9000);
    register(&mut store, &phone("bob", "", 2), 1000);
    let device = devices(&mut store, "bob").remove(0);
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
fn a_token_that_moves_to_another_user_leaves_the_old_one() {
    let scratch = Scratch::new("store-moves");
    let mut store = open(&file(&scratch));
    register(&mut store, &phone("alice", "handset", 1), 1000);
    register(&mut store, &phone("alice", "tablet", 2), 1000);
    assert_eq!(register(&mut store, &phone("bob", "handset", 1), 2000), Registered::New);
    let left = devices(&mut store, "alice");
    assert_eq!((left.len(), left[0].device_id.as_str()), (1, "tablet"));
    // The same phone under another name: it must not ring twice.
    register(&mut store, &phone("bob", "", 1), 3000);
    assert_eq!(devices(&mut store, "bob").len(), 1);
    // An old rejection of the token, meant for alice, takes nothing from bob.
    let token = Token::parse(Provider::Apns, &hex(1)).unwrap();
    assert_eq!(store.retire(&token, 2999).unwrap(), 0, "registered since");
    assert_eq!(devices(&mut store, "bob").len(), 1);
}

#[test]
fn a_device_that_has_expired_is_not_found_and_goes_with_the_next_registration() {
    let scratch = Scratch::new("store-expires");
    let mut store = open(&file(&scratch));
    let minute = Extra { expires_s: Some(60), ..Extra::default() };
    register(&mut store, &phone_with("bob", "short", 1, minute), 1_000);
    register(&mut store, &phone("bob", "long", 2), 1_000);
    let found = |store: &mut SqliteStore, now_ms| store.devices(&user("bob"), now_ms).unwrap().len();
    assert_eq!((found(&mut store, 60_999), found(&mut store, 61_000)), (2, 1));
    let rows = || sqlite(&file(&scratch), "SELECT count(*) FROM push_tokens");
    assert_eq!(rows(), "2");
    register(&mut store, &phone("carol", "", 3), 61_000);
    assert_eq!(rows(), "2", "the expired one has gone, another came");
    // Renewed in time, it stays; renewed without an expiry, for good.
    register(&mut store, &phone_with("bob", "short", 1, minute), 61_000);
    register(&mut store, &phone_with("bob", "short", 1, minute), 100_000);
    assert_eq!(found(&mut store, 159_999), 2);
    register(&mut store, &phone("bob", "short", 1), 101_000);
    assert_eq!(found(&mut store, i64::MAX), 2);
}

/// At most two devices.
const TWO: Limits = Limits { devices_per_user: 2, users_per_token: 1 };

#[test]
fn a_user_has_so_many_devices_and_no_more_and_a_refusal_changes_nothing() {
    let scratch = Scratch::new("store-limit");
    let mut store = open(&file(&scratch));
    let minute = Extra { expires_s: Some(60), ..Extra::default() };
    assert!(store.register(&phone("bob", "a", 1), 0, TWO).unwrap().is_some());
    assert!(store.register(&phone_with("bob", "b", 2, minute), 0, TWO).unwrap().is_some());
    register(&mut store, &phone("alice", "", 3), 0);
    assert_eq!(store.register(&phone("bob", "c", 3), 1, TWO).unwrap(), None);
    assert_eq!(devices(&mut store, "alice").len(), 1, "her token was not taken for nothing");
    assert_eq!(devices(&mut store, "bob").len(), 2);
    assert_eq!(store.register(&phone("bob", "a", 4), 1, TWO).unwrap(), Some(Registered::Renewed));
    // What has expired makes room, and so does a phone that only changes its name.
    assert_eq!(store.register(&phone("bob", "c", 3), 60_000, TWO).unwrap(), Some(Registered::New));
    assert_eq!(store.register(&phone("bob", "d", 3), 60_000, TWO).unwrap(), Some(Registered::New));
}

#[test]
fn what_was_proven_of_a_token_outlives_what_the_app_says_and_ends_with_the_token() {
    let scratch = Scratch::new("store-proven");
    let mut store = open(&file(&scratch));
    let says = Extra { environment: Some("production"), ..Extra::default() };
    register(&mut store, &phone_with("bob", "", 1, says), 0);
    let device = devices(&mut store, "bob").remove(0);
    assert_eq!(device.environment, Some(Environment::Production));
    assert!(store.prove_environment(&device, Environment::Sandbox).unwrap());
    register(&mut store, &phone_with("bob", "", 1, says), 1);
    assert_eq!(devices(&mut store, "bob")[0].environment, Some(Environment::Sandbox));
    register(&mut store, &phone_with("bob", "", 2, says), 2);
    assert_eq!(devices(&mut store, "bob")[0].environment, Some(Environment::Production));
    assert!(!store.prove_environment(&device, Environment::Sandbox).unwrap(), "another token by now");
}

#[test]
fn everything_that_was_registered_is_found_again() {
    let scratch = Scratch::new("store-all");
    let mut store = open(&file(&scratch));
    let alert = hex(9);
    let extra = Extra {
        app: Some("org.example.phone.voip"),
        expires_s: Some(3600),
        alert_token: Some(&alert),
        alert_app: Some("org.example.phone"),
        ..Extra::default()
    };
    register(&mut store, &phone_with("bob", "handset", 1, extra), 1_000);
    let device = devices(&mut store, "bob").remove(0);
    assert_eq!(device.expires_at_ms, Some(3_601_000));
    let alert = device.alert.unwrap();
    assert_eq!((alert.token.expose(), alert.app.as_deref()), (hex(9).as_str(), Some("org.example.phone")));
    register(&mut store, &phone("bob", "handset", 1), 2_000);
    assert_eq!(devices(&mut store, "bob")[0].alert, None);
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
fn phones_that_are_to_register_again_are_named_twice_and_after_a_restart_too() {
    let scratch = Scratch::new("store-refresh");
    let mut store = open(&file(&scratch));
    store.plan_refresh(&user("bob"), "sip:1", 5000, 9000).unwrap();
    store.plan_refresh(&user("bob"), "sip:2", 1000, 9000).unwrap();
    store.plan_refresh(&user("bob"), "sip:2", 6000, 9000).unwrap();
    store.plan_refresh(&user("carol"), "sip:3", 1000, 2000).unwrap();
    drop(store);
    let mut store = open(&file(&scratch));
    let mut due = |now_ms| -> Vec<(String, u32)> {
        let due = store.take_refreshes(now_ms, 1000, 10).unwrap();
        due.into_iter().map(|refresh| (refresh.device_id, refresh.tries)).collect()
    };
    assert_eq!(due(999), []);
    assert_eq!(due(5500), [("sip:1".to_owned(), 0)], "carol's registration has ended");
    assert_eq!(due(5600), []);
    assert_eq!(due(6500), [("sip:2".to_owned(), 0), ("sip:1".to_owned(), 1)]);
    assert_eq!(due(7500), [("sip:2".to_owned(), 1)]);
    assert_eq!(due(100_000), []);
    store.plan_refresh(&user("bob"), "sip:1", 1, 9000).unwrap();
    store.plan_refresh(&user("bob"), "sip:2", 2, 9000).unwrap();
    let named = store.take_refreshes(3, 1000, 1).unwrap();
    assert_eq!((named.len(), named[0].device_id.as_str()), (1, "sip:1"), "at most so many at a time");
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

/// Who has the token of this number.
fn owners(store: &mut SqliteStore, number: usize) -> Vec<&'static str> {
    let token = hex(number);
    let mut has = |name: &str| devices(store, name).iter().any(|device| device.token.expose() == token);
    ["alice", "bob", "carol", "dave"].into_iter().filter(|name| has(name)).collect()
}

#[test]
fn as_many_users_have_a_token_as_they_may_and_the_oldest_leaves() {
    let scratch = Scratch::new("store-accounts");
    let mut store = open(&file(&scratch));
    for (at_ms, name) in [(1000, "alice"), (2000, "bob"), (3000, "carol")] {
        assert_eq!(store.register(&phone(name, "x", 1), at_ms, THREE).unwrap(), Some(Registered::New));
    }
    assert_eq!(owners(&mut store, 1), ["alice", "bob", "carol"]);
    // A renewal takes nothing from anybody, and makes its user the newest.
    assert_eq!(store.register(&phone("alice", "x", 1), 4000, THREE).unwrap(), Some(Registered::Renewed));
    assert_eq!(owners(&mut store, 1), ["alice", "bob", "carol"]);
    store.register(&phone("dave", "x", 1), 5000, THREE).unwrap();
    assert_eq!(owners(&mut store, 1), ["alice", "carol", "dave"]);
    // One user has it once, whatever his devices are called.
    store.register(&phone("dave", "y", 1), 6000, THREE).unwrap();
    assert_eq!(devices(&mut store, "dave").len(), 1);
    assert_eq!(owners(&mut store, 1), ["alice", "carol", "dave"]);
    // Where it is one again, the others leave.
    register(&mut store, &phone("bob", "x", 1), 7000);
    assert_eq!(owners(&mut store, 1), ["bob"]);
}

#[test]
fn a_dead_token_goes_from_all_its_users_but_those_who_registered_it_again() {
    let scratch = Scratch::new("store-accounts-dead");
    let mut store = open(&file(&scratch));
    for (at_ms, name) in [(1000, "alice"), (2000, "bob"), (3000, "carol")] {
        store.register(&phone(name, "x", 1), at_ms, THREE).unwrap();
    }
    store.register(&phone("dave", "x", 2), 1000, THREE).unwrap();
    let token = Token::parse(Provider::Apns, &hex(1)).unwrap();
    assert_eq!(store.retire(&token, 2000).unwrap(), 2);
    assert_eq!((owners(&mut store, 1), owners(&mut store, 2)), (vec!["carol"], vec!["dave"]));
}

#[test]
fn in_a_file_of_version_3_a_token_had_one_owner_and_may_have_more_from_then_on() {
    let scratch = Scratch::new("store-v3");
    let path = file(&scratch);
    register(&mut open(&path), &phone("alice", "x", 1), 1000);
    let unique = "DROP INDEX push_tokens_by_token; CREATE UNIQUE INDEX push_tokens_by_token ON push_tokens (provider, token)";
    sqlite(&path, &format!("{unique}; PRAGMA user_version = 3"));
    let mut store = open(&path);
    store.register(&phone("bob", "x", 1), 2000, THREE).unwrap();
    assert_eq!(owners(&mut store, 1), ["alice", "bob"]);
    assert_eq!(sqlite(&path, "PRAGMA user_version"), "4");
    assert_eq!(sqlite(&path, "PRAGMA integrity_check"), "ok");
}
