//! The Kamailio module in real Kamailios: loads, does what its functions say, refuses what it must, and survives.

#![allow(clippy::panic, clippy::unwrap_used, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::kamailio::{Installation, Kamailio, Options, Place};
use support::simulator::Simulator;
use support::sip::{self, Answer};
use support::{DEADLINE, Scratch, built_library, debian, run as run_program, settings};

/// One module of tests per Kamailio, so that a failure says which.
macro_rules! on {
    ($(#[$attribute:meta])* $name:ident, $installation:expr, $version:literal) => {
        mod $name {
            use super::*;

            fn run(test: fn(&Installation)) {
                let installation: Installation = $installation;
                let version = installation.version();
                assert!(version.starts_with($version), "{version} is not {}", $version);
                test(&installation);
            }

            $(#[$attribute])*
            #[test]
            fn functions_do_what_they_say() {
                run(super::functions_do_what_they_say);
            }

            $(#[$attribute])*
            #[test]
            fn arguments_are_never_expanded_twice() {
                run(super::arguments_are_never_expanded_twice);
            }

            $(#[$attribute])*
            #[test]
            fn hostile_input_is_refused_and_the_server_goes_on() {
                run(super::hostile_input_is_refused_and_the_server_goes_on);
            }

            $(#[$attribute])*
            #[test]
            fn pushes_that_cannot_be_sent_say_why() {
                run(super::pushes_that_cannot_be_sent_say_why);
            }

            $(#[$attribute])*
            #[test]
            fn a_push_reaches_the_provider() {
                run(super::a_push_reaches_the_provider);
            }

            $(#[$attribute])*
            #[test]
            fn the_phone_is_told_who_calls_and_with_what() {
                run(super::the_phone_is_told_who_calls_and_with_what);
            }

            $(#[$attribute])*
            #[test]
            fn http_is_answered_by_the_rest_api() {
                run(super::http_is_answered_by_the_rest_api);
            }

            $(#[$attribute])*
            #[test]
            fn counters_are_in_rpc_and_statistics() {
                run(super::counters_are_in_rpc_and_statistics);
            }

            $(#[$attribute])*
            #[test]
            fn a_broken_configuration_stops_the_start_with_one_line() {
                run(super::a_broken_configuration_stops_the_start_with_one_line);
            }

            $(#[$attribute])*
            #[test]
            fn a_broken_script_stops_the_start() {
                run(super::a_broken_script_stops_the_start);
            }

            $(#[$attribute])*
            #[test]
            fn the_module_may_be_the_first_one() {
                run(super::the_module_may_be_the_first_one);
            }
        }
    };
}

on!(kamailio_5_6, debian::bookworm(), "kamailio 5.6.");
on!(kamailio_6_0, debian::trixie(), "kamailio 6.0.");
on!(
    #[ignore = "sid moves; run it with --ignored"]
    kamailio_6_1,
    debian::sid(),
    "kamailio 6.1."
);

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_module.cfg");

fn start(installation: &Installation) -> Kamailio {
    let place = Place::new("module");
    let toml = settings::write(&place.scratch);
    start_with(installation, place, &toml)
}

fn start_with(installation: &Installation, place: Place, toml: &Path) -> Kamailio {
    let options = Options::file(place, CONFIG).on(installation);
    Kamailio::start(options.define("CONFIG", &format!("\"{}\"", toml.display())))
}

/// An APNs token; each number gives another.
fn apns_token(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn fcm_token() -> String {
    format!("c1:APA91b{}", "x".repeat(130))
}

/// Lets the script do one thing, with these headers.
fn act(kamailio: &Kamailio, what: &str, headers: &[(&str, &str)], body: &[u8]) -> Seen {
    let mut lines = format!("X-Do: {what}\r\n");
    for (name, value) in headers {
        lines.push_str(&format!("{name}: {value}\r\n"));
    }
    Seen(kamailio.send_sip(sip::request("MESSAGE", "sip:alice@example.org", &lines, body)))
}

/// What the script saw after it.
struct Seen(Answer);

impl Seen {
    fn rc(&self) -> i32 {
        self.text("X-Rc").parse().unwrap_or_else(|_| panic!("{}", self.0.head))
    }

    /// Kamailio prints `<null>` for a variable without a value.
    fn text(&self, header: &str) -> &str {
        self.0.header(header).unwrap_or_else(|| panic!("no {header} in {}", self.0.head))
    }

    /// That a function ended with this number, here and in `$push(status)`.
    fn expect(self, number: i32) -> Seen {
        assert_eq!(
            (self.rc(), self.text("X-Status")),
            (number, number.to_string().as_str()),
            "{}",
            self.0.head
        );
        self
    }
}

fn functions_do_what_they_say(installation: &Installation) {
    let kamailio = start(installation);
    let register = |how: &str, user: &str, token: &str, platform: &str| {
        act(&kamailio, how, &[("X-User", user), ("X-Token", token), ("X-Platform", platform)], b"").expect(1)
    };
    assert_eq!(register("register", "alice@example.org", &apns_token(1), "ios").text("X-Reason"), "ok");
    register("register-bare", "bob", &fcm_token(), "android");

    let alice = act(&kamailio, "lookup", &[("X-User", "sip:alice@EXAMPLE.org")], b"").expect(1);
    assert_eq!((alice.text("X-Token"), alice.text("X-About")), (apns_token(1).as_str(), "ios apns  1 0"));
    for mixed in ["lookup-mixed", "lookup-two", "lookup-and-text", "lookup-index"] {
        act(&kamailio, mixed, &[("X-User", "sip:alice@example.org")], b"").expect(1);
    }
    let bob = act(&kamailio, "lookup-bare", &[("X-User", "bob")], b"").expect(1);
    assert_eq!((bob.text("X-Token"), bob.text("X-About")), (fcm_token().as_str(), "android fcm  1 0"));
    let nobody = act(&kamailio, "lookup-constant", &[], b"").expect(-1);
    assert_eq!((nobody.text("X-Reason"), nobody.text("X-Token")), ("no device for this user", "<null>"));

    let device = [
        ("X-User", "bob"),
        ("X-Token", &apns_token(2)),
        ("X-Device", "iPad"),
        ("X-App", "org.example.phone.voip"),
    ];
    act(&kamailio, "register-device", &device, b"").expect(1);
    act(&kamailio, "register-app", &device, b"").expect(1);
    let bob = act(&kamailio, "lookup", &[("X-User", "bob")], b"").expect(2);
    assert_eq!((bob.text("X-Device"), bob.text("X-About")), ("iPad", "ios apns org.example.phone.voip 2 0"));
    assert_eq!(bob.text("X-Sum"), "2", "$push(devices) and $push(accepted) are numbers");

    act(&kamailio, "delete-device", &[("X-User", "bob"), ("X-Device", "iPad")], b"").expect(1);
    act(&kamailio, "delete-device", &[("X-User", "bob"), ("X-Device", "iPad")], b"").expect(-1);
    act(&kamailio, "delete", &[("X-User", "bob")], b"").expect(1);
    act(&kamailio, "lookup", &[("X-User", "bob")], b"").expect(-1);

    // The event route ran in the process that was about to fork, where no database may be opened.
    assert_eq!(act(&kamailio, "early", &[], b"").rc(), -8);
    let line = kamailio.wait_for_log("not usable while Kamailio is starting", DEADLINE);
    assert!(line.contains("ERROR: voip_push: lookup_token: "), "{line}");
    kamailio.wait_for_log("INFO: voip_push: registered user=…", DEADLINE);
    let (status, log) = kamailio.stop();
    assert!(status.success(), "{status}\n{log}");
    assert!(!log.contains(&apns_token(1)) && !log.contains(&fcm_token()), "a token is in the log:\n{log}");
}

fn arguments_are_never_expanded_twice(installation: &Installation) {
    let kamailio = start(installation);
    let body = r#"{"x":"$ru$var(q)$env(HOME)100%$$"}"#;
    let headers = [("X-User", "mallory"), ("X-Token", &apns_token(3))];
    for (how, expected) in [
        ("device-quoted-body", body.to_owned()),
        ("device-bare-body", body.to_owned()),
        ("device-mixed-body", format!("a-{body}-alice")),
        ("device-sum-body", format!("a-{body}-alice")),
    ] {
        act(&kamailio, how, &headers, body.as_bytes()).expect(1);
        let seen = act(&kamailio, "lookup", &headers, b"").expect(1);
        assert_eq!(seen.text("X-Device"), expected, "{how}");
        act(&kamailio, "delete", &headers, b"").expect(1);
    }
}

/// Stands for bytes that are no UTF-8.
const NOT_UTF8: &str = "(not UTF-8)";
/// The reason of what is odd and taken all the same.
const TAKEN: &str = "ok";

fn hostile_input_is_refused_and_the_server_goes_on(installation: &Installation) {
    let mut kamailio = start(installation);
    let token = apns_token(4);
    let long = "x".repeat(60_000);
    let cases = [
        ("user-quoted-body", "al\0ice", "user: has a NUL byte"),
        ("user-bare-body", "al\0ice", "user: has a NUL byte"),
        ("user-mixed-body", "l\0ice", "user: has a NUL byte"),
        ("user-quoted-body", NOT_UTF8, "user: is not valid UTF-8"),
        ("user-bare-body", NOT_UTF8, "user: is not valid UTF-8"),
        ("user-quoted-body", &long, "user: is 60000 bytes long, at most 255 are taken"),
        ("user-bare-body", &long, "user: is 60000 bytes long, at most 255 are taken"),
        ("user-mixed-body", &long, "user: cannot be read"),
        ("user-quoted-body", "", "user: is empty"),
        ("user-bare-body", "", "user: is empty"),
        ("user-quoted-body", "%s%n%n%s", TAKEN),
        ("user-quoted-body", "<script>", "user: has a space, a control character or one of"),
        ("user-quoted-body", "eve\r\nX-Injected: 1", "user: has a space, a control character or one of"),
        ("device-bare-body", &"[".repeat(50_000), "device_id: is 50000 bytes long"),
    ];
    for (how, body, reason) in cases {
        let body = if body == NOT_UTF8 { b"\xff\xfe" } else { body.as_bytes() };
        let seen = act(&kamailio, how, &[("X-User", "eve"), ("X-Token", &token)], body);
        let seen = seen.expect(if reason == TAKEN { 1 } else { -6 });
        assert!(seen.text("X-Reason").contains(reason), "{how}: {}", seen.text("X-Reason"));
        assert_eq!(seen.0.header("X-Injected"), None);
    }
    let log = kamailio.log();
    let refused: Vec<&str> =
        log.lines().filter(|line| line.contains("voip_push: register_token: ")).collect();
    assert_eq!(refused.len(), cases.len() - 1, "one line each:\n{}", refused.join("\n"));
    assert!(
        refused.iter().all(|line| line.len() < 200 && line.contains("WARNING: ")),
        "{}",
        refused.join("\n")
    );
    assert!(!log.contains(&token), "a token is in the log");
    assert!(kamailio.is_alive());
    assert!(kamailio.rpc(&["voip_push.stats"]).contains(&format!("bad_argument_total: {}", cases.len() - 1)));
}

fn pushes_that_cannot_be_sent_say_why(installation: &Installation) {
    let kamailio = start(installation);
    act(&kamailio, "send", &[], b"").expect(-1);
    act(
        &kamailio,
        "register",
        &[("X-User", "alice"), ("X-Token", &apns_token(5)), ("X-Platform", "ios")],
        b"",
    )
    .expect(1);
    let to = [("X-Provider", "apns"), ("X-Token", &apns_token(5)), ("X-App", "org.example.phone.voip")];
    for (how, headers) in [("send", &to[..0]), ("send-to", &to[..])] {
        // Nobody listens where the configuration says that Apple is.
        let seen = act(&kamailio, how, headers, b"");
        assert!((-5..=-3).contains(&seen.rc()), "{how}: {}", seen.0.head);
        assert_ne!(seen.text("X-Reason"), "ok");
    }
    let odd = [("X-Provider", "pigeon"), ("X-Token", "x"), ("X-App", "")];
    let seen = act(&kamailio, "send-to", &odd, b"").expect(-6);
    assert_eq!(seen.text("X-Reason"), "provider: is neither apns nor fcm");
}

fn a_push_reaches_the_provider(installation: &Installation) {
    let place = Place::new("push");
    let simulator = Simulator::start(&place.scratch, &[]);
    let kamailio = start_with(installation, place, &simulator.config());
    let token = apns_token(7);
    act(&kamailio, "register", &[("X-User", "alice"), ("X-Token", &token), ("X-Platform", "ios")], b"")
        .expect(1);

    let seen = act(&kamailio, "send", &[], b"").expect(1);
    assert_eq!((seen.text("X-Reason"), seen.text("X-Sum")), ("ok", "101"), "one device, one accepted");
    let to = [("X-Provider", "apns"), ("X-Token", &token), ("X-App", simulator.fact("topic"))];
    act(&kamailio, "send-to", &to, b"").expect(1);
    let pushes = simulator.wait_for_pushes(0, 2);
    assert_eq!(pushes.len(), 2, "{pushes:?}");

    // A token that is dead is forgotten, and the script is told.
    simulator.put(
        &format!("/tokens/{token}"),
        &json!({ "state": "dead", "dead_since_ms": 4_000_000_000_000_i64 }),
    );
    act(&kamailio, "send", &[], b"").expect(-2);
    act(&kamailio, "lookup", &[("X-User", "alice")], b"").expect(-1);
    let (status, log) = kamailio.stop();
    assert!(status.success(), "{status}\n{log}");
    assert!(!log.contains(&token), "a token is in the log:\n{log}");
}

fn the_phone_is_told_who_calls_and_with_what(installation: &Installation) {
    let place = Place::new("caller");
    let simulator = Simulator::start(&place.scratch, &[]);
    let kamailio = start_with(installation, place, &simulator.config());
    let token = apns_token(8);
    act(&kamailio, "register", &[("X-User", "alice"), ("X-Token", &token), ("X-Platform", "ios")], b"")
        .expect(1);
    let sdp = b"v=0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 96\r\n";
    let caller = "\"Alice \\\"A\\\" M\u{fc}ller\" <sip:%2B4930123@example.org:5060>;tag=x";
    act(&kamailio, "send-from", &[("X-Media", "video")], b"").expect(1);
    act(&kamailio, "queue-from", &[("X-Caller", caller)], sdp).expect(1);
    act(&kamailio, "queue-from", &[("X-Caller", "Bob")], &sdp[..sdp.len() - 30]).expect(1);
    act(&kamailio, "send-body", &[], b"\"Al\xeece\" <sip:alice@example.org>").expect(1);
    let pushes = simulator.wait_for_pushes(0, 4);
    let told: Vec<String> = pushes.iter().map(|push| shown(&push["payload"])).collect();
    for expected in [
        "caller, caller, example.org, true",
        "Alice \"A\" M\u{fc}ller, +4930123, example.org, true",
        "Bob, Bob, , false",
        "Al\u{fffd}ce, alice, example.org, false",
    ] {
        assert!(told.iter().any(|told| told == expected), "{expected} is not in {told:?}");
    }
    let odd = act(&kamailio, "send-from", &[("X-Media", "fax")], b"").expect(-6);
    assert_eq!(odd.text("X-Reason"), "media: is none of audio, video and sdp");
}

fn shown(payload: &Value) -> String {
    let text = |key: &str| payload[key].as_str().unwrap_or_default().to_owned();
    [text("nameCaller"), text("handle"), text("caller_host"), payload["isVideo"].to_string()].join(", ")
}

fn http_is_answered_by_the_rest_api(installation: &Installation) {
    let kamailio = start(installation);
    let key = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", settings::API_KEY);
    let ask = |method: &str, target: &str, headers: &str, body: &[u8]| {
        let answer = sip::http(kamailio.port(), method, target, headers, body);
        assert_eq!(answer.header("X-Rc"), Some("1"), "{answer:?}");
        answer
    };
    let new = json!({ "user": "carol@example.org", "token": apns_token(6), "platform": "ios" }).to_string();
    let refused =
        ask("POST", "/api/register-push-token", "Content-Type: application/json\r\n", new.as_bytes());
    assert_eq!((refused.status, refused.header("WWW-Authenticate").is_some()), (401, true), "{refused:?}");
    let made = ask("POST", "/api/register-push-token", &key, new.as_bytes());
    assert_eq!((made.status, made.header("Content-Type")), (201, Some("application/json")), "{made:?}");
    let found = ask("GET", "/api/user/carol%40example.org/push-token", &key, b"");
    assert_eq!(serde_json::from_str::<Value>(&found.body).unwrap()["token"], apns_token(6));
    assert_eq!(ask("DELETE", "/api/user/carol%40example.org/push-token", &key, b"").status, 200);
    assert_eq!(ask("GET", "/api/user/carol%40example.org/push-token", &key, b"").status, 404);
    assert_eq!(ask("POST", "/api/register-push-token", &key, &[b'['; 60_000]).status, 413);
    assert_eq!(ask("POST", "/api/register-push-token", &key, b"{\"x\":\"$ru $env(HOME)\0\xff").status, 400);
    // A SIP request is not HTTP.
    let seen = act(&kamailio, "http", &[], b"").expect(-6);
    assert!(seen.text("X-Reason").contains("is not HTTP"), "{}", seen.text("X-Reason"));
}

fn counters_are_in_rpc_and_statistics(installation: &Installation) {
    let kamailio = start(installation);
    for number in 0..6 {
        let user = format!("user{number}");
        act(
            &kamailio,
            "register",
            &[("X-User", &user), ("X-Token", &apns_token(number)), ("X-Platform", "ios")],
            b"",
        )
        .expect(1);
    }
    // Six requests went to two workers; the RPC process has the sum.
    let stats = kamailio.rpc(&["voip_push.stats"]);
    assert!(stats.contains("registered_total: 6"), "{stats}");
    assert!(
        stats.contains(
            "pushes_total{provider=\"apns\",app=\"org.example.phone.voip\",outcome=\"accepted\"}: 0"
        ),
        "{stats}"
    );
    let statistics = kamailio.rpc(&["stats.get_statistics", "voip_push:"]);
    assert!(statistics.contains("voip_push:registered_total = 6"), "{statistics}");
    assert!(statistics.contains("voip_push:pushes_fcm_other_token_gone_total = 0"), "{statistics}");
}

/// What is broken, how, and what the one line must name.
type Break = (&'static str, fn(&Place), &'static [&'static str]);

fn a_broken_configuration_stops_the_start_with_one_line(installation: &Installation) {
    fn replace(place: &Place, from: &str, to: &str) {
        assert!(settings::TOML.contains(from));
        place.scratch.write("voip-push.toml", settings::TOML.replace(from, to));
    }
    let cases: [Break; 7] = [
        (
            "no file",
            |place| fs::remove_file(place.scratch.path().join("voip-push.toml")).unwrap(),
            &["config: ", "does not exist"],
        ),
        (
            "unknown key",
            |place| replace(place, "wait_ms", "wait_msec"),
            &["unknown key wait_msec; did you mean wait_ms?"],
        ),
        (
            "no directory",
            |place| replace(place, "sqlite:db/", "sqlite:nowhere/"),
            &["[store] url: ", "does not exist; make it"],
        ),
        (
            "unwritable",
            |place| replace(place, "sqlite:db/", "sqlite:/proc/"),
            &["[store] url: ", "/proc/tokens.db"],
        ),
        (
            "no key",
            |place| fs::remove_file(place.scratch.path().join("AuthKey.p8")).unwrap(),
            &["[[apns]] key_file: ", "AuthKey.p8 does not exist"],
        ),
        (
            "wrong curve",
            |place| settings::ec_key(&place.scratch.path().join("AuthKey.p8"), "P-384"),
            &["[[apns]] key_file: ", "AuthKey.p8 is not a"],
        ),
        (
            "no API key",
            |place| settings::secret(&place.scratch.write("api-keys", "# none\n")),
            &["[rest] api_keys_file: ", "has no key"],
        ),
    ];
    for (what, break_it, words) in cases {
        let place = Place::new("broken");
        let toml = settings::write(&place.scratch);
        break_it(&place);
        let options = Options::file(place, CONFIG).on(installation);
        let (status, log) = Kamailio::refused(options.define("CONFIG", &format!("\"{}\"", toml.display())));
        let ours: Vec<&str> = log.lines().filter(|line| line.contains(": voip_push: ")).collect();
        assert!(
            !status.success() && ours.len() == 1,
            "{what}: {status}, our lines:\n{}\n{log}",
            ours.join("\n")
        );
        assert!(
            ours[0].contains(" ERROR: voip_push: ") && ours[0].contains(&*toml.to_string_lossy()),
            "{what}: {}",
            ours[0]
        );
        assert!(words.iter().all(|word| ours[0].contains(word)), "{what}: {}", ours[0]);
    }
}

fn a_broken_script_stops_the_start(installation: &Installation) {
    let cases = [
        ("xlog(\"$push(statu)\");", "voip_push: $push(statu) does not exist; there are: status, devices, "),
        ("lookup_token();", "lookup_token"),
        ("register_token(\"a\", \"b\");", "register_token"),
    ];
    for (line, expected) in cases {
        let place = Place::new("script");
        let toml = settings::write(&place.scratch);
        let modules = ["xlog", "pv", "voip_push"].map(|name| format!("loadmodule \"{name}.so\"\n")).concat();
        let param = format!("modparam(\"voip_push\", \"config\", \"{}\")\n", toml.display());
        let text = format!("{modules}{param}request_route {{\n{line}\n}}\n");
        let (status, log) = Kamailio::refused(Options::text(place, text).on(installation));
        assert!(!status.success() && log.contains(expected), "{line}: {status}\n{log}");
    }
}

/// Without another module before it the stamps cannot be taken from there.
fn the_module_may_be_the_first_one(installation: &Installation) {
    let place = Place::new("first");
    let toml = settings::write(&place.scratch);
    let text = format!(
        "loadmodule \"voip_push.so\"\nloadmodule \"sl.so\"\nmodparam(\"voip_push\", \"config\", \"{}\")\n\
         request_route {{ lookup_token(\"a\"); sl_send_reply(\"200\", \"OK\"); }}\n",
        toml.display()
    );
    let kamailio = Kamailio::start(Options::text(place, text).on(installation));
    let (status, log) = kamailio.stop();
    assert!(status.success(), "{status}\n{log}");
}

/// Compiles the stub with these flags and gives what it prints after loading the module.
fn stub(flags: &[&str]) -> String {
    let scratch = Scratch::new("stub");
    let program = scratch.path().join("stub");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kamailio_stub.c");
    let mut gcc = Command::new("gcc");
    run_program(
        gcc.args(["-Wall", "-Werror", "-rdynamic", "-o"]).arg(&program).args(flags).arg(source),
        "gcc",
    );
    let output = run_program(Command::new(&program).arg(built_library()), "gcc");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const OURS: &str = concat!("voip_push ", env!("CARGO_PKG_VERSION"));

#[test]
fn an_unknown_kamailio_is_refused_with_a_clear_line() {
    let said = stub(&["-DVERSION=\"kamailio 7.0.0 (x86_64/linux) 0123ab\""]);
    let expected = format!(
        "version: {OURS} supports Kamailio 5.4-5.8, 6.0-6.1 on x86_64; this is 'kamailio 7.0.0 (x86_64/linux)'\n"
    );
    assert!(said.starts_with(&expected) && said.contains("exports: empty"), "{said}");
}

#[test]
fn a_kamailio_without_a_symbol_that_is_needed_is_refused() {
    let said = stub(&["-DVERSION=\"kamailio 5.6.3 (x86_64/linux) 0123ab\""]);
    assert!(said.starts_with(&format!("version: {OURS} needs the symbol fix_param_types, which ")), "{said}");
    assert!(said.contains("exports: empty"), "{said}");
}

#[test]
fn another_program_loads_the_library_and_sees_nothing_of_the_module() {
    for flags in [&[][..], &["-DVERSION=\"k\""], &["-DVERSION=\"opensips 3.4.5 (x86_64/linux)\""]] {
        let said = stub(flags);
        assert_eq!(said, format!("version: {OURS}\nflags: \nexports: empty\nthreads: +0\nfiles: +0\n"));
    }
}
