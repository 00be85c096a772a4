//! What devices are told about a SIP MESSAGE that waits for them: data for Android, an alert or a silent push for iPhones.
//!
//! It refuses to carry the message itself, which the phone gets when it registers, and to be a VoIP push: Apple ends apps that get
//! one and show no call.
//!
//! Sources: Flexisip, `apple-request.cc` (PushType RemoteWithMutableContent) and `firebase-v1-request.cc`; sylk-pushserver,
//! `pushserver/applications/sylk.py` (event `message`); for the others there is no convention, and the names are ours.

use super::values::Values;
use super::{json, linphone, message, sylk};
use crate::config::{AlertWords, MAX_FCM_LEN, Profile};
use crate::model::{Platform, Push, Show};
use bytes::Bytes;
use serde::Serialize;

#[derive(Serialize)]
struct Data<'a> {
    r#type: &'static str,
    id: &'a str,
    uuid: &'a str,
    call_id: &'a str,
    caller: &'a str,
    caller_number: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    caller_host: &'a str,
    sip_user: &'a str,
}

#[derive(Serialize)]
struct Minimal<'a> {
    r#type: &'static str,
    id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ForApns<'a> {
    aps: Aps<'a>,
    r#type: &'static str,
    id: &'a str,
    #[serde(rename = "call_id", skip_serializing_if = "str::is_empty")]
    call_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Aps<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<Alert<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'static str>,
    /// Lets an extension of the app work before it is shown (Apple, "Modifying content in newly delivered notifications").
    #[serde(skip_serializing_if = "Option::is_none")]
    mutable_content: Option<u8>,
    /// Lets the app itself work (Apple, "Pushing background updates to your App").
    content_available: u8,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Alert<'a> {
    Text {
        #[serde(skip_serializing_if = "str::is_empty")]
        title: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<&'a str>,
        /// A key in the app's `Localizable.strings`.
        #[serde(rename = "loc-key", skip_serializing_if = "Option::is_none")]
        loc_key: Option<&'a str>,
    },
    Linphone(linphone::Alert<'a>),
}

/// The payload for an iPhone's token for alerts.
pub fn apns_message(profile: &Profile, push: &Push, show: Show, words: &AlertWords) -> Bytes {
    let values = Values::new(push);
    let mut out = Vec::with_capacity(values.expected_len());
    write_apns(&mut out, profile, &values, show, words);
    out.into()
}

/// The body of an FCM request; `None` for an Android app whose profile has no word for messages.
pub fn fcm_message(profile: &Profile, push: &Push, show: Show, words: &AlertWords) -> Option<Bytes> {
    let values = Values::new(push);
    let mut out = Vec::with_capacity(values.expected_len());
    message::start(&mut out, &push.device.token);
    let is_android = push.device.platform == Platform::Android;
    match profile {
        Profile::Callkit => json(&mut out, &data(&values)),
        Profile::Minimal => json(&mut out, &minimal(&values)),
        Profile::Linphone => json(&mut out, &linphone::message_data(&values)),
        Profile::Sylk => json(&mut out, &sylk::message(&values)),
        Profile::Seed | Profile::Template(_) if is_android => return None,
        Profile::Seed | Profile::Template(_) => json(&mut out, &minimal(&values)),
    }
    if is_android {
        message::end_android(&mut out, push);
    } else {
        let mut payload = Vec::new();
        write_apns(&mut payload, profile, &values, show, words);
        message::end_iphone(&mut out, show, push.expires_at_s, &payload);
    }
    debug_assert!(out.len() < 2 * MAX_FCM_LEN, "the texts of a call are shorter");
    Some(out.into())
}

fn data<'a>(values: &'a Values<'_>) -> Data<'a> {
    Data {
        r#type: "message",
        id: values.id(),
        uuid: values.id(),
        call_id: &values.call.call_id,
        caller: values.name,
        caller_number: values.number(),
        caller_host: values.host(),
        sip_user: values.user(),
    }
}

fn minimal<'a>(values: &'a Values<'_>) -> Minimal<'a> {
    Minimal { r#type: "message", id: values.id() }
}

fn write_apns(out: &mut Vec<u8>, profile: &Profile, values: &Values<'_>, show: Show, words: &AlertWords) {
    let is_private = matches!(profile, Profile::Minimal);
    let (title, call_id) = if is_private { ("", "") } else { (values.name, &*values.call.call_id) };
    let text = Alert::Text { title, body: words.message.text(), loc_key: words.message.key() };
    match profile {
        Profile::Linphone => {
            json(out, &linphone::message(values, aps(show, Alert::Linphone(linphone::Alert::of(values)))));
        }
        _ => json(out, &ForApns { aps: aps(show, text), r#type: "message", id: values.id(), call_id }),
    }
}

fn aps(show: Show, alert: Alert<'_>) -> Aps<'_> {
    match show {
        Show::Alert => {
            Aps { alert: Some(alert), sound: Some("default"), mutable_content: Some(1), content_available: 1 }
        }
        Show::Background => Aps { alert: None, sound: None, mutable_content: None, content_available: 1 },
    }
}
