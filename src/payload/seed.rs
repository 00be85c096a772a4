//! The seed's fields and nothing else, under its names.
//!
//! It refuses to add any, the call's UUID too: an app that was written after the seed knows a call by its Call-ID.
//!
//! Source: the seed's `sendVoIPPush`, `message.data`.

use super::Aps;
use super::values::Values;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Seed<'a> {
    call_id: &'a str,
    caller: &'a str,
    caller_number: &'a str,
    sip_user: &'a str,
    voip: &'static str,
}

#[derive(Serialize)]
pub(super) struct ForApns<'a> {
    aps: Aps,
    #[serde(flatten)]
    seed: Seed<'a>,
}

pub(super) fn apns<'a>(values: &'a Values<'_>) -> ForApns<'a> {
    ForApns { aps: Aps {}, seed: data(values) }
}

pub(super) fn data<'a>(values: &'a Values<'_>) -> Seed<'a> {
    Seed {
        call_id: &values.call.call_id,
        caller: values.name,
        caller_number: values.number(),
        sip_user: values.user(),
        voip: "true",
    }
}
