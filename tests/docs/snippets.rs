//! Parts of settings, of a Kamailio configuration and payloads, as documents show them, given to what reads or makes the real ones.
//!
//! It refuses to check them by rules of its own.

use super::blocks::{Block, Kind};
use super::support::kamailio::Installation;
use super::support::{Scratch, built_library, settings};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use voip_push::config::Settings;
use voip_push::model::{Extra, Media};
use voip_push::service::Service;

use super::support::simulator::Simulator;

/// Settings are loaded; what a part of them needs beside it is added.
pub fn settings(block: &Block) {
    let scratch = Scratch::new("docs-toml");
    settings::write(&scratch);
    let here = scratch.path().display().to_string();
    for key in ["AuthKey_KEY1234567.p8", "AuthKey_SANDBOX123.p8"] {
        fs::copy(scratch.path().join("AuthKey.p8"), scratch.path().join(key)).unwrap();
    }
    settings::secret(&scratch.write("engine-password", "swordfish\n"));
    let mut text = block.text.replace("/etc/voip-push", &here).replace("/var/lib/voip-push", &here);
    for (section, whole) in
        settings::TOML.split_inclusive("\"\n").collect::<String>().split("\n[").filter_map(named)
    {
        if !text.contains(&section) && ["[store]", "[[apns]]", "[[fcm]]"].contains(&section.as_str()) {
            text = format!("{text}\n{whole}\n");
        }
    }
    let loaded = Settings::load(&scratch.write("voip-push.toml", text));
    assert!(loaded.is_ok(), "{}: {:?}", block.place(), loaded.err());
}

/// A section's header, and the section.
fn named(part: &str) -> Option<(String, String)> {
    let whole = if part.starts_with("[store]") { part.to_owned() } else { format!("[{part}") };
    Some((whole.lines().next()?.to_owned(), whole))
}

/// `kamailio -c` takes it, after the modules that the document's readers have loaded.
pub fn kamailio(block: &Block) {
    const MODULES: [&str; 14] = [
        "tm",
        "sl",
        "pv",
        "xlog",
        "rr",
        "textops",
        "textopsx",
        "siputils",
        "usrloc",
        "registrar",
        "kex",
        "tmx",
        "xhttp",
        "maxfwd",
    ];
    let scratch = Scratch::new("docs-cfg");
    let ours = scratch.path().join("modules");
    fs::create_dir(&ours).unwrap();
    symlink(built_library(), ours.join("voip_push.so")).unwrap();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("kamailio-cfg");
    let text = block.text.replace("/usr/share/voip-push/kamailio", &samples.display().to_string());
    let modules: String = MODULES.map(|module| format!("loadmodule \"{module}.so\"\n")).concat();
    let include = format!("include_file \"{}/voip-push.cfg\"\n", samples.display());
    let include = if text.contains(&include) { String::new() } else { include };
    let text = match block.kind {
        Kind::Routes => format!("{modules}{include}{text}\nrequest_route {{ exit; }}\n"),
        _ => format!(
            "{modules}{include}request_route {{\n{text}\n}}\nroute[RELAY] {{ t_relay(); }}\nroute[PUSHED] {{ exit; }}\n"
        ),
    };
    let server = Installation::of_this_machine();
    let mut check = Command::new(&server.command[0]);
    check.args(["-c", "-E", "-L", &format!("{}:{}", ours.display(), server.modules.display()), "-f"]);
    let output = check.arg(scratch.write("kamailio.cfg", text)).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.contains("ERROR:"), "{}: {log}", block.place());
}

/// Its lines stand in the sample for OpenSIPS, in this order: no OpenSIPS is in Debian that could read it here, and
/// tests/opensips_real.rs runs the sample.
pub fn opensips(block: &Block) {
    let sample =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("opensips-cfg/opensips.cfg")).unwrap();
    let mut lines = sample.lines().map(str::trim);
    for wanted in block.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(lines.any(|line| line == wanted), "{}: the sample has no {wanted:?} there", block.place());
    }
}

/// A payload has exactly the keys that a call's push of this profile has, and texts where that has texts.
pub fn payload(block: &Block, provider: &str, profile: &str) {
    let shown: Value =
        serde_json::from_str(&block.text).unwrap_or_else(|why| panic!("{}: {why}", block.place()));
    let sent = sent(provider, profile);
    assert_eq!(shape(&shown), shape(&sent), "{}: what is sent is {sent:#}", block.place());
}

/// Every value's path and type.
fn shape(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(members) if members.is_empty() => BTreeSet::from([" object".to_owned()]),
        Value::Object(members) => members
            .iter()
            .flat_map(|(key, member)| shape(member).into_iter().map(move |rest| format!(".{key}{rest}")))
            .collect(),
        Value::Array(_) => BTreeSet::from([" array".to_owned()]),
        Value::String(_) => BTreeSet::from([" text".to_owned()]),
        Value::Bool(_) => BTreeSet::from([" truth".to_owned()]),
        Value::Number(_) => BTreeSet::from([" number".to_owned()]),
        Value::Null => BTreeSet::from([" null".to_owned()]),
    }
}

/// What Apple or Google is sent for a call to a device with this profile.
fn sent(provider: &str, profile: &str) -> Value {
    let scratch = Scratch::new("docs-payload");
    let simulator = Simulator::start(&scratch, &[]);
    let apps = ["org.example.phone.voip", "sip-phone-voip"];
    let apps = apps.map(|app| format!("[[app]]\nname = \"{app}\"\nprofile = \"{profile}\"\n")).concat();
    let service =
        Service::prepare(&simulator.change_config(&[("[rest]", &format!("{apps}\n[rest]"))])).unwrap();
    let (token, platform) = match provider {
        "apns" => ("01".repeat(32), "ios"),
        _ => (format!("c1:APA91b{}", "x".repeat(130)), "android"),
    };
    service.register("564612", &token, platform, &Extra::default()).unwrap();
    service
        .send_media("564612", "\"Alice\" <sip:+4930123@example.org>", "call-1@test", Media::Audio)
        .unwrap();
    let push = simulator.wait_for_pushes(0, 1)[0].clone();
    service.stop(Duration::from_secs(1));
    let payload = &push["payload"];
    if provider == "fcm" { payload["message"]["data"].clone() } else { payload.clone() }
}
