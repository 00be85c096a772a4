//! What a broken configuration gets: one line that names the file and the key and says what to do, and no secret in it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::settings::{self, TOML};
use support::{Scratch, run};
use voip_push::config::Settings;
use voip_push::service::Service;

/// Writes a good configuration, lets `spoil` break it, and gives the one line that comes back.
fn refusal(spoil: impl FnOnce(&Scratch)) -> String {
    let scratch = Scratch::new("config");
    let file = settings::write(&scratch);
    spoil(&scratch);
    let line = match Service::prepare(&file) {
        Ok(_) => panic!("the configuration was taken"),
        Err(error) => error.to_string(),
    };
    assert!(line.starts_with(&file.display().to_string()), "{line}");
    assert!(!line.contains('\n') && !line.contains("PRIVATE"), "{line}");
    line
}

fn with_toml(change: impl Fn(&str) -> String) -> String {
    refusal(|scratch| {
        scratch.write("voip-push.toml", change(TOML));
    })
}

fn replaced(from: &str, to: &str) -> String {
    assert!(TOML.contains(from), "{from}");
    with_toml(|toml| toml.replace(from, to))
}

#[track_caller]
fn assert_says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
}

#[test]
fn a_good_configuration_is_taken_with_its_defaults() {
    let scratch = Scratch::new("config-good");
    let settings = Settings::load(&settings::write(&scratch)).unwrap();
    assert_eq!(settings.ring.as_secs(), 30);
    assert_eq!(settings.wake.as_secs(), 15);
    assert_eq!(settings.store.sqlite(), Some(&*scratch.path().join("db/tokens.db")));
    assert_eq!(settings.apns[0].origin.port, 9);
    assert!(settings.warnings.is_empty());
    assert!(!format!("{settings:?}").contains("PRIVATE"));
    assert!(!format!("{settings:?}").contains(settings::API_KEY));
}

#[test]
fn what_is_odd_but_works_is_a_warning() {
    let scratch = Scratch::new("config-odd");
    settings::write(&scratch);
    let insisting = TOML.replace("[[fcm]]", "[[fcm]]\nios_push_type = \"voip\"");
    let file = scratch.write("voip-push.toml", insisting);
    assert!(Settings::load(&file).unwrap().warnings[0].contains("PushKit"));
    let file = scratch.write("voip-push.toml", "[store]\nurl = \"sqlite:db/tokens.db\"\n");
    assert!(Settings::load(&file).unwrap().warnings[0].contains("nothing can be pushed"));
}

#[test]
fn settings_with_which_no_push_could_come_in_time_are_refused() {
    let sip = |lines: &str| with_toml(|toml| format!("{toml}[sip]\n{lines}\n"));
    assert_says(&sip("pnsreg_seconds = 120"), &["[sip] pnsreg_seconds", "from 121"]);
    assert_says(&sip("min_expires_seconds = 130"), &["[sip] min_expires_seconds", "from 131"]);
    let longer = "pnsreg_seconds = 300\nmin_expires_seconds = 200";
    assert_says(&sip(longer), &["[sip] min_expires_seconds", "from 301"]);
    assert_says(&sip("brief = \"drop\""), &["[sip] brief", "neither forward nor refuse"]);
    assert_says(&sip("unsupported = \"\""), &["[sip] unsupported", "neither forward nor refuse"]);
    assert_says(&sip("keep_tokens = \"ever\""), &["[sip] keep_tokens", "until_dead nor while_registered"]);
    assert_says(&sip("purr = \"yes\""), &["[sip] purr", "none of offer, asked and off"]);
}

#[test]
fn unknown_and_missing_keys_and_bad_values_are_named() {
    assert_says(
        &replaced("wait_ms", "wait_msec"),
        &["line 4", "unknown key wait_msec", "did you mean wait_ms?"],
    );
    assert_says(&replaced("[call]", "[cal]"), &["unknown key cal", "did you mean call?"]);
    assert_says(&replaced("key_id = \"KEY1234567\"\n", ""), &["key_id", "is missing"]);
    assert_says(&replaced("wait_ms = 800", "wait_ms = 0"), &["[call] wait_ms", "from 10 to 10000"]);
    assert_says(&replaced("wait_ms = 800", "wait_ms = \"x\""), &["line 4"]);
    assert_says(&replaced("ABCDE12345", "abc"), &["[[apns]] team_id", "ten capital letters"]);
    assert_says(&replaced("phone.voip", "phone"), &["[[apns]] topics", "org.example.phone.voip?"]);
    assert_says(
        &replaced("https://127.0.0.1:9\"\n[[fcm]]", "http://x\"\n[[fcm]]"),
        &["[[apns]] url", "https://"],
    );
    assert_says(&replaced("sqlite:db/tokens.db", "mysql:x"), &["[store] url", "begins with none of sqlite:"]);
    assert_says(&replaced("\"debug\"", "\"loud\""), &["[log] level", "debug"]);
    assert_says(&with_toml(|_| "[store".to_owned()), &["line 1"]);
}

#[test]
fn an_app_section_that_cannot_work_is_named() {
    let app = |lines: &str| with_toml(|toml| format!("{toml}[[app]]\n{lines}\n"));
    let phone = "name = \"org.example.phone.voip\"\n";
    let unknown = app("name = \"org.example.fone.voip\"\nprofile = \"seed\"");
    assert_says(
        &unknown,
        &["[[app]] org.example.fone.voip name", "there are: org.example.phone.voip, phone-example"],
    );
    assert_says(&app(&format!("{phone}profile = \"lin\"")), &["profile", "none of callkit, linphone, sylk"]);
    assert_says(&app(phone), &["the key profile is missing"]);
    assert_says(
        &app(&format!("{phone}profile = \"seed\"\n[[app]]\n{phone}profile = \"seed\"")),
        &["two [[app]]"],
    );
    let template = |text: &str| app(&format!("{phone}profile = \"template\"\ntemplate = '{text}'"));
    assert_says(
        &app(&format!("{phone}profile = \"template\"")),
        &["[[app]] org.example.phone.voip template", "missing"],
    );
    assert_says(&template("{"), &["[[app]] org.example.phone.voip template", "is not JSON"]);
    assert_says(&template(r#"{"a":"{nmae}"}"#), &["unknown placeholder {nmae}", "{name}"]);
    let unused = app(&format!("{phone}profile = \"seed\"\ntemplate = \"{{}}\""));
    assert_says(&unused, &["template", "set profile = \"template\""]);
    let fcm = app("name = \"phone-example\"\nprofile = \"template\"\ntemplate = '{\"a\":1}'");
    assert_says(&fcm, &["[[app]] phone-example template", "FCM takes texts only"]);
}

#[test]
fn keys_that_are_missing_open_to_all_or_of_the_wrong_kind_are_named() {
    let gone = |name: &'static str| refusal(move |s| fs::remove_file(s.path().join(name)).unwrap());
    assert_says(&gone("AuthKey.p8"), &["[[apns]] key_file", "AuthKey.p8", "does not exist"]);
    assert_says(&gone("service-account.json"), &["[[fcm]] service_account_file", "does not exist"]);
    assert_says(&gone("api-keys"), &["[rest] api_keys_file", "does not exist"]);
    assert_says(&gone("voip-push.toml"), &["config", "does not exist"]);
    let open = refusal(|s| {
        fs::set_permissions(s.path().join("AuthKey.p8"), fs::Permissions::from_mode(0o644)).unwrap();
    });
    assert_says(&open, &["[[apns]] key_file", "mode 0644", "chmod 0640"]);
    let curve = refusal(|s| settings::ec_key(&s.path().join("AuthKey.p8"), "P-384"));
    assert_says(&curve, &["[[apns]] key_file", "P-256"]);
    let nonsense = refusal(|s| {
        s.write("AuthKey.p8", "not a key");
    });
    assert_says(&nonsense, &["[[apns]] key_file", "not a private EC key"]);
    let account = refusal(|s| {
        s.write("service-account.json", "{\"type\":\"service_account\"}");
    });
    assert_says(&account, &["[[fcm]] service_account_file", "project_id"]);
    let ca = replaced("topics", "ca_file = \"AuthKey.p8\"\ntopics");
    assert_says(&ca, &["[[apns]] ca_file", "no certificate"]);
}

#[test]
fn an_api_without_keys_or_with_short_ones_does_not_start() {
    let with_keys = |text: &'static str| {
        refusal(move |s| {
            s.write("api-keys", text);
        })
    };
    assert_says(&with_keys("# nothing yet\n\n"), &["[rest] api_keys_file", "has no key"]);
    assert_says(&with_keys("short\n"), &["[rest] api_keys_file", "shorter than 16"]);
}

#[test]
fn a_database_that_cannot_be_used_is_named() {
    let no_directory = replaced("sqlite:db/tokens.db", "sqlite:nowhere/tokens.db");
    assert_says(&no_directory, &["[store] url", "nowhere", "does not exist"]);
    let not_a_database = refusal(|s| {
        s.write("db/tokens.db", "x".repeat(8192));
    });
    assert_says(&not_a_database, &["[store] url", "tokens.db"]);
    let foreign = refusal(|s| sqlite(s, "CREATE TABLE subscriber (id INTEGER)"));
    assert_says(&foreign, &["[store] url", "another program"]);
    let newer = refusal(|s| sqlite(s, "PRAGMA user_version = 99"));
    assert_says(&newer, &["[store] url", "schema 99", "install a newer"]);
}

/// Root may write everywhere, so the library is tried as nobody: the test program starts itself again.
#[test]
fn a_database_directory_that_this_user_cannot_write_is_named() {
    if let Some(file) = std::env::var_os("CONFIG_TEST_FILE") {
        let refused = Service::prepare(std::path::Path::new(&file)).map(|_| ()).unwrap_err();
        return println!("refused: {refused}");
    }
    let scratch = Scratch::new("config-nobody");
    let file = settings::write(&scratch);
    let open =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(&scratch.path().join("db"), 0o555);
    if !voip_push::process::is_root() {
        let refused = Service::prepare(&file).map(|_| ()).unwrap_err().to_string();
        return assert_says(&refused, &["[store] url", "cannot be written by this user"]);
    }
    for name in ["AuthKey.p8", "service-account.json", "api-keys"] {
        std::os::unix::fs::chown(scratch.path().join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    open(scratch.path(), 0o755);
    // Where nobody can run it, whatever directory the tests are built in.
    let program = scratch.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut as_nobody = std::process::Command::new("setpriv");
    as_nobody.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
    as_nobody.arg(&program).args(["--exact", "--nocapture"]);
    as_nobody.arg("a_database_directory_that_this_user_cannot_write_is_named").env("CONFIG_TEST_FILE", &file);
    let output = String::from_utf8(run(&mut as_nobody, "util-linux").stdout).unwrap();
    assert_says(
        &output,
        &["refused: ", "[store] url", "tokens.db cannot be written by this user", "give it and"],
    );
}

/// Debian's user nobody.
const NOBODY: u32 = 65_534;

fn sqlite(scratch: &Scratch, sql: &str) {
    let mut program = std::process::Command::new("sqlite3");
    run(program.arg(scratch.path().join("db/tokens.db")).arg(sql), "sqlite3");
}
