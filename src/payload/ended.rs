//! What devices are told about a call that is over: data for Android, an alert for iPhones.
//!
//! It refuses to be a VoIP push: Apple ends apps that get one and show no call.
//!
//! Sources: sylk-pushserver, `pushserver/applications/sylk.py` (event `cancel`); for the others there is no convention, and the
//! names are ours. Flexisip tells Android apps of the Linphone SDK nothing: they register at every push, and get INVITE and CANCEL.

use super::values::Values;
use super::{fitted, json, message, sylk, template};
use crate::config::{AlertWords, MAX_FCM_LEN, Piece, Profile};
use crate::model::{Ended, Push};
use bytes::Bytes;
use serde::Serialize;

#[derive(Serialize)]
struct Cancel<'a> {
    r#type: &'static str,
    reason: &'static str,
    id: &'a str,
    uuid: &'a str,
    call_id: &'a str,
    sip_user: &'a str,
}

#[derive(Serialize)]
struct Minimal<'a> {
    r#type: &'static str,
    reason: &'static str,
    id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Sylk<'a> {
    id: &'a str,
    event: &'static str,
    call_id: &'a str,
    session_id: String,
    reason: &'static str,
}

/// Under the names of the seed, whose apps know a call by its Call-ID, and a call that rings by `voip`.
#[derive(Serialize)]
struct Seed<'a> {
    call_id: &'a str,
    sip_user: &'a str,
    r#type: &'static str,
    reason: &'static str,
    voip: &'static str,
}

/// The body of an FCM request that ends the ringing; `None` for an app whose profile has no word for that.
pub fn fcm_ended(profile: &Profile, push: &Push, ended: Ended) -> Option<Bytes> {
    if let Profile::Template(template) = profile {
        return from_template(push, template.cancel()?, ended);
    }
    let values = Values::new(push);
    let (id, call_id, reason) = (values.id(), &*push.call.call_id, ended.as_str());
    let mut out = Vec::with_capacity(values.expected_len());
    message::start(&mut out, &push.device.token);
    match profile {
        Profile::Callkit => {
            let sip_user = values.user();
            json(&mut out, &Cancel { r#type: "cancel", reason, id, uuid: id, call_id, sip_user });
        }
        Profile::Minimal => json(&mut out, &Minimal { r#type: "cancel", reason, id }),
        Profile::Sylk => {
            let session_id = sylk::session_id(call_id).to_string();
            json(&mut out, &Sylk { id, event: "cancel", call_id, session_id, reason });
        }
        Profile::Seed => {
            let sip_user = values.user();
            json(&mut out, &Seed { call_id, sip_user, r#type: "cancel", reason, voip: "false" });
        }
        Profile::Linphone | Profile::Template(_) => return None,
    }
    message::end_android(&mut out, push);
    Some(out.into())
}

fn from_template(push: &Push, pieces: &[Piece], ended: Ended) -> Option<Bytes> {
    let write = |out: &mut Vec<u8>, values: &Values<'_>| {
        message::start(out, &push.device.token);
        let start = out.len();
        template::write_pieces(out, pieces, values, ended.as_str());
        let data_len = out.len() - start;
        message::end_android(out, push);
        data_len
    };
    Some(fitted(push, MAX_FCM_LEN, write))
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Missed<'a> {
    aps: Aps<'a>,
    r#type: &'static str,
    id: &'a str,
    #[serde(rename = "call_id", skip_serializing_if = "str::is_empty")]
    call_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Aps<'a> {
    alert: Alert<'a>,
    sound: &'static str,
    /// Lets an app put it into the user's language before it is shown (Apple, "Modifying content in newly delivered notifications").
    mutable_content: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Alert<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    /// A key in the app's `Localizable.strings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    title_loc_key: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    body: &'a str,
}

/// An APNs alert about a missed call.
pub fn apns_missed(profile: &Profile, push: &Push, words: &AlertWords) -> Bytes {
    let values = Values::new(push);
    let mut out = Vec::new();
    json(&mut out, &missed(profile, &values, words));
    out.into()
}

/// The same for an iPhone that is reached through FCM.
pub fn fcm_missed(profile: &Profile, push: &Push, words: &AlertWords) -> Bytes {
    let values = Values::new(push);
    let mut out = Vec::with_capacity(values.expected_len());
    message::start(&mut out, &push.device.token);
    json(&mut out, &Minimal { r#type: "missed", reason: "cancelled", id: values.id() });
    message::end_alert(&mut out, push, &missed(profile, &values, words));
    debug_assert!(out.len() < 2 * MAX_FCM_LEN, "the texts of a call are shorter");
    out.into()
}

fn missed<'a>(profile: &Profile, values: &'a Values<'_>, words: &'a AlertWords) -> Missed<'a> {
    let is_private = matches!(profile, Profile::Minimal);
    let (body, call_id) = if is_private { ("", "") } else { (values.name, &*values.call.call_id) };
    let (title, title_loc_key) = (words.missed_call.text(), words.missed_call.key());
    Missed {
        aps: Aps { alert: Alert { title, title_loc_key, body }, sound: "default", mutable_content: 1 },
        r#type: "missed",
        id: values.id(),
        call_id,
    }
}
