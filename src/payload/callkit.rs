//! The default profile: one payload for the plug-ins that most apps are made with, beside the seed's fields.
//!
//! It refuses to guess: a host that is not known is left out.
//!
//! Sources: flutter_callkit_incoming, PUSHKIT.md (`id`, `nameCaller`, `handle`, `isVideo`);
//! react-native-voip-push-notification, README (`uuid`, `callerName`, `handle`); callkeep, `displayIncomingCall` (`hasVideo`).

use super::values::Values;
use super::{Aps, seed};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Callkit<'a, Flag> {
    #[serde(skip_serializing_if = "Option::is_none")]
    aps: Option<Aps>,
    #[serde(flatten)]
    seed: seed::Seed<'a>,
    id: &'a str,
    uuid: &'a str,
    name_caller: &'a str,
    caller_name: &'a str,
    handle: &'a str,
    has_video: Flag,
    is_video: Flag,
    #[serde(rename = "caller_host", skip_serializing_if = "str::is_empty")]
    caller_host: &'a str,
}

pub(super) fn apns<'a>(values: &'a Values<'_>) -> Callkit<'a, bool> {
    Callkit { aps: Some(Aps {}), ..with(values, values.is_video()) }
}

/// The same as texts.
pub(super) fn data<'a>(values: &'a Values<'_>) -> Callkit<'a, &'static str> {
    with(values, values.video_text())
}

fn with<'a, Flag: Copy>(values: &'a Values<'_>, video: Flag) -> Callkit<'a, Flag> {
    Callkit {
        aps: None,
        seed: seed::data(values),
        id: values.id(),
        uuid: values.id(),
        name_caller: values.name,
        caller_name: values.name,
        handle: values.number(),
        has_video: video,
        is_video: video,
        caller_host: values.host(),
    }
}
