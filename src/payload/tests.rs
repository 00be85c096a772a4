//! Every profile, character for character, and the limit for all calls.
//!
//! It refuses to compare with what wrote it: the expected payloads stand here as text.

use super::*;
use crate::config::{AlertWords, Template, Words};
use crate::model::{Call, Caller, Ended, Kind, Media, Provider, Show};
use crate::provider::tests::push_to;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

const ALICE: &str = "\"Alice Müller\" <sip:+4930123@example.org>;tag=x";
const TEMPLATE: &str = r#"{"from":{"label":"{name} <{number}@{host}>","to":"{user}"},"c":"{call_id} {id}","m":"{media}","v":"{video}"}"#;
const FCM_TEMPLATE: &str = r#"{"label":"{name}","c":"{call_id}","v":"{video}"}"#;
/// uuid5(uuid5(NAMESPACE_URL, "sip:call-id"), "call-1"), from Python.
const ID: &str = "22ee522f-eacd-5fa2-b5cb-17865b260ac9";
/// md5("call-1") in the looks of a UUID, from Python.
const SESSION_ID: &str = "747df990-5da8-3674-2ff2-4c1c587b59b5";

fn iphone(caller: &str) -> Push {
    push_to("ios", &"ab".repeat(32), caller)
}

fn fcm_token() -> String {
    format!("c1:APA91b{}", "x".repeat(130))
}

fn video(mut push: Push) -> Push {
    push.call.media = Media::Video;
    push
}

fn template(text: &str, provider: Provider) -> Profile {
    Profile::Template(Arc::new(Template::compile(text, provider).unwrap()))
}

fn text(body: &Bytes) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

#[track_caller]
fn assert_apns(profile: &Profile, push: &Push, expected: &str) {
    assert_eq!(
        text(&apns(profile, push)),
        expected
            .replace("SESSION", SESSION_ID)
            .replace("\"ID", &format!("\"{ID}"))
            .replace(" ID", &format!(" {ID}"))
    );
}

/// The data alone, and every value of it is text.
fn data_of(profile: &Profile, push: &Push) -> Value {
    let body: Value = serde_json::from_slice(&fcm(profile, push, IosPushType::Alert)).unwrap();
    let data = body["message"]["data"].clone();
    assert!(data.as_object().unwrap().values().all(Value::is_string), "{data}");
    data
}

#[test]
fn callkit_for_apns() {
    let expected = r#"{"aps":{},"call_id":"call-1","caller":"Alice Müller","caller_number":"+4930123","sip_user":"564612","voip":"true","id":"ID","uuid":"ID","nameCaller":"Alice Müller","callerName":"Alice Müller","handle":"+4930123","hasVideo":false,"isVideo":false,"caller_host":"example.org"}"#;
    assert_apns(&Profile::Callkit, &iphone(ALICE), expected);
    let plain = r#"{"aps":{},"call_id":"call-1","caller":"Alice","caller_number":"Alice","sip_user":"564612","voip":"true","id":"ID","uuid":"ID","nameCaller":"Alice","callerName":"Alice","handle":"Alice","hasVideo":true,"isVideo":true}"#;
    assert_apns(&Profile::Callkit, &video(iphone("Alice")), plain);
}

#[test]
fn linphone_for_apns() {
    let expected = r#"{"aps":{"sound":"","loc-key":"IC_MSG","loc-args":["Alice Müller"],"call-id":"call-1","uuid":"ID","send-time":"2030-03-17 17:46:40"},"from-uri":"sip:+4930123@example.org","display-name":"Alice Müller","pn_ttl":30,"customPayload":{}}"#;
    assert_apns(&Profile::Linphone, &iphone(ALICE), expected);
    let nameless = r#"{"aps":{"sound":"","loc-key":"IC_MSG","loc-args":["sip:bob@example.org"],"call-id":"call-1","uuid":"ID","send-time":"2030-03-17 17:46:40"},"from-uri":"sip:bob@example.org","display-name":"","pn_ttl":30,"customPayload":{}}"#;
    assert_apns(&Profile::Linphone, &iphone("sip:bob@example.org"), nameless);
}

#[test]
fn sylk_for_apns() {
    let expected = r#"{"aps":{},"id":"ID","event":"incoming_session","call-id":"call-1","session-id":"SESSION","media-type":"video","from_uri":"+4930123@example.org","from_display_name":"Alice Müller","to_uri":"564612"}"#;
    assert_apns(&Profile::Sylk, &video(iphone(ALICE)), expected);
}

#[test]
fn seed_minimal_and_template_for_apns() {
    let seed = r#"{"aps":{},"call_id":"call-1","caller":"Alice Müller","caller_number":"+4930123","sip_user":"564612","voip":"true"}"#;
    assert_apns(&Profile::Seed, &iphone(ALICE), seed);
    assert_apns(&Profile::Minimal, &iphone(ALICE), r#"{"aps":{},"id":"ID"}"#);
    let written = r#"{"aps":{},"c":"call-1 ID","from":{"label":"Alice \"A\" <+4930123@example.org>","to":"564612"},"m":"video","v":true}"#;
    let caller = "\"Alice \\\"A\\\"\" <sip:+4930123@example.org>";
    assert_apns(&template(TEMPLATE, Provider::Apns), &video(iphone(caller)), written);
}

#[test]
fn every_profile_for_fcm() {
    let push = push_to("android", &fcm_token(), ALICE);
    let expected = format!(
        r#"{{"message":{{"token":"{}","data":{{"id":"{ID}"}},"android":{{"priority":"HIGH","ttl":"30s"}}}}}}"#,
        fcm_token()
    );
    assert_eq!(text(&fcm(&Profile::Minimal, &push, IosPushType::Alert)), expected);
    let seed = json!({ "call_id": "call-1", "caller": "Alice Müller", "caller_number": "+4930123",
        "sip_user": "564612", "voip": "true" });
    assert_eq!(data_of(&Profile::Seed, &push), seed);
    let callkit = data_of(&Profile::Callkit, &video(push.clone()));
    assert_eq!((&callkit["isVideo"], &callkit["uuid"]), (&json!("true"), &json!(ID)));
    let linphone = json!({ "uuid": ID, "from-uri": "sip:+4930123@example.org", "display-name": "Alice Müller",
        "call-id": "call-1", "sip-from": "Alice Müller", "loc-key": "IC_MSG", "loc-args": "Alice Müller",
        "send-time": "2030-03-17 17:46:40", "custom-payload": "{}" });
    assert_eq!(data_of(&Profile::Linphone, &push), linphone);
    let sylk = data_of(&Profile::Sylk, &push);
    assert_eq!((&sylk["session-id"], &sylk["media-type"]), (&json!(SESSION_ID), &json!("audio")));
    let written = data_of(&template(FCM_TEMPLATE, Provider::Fcm), &push);
    assert_eq!(written, json!({ "label": "Alice Müller", "c": "call-1", "v": "false" }));
}

/// Through FCM an iPhone shows an alert, which must not tell either what the profile keeps.
#[test]
fn the_alert_of_a_private_app_has_no_name() {
    let alert = |profile: &Profile| {
        let body = fcm(profile, &push_to("ios", &fcm_token(), ALICE), IosPushType::Alert);
        let body: Value = serde_json::from_slice(&body).unwrap();
        body["message"]["apns"]["payload"]["aps"]["alert"].clone()
    };
    assert_eq!(alert(&Profile::Seed), "Incoming call from Alice Müller");
    assert_eq!(alert(&Profile::Minimal), "Incoming call");
}

/// A long name is cut at a character, exactly as much as needed, and nothing else is.
#[test]
fn a_name_that_does_not_fit_is_shortened_at_a_character() {
    let caller = format!("\"{}\" <sip:+4930123@example.org>", "ü".repeat(128));
    let text = format!(r#"{{"x":"{}","name":"{{name}}","number":"{{number}}"}}"#, "y".repeat(4500));
    let profile = template(&text, Provider::Apns);
    let whole = apns(&profile, &iphone(&caller));
    assert!(serde_json::from_slice::<Value>(&whole).unwrap()["name"] == "ü".repeat(128));
    let text =
        format!(r#"{{"x":"{}","names":"{}","number":"{{number}}"}}"#, "y".repeat(4200), "{name}".repeat(9));
    let body = apns(&template(&text, Provider::Apns), &iphone(&caller));
    let value: Value = serde_json::from_slice(&body).unwrap();
    let name_len = value["names"].as_str().unwrap().len() / 9;
    assert_eq!(value["names"], "ü".repeat(name_len / 2 * 9));
    assert_eq!(value["number"], "+4930123");
    assert!(body.len() <= MAX_APNS_LEN && body.len() + 9 * 2 > MAX_APNS_LEN, "{}", body.len());
}

fn profiles(provider: Provider) -> Vec<Profile> {
    let large = format!(r#"{{"x":"{}","n":"{}","c":"{{call_id}}"}}"#, "y".repeat(2600), "{name}".repeat(20));
    let own = if provider == Provider::Apns { TEMPLATE } else { FCM_TEMPLATE };
    vec![
        Profile::Callkit,
        Profile::Linphone,
        Profile::Sylk,
        Profile::Seed,
        Profile::Minimal,
        template(own, provider),
        template(&large, provider),
    ]
}

fn any_call() -> impl Strategy<Value = Call> {
    let text = || prop_oneof![any::<String>(), "[\"\\\\é€]{0,300}", Just("\"".repeat(600))];
    let call_id = prop_oneof!["[!-~]{1,512}", Just("\"".repeat(512))];
    let user = prop_oneof!["[a-z\\\\]{1,255}", Just("\\".repeat(255))];
    (text(), text(), text(), call_id, user).prop_map(|(name, number, host, call_id, user)| {
        let user = if user.starts_with([';', '?']) { "u".to_owned() } else { user };
        Call::new(&user, Caller::new(&name, &number, &host), &call_id, Media::Video).unwrap()
    })
}

proptest! {
    #[test]
    fn every_call_fits_and_has_one_id(call in any_call()) {
        let mut push = iphone("");
        push.call = call.clone();
        let id = push.call.uuid().to_string();
        for profile in profiles(Provider::Apns) {
            let body = apns(&profile, &push);
            prop_assert!(body.len() <= MAX_APNS_LEN, "{profile:?}");
            let value: Value = serde_json::from_slice(&body).unwrap();
            prop_assert!(value["aps"].is_object());
            let ids = [&value["id"], &value["uuid"], &value["aps"]["uuid"]];
            prop_assert!(ids.iter().all(|found| found.is_null() || **found == id));
        }
        for platform in ["ios", "android"] {
            let mut push = push_to(platform, &fcm_token(), "");
            push.call = call.clone();
            for profile in profiles(Provider::Fcm) {
                let message: Value = serde_json::from_slice(&fcm(&profile, &push, IosPushType::Alert)).unwrap();
                let data = message["message"]["data"].as_object().unwrap();
                let len: usize = data.iter().map(|(key, value)| key.len() + value.as_str().unwrap().len()).sum();
                prop_assert!(len + message["message"]["apns"]["payload"].to_string().len() <= MAX_FCM_LEN);
            }
        }
    }
}

fn ended(platform: &str, token: &str, kind: Kind) -> Push {
    push_to(platform, token, ALICE).of_kind(kind)
}

#[test]
fn an_android_phone_is_told_that_the_call_is_over() {
    let of = |profile: &Profile, ended_as: Ended| {
        let body = fcm_ended(profile, &ended("android", &fcm_token(), Kind::Ended(ended_as)), ended_as)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["message"]["android"], json!({ "priority": "HIGH", "ttl": "30s" }));
        assert_eq!(body["message"]["token"], fcm_token());
        let data = body["message"]["data"].clone();
        assert!(data.as_object().unwrap().values().all(Value::is_string), "{data}");
        Some(data)
    };
    let callkit = json!({ "type": "cancel", "reason": "cancelled", "id": ID, "uuid": ID, "call_id": "call-1",
        "sip_user": "564612" });
    assert_eq!(of(&Profile::Callkit, Ended::Cancelled), Some(callkit));
    let minimal = json!({ "type": "cancel", "reason": "answered_elsewhere", "id": ID });
    assert_eq!(of(&Profile::Minimal, Ended::AnsweredElsewhere), Some(minimal));
    let sylk = json!({ "id": ID, "event": "cancel", "call-id": "call-1", "session-id": SESSION_ID,
        "reason": "declined_elsewhere" });
    assert_eq!(of(&Profile::Sylk, Ended::DeclinedElsewhere), Some(sylk));
    // What says that a call rings is not true any more.
    let seed = json!({ "call_id": "call-1", "sip_user": "564612", "type": "cancel", "reason": "cancelled",
        "voip": "false" });
    assert_eq!(of(&Profile::Seed, Ended::Cancelled), Some(seed));
    let call = Template::compile(FCM_TEMPLATE, Provider::Fcm).unwrap();
    let words = r#"{"over":"{id}","why":"{reason}","who":"{name} {user}"}"#;
    let own = Profile::Template(Arc::new(call.with_cancel(words, Provider::Fcm).unwrap()));
    let expected = json!({ "over": ID, "why": "answered_elsewhere", "who": "Alice Müller 564612" });
    assert_eq!(of(&own, Ended::AnsweredElsewhere), Some(expected));
    for silent in [Profile::Linphone, template(FCM_TEMPLATE, Provider::Fcm)] {
        assert_eq!(of(&silent, Ended::Cancelled), None);
        assert!(!silent.tells_of_ends());
    }
    for telling in [Profile::Callkit, Profile::Minimal, Profile::Sylk, Profile::Seed, own] {
        assert!(telling.tells_of_ends());
    }
}

#[test]
fn an_iphone_shows_a_missed_call_and_a_private_one_not_whose() {
    let missed = ended("ios", &"ab".repeat(32), Kind::Missed);
    let expected = r#"{"aps":{"alert":{"title":"Missed call","body":"Alice Müller"},"sound":"default","mutable-content":1},"type":"missed","id":"ID","call_id":"call-1"}"#;
    assert_eq!(
        text(&apns_missed(&Profile::Callkit, &missed, &AlertWords::default())),
        expected.replace("ID", ID)
    );
    let private = r#"{"aps":{"alert":{"title":"Missed call"},"sound":"default","mutable-content":1},"type":"missed","id":"ID"}"#;
    assert_eq!(
        text(&apns_missed(&Profile::Minimal, &missed, &AlertWords::default())),
        private.replace("ID", ID)
    );
    let body: Value = serde_json::from_slice(&fcm_missed(
        &Profile::Seed,
        &ended("ios", &fcm_token(), Kind::Missed),
        &AlertWords::default(),
    ))
    .unwrap();
    let message = &body["message"];
    assert_eq!(message["data"], json!({ "type": "missed", "reason": "cancelled", "id": ID }));
    let headers =
        json!({ "apns-priority": "10", "apns-push-type": "alert", "apns-expiration": "1900086430" });
    assert_eq!(message["apns"]["headers"], headers);
    assert_eq!(message["apns"]["payload"]["aps"]["alert"]["body"], "Alice Müller");
}

#[test]
fn a_message_that_waits_is_told_in_the_words_of_the_profile() {
    let push = ended("android", &fcm_token(), Kind::Message(Show::Alert));
    let data = |profile: &Profile| -> Option<Value> {
        let body: Value =
            serde_json::from_slice(&fcm_message(profile, &push, Show::Alert, &AlertWords::default())?)
                .unwrap();
        assert_eq!(body["message"]["android"], json!({ "priority": "HIGH", "ttl": "30s" }));
        let data = body["message"]["data"].clone();
        assert!(data.as_object().unwrap().values().all(Value::is_string), "{data}");
        Some(data)
    };
    let callkit = data(&Profile::Callkit).unwrap();
    assert_eq!((&callkit["type"], &callkit["caller"]), (&json!("message"), &json!("Alice Müller")));
    assert_eq!(data(&Profile::Minimal), Some(json!({ "type": "message", "id": ID })));
    assert_eq!(data(&Profile::Linphone).unwrap()["loc-key"], "IM_MSG");
    assert_eq!(data(&Profile::Sylk).unwrap()["event"], "message");
    for silent in [Profile::Seed, template(FCM_TEMPLATE, Provider::Fcm)] {
        assert_eq!((data(&silent), silent.tells_of_messages()), (None, false));
    }
}

#[test]
fn an_iphone_shows_that_a_message_waits_or_nothing() {
    let push = ended("ios", &"ab".repeat(32), Kind::Message(Show::Alert));
    let apns = |profile: &Profile, show| -> Value {
        serde_json::from_slice(&apns_message(profile, &push, show, &AlertWords::default())).unwrap()
    };
    let aps = |alert: Value| json!({ "alert": alert, "sound": "default", "mutable-content": 1, "content-available": 1 });
    let callkit = json!({ "aps": aps(json!({ "title": "Alice Müller", "body": "New message" })),
        "type": "message", "id": ID, "call_id": "call-1" });
    assert_eq!(apns(&Profile::Callkit, Show::Alert), callkit);
    let private = json!({ "aps": aps(json!({ "body": "New message" })), "type": "message", "id": ID });
    assert_eq!(apns(&Profile::Minimal, Show::Alert), private);
    let linphone = apns(&Profile::Linphone, Show::Alert);
    assert_eq!(linphone["aps"]["alert"], json!({ "loc-key": "IM_MSG", "loc-args": ["Alice Müller"] }));
    assert_eq!(linphone["call-id"], "call-1");
    assert_eq!(apns(&Profile::Seed, Show::Background)["aps"], json!({ "content-available": 1 }));
    let through_fcm = ended("ios", &fcm_token(), Kind::Message(Show::Background));
    let body: Value = serde_json::from_slice(
        &fcm_message(&Profile::Seed, &through_fcm, Show::Background, &AlertWords::default()).unwrap(),
    )
    .unwrap();
    let headers =
        json!({ "apns-priority": "5", "apns-push-type": "background", "apns-expiration": "1900000030" });
    assert_eq!(body["message"]["apns"]["headers"], headers);
}

#[test]
fn the_app_or_the_administrator_may_have_the_words_of_alerts() {
    let key = |key: &str| Words::Key(key.to_owned());
    let keys = AlertWords { missed_call: key("MISSED"), message: key("WAITS") };
    let german = Words::Text("Verpasst".to_owned());
    let texts = AlertWords { missed_call: german.clone(), message: german };
    let push = ended("ios", &"ab".repeat(32), Kind::Missed);
    let alert = |body: Bytes| serde_json::from_slice::<Value>(&body).unwrap()["aps"]["alert"].clone();
    let missed = |words| alert(apns_missed(&Profile::Callkit, &push, words));
    assert_eq!(missed(&keys), json!({ "title-loc-key": "MISSED", "body": "Alice Müller" }));
    assert_eq!(missed(&texts), json!({ "title": "Verpasst", "body": "Alice Müller" }));
    let message = |words| alert(apns_message(&Profile::Callkit, &push, Show::Alert, words));
    assert_eq!(message(&keys), json!({ "title": "Alice Müller", "loc-key": "WAITS" }));
    assert_eq!(message(&texts), json!({ "title": "Alice Müller", "body": "Verpasst" }));
    let through_fcm = fcm_missed(&Profile::Callkit, &ended("ios", &fcm_token(), Kind::Missed), &keys);
    let body: Value = serde_json::from_slice(&through_fcm).unwrap();
    let alert = &body["message"]["apns"]["payload"]["aps"]["alert"];
    assert_eq!(*alert, json!({ "title-loc-key": "MISSED", "body": "Alice Müller" }));
}
