//! What a phone is told that is to renew its registration: only that.
//!
//! It refuses to be urgent: Google takes high priority away from apps that show nothing.

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

/// The body of an FCM request.
pub fn fcm_refresh(push: &Push) -> Bytes {
    let mut out = Vec::new();
    message::start(&mut out, &push.device.token);
    json(&mut out, &DATA);
    match push.device.platform {
        Platform::Android => message::end_android_in_time(&mut out, push),
        Platform::Ios => message::end_iphone(&mut out, Show::Background, push.expires_at_s, APNS),
    }
    out.into()
}
