//! What a phone is told that is to renew its registration: only that, whether the registration ends soon or a request within a
//! dialog waits for it.
//!
//! It refuses to be urgent without need: Google takes high priority away from apps that show nothing.

use super::{json, message};
use crate::model::{Platform, Push, Show};
use bytes::Bytes;
use serde::Serialize;

#[derive(Serialize)]
struct Data {
    r#type: &'static str,
}

const DATA: Data = Data { r#type: "refresh" };
const APNS: &[u8] = br#"{"aps":{"content-available":1},"type":"refresh"}"#;

/// The payload for an iPhone's token for alerts.
pub fn apns_refresh() -> Bytes {
    Bytes::from_static(APNS)
}

/// The body of an FCM request to a phone whose registration ends soon.
pub fn fcm_refresh(push: &Push) -> Bytes {
    fcm(push, message::end_android_in_time)
}

/// The same where somebody waits for the phone: an Android phone that dozes is woken at once.
pub fn fcm_dialog(push: &Push) -> Bytes {
    fcm(push, message::end_android)
}

fn fcm(push: &Push, end_android: fn(&mut Vec<u8>, &Push)) -> Bytes {
    let mut out = Vec::new();
    message::start(&mut out, &push.device.token);
    json(&mut out, &DATA);
    match push.device.platform {
        Platform::Android => end_android(&mut out, push),
        Platform::Ios => message::end_iphone(&mut out, Show::Background, push.expires_at_s, APNS),
    }
    out.into()
}
