//! For those who do not want Apple or Google to know who calls whom: the call's UUID.
//!
//! It refuses everything else, the Call-ID too, which often has a host's name in it. The app finds the caller in the INVITE,
//! and the UUID from its Call-ID (see [`crate::model::call_uuid`]).

use super::Aps;
use super::values::Values;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Minimal<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    aps: Option<Aps>,
    id: &'a str,
}

pub(super) fn apns<'a>(values: &'a Values<'_>) -> Minimal<'a> {
    Minimal { aps: Some(Aps {}), id: values.id() }
}

pub(super) fn data<'a>(values: &'a Values<'_>) -> Minimal<'a> {
    Minimal { aps: None, id: values.id() }
}
