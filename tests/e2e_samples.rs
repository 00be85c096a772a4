//! The files that we ship, as an administrator meets them: complete, true, and usable with what is there already.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::kamailio::{Kamailio, Options, Place};
use support::phone::Phone;
use support::settings;
use support::shipped::apns_token;
use support::simulator::Simulator;
use support::{Scratch, built_library};
use voip_push::config::Settings;

const TOML: &str = include_str!("../kamailio-cfg/voip-push.toml");
const ROUTES: &str = include_str!("../kamailio-cfg/voip-push.cfg");

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kamailio-cfg")
}

/// The sample with its paths moved into a directory where the key files are.
fn placed(scratch: &Scratch, toml: &str) -> Settings {
    settings::write(scratch);
    fs::rename(scratch.path().join("AuthKey.p8"), scratch.path().join("AuthKey_KEY1234567.p8")).unwrap();
    let toml = toml.replace("/etc/voip-push", &scratch.path().display().to_string());
    Settings::load(&scratch.write("voip-push.toml", toml)).unwrap()
}

/// The sample with every setting that is commented out put in force, but for those that have no default.
fn with_defaults_spelt_out() -> String {
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" = ");
    let lines = TOML.lines().map(|line| match line.strip_prefix("# ") {
        Some(bare)
            if is_setting(bare) && !bare.starts_with("url = \"https") && !bare.starts_with("ca_file") =>
        {
            bare
        }
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_settings_are_taken_and_the_defaults_in_them_are_true() {
    let scratch = Scratch::new("sample");
    let sample = placed(&scratch, TOML);
    assert_eq!((sample.apns.len(), sample.fcm.len(), sample.api_keys.as_ref().map(|_| 1)), (1, 1, Some(1)));
    assert!(sample.warnings.is_empty(), "{:?}", sample.warnings);
    let spelt_out = with_defaults_spelt_out();
    for default in ["\nurl = \"sqlite:", "\nwake_seconds = ", "\nenvironment = ", "\nlevel = "] {
        assert!(spelt_out.contains(default), "{default:?}");
    }
    assert_eq!(format!("{:?}", placed(&scratch, &spelt_out)), format!("{sample:?}"));
}

#[test]
fn the_sample_settings_name_every_key() {
    let shape = include_str!("../src/config/raw.rs");
    let (settings, _service_account) = shape.split_once("pub(super) struct ServiceAccount").unwrap();
    let keys: Vec<&str> = settings
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub "))
        .filter_map(|line| line.split_once(": ").map(|(key, _)| key))
        .collect();
    assert!(keys.len() > 15, "{keys:?}");
    for key in keys {
        let setting = ["", "# ", "#     "].map(|start| format!("\n{start}{key} = "));
        let section = [format!("\n[{key}]"), format!("\n[[{key}]]"), format!("\n#     [[{key}]]")];
        let forms = setting.iter().chain(&section);
        assert!(forms.clone().any(|form| TOML.contains(form)), "{key} is not in voip-push.toml");
    }
}

/// The example of an `[[app]]` section, which stands indented in a comment.
#[test]
fn the_sample_template_is_taken() {
    let example =
        TOML.lines().filter_map(|line| line.strip_prefix("#     ")).skip_while(|line| *line != "[[app]]");
    // What follows them is for Firebase, of which the sample has no project.
    let example: Vec<&str> = example.take(4).collect();
    assert!(example[3].starts_with("template = "), "{example:?}");
    let settings = placed(&Scratch::new("sample-app"), &format!("{TOML}\n{}\n", example.join("\n")));
    assert!(matches!(settings.apns[0].profiles[..], [voip_push::config::Profile::Template(_)]));
}

#[test]
fn every_switch_makes_a_configuration_that_kamailio_takes() {
    for defines in [
        &[][..],
        &["WITH_MULTIDOMAIN"],
        &["WITHOUT_REST"],
        &["WITH_NODES"],
        &["WITH_NODES", "WITH_MULTIDOMAIN", "WITH_AUTH"],
        &["WITH_AUTH"],
        &["WITH_REST_TLS"],
        &["WITH_AUTH", "WITH_REST_TLS", "WITH_MULTIDOMAIN"],
        &["WITH_AUTH", "WITH_REST_TLS", "WITHOUT_REST"],
        &["VOIP_PUSH_ON_BRANCH=REQINIT", "VOIP_PUSH_ON_REPLY=REQINIT", "VOIP_PUSH_ON_FAILURE=REQINIT"],
        &["VOIP_PUSH_ON_NOBODY=REQINIT"],
    ] {
        let output = check(&samples().join("kamailio.cfg"), defines);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{defines:?}: {log}");
        assert!(!log.contains("WARNING:") && !log.contains("ERROR:"), "{defines:?}: {log}");
    }
}

/// `kamailio -c`, with our module where it would be installed.
fn check(config: &Path, defines: &[&str]) -> Output {
    let place = Place::new("check");
    let options = Options::file(place, config);
    let modules = options.place.scratch.path().join("modules");
    fs::create_dir(&modules).unwrap();
    std::os::unix::fs::symlink(built_library(), modules.join("voip_push.so")).unwrap();
    let mut command = Command::new(&options.installation.command[0]);
    let path = format!("{}:{}", modules.display(), options.installation.modules.display());
    command.args(["-c", "-E", "-L", &path, "-f"]).arg(config);
    for define in defines {
        command.args(["-A", define]);
    }
    command.output().unwrap()
}

/// What the top of voip-push.cfg tells an administrator to do, done to the configuration that Debian's package installs.
fn hooked(stock: &str) -> String {
    let mut text = stock.to_owned();
    for (before, hook) in [
        (
            "####### Routing Logic ########",
            format!("include_file \"{}/voip-push.cfg\"\n", samples().display()),
        ),
        ("	if (!lookup(\"location\")) {", "	route(VOIP_PUSH_INVITE);\n".to_owned()),
    ] {
        assert_eq!(text.matches(before).count(), 1, "{before}");
        text = text.replace(before, &format!("{hook}{before}"));
    }
    let saved = "	if (!save(\"location\")) {\n		sl_reply_error();\n	}\n";
    assert_eq!(text.matches(saved).count(), 1);
    text.replace(saved, &format!("{saved}	route(VOIP_PUSH_REGISTERED);\n"))
}

#[test]
fn debians_own_configuration_wakes_phones_with_the_lines_that_the_sample_names() {
    for line in ["include_file", "route(VOIP_PUSH_REGISTERED);", "route(VOIP_PUSH_INVITE);"] {
        let (instructions, _) = ROUTES.split_once("\n####### Modules").unwrap();
        assert!(instructions.contains(line), "{line}");
    }
    let stock = fs::read_to_string("/etc/kamailio/kamailio.cfg").expect("Debian's package kamailio has it");
    let place = Place::new("stock");
    let simulator = Simulator::start(&place.scratch, &[]);
    let domain = format!("alias=\"{}\"\n####### Global Parameters", support::phone::DOMAIN);
    let text = hooked(&stock).replacen("####### Global Parameters", &domain, 1);
    let config = format!("\"{}\"", simulator.config().display());
    let kamailio = Kamailio::start(Options::text(place, text).define("VOIP_PUSH_CONFIG", &config));
    register_token(&simulator);

    let mut caller = Phone::udp("alice", kamailio.port());
    let invite = caller.invite("bob");
    caller.expect_status(&invite, 100);
    simulator.wait_for_pushes(0, 1);
    let mut bob = Phone::tcp("bob", kamailio.port());
    bob.register();
    let ring = bob.expect_request("INVITE");
    bob.answer(&ring, 200);
    let ok = caller.expect_status(&invite, 200);
    caller.within("ACK", &invite, &ok);
    bob.expect_request("ACK");

    let given_up = caller.invite("carol");
    assert_eq!(caller.expect_final(&given_up).status(), 404);
}

/// There is no REST API in it; the token comes in over the library.
fn register_token(simulator: &Simulator) {
    let service = voip_push::service::Service::prepare(&simulator.config()).unwrap();
    service.register("bob", &apns_token(1), "ios", &voip_push::model::Extra::default()).unwrap();
    service.stop(std::time::Duration::ZERO);
}
