//! What a push tells the app: a call written as the app's profile says, for APNs and for FCM.
//!
//! It refuses to grow: what a provider would call too large gets a shorter name, never an error, since the phone is to ring.
//!
//! It stands on the way of every INVITE that wakes a phone, so a payload is written straight into one buffer.

mod callkit;
mod chat;
mod ended;
mod linphone;
mod message;
mod minimal;
mod object;
mod refresh;
mod seed;
mod sylk;
mod template;
mod values;

pub use chat::{apns_message, fcm_message};
pub use ended::{apns_missed, fcm_ended, fcm_missed};
pub use refresh::{apns_refresh, fcm_dialog, fcm_refresh};

use crate::config::{IosPushType, MAX_APNS_LEN, MAX_FCM_LEN, Profile};
use crate::model::Push;
use bytes::Bytes;
use serde::Serialize;
use values::Values;

/// The payload of a VoIP push: a JSON object with `aps`, of at most 5120 bytes.
pub fn apns(profile: &Profile, push: &Push) -> Bytes {
    let write = |out: &mut Vec<u8>, values: &Values<'_>| {
        match profile {
            Profile::Callkit => callkit::apns(out, values),
            Profile::Linphone => json(out, &linphone::apns(values)),
            Profile::Sylk => json(out, &sylk::apns(values)),
            Profile::Seed => seed::apns(out, values),
            Profile::Minimal => json(out, &minimal::apns(values)),
            Profile::Template(template) => template::write(out, template, values),
        }
        out.len()
    };
    fitted(push, MAX_APNS_LEN, write)
}

/// The body of an FCM request: a message whose data are texts. Data, and the alert of an iPhone, are at most 4096 bytes of JSON,
/// which is more than Google counts.
pub fn fcm(profile: &Profile, push: &Push, ios: IosPushType) -> Bytes {
    let write = |out: &mut Vec<u8>, values: &Values<'_>| {
        message::start(out, &push.device.token);
        let start = out.len();
        data(out, profile, values);
        let data_len = out.len() - start;
        data_len + message::end(out, push, values, ios, matches!(profile, Profile::Minimal))
    };
    fitted(push, MAX_FCM_LEN, write)
}

fn data(out: &mut Vec<u8>, profile: &Profile, values: &Values<'_>) {
    match profile {
        Profile::Callkit => callkit::data(out, values),
        Profile::Linphone => json(out, &linphone::data(values)),
        Profile::Sylk => json(out, &sylk::data(values)),
        Profile::Seed => seed::data(out, values),
        Profile::Minimal => json(out, &minimal::data(values)),
        Profile::Template(template) => template::write(out, template, values),
    }
}

/// `aps`, which Apple wants to be there and PushKit does not look into.
#[derive(Serialize, Default)]
struct Aps {}

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("maps with text keys always are JSON, and a Vec takes all");
}

/// Writes with the whole name, or with as much of it as fits. `write` says how many bytes count.
fn fitted(push: &Push, limit_len: usize, write: impl Fn(&mut Vec<u8>, &Values<'_>) -> usize) -> Bytes {
    let values = Values::new(push);
    let mut out = Vec::with_capacity(values.expected_len());
    let mut fits = |values: &Values<'_>| {
        out.clear();
        write(&mut out, values) <= limit_len
    };
    if !fits(&values) {
        // Rare, so it may be simple: a longer name never fits where a shorter one does not.
        let name = values.name;
        let ends: Vec<usize> = name.char_indices().map(|(at, _)| at).collect();
        let too_long = ends.partition_point(|end| fits(&values.named(&name[..*end])));
        fits(&values.named(&name[..ends.get(too_long.saturating_sub(1)).copied().unwrap_or(0)]));
    }
    out.into()
}

#[cfg(test)]
mod tests;
