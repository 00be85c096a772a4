//! The body of the message in hand, as OpenSIPS' variable `$rb` has it, and what it says of a call's media.
//!
//! It refuses to keep a pointer into it: the message is OpenSIPS'.

use super::arguments::Msg;
use super::layout::{PV_TEXT, PvSpec, PvValue, Str};
use super::symbols::core;
use crate::model::{Invalid, Media};
use crate::service::Error;
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Twice and more what a `pv_spec_t` of any version has (104 or 112 bytes).
const ROOM: usize = 32;

/// `$rb`, parsed.
struct Spec(UnsafeCell<[u64; ROOM]>);

// SAFETY: written once in the process that forks, before it does; OpenSIPS' processes have one thread that reads it.
unsafe impl Sync for Spec {}

static SPEC: Spec = Spec(UnsafeCell::new([0; ROOM]));
static IS_PARSED: AtomicBool = AtomicBool::new(false);

/// Lets OpenSIPS parse the name of the variable; before the fork.
pub fn prepare() -> Result<(), String> {
    let name = Str::of(b"$rb");
    // SAFETY: text that stays, and room for what OpenSIPS writes.
    let end = unsafe { (core().pv_parse_spec)(&raw const name, SPEC.0.get().cast()) };
    if end.is_null() {
        return Err("OpenSIPS does not know the variable $rb".to_owned());
    }
    IS_PARSED.store(true, Ordering::Relaxed);
    Ok(())
}

/// What the script says of a call's media: `audio`, `video`, nothing, which is audio, or `sdp` for what the message in hand offers.
///
/// # Errors
/// Another word.
///
/// # Safety
/// On OpenSIPS' own thread, with the message in hand.
pub unsafe fn media_of(msg: Msg, text: &str) -> Result<Media, Error> {
    if text.is_empty() {
        return Ok(Media::Audio);
    }
    if !text.eq_ignore_ascii_case("sdp") {
        let known = Media::parse(text);
        return Ok(known.map_err(|_| Invalid::new("media", "is none of audio, video and sdp"))?);
    }
    // SAFETY: the caller's word.
    Ok(unsafe { with_body(msg, Media::of_body) })
}

/// Shows the body, which is empty where there is none.
///
/// # Safety
/// As [`media_of`].
unsafe fn with_body<T>(msg: Msg, look: impl FnOnce(&[u8]) -> T) -> T {
    let mut value = PvValue { text: Str { s: ptr::null(), len: 0 }, number: 0, flags: 0 };
    // SAFETY: the caller's word, and a specification that OpenSIPS has made.
    let is_there = IS_PARSED.load(Ordering::Relaxed)
        && unsafe { (core().pv_get_spec_value)(msg, SPEC.0.get().cast::<PvSpec>(), &raw mut value) } == 0
        && value.flags & PV_TEXT != 0;
    // SAFETY: text that stays until the next variable is read.
    if is_there { look(unsafe { value.text.bytes() }) } else { look(&[]) }
}
