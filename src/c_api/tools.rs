//! What went wrong, in words, and which version this is: `voip_push_last_error`, `voip_push_status_name`,
//! `voip_push_version`.
//!
//! It refuses to fail, to start the library, and to change the last error.

use super::{last_error, status};
use std::ffi::{CStr, c_char};

/// What went wrong in this thread's last call, as one line of UTF-8: which argument, file or
/// provider it was about and what to do. It is cut at 1023 bytes and never holds a token, a
/// key or a phone number, so it may be logged.
///
/// Returns the text, never NULL; it is "" when the last call succeeded. This function and
/// the two below do not count as calls.
///
/// Ownership: the text belongs to the library; it stays as it is until this thread's next
/// call or its end. Copy what you need longer, and do not free it.
/// Threads: every thread has its own.
/// Fork: a child starts with the text of the thread that forked it.
/// Blocks: never.
/// Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn voip_push_last_error() -> *const c_char {
    last_error::as_ptr()
}

/// The name of a status, for logs: "VOIP_PUSH_ERR_NO_DEVICE" for -401, "VOIP_PUSH_OK" for 0
/// and every count, "unknown status" for a number that this version does not know.
///
/// Returns the name, never NULL.
///
/// Ownership: the text is constant and there as long as the library; do not free it.
/// Threads: any.
/// Fork: no difference.
/// Blocks: never.
/// Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn voip_push_status_name(status: i32) -> *const c_char {
    status::name(status).as_ptr()
}

/// The version of the library that is running, such as "0.1.0". The version that your
/// program was compiled for is in VOIP_PUSH_VERSION_MAJOR, _MINOR and _PATCH.
///
/// Returns the version, never NULL.
///
/// Ownership: the text is constant and there as long as the library; do not free it.
/// Threads: any.
/// Fork: no difference.
/// Blocks: never.
/// Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn voip_push_version() -> *const c_char {
    VERSION.as_ptr()
}

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};
