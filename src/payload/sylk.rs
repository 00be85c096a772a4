//! What sylk-pushserver sends to the Sylk app for an incoming call, key for key, and the call's UUID as `id`.
//!
//! It refuses to put that UUID in the place of `session-id`: SylkServer derives that from the Call-ID in a way of its own, and
//! the app tells by it which call the push was for.
//!
//! Sources: sylk-pushserver, `pushserver/applications/sylk.py` and `callid_to_uuid` in `pushserver/resources/utils.py`,
//! `config/opensips.cfg` (addresses are `user@domain`); SylkServer, `_callid_to_uuid` of its webrtcgateway.

use super::values::Values;
use serde::{Serialize, Serializer};

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Sylk<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    aps: Option<super::Aps>,
    id: &'a str,
    event: &'static str,
    call_id: &'a str,
    session_id: SessionId<'a>,
    media_type: &'static str,
    #[serde(rename = "from_uri")]
    from_uri: Address<'a>,
    #[serde(rename = "from_display_name")]
    from_display_name: &'a str,
    #[serde(rename = "to_uri")]
    to_uri: &'a str,
}

pub(super) fn apns<'a>(values: &'a Values<'_>) -> Sylk<'a> {
    Sylk { aps: Some(super::Aps {}), ..data(values) }
}

/// The data for a message that waits.
pub(super) fn message<'a>(values: &'a Values<'_>) -> Sylk<'a> {
    Sylk { event: "message", media_type: "sms", ..data(values) }
}

pub(super) fn data<'a>(values: &'a Values<'_>) -> Sylk<'a> {
    Sylk {
        aps: None,
        id: values.id(),
        event: "incoming_session",
        call_id: &values.call.call_id,
        session_id: SessionId(&values.call.call_id),
        media_type: values.call.media.as_str(),
        from_uri: Address(values.number(), values.host()),
        from_display_name: values.name,
        to_uri: values.user(),
    }
}

/// `user@host`.
struct Address<'a>(&'a str, &'a str);

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0, self.1) {
            (number, "") => serializer.serialize_str(number),
            (number, host) => serializer.collect_str(&format_args!("{number}@{host}")),
        }
    }
}

/// The MD5 of the Call-ID in the looks of a UUID, without the version that a UUID would have.
struct SessionId<'a>(&'a str);

impl Serialize for SessionId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&session_id(self.0))
    }
}

pub(super) fn session_id(call_id: &str) -> uuid::fmt::Hyphenated {
    uuid::Uuid::from_bytes(md5::compute(call_id.as_bytes()).0).hyphenated()
}
