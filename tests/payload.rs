//! Every payload profile over the whole way, register to provider, against the simulator that we ship.
//!
//! It refuses to look at what wrote the payload; only what the provider was sent counts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::{Value, json};
use std::time::Duration;
use support::Scratch;
use support::simulator::Simulator;
use voip_push::model::{Extra, Media, call_uuid};
use voip_push::service::Service;

const PHONE: &str = "org.example.phone.voip";
const TABLET: &str = "org.example.tablet.voip";
const ALICE: &str = "\"Alice Müller\" <sip:+4930123@example.org>;tag=x";

/// A simulator with two apps of one Apple key and a Firebase project, and the library with these `[[app]]` sections.
struct Rig {
    simulator: Simulator,
    service: Service,
    _scratch: Scratch,
}

impl Rig {
    fn new(name: &str, apps: &str) -> Rig {
        let scratch = Scratch::new(name);
        let simulator = Simulator::start(&scratch, &["--topic", PHONE, "--topic", TABLET]);
        let config = simulator.change_config(&[("[rest]", &format!("{apps}\n[rest]"))]);
        let service = Service::prepare(&config).unwrap();
        let register = |user: &str, token: &str, platform: &str, app: Option<&str>| {
            let extra = Extra { app, device_id: Some(token), ..Extra::default() };
            service.register(user, token, platform, &extra).unwrap();
        };
        register("bob", &"01".repeat(32), "ios", Some(PHONE));
        register("bob", &"02".repeat(32), "ios", Some(TABLET));
        register("bob", &format!("c1:APA91b{}", "x".repeat(130)), "android", None);
        Rig { simulator, service, _scratch: scratch }
    }

    /// Calls all three devices; the payloads of phone and tablet and the data of the Android phone.
    fn call(&self, caller: &str, media: Media) -> [Value; 3] {
        let before = self.simulator.pushes().len();
        let report = self.service.send_media("bob", caller, "call-1@test", media).unwrap();
        assert_eq!((report.devices, report.accepted()), (3, 3));
        let pushes = self.simulator.wait_for_pushes(before as u64, 3);
        assert!(pushes.iter().all(|push| push["status"] == 200), "{pushes:?}");
        let of = |app: &str| pushes.iter().find(|push| push["topic"] == app).unwrap()["payload"].clone();
        let android = pushes.iter().find(|push| push["provider"] == "fcm").unwrap();
        [of(PHONE), of(TABLET), android["payload"]["message"]["data"].clone()]
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.service.stop(Duration::from_secs(1));
    }
}

fn id() -> String {
    call_uuid("call-1@test").to_string()
}

fn app(name: &str, profile: &str) -> String {
    format!("[[app]]\nname = \"{name}\"\nprofile = \"{profile}\"\n")
}

#[test]
fn without_a_section_an_app_gets_callkit() {
    let [phone, tablet, android] = Rig::new("payload-default", "").call(ALICE, Media::Video);
    assert_eq!(phone, tablet);
    for (payload, video) in [(&phone, json!(true)), (&android, json!("true"))] {
        assert_eq!((&payload["id"], &payload["uuid"]), (&json!(id()), &json!(id())));
        assert_eq!(
            (&payload["nameCaller"], &payload["caller"]),
            (&json!("Alice Müller"), &json!("Alice Müller"))
        );
        assert_eq!((&payload["handle"], &payload["caller_number"]), (&json!("+4930123"), &json!("+4930123")));
        assert_eq!((&payload["isVideo"], &payload["caller_host"]), (&video, &json!("example.org")));
    }
}

#[test]
fn two_apps_of_one_credential_get_payloads_of_their_own() {
    let rig = Rig::new(
        "payload-two",
        &(app(PHONE, "linphone") + &app(TABLET, "sylk") + &app("sip-phone-voip", "seed")),
    );
    let [phone, tablet, android] = rig.call(ALICE, Media::Video);
    assert_eq!(
        (&phone["aps"]["call-id"], &phone["aps"]["loc-key"]),
        (&json!("call-1@test"), &json!("IC_MSG"))
    );
    assert_eq!(
        (&phone["from-uri"], &phone["aps"]["uuid"]),
        (&json!("sip:+4930123@example.org"), &json!(id()))
    );
    assert_eq!((&tablet["event"], &tablet["id"]), (&json!("incoming_session"), &json!(id())));
    assert_eq!(
        (&tablet["from_uri"], &tablet["media-type"]),
        (&json!("+4930123@example.org"), &json!("video"))
    );
    let seed = json!({ "call_id": "call-1@test", "caller": "Alice Müller", "caller_number": "+4930123",
        "sip_user": "bob", "voip": "true" });
    assert_eq!(android, seed);
}

#[test]
fn a_private_app_gets_an_id_and_nothing_else() {
    let apps = app(PHONE, "minimal") + &app(TABLET, "seed") + &app("sip-phone-voip", "minimal");
    let [phone, tablet, android] = Rig::new("payload-minimal", &apps).call(ALICE, Media::Audio);
    assert_eq!(phone, json!({ "aps": {}, "id": id() }));
    assert_eq!(tablet.as_object().unwrap().len(), 6, "{tablet}");
    assert_eq!(android, json!({ "id": id() }));
}

#[test]
fn an_administrators_template_is_filled_in_safely() {
    let template = |text: &str| format!("template = '''{text}'''\n");
    let apps = app(PHONE, "template")
        + &template(
            r#"{"aps":{"x":1},"who":{"text":"{name} calls {user}","number":"{number}"},"video":"{video}","key":"{id}"}"#,
        )
        + &app(TABLET, "template")
        + &template(&format!(r#"{{"pad":"{}","name":"{{name}}{{name}}{{name}}"}}"#, "x".repeat(4700)))
        + &app("sip-phone-voip", "template")
        + &template(r#"{"who":"{name}","video":"{video}"}"#);
    let rig = Rig::new("payload-template", &apps);
    let caller = format!("\"\\\"}}, {{id}} \\\\{}\" <sip:+4930123@example.org>", "ü".repeat(120));
    let [phone, tablet, android] = rig.call(&caller, Media::Video);
    let name = format!("\"}}, {{id}} \\{}", "ü".repeat(120));
    let expected = json!({ "aps": { "x": 1 }, "who": { "text": format!("{name} calls bob"), "number": "+4930123" },
        "video": true, "key": id() });
    assert_eq!(phone, expected);
    let shortened = tablet["name"].as_str().unwrap();
    let third = &shortened[..shortened.len() / 3];
    assert!(name.starts_with(third) && third.len() < name.len() && third.len() > 80, "{third}");
    assert_eq!(android, json!({ "who": name, "video": "true" }));
}

#[test]
fn linphone_and_sylk_on_android() {
    let rig = Rig::new("payload-linphone-fcm", &app("sip-phone-voip", "linphone"));
    let [_, _, data] = rig.call("sip:bob@example.org", Media::Audio);
    assert_eq!((&data["call-id"], &data["uuid"]), (&json!("call-1@test"), &json!(id())));
    assert_eq!((&data["sip-from"], &data["display-name"]), (&json!("sip:bob@example.org"), &json!("")));
    let rig = Rig::new("payload-sylk-fcm", &app("sip-phone-voip", "sylk"));
    let [_, _, data] = rig.call("Bob", Media::Audio);
    assert_eq!((&data["from_uri"], &data["from_display_name"]), (&json!("Bob"), &json!("Bob")));
    // md5("call-1@test"), from md5sum
    assert_eq!(data["session-id"], "e6bfa807-d359-cefc-09f1-a8d8853f8724");
}
