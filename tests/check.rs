//! `voip-push check`, the real binary: clean against the simulator, and one fault after the other, each with its exact line.
#![cfg(feature = "command")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::ports::free_port;
use support::simulator::Simulator;
use support::{Scratch, built_library, run, settings};

const PRODUCTION: &str = "apns KEY1234567 production";
const SANDBOX: &str = "apns KEY1234567 sandbox";
const FCM: &str = "fcm sip-phone-voip";
const TOPIC: &str = "topic org.example.phone.voip";

/// A simulator, and a SIP server that says which version it is.
struct Ward {
    scratch: Scratch,
    simulator: Simulator,
    server: PathBuf,
}

impl Ward {
    fn new(name: &str, more: &[&str]) -> Ward {
        let scratch = Scratch::new(name);
        let simulator = Simulator::start(&scratch, more);
        let server = server(&scratch, "kamailio 5.6.3 (x86_64/linux)");
        Ward { scratch, simulator, server }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voip-push"));
        command.arg("check").arg("--config").arg(self.simulator.config()).stdin(Stdio::null());
        command
    }

    fn check(&self) -> (i32, Vec<String>) {
        told(self.command().arg("--server").arg(&self.server).arg("--module").arg(built_library()))
    }

    /// The lines that are not ok, the last one too.
    fn faults(&self) -> (i32, Vec<String>) {
        let (code, lines) = self.check();
        (code, lines.into_iter().filter(|line| !line.starts_with("ok ")).collect())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.simulator.config().with_file_name(name)
    }

    #[track_caller]
    fn assert_faults(&self, code: i32, expected: &[String]) {
        assert_eq!(self.faults(), (code, expected.to_vec()));
    }
}

/// A program that answers as both servers do to `-V`, and tells where it was asked for more than that.
fn server(scratch: &Scratch, version: &str) -> PathBuf {
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in -V) echo 'version: {version} ' ;; -I) ;; *) touch \"$0.started\" ;; esac\n"
    );
    let path = scratch.write("server", script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn told(command: &mut Command) -> (i32, Vec<String>) {
    let output: Output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "no colour in a pipe: {text}");
    (output.status.code().unwrap(), text.lines().map(str::to_owned).collect())
}

fn user_name(uid: u32) -> String {
    let mut id = Command::new("id");
    let output = run(id.args(["-un", &uid.to_string()]), "coreutils");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn against_the_simulator_all_is_right_line_by_line() {
    let ward = Ward::new("check-clean", &[]);
    let dir = ward.simulator.config().parent().unwrap().display().to_string();
    let (apns, sandbox) = (ward.simulator.fact("apns"), ward.simulator.fact("apns_sandbox"));
    let google = ward.simulator.fact("google");
    let accepted = "the key is accepted (BadDeviceToken, as it must be for a token that no device has)";
    let key = format!("key: {dir}/AuthKey_KEY1234567.p8, mode 0600, curve P-256, team ABCDE12345");
    let account = "firebase-adminsdk-sim@sip-phone-voip.iam.gserviceaccount.com";
    let expected = [
        format!("ok       configuration: {dir}/voip-push.toml"),
        format!("ok       {PRODUCTION} {key}"),
        format!(
            "ok       {PRODUCTION} connection: {apns} at 127.0.0.1, TLS 1.3, HTTP/2, certificate until 4096-01-01T00:00:00Z"
        ),
        format!("ok       {PRODUCTION} {TOPIC}: {accepted}"),
        format!("ok       {SANDBOX} {key}"),
        format!(
            "ok       {SANDBOX} connection: {sandbox} at 127.0.0.1, TLS 1.3, HTTP/2, certificate until 4096-01-01T00:00:00Z"
        ),
        format!("ok       {SANDBOX} {TOPIC}: {accepted}"),
        format!("ok       {FCM} service account: {dir}/service-account.json, mode 0600, {account}"),
        format!(
            "ok       {FCM} connection: {google} at 127.0.0.1, TLS 1.3, HTTP/2, certificate until 4096-01-01T00:00:00Z"
        ),
        format!("ok       {FCM} access token: given by {google}/token"),
        format!("ok       {FCM} message: accepted (validate_only)"),
        "ok       clock: within 30 s of 127.0.0.1".to_owned(),
        format!(
            "ok       database: {dir}/tokens.db is not there yet; the SIP server makes it when it starts"
        ),
        format!("ok       server: {}, kamailio 5.6.3 (x86_64/linux)", ward.server.display()),
        module_is_good(&built_library()),
        "all is right".to_owned(),
    ];
    let (code, lines) = ward.check();
    assert_eq!((code, lines), (0, expected.to_vec()));
    assert!(!ward.file("tokens.db").exists(), "who looks makes nothing");
    assert!(!ward.scratch.path().join("server.started").exists(), "a server is asked, not started");
    let stats = ward.simulator.get("/stats");
    assert_eq!(
        stats["violations"],
        json!({ "early_stream": 0, "no_h2": 0, "protocol_error": 0, "tls_failed": 0 })
    );
    let reached: Vec<Value> =
        ward.simulator.pushes().into_iter().filter(|push| push["reached"] == true).collect();
    assert_eq!(reached, [] as [Value; 0], "no push of a check reaches a phone");
}

#[test]
fn programs_get_json_and_terminals_get_colour() {
    let ward = Ward::new("check-json", &[]);
    let (code, lines) = told(
        ward.command().arg("--json").arg("--server").arg(&ward.server).arg("--module").arg("/nowhere/x.so"),
    );
    let report: Value = serde_json::from_str(&lines.join("\n")).unwrap();
    assert_eq!((code, &report["verdict"]), (1, &json!("broken")));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let module = report["findings"].as_array().unwrap().last().unwrap();
    let found = "/nowhere/x.so: No such file or directory (os error 2); install it there";
    assert_eq!(*module, json!({ "verdict": "broken", "about": "module", "found": found }));

    let shell = format!(
        "{} check --offline -c {}",
        env!("CARGO_BIN_EXE_voip-push"),
        ward.simulator.config().display()
    );
    let mut script = Command::new("script");
    script.args(["-qc", &shell, "/dev/null"]).env_remove("NO_COLOR").stdin(Stdio::null());
    let on_terminal = script.output().unwrap();
    let text = String::from_utf8_lossy(&on_terminal.stdout);
    assert!(text.starts_with("\u{1b}[32mok      \u{1b}[0m configuration: "), "{text}");
    let plain = script.env("NO_COLOR", "1").output().unwrap();
    assert!(plain.stdout.starts_with(b"ok       configuration: "));
}

#[test]
fn offline_nobody_is_asked() {
    let ward = Ward::new("check-offline", &[]);
    let (code, lines) = told(
        ward.command()
            .arg("--offline")
            .arg("--server")
            .arg(&ward.server)
            .arg("--module")
            .arg(built_library()),
    );
    assert_eq!(code, 0);
    let skipped: Vec<&str> =
        lines.iter().filter(|line| line.starts_with("skipped")).map(String::as_str).collect();
    let not_tried = |label: &str| format!("skipped  {label} connection: not tried: --offline");
    assert_eq!(skipped, [not_tried(PRODUCTION), not_tried(SANDBOX), not_tried(FCM)]);
    assert_eq!(ward.simulator.get("/stats")["connections"]["apns"]["opened"].as_u64().unwrap_or(0), 0);
    assert_eq!(ward.simulator.pushes(), [] as [Value; 0]);
}

#[test]
fn faults_of_the_configuration_are_told_all_at_once() {
    let ward = Ward::new("check-config", &[]);
    let config = ward.simulator.config().display().to_string();
    let (key, account) = (ward.file("AuthKey_KEY1234567.p8"), ward.file("service-account.json"));
    settings::ec_key(&key, "P-384");
    fs::set_permissions(&account, fs::Permissions::from_mode(0o644)).unwrap();
    let curve = format!(
        "broken   configuration: {config}: [[apns]] key_file: {} is not a key on curve P-256, which APNs needs; take the .p8 file as Apple gave it",
        key.display()
    );
    let account = account.display();
    let mode = format!(
        "broken   configuration: {config}: [[fcm]] service_account_file: {account} has mode 0644, so others can get at the secret in it; run: chmod 0640 {account}"
    );
    let none = format!(
        "warning  configuration: {config}: there is no [[apns]] and no [[fcm]] section, so nothing can be pushed"
    );
    let clock = "skipped  clock: no provider has told its time".to_owned();
    ward.assert_faults(1, &[curve.clone(), curve, mode, none, clock, "3 broken, 1 warning".to_owned()]);
    ward.simulator.change_config(&[("[log]", "[logg]")]);
    let (code, lines) = ward.faults();
    let unknown = format!("broken   configuration: {config}: line ");
    assert_eq!((code, lines.len()), (1, 2));
    assert!(
        lines[0].starts_with(&unknown) && lines[0].ends_with("unknown key logg; did you mean log?"),
        "{lines:?}"
    );
}

#[test]
fn a_key_that_apple_does_not_know_is_told() {
    let ward = Ward::new("check-kid", &[]);
    ward.simulator.change_config(&[("key_id = \"KEY1234567\"", "key_id = \"KEY7654321\"")]);
    let file = ward.file("AuthKey_KEY1234567.p8");
    let lines = ["production", "sandbox"].map(|environment| {
        [
            format!("warning  apns KEY7654321 {environment} key: key_id is KEY7654321, but {} seems to be key KEY1234567; write the id of that file's key", file.display()),
            format!("broken   apns KEY7654321 {environment} {TOPIC}: HTTP 403 InvalidProviderToken; Apple does not know this file as key KEY7654321 of team ABCDE12345, or the clock is wrong: compare key_id and team_id with Apple's developer page, and see the line on the clock"),
        ]
    });
    let mut lines = lines.concat();
    lines.push("2 broken, 2 warnings".to_owned());
    ward.assert_faults(1, &lines);
}

#[test]
fn a_topic_of_another_team_is_told() {
    let ward = Ward::new("check-topic", &[]);
    let (from, to) = (
        "topics = [\"org.example.phone.voip\"]",
        "topics = [\"org.example.phone.voip\", \"org.example.other.voip\"]",
    );
    ward.simulator.change_config(&[(from, to)]);
    let line = |label: &str| {
        format!(
            "broken   {label} topic org.example.other.voip: HTTP 400 TopicDisallowed; the topic is <bundle id>.voip of an app of team ABCDE12345"
        )
    };
    ward.assert_faults(1, &[line(PRODUCTION), line(SANDBOX), "2 broken".to_owned()]);
}

#[test]
fn a_clock_that_is_wrong_is_told_with_what_comes_of_it() {
    let behind = Ward::new("check-behind", &["--clock-skew-s", "7500"]);
    let expired = |label: &str| {
        format!(
            "broken   {label} {TOPIC}: HTTP 403 ExpiredProviderToken; the clock is behind by more than an hour; see the line on the clock"
        )
    };
    let google = behind.simulator.fact("google").to_owned();
    let refused = |google: &str| {
        [
            format!(
                "broken   {FCM} access token: {google}/token: OAuth2: HTTP 400 invalid_grant; the account or its key was deleted, or the clock is wrong: make a new key in Firebase (Project settings, Service accounts), and see the line on the clock"
            ),
            format!("skipped  {FCM} message: not tried: there is no access token"),
        ]
    };
    let clock =
        |off: &str| format!("broken   clock: {off} 127.0.0.1; set it, and let chrony or ntpd keep it");
    let mut lines = vec![expired(PRODUCTION), expired(SANDBOX)];
    lines.extend(refused(&google));
    lines.extend([clock("2 hours behind"), "4 broken".to_owned()]);
    behind.assert_faults(1, &lines);

    let ahead = Ward::new("check-ahead", &["--clock-skew-s", "-3000"]);
    let (code, lines) = ahead.faults();
    assert_eq!((code, lines.len()), (1, 6), "{lines:?}");
    assert!(lines[0].starts_with(&format!("broken   {PRODUCTION} {TOPIC}: HTTP 403 InvalidProviderToken; ")));
    assert_eq!(lines[4], clock("50 minutes ahead of"));

    let little = Ward::new("check-little", &["--clock-skew-s", "150"]);
    let told = "warning  clock: 3 minutes behind 127.0.0.1; set it, and let chrony or ntpd keep it";
    let (code, lines) = little.faults();
    // The minute may be rounded either way while the test runs.
    assert_eq!((code, lines.len(), lines[1].as_str()), (3, 2, "1 warning"), "{lines:?}");
    assert!(lines[0] == told || lines[0] == told.replace('3', "2"), "{lines:?}");
}

#[test]
fn a_host_that_is_not_reached_is_told_with_what_stands_between() {
    let ward = Ward::new("check-reach", &[]);
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST.into())));
    let (apns, sandbox) =
        (ward.simulator.fact("apns").to_owned(), ward.simulator.fact("apns_sandbox").to_owned());
    let google = ward.simulator.fact("google").to_owned();
    let closed = format!("https://{free}");
    let other_ca = ward.scratch.path().join("other-ca.pem");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=other",
    ]);
    run(openssl.args(["-keyout", "/dev/null", "-out"]).arg(&other_ca), "openssl");
    let ca = format!("ca_file = \"{}\"", ward.file("ca.pem").display());
    let fcm_section = format!("url = \"{google}\"\n{ca}");
    let with_other_ca = format!("url = \"{google}\"\nca_file = \"{}\"", other_ca.display());
    ward.simulator.change_config(&[
        (&apns, &closed),
        (&sandbox, "https://nowhere.invalid:2197"),
        (&fcm_section, &with_other_ca),
    ]);
    let lines = [
        format!(
            "broken   {PRODUCTION} connection: {closed}: {free}: Connection refused (os error 111); let TCP to port {} out through the firewall",
            free.port()
        ),
        format!("skipped  {PRODUCTION} topics: not tried: APNs was not reached"),
        format!(
            "broken   {SANDBOX} connection: https://nowhere.invalid:2197: nowhere.invalid is not known to DNS; check url, and the resolver in /etc/resolv.conf"
        ),
        format!("skipped  {SANDBOX} topics: not tried: APNs was not reached"),
        format!(
            "broken   {FCM} connection: {google}: TLS: invalid peer certificate: UnknownIssuer; ca_file must hold the CA of this host"
        ),
        format!(
            "broken   {FCM} access token: {google}/token: OAuth2: TLS failed; is the CA right? (it must be reachable from here)"
        ),
        format!("skipped  {FCM} message: not tried: there is no access token"),
        "skipped  clock: no provider has told its time".to_owned(),
        "4 broken".to_owned(),
    ];
    ward.assert_faults(1, &lines);
}

#[test]
fn a_revoked_service_account_and_another_project_are_told() {
    let ward = Ward::new("check-fcm", &[]);
    let google = ward.simulator.fact("google").to_owned();
    let deleted = json!([{ "times": 1, "status": 400, "reason": "invalid_grant" }]);
    ward.simulator.put("/behaviour/oauth", &deleted);
    ward.assert_faults(1, &[
        format!("broken   {FCM} access token: {google}/token: OAuth2: HTTP 400 invalid_grant; the account or its key was deleted, or the clock is wrong: make a new key in Firebase (Project settings, Service accounts), and see the line on the clock"),
        format!("skipped  {FCM} message: not tried: there is no access token"),
        "1 broken".to_owned(),
    ]);

    let file = ward.file("service-account.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("\"project_id\": \"sip-phone-voip\"", "\"project_id\": \"another-project\""),
    )
    .unwrap();
    ward.assert_faults(1, &[
        "warning  fcm another-project service account: project_id is another-project, but the account is of project sip-phone-voip; take the file as Firebase gave it".to_owned(),
        "broken   fcm another-project message: HTTP 403 PERMISSION_DENIED; the account may not send for project another-project: is project_id right, is the Firebase Cloud Messaging API (V1) enabled, and does the account have the role Firebase Cloud Messaging API Admin?".to_owned(),
        "1 broken, 1 warning".to_owned(),
    ]);
}

#[test]
fn providers_in_trouble_are_told_from_faults_of_ours() {
    let ward = Ward::new("check-trouble", &[]);
    let html = json!([{ "status": 502, "body": "<html>bad gateway</html>" }]);
    ward.simulator.put("/behaviour/fcm", &html);
    ward.assert_faults(1, &[
        format!("broken   {FCM} message: HTTP 502 with a body that is not JSON; try again, and look at Firebase's status page"),
        "1 broken".to_owned(),
    ]);
}

fn sqlite(file: &Path, sql: &str) {
    let mut sqlite = Command::new("sqlite3");
    run(sqlite.arg(file).arg(sql), "sqlite3");
}

#[test]
fn a_database_is_told_with_owner_schema_and_journal_mode() {
    let ward = Ward::new("check-db", &[]);
    let file = ward.file("tokens.db");
    let shown = file.display();
    let line = |ward: &Ward| ward.check().1.into_iter().find(|line| line.contains(" database: ")).unwrap();
    voip_push::store::SqliteStore::prepare(&file).unwrap();
    let schema = voip_push::store::SCHEMA;
    let owner = user_name(fs::metadata(&file).unwrap().uid());
    assert_eq!(
        line(&ward),
        format!("ok       database: {shown}, owner {owner}, mode 0640, schema {schema}, wal, 0 devices")
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    ward.assert_faults(3, &[
        format!("warning  database: {shown} has mode 0644, so everybody can get at the tokens; run: chmod 0640 {shown}*"),
        "1 warning".to_owned(),
    ]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    sqlite(&file, "PRAGMA journal_mode = DELETE;");
    ward.assert_faults(3, &[
        format!("warning  database: {shown} has journal mode delete, in which writers block readers; the SIP server sets wal when it starts"),
        "1 warning".to_owned(),
    ]);
    sqlite(&file, "PRAGMA user_version = 99;");
    ward.assert_faults(1, &[
        format!("broken   database: {shown} has schema 99, this voip_push knows up to {schema}; install a newer one"),
        "1 broken".to_owned(),
    ]);
    fs::write(&file, "this is no database, but long enough to be looked at as one").unwrap();
    ward.assert_faults(
        1,
        &[format!("broken   database: {shown}: SQLite: file is not a database"), "1 broken".to_owned()],
    );
    fs::remove_file(&file).unwrap();
    sqlite(&file, "CREATE TABLE location (id INTEGER);");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    ward.assert_faults(
        1,
        &[
            format!(
                "broken   database: {shown} belongs to another program; name a file of its own in [store] url"
            ),
            "1 broken".to_owned(),
        ],
    );
}

#[test]
fn a_database_that_cannot_be_made_or_written_is_told() {
    let ward = Ward::new("check-place", &[]);
    let (old, new) = (ward.file("tokens.db"), ward.file("nowhere/tokens.db"));
    ward.simulator.change_config(&[(old.to_str().unwrap(), new.to_str().unwrap())]);
    let directory = new.parent().unwrap().display().to_string();
    ward.assert_faults(1, &[
        format!("broken   database: the directory {directory} does not exist; make it, and give it to the SIP server's user"),
        "1 broken".to_owned(),
    ]);

    // Nobody may write there, but root may everywhere: as root, the doctor is somebody else.
    fs::create_dir(new.parent().unwrap()).unwrap();
    fs::set_permissions(new.parent().unwrap(), fs::Permissions::from_mode(0o555)).unwrap();
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let binary = ward.scratch.path().join("voip-push");
    fs::copy(env!("CARGO_BIN_EXE_voip-push"), &binary).unwrap();
    let check = || {
        let mut command = Command::new(&binary);
        command
            .args(["check", "--offline", "--config"])
            .arg(ward.simulator.config())
            .arg("--server")
            .arg(&ward.server);
        if is_root {
            open_to_all(&ward.simulator.config());
            command.uid(65_534).gid(65_534);
        }
        let (code, lines) = told(command.stdin(Stdio::null()));
        (code, lines.into_iter().filter(|line| line.contains(" database: ")).collect::<Vec<_>>())
    };
    assert_eq!(
        check(),
        (
            1,
            vec![format!(
                "broken   database: {} cannot be made: Permission denied (os error 13); give its directory to the SIP server's user",
                new.display()
            )]
        )
    );
    fs::set_permissions(new.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    voip_push::store::SqliteStore::prepare(&new).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(new.parent().unwrap(), fs::Permissions::from_mode(0o555)).unwrap();
    let (code, lines) = check();
    assert!(code == 1 && lines[0].starts_with(&format!("broken   database: {}", new.display())), "{lines:?}");
    fs::set_permissions(new.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Only root can look with another's eyes; everybody else sees with their own, and there is no such line.
#[test]
fn root_is_told_what_the_servers_user_may_not_read() {
    let ward = Ward::new("check-user", &[]);
    let directory = ward.file("db");
    fs::create_dir(&directory).unwrap();
    let db = directory.join("tokens.db");
    ward.simulator.change_config(&[(ward.file("tokens.db").to_str().unwrap(), db.to_str().unwrap())]);
    let user_lines =
        || ward.check().1.into_iter().filter(|line| line.contains(" server user: ")).collect::<Vec<_>>();
    assert_eq!(user_lines(), [] as [String; 0], "whoever asks owns the directory");
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    chown(&directory, Some(65_534), Some(65_534)).unwrap();
    let place = directory.parent().unwrap().display().to_string();
    let closed = |what: &str, mode: &str, wanted: &str| {
        format!(
            "broken   server user: nobody may not read {what} (mode {mode}); run: chgrp nogroup {what} && chmod {wanted} {what}"
        )
    };
    assert_eq!(user_lines()[0], closed(&place, "0700", "0750"));
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let (key, account) = (format!("{place}/AuthKey_KEY1234567.p8"), format!("{place}/service-account.json"));
    assert_eq!(user_lines(), [closed(&key, "0600", "0640"), closed(&account, "0600", "0640")]);
    for file in [&key, &account] {
        chown(file, None, Some(65_534)).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
    }
    assert_eq!(user_lines(), ["ok       server user: nobody may read the configuration and the keys"]);
}

/// Lets another user read the configuration and what it names.
fn open_to_all(config: &Path) {
    let directory = config.parent().unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            chown(&path, Some(65_534), Some(65_534)).unwrap();
        }
    }
}

/// The line about a module that is as it should be.
fn module_is_good(module: &Path) -> String {
    let (version, glibc) = (env!("CARGO_PKG_VERSION"), voip_push::process::libc_version());
    let needed = newest_glibc(&fs::read(module).unwrap());
    format!("ok       module: {}, version {version}, needs glibc {needed}, {glibc} is here", module.display())
}

/// The newest glibc among the versions that a library names.
fn newest_glibc(library: &[u8]) -> String {
    let text = String::from_utf8_lossy(library);
    let versions = text.split('\0').filter_map(|word| word.strip_prefix("GLIBC_2."));
    let minor = versions.filter_map(|minor| minor.split('.').next()?.parse::<u32>().ok()).max();
    format!("2.{}", minor.unwrap())
}

/// The library with these bytes in another's place, wherever they are.
fn changed(scratch: &Scratch, name: &str, from: &str, to: &str) -> PathBuf {
    let mut bytes = fs::read(built_library()).unwrap();
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, it)| *it == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty() && from.len() == to.len());
    places.into_iter().for_each(|at| bytes[at..][..to.len()].copy_from_slice(to));
    scratch.write(name, bytes)
}

#[test]
fn a_module_that_the_server_could_not_open_is_told() {
    let ward = Ward::new("check-open", &[]);
    let line = |module: &Path| {
        let (code, lines) = told(
            ward.command().args(["--offline", "--module"]).arg(module).arg("--server").arg(&ward.server),
        );
        let mut lines: Vec<_> = lines.into_iter().filter(|line| line.contains(" module: ")).collect();
        assert_eq!((code, lines.len()), (1, 1), "{lines:?}");
        lines.remove(0)
    };
    let broken = |module: &Path, why: &str| format!("broken   module: {} {why}", module.display());

    let mut bytes = fs::read(built_library()).unwrap();
    // e_machine: AArch64, or x86-64 where the tests run on that
    bytes[18] = if bytes[18] == 183 { 62 } else { 183 };
    let foreign = ward.scratch.write("foreign.so", bytes);
    let why = "is for another machine; take the package of this one's architecture";
    assert_eq!(line(&foreign), broken(&foreign, why));

    let needed = newest_glibc(&fs::read(built_library()).unwrap());
    let new = changed(&ward.scratch, "new.so", &format!("\0GLIBC_{needed}\0"), "\0GLIBC_2.99\0");
    let here = voip_push::process::libc_version();
    let why = format!("needs glibc 2.99, this system has {here}; build it on a system as old as this");
    assert_eq!(line(&new), broken(&new, &why));

    let nameless = changed(&ward.scratch, "nameless.so", "\0module_flags\0", "\0module_flagz\0");
    let why = "cannot be opened: it has no module_flags; install what is missing, or the module again";
    assert_eq!(line(&nameless), broken(&nameless, why));

    let lonely = changed(&ward.scratch, "lonely.so", "\0libc.so.6\0", "\0libz.so.6\0");
    let why = "cannot be opened: libz.so.6: cannot open shared object file: No such file or directory; install what is missing, or the module again";
    assert_eq!(line(&lonely), broken(&lonely, why));

    let whole = fs::read(built_library()).unwrap();
    let half = ward.scratch.write("half.so", &whole[..whole.len() / 2]);
    let said = line(&half);
    assert!(said.contains("cannot be opened: ") || said.contains("ends the process"), "{said}");
}

/// Only root can look with another's eyes.
#[test]
fn root_is_told_of_a_module_that_the_servers_user_may_not_load() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let ward = Ward::new("check-load", &[]);
    let directory = ward.file("db");
    fs::create_dir(&directory).unwrap();
    let db = directory.join("tokens.db");
    ward.simulator.change_config(&[(ward.file("tokens.db").to_str().unwrap(), db.to_str().unwrap())]);
    chown(&directory, Some(65_534), Some(65_534)).unwrap();
    fs::set_permissions(directory.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let module = ward.scratch.write("voip_push.so", fs::read(built_library()).unwrap());
    let shown = module.display().to_string();
    let lines = |mode: u32| {
        fs::set_permissions(&module, fs::Permissions::from_mode(mode)).unwrap();
        let (_, lines) = told(
            ward.command().args(["--offline", "--module"]).arg(&module).arg("--server").arg(&ward.server),
        );
        lines.into_iter().filter(|line| line.contains(" module: ")).collect::<Vec<_>>()
    };
    let closed =
        format!("broken   module: nobody may not read {shown}, so cannot load it; run: chmod 0644 {shown}");
    assert_eq!(lines(0o600), [module_is_good(&module), closed]);
    assert_eq!(lines(0o644), [module_is_good(&module)]);
}

#[test]
fn a_module_that_does_not_fit_is_told() {
    let ward = Ward::new("check-module", &[]);
    let line = |module: &Path, server: &Path| {
        let (code, lines) =
            told(ward.command().args(["--offline", "--module"]).arg(module).arg("--server").arg(server));
        (
            code,
            lines
                .into_iter()
                .filter(|line| line.contains(" module: ") || line.contains(" server: "))
                .collect::<Vec<_>>(),
        )
    };
    let good_server = format!("ok       server: {}, kamailio 5.6.3 (x86_64/linux)", ward.server.display());
    let missing = ward.scratch.path().join("voip_push.so");
    assert_eq!(
        line(&missing, &ward.server),
        (
            1,
            vec![
                good_server.clone(),
                format!(
                    "broken   module: {}: No such file or directory (os error 2); install it there",
                    missing.display()
                )
            ]
        )
    );

    let ours = env!("CARGO_PKG_VERSION");
    let mut bytes = fs::read(built_library()).unwrap();
    let mark = format!("voip_push {ours}\0").into_bytes();
    let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap();
    bytes[at + 10] = b'9';
    let theirs = ours.replacen(|c: char| c.is_ascii_digit(), "9", 1);
    let other = ward.scratch.write("other.so", bytes);
    assert_eq!(
        line(&other, &ward.server).1[1],
        format!(
            "broken   module: {} is version {theirs}, this command is {ours}; install both from the same package",
            other.display()
        )
    );
    let stranger = Path::new("/bin/sh");
    assert_eq!(
        line(stranger, &ward.server).1[1],
        "broken   module: /bin/sh is not a voip_push module; name libvoip_push.so or its copy"
    );

    let new = Scratch::new("check-new");
    let too_new = server(&new, "kamailio 7.0.0 (x86_64/linux)");
    assert_eq!(
        line(&built_library(), &too_new).1[0],
        format!(
            "broken   server: {}: voip_push {ours} supports Kamailio 5.4-5.8, 6.0-6.1 on x86_64; this is 'kamailio 7.0.0 (x86_64/linux)'",
            too_new.display()
        )
    );
    let old = server(&new, "opensips 3.3.9 (x86_64/linux)");
    assert!(
        line(&built_library(), &old).1[0]
            .contains("supports OpenSIPS 3.4, 3.5, 3.6, 4.0 on x86_64; this is 'opensips 3.3.9")
    );
    assert_eq!(
        line(&built_library(), Path::new("/bin/true")).1[0],
        "broken   server: /bin/true does not tell its version; is it kamailio or opensips?"
    );
}

/// The installed Kamailio, as it is found without being named.
#[test]
fn the_installed_server_tells_its_version_and_where_its_modules_are() {
    let ward = Ward::new("check-installed", &[]);
    let (_, lines) = told(ward.command().arg("--offline"));
    let server = lines
        .iter()
        .find(|line| line.starts_with("ok       server: ") && line.contains("/kamailio, kamailio "))
        .unwrap();
    assert!(server.contains("(x86_64/"), "{server}");
    let module = lines.iter().find(|line| line.contains(" module: ")).unwrap();
    assert!(module.contains("/kamailio/modules/voip_push.so"), "{module}");
}
