//! The numbers that C functions return instead of a result, and how the service's errors become them.
//!
//! It refuses to reuse a number: a status that is no longer needed leaves a gap.

use super::pointers::Refusal;
use crate::service::Error;
use std::ffi::CStr;

/// Success. Functions that count return the count instead, which is never negative.
pub const VOIP_PUSH_OK: i32 = 0;

/// Arguments: a pointer that must not be NULL is NULL.
pub const VOIP_PUSH_ERR_NULL_POINTER: i32 = -101;
/// Arguments: a string is not valid UTF-8.
pub const VOIP_PUSH_ERR_INVALID_UTF8: i32 = -102;
/// Arguments: a value cannot be right; the last error names the argument and says why.
pub const VOIP_PUSH_ERR_BAD_ARGUMENT: i32 = -103;
/// Arguments: a buffer is too small; the needed length was stored, the buffers are untouched.
pub const VOIP_PUSH_ERR_BUFFER_TOO_SMALL: i32 = -104;

/// Configuration: it is missing or wrong; the last error names the file, the key and what to do.
pub const VOIP_PUSH_ERR_CONFIG: i32 = -201;
/// Configuration: the library is already running with one; call voip_push_shutdown first.
pub const VOIP_PUSH_ERR_ALREADY_INITIALISED: i32 = -202;

/// Token store: it cannot be reached, or it is full.
pub const VOIP_PUSH_ERR_STORE: i32 = -301;
/// Token store: the user has as many devices as the configuration lets one have.
pub const VOIP_PUSH_ERR_TOO_MANY_DEVICES: i32 = -302;

/// Push: the user has no device. Nothing is wrong; let the call go on without a push.
pub const VOIP_PUSH_ERR_NO_DEVICE: i32 = -401;
/// Push: every provider rejected the push, or every token is dead.
pub const VOIP_PUSH_ERR_ALL_REJECTED: i32 = -402;
/// Push: no provider accepted in time, or a limit of the configuration is reached. A push may
/// still be under way.
pub const VOIP_PUSH_ERR_NO_ANSWER: i32 = -403;
/// Push: our own key or service account was refused or is paused, or there is none for this app.
pub const VOIP_PUSH_ERR_CREDENTIAL_REFUSED: i32 = -404;
/// Push: too many pushes are waiting already.
pub const VOIP_PUSH_ERR_QUEUE_FULL: i32 = -405;
/// Push: the part of the library that sends has ended.
pub const VOIP_PUSH_ERR_SENDER_GONE: i32 = -406;

/// Push: the answers are not in yet; ask again when the descriptor is readable.
pub const VOIP_PUSH_ERR_NOT_READY: i32 = -407;

/// A bug of this library, or the system has no resources left.
pub const VOIP_PUSH_ERR_INTERNAL: i32 = -901;

/// Every negative status with its name.
const NAMES: [(i32, &CStr); 16] = [
    (VOIP_PUSH_ERR_NULL_POINTER, c"VOIP_PUSH_ERR_NULL_POINTER"),
    (VOIP_PUSH_ERR_INVALID_UTF8, c"VOIP_PUSH_ERR_INVALID_UTF8"),
    (VOIP_PUSH_ERR_BAD_ARGUMENT, c"VOIP_PUSH_ERR_BAD_ARGUMENT"),
    (VOIP_PUSH_ERR_BUFFER_TOO_SMALL, c"VOIP_PUSH_ERR_BUFFER_TOO_SMALL"),
    (VOIP_PUSH_ERR_CONFIG, c"VOIP_PUSH_ERR_CONFIG"),
    (VOIP_PUSH_ERR_ALREADY_INITIALISED, c"VOIP_PUSH_ERR_ALREADY_INITIALISED"),
    (VOIP_PUSH_ERR_STORE, c"VOIP_PUSH_ERR_STORE"),
    (VOIP_PUSH_ERR_TOO_MANY_DEVICES, c"VOIP_PUSH_ERR_TOO_MANY_DEVICES"),
    (VOIP_PUSH_ERR_NO_DEVICE, c"VOIP_PUSH_ERR_NO_DEVICE"),
    (VOIP_PUSH_ERR_ALL_REJECTED, c"VOIP_PUSH_ERR_ALL_REJECTED"),
    (VOIP_PUSH_ERR_NO_ANSWER, c"VOIP_PUSH_ERR_NO_ANSWER"),
    (VOIP_PUSH_ERR_CREDENTIAL_REFUSED, c"VOIP_PUSH_ERR_CREDENTIAL_REFUSED"),
    (VOIP_PUSH_ERR_QUEUE_FULL, c"VOIP_PUSH_ERR_QUEUE_FULL"),
    (VOIP_PUSH_ERR_SENDER_GONE, c"VOIP_PUSH_ERR_SENDER_GONE"),
    (VOIP_PUSH_ERR_NOT_READY, c"VOIP_PUSH_ERR_NOT_READY"),
    (VOIP_PUSH_ERR_INTERNAL, c"VOIP_PUSH_ERR_INTERNAL"),
];

/// The name of any number that C may hold, known or not.
pub(super) fn name(status: i32) -> &'static CStr {
    if status >= VOIP_PUSH_OK {
        return c"VOIP_PUSH_OK";
    }
    NAMES.iter().find(|(known, _)| *known == status).map_or(c"unknown status", |(_, name)| name)
}

/// Why a function did not do its work: the number that it returns, and the text of the last error.
#[derive(Debug)]
pub(super) struct Failure {
    pub status: i32,
    pub text: String,
}

impl Failure {
    pub fn new(status: i32, text: impl Into<String>) -> Self {
        Failure { status, text: text.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Argument(_) => VOIP_PUSH_ERR_BAD_ARGUMENT,
            Error::Config(_) => VOIP_PUSH_ERR_CONFIG,
            Error::Store(_) => VOIP_PUSH_ERR_STORE,
            Error::TooManyDevices { .. } => VOIP_PUSH_ERR_TOO_MANY_DEVICES,
            Error::NoDevice => VOIP_PUSH_ERR_NO_DEVICE,
            Error::AllRejected(_) => VOIP_PUSH_ERR_ALL_REJECTED,
            Error::NoAnswer(_) => VOIP_PUSH_ERR_NO_ANSWER,
            Error::CredentialRefused(_) => VOIP_PUSH_ERR_CREDENTIAL_REFUSED,
            Error::QueueFull => VOIP_PUSH_ERR_QUEUE_FULL,
            Error::SenderGone => VOIP_PUSH_ERR_SENDER_GONE,
            Error::Internal(_) => VOIP_PUSH_ERR_INTERNAL,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Null { .. } => VOIP_PUSH_ERR_NULL_POINTER,
            Refusal::NotUtf8 { .. } => VOIP_PUSH_ERR_INVALID_UTF8,
            Refusal::TooSmall { .. } => VOIP_PUSH_ERR_BUFFER_TOO_SMALL,
        };
        Failure::new(status, refusal.to_string())
    }
}
