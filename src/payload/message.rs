//! What stands around the data in a message of FCM HTTP v1 (Google, "Method: projects.messages.send").
//!
//! It refuses a `notification` block: with one, Android shows a notification and does not run the app.

use super::json;
use super::values::Values;
use crate::config::IosPushType;
use crate::model::{MISSED_KEPT_S, Platform, Push, Show, Token};
use serde::{Serialize, Serializer};

/// Everything up to the data.
pub(super) fn start(out: &mut Vec<u8>, token: &Token) {
    let target: &[u8] = if token.is_fid() { b"{\"message\":{\"fid\":" } else { b"{\"message\":{\"token\":" };
    out.extend_from_slice(target);
    json(out, &token.expose());
    out.extend_from_slice(b",\"data\":");
}

/// Everything after the data. Returns how many bytes of it count with the data, since both become one APNs payload.
pub(super) fn end(
    out: &mut Vec<u8>,
    push: &Push,
    values: &Values<'_>,
    ios: IosPushType,
    is_private: bool,
) -> usize {
    let counted_len = match push.device.platform {
        Platform::Ios => for_iphone(out, push, ios, if is_private { "" } else { values.name }),
        Platform::Android => {
            end_android(out, push);
            return 0;
        }
    };
    out.extend_from_slice(b"}}");
    counted_len
}

/// Everything after the data, for an Android phone.
pub(super) fn end_android(out: &mut Vec<u8>, push: &Push) {
    out.extend_from_slice(b",\"android\":");
    json(out, &Android { priority: "HIGH", ttl: Seconds(push.ring.as_secs()) });
    out.extend_from_slice(b"}}");
}

/// Everything after the data, for an iPhone that is to show an alert.
pub(super) fn end_alert(out: &mut Vec<u8>, push: &Push, payload: &impl Serialize) {
    out.extend_from_slice(b",\"apns\":{\"headers\":");
    let expiration = Text(push.expires_at_s + MISSED_KEPT_S);
    json(out, &Headers { priority: "10", push_type: "alert", expiration });
    out.extend_from_slice(b",\"payload\":");
    json(out, payload);
    out.extend_from_slice(b"}}}");
}

/// Everything after the data, for an iPhone that gets this payload by its token for alerts. A background push has priority 5, or it
/// is refused (Apple, "Sending notification requests to APNs").
pub(super) fn end_iphone(out: &mut Vec<u8>, show: Show, expires_at_s: i64, payload: &[u8]) {
    out.extend_from_slice(b",\"apns\":{\"headers\":");
    let expiration = Text(expires_at_s);
    json(out, &Headers { priority: show.priority(), push_type: show.as_str(), expiration });
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(payload);
    out.extend_from_slice(b"}}}");
}

/// The seed's block for iPhones. FCM would keep the message for 30 days, hence the expiration.
fn for_iphone(out: &mut Vec<u8>, push: &Push, ios: IosPushType, name: &str) -> usize {
    let push_type = match ios {
        IosPushType::Alert => "alert",
        IosPushType::Voip => "voip",
    };
    out.extend_from_slice(b",\"apns\":{\"headers\":");
    json(out, &Headers { priority: "10", push_type, expiration: Text(push.expires_at_s) });
    out.extend_from_slice(b",\"payload\":");
    let start = out.len();
    json(out, &Payload { aps: Aps { alert: Alert(name), sound: "default", badge: 1 } });
    let counted_len = out.len() - start;
    out.push(b'}');
    counted_len
}

#[derive(Serialize)]
struct Android {
    priority: &'static str,
    ttl: Seconds,
}

#[derive(Serialize)]
struct Headers {
    #[serde(rename = "apns-priority")]
    priority: &'static str,
    #[serde(rename = "apns-push-type")]
    push_type: &'static str,
    #[serde(rename = "apns-expiration")]
    expiration: Text,
}

#[derive(Serialize)]
struct Payload<'a> {
    aps: Aps<'a>,
}

#[derive(Serialize)]
struct Aps<'a> {
    alert: Alert<'a>,
    sound: &'static str,
    badge: u8,
}

/// Who calls; without a name, that somebody does.
struct Alert<'a>(&'a str);

impl Serialize for Alert<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            "" => serializer.serialize_str("Incoming call"),
            name => serializer.collect_str(&format_args!("Incoming call from {name}")),
        }
    }
}

/// A number as text.
struct Text(i64);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A duration as Google writes it: `30s`.
struct Seconds(u64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}s", self.0))
    }
}
