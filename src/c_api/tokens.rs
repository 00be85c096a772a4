//! The token store for C: `register_token`, `lookup_token`, `delete_token`.
//!
//! It refuses to cut: a token goes out whole or not at all.

use super::guard::{count, entry};
use super::instance;
use super::pointers::{InText, OutLen, OutText, Place, give};
use super::status::{Failure, VOIP_PUSH_ERR_INTERNAL, VOIP_PUSH_OK};
use crate::model::Extra;

/// Stores the token of a user's phone, in place of the one that this user had. Whoever had the
/// same token before loses it. register_device takes more than these three.
///
/// user is the callee's address as send_voip_push will get it, at most 255 bytes: "alice"
/// and "alice@example.org" are two users. A leading "sip:" and URI parameters are dropped.
/// token is what the app got from Apple (PushKit, hexadecimal) or from Firebase.
/// platform is "ios" or "android".
///
/// Returns VOIP_PUSH_OK.
///
/// Ownership: the strings stay yours and are not kept.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process opens the token store for itself.
/// Blocks: on the disk, and up to 5 seconds while another process locks the token store.
/// Errors: TOO_MANY_DEVICES, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use),
/// STORE, INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn register_token(user: InText, token: InText, platform: InText) -> i32 {
    entry(|| {
        let (user, token, platform) = (user.text("user")?, token.text("token")?, platform.text("platform")?);
        instance::get()?.register(user, token, platform, &Extra::default())?;
        Ok(VOIP_PUSH_OK)
    })
}

/// Counts a user's devices, and gives token and platform ("ios" or "android") of the one
/// that was registered last.
///
/// Both texts are stored, each with its NUL, or neither: where one does not fit, no buffer is
/// touched. *token_len and *platform_len get the lengths in both cases, without the NUL; in
/// all other failures they become 0. Both pointers may be NULL. A buffer may be NULL with
/// capacity 0 where the text is not wanted; with both NULL the call only counts and
/// measures. A token has at most 4096 bytes.
///
/// Returns the number of devices, at least 1.
///
/// Ownership: all memory stays yours; it is written during the call only. The buffers must
/// not overlap.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process opens the token store for itself.
/// Blocks: on the disk, and while another thread of this process is writing.
/// Errors: NO_DEVICE, BUFFER_TOO_SMALL, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on
/// first use), STORE, INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn lookup_token(
    user: InText,
    token: OutText,
    token_cap: usize,
    token_len: OutLen,
    platform: OutText,
    platform_cap: usize,
    platform_len: OutLen,
) -> i32 {
    entry(|| {
        // Both are made before either is judged, so that both lengths are 0 whatever fails.
        let token = Place::new("token", token, token_cap, token_len);
        let platform = Place::new("platform", platform, platform_cap, platform_len);
        let (user, token, platform) = (user.text("user")?, token?, platform?);
        let devices = instance::get()?.lookup(user)?;
        let newest = devices.first().ok_or_else(|| {
            Failure::new(VOIP_PUSH_ERR_INTERNAL, "internal error: a lookup found an empty list")
        })?;
        give(&[(&token, newest.token.expose()), (&platform, newest.platform.as_str())])?;
        Ok(count(devices.len()))
    })
}

/// Forgets all devices of a user.
///
/// Returns how many there were, at least 1.
///
/// Ownership: user stays yours and is not kept.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process opens the token store for itself.
/// Blocks: on the disk, and up to 5 seconds while another process locks the token store.
/// Errors: NO_DEVICE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE,
/// INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn delete_token(user: InText) -> i32 {
    entry(|| {
        let user = user.text("user")?;
        Ok(count(instance::get()?.delete(user, None)?))
    })
}
