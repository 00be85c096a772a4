//! The event E_VOIP_PUSH_RESULT: what came of a call that was queued, for the script and for whoever else has subscribed.
//!
//! It refuses to cost anything where nobody has: without a subscriber the sender is not even asked for the result.

use super::layout::Str;
use super::symbols::core;
use crate::host::last::{self, Field, Last, Value};
use crate::host::note::Note;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, Ordering};

const NAME: &[u8] = b"E_VOIP_PUSH_RESULT";

/// `EVI_INT_VAL`.
const NUMBER: c_int = 1;
/// `EVI_STR_VAL`.
const TEXT: c_int = 2;

/// Its parameters, by the names that `$push(...)` has in Kamailio.
const PARAMETERS: [&str; 6] = ["user", "call_id", "status", "reason", "devices", "accepted"];

/// OpenSIPS' number for it.
static ID: AtomicI32 = AtomicI32::new(-1);

/// Makes the event known; before the fork.
pub fn publish() -> Result<(), String> {
    // SAFETY: text that stays.
    let id = unsafe { (core().evi_publish_event)(Str::of(NAME)) };
    if id < 0 {
        return Err("OpenSIPS does not take the event E_VOIP_PUSH_RESULT".to_owned());
    }
    ID.store(id, Ordering::Relaxed);
    Ok(())
}

/// The note for a call that is being queued; empty where nobody waits for its result.
pub fn note(user: &str, call_id: &str) -> Vec<u8> {
    if !has_subscriber() {
        return Vec::new();
    }
    Note::Queued { user: user.to_owned(), sip_call_id: call_id.to_owned(), id: None }.encode()
}

fn has_subscriber() -> bool {
    // SAFETY: the number that OpenSIPS has given; it looks into its table of subscribers.
    unsafe { (core().evi_probe_event)(ID.load(Ordering::Relaxed)) > 0 }
}

/// Raises the event with this result. On the process' main thread.
pub fn raise(last: Last) {
    last::set(last);
    if !has_subscriber() {
        return;
    }
    // SAFETY: OpenSIPS' list of parameters, which it frees itself once they are told; names and values stay until then.
    unsafe {
        let list = (core().evi_get_params)();
        if list.is_null() {
            return log::error!("OpenSIPS has no memory for an event");
        }
        for name in PARAMETERS {
            add(list, name);
        }
        if (core().evi_raise_event)(ID.load(Ordering::Relaxed), list) < 0 {
            log::warn!("the event E_VOIP_PUSH_RESULT was not told to everybody");
        }
    }
}

/// # Safety
/// A list of parameters; the last result stays as it is until the event is raised.
unsafe fn add(list: *mut c_void, name: &'static str) {
    let key = Str::of(name.as_bytes());
    // SAFETY: the caller's word; OpenSIPS copies both `str`, and what they point to stays.
    unsafe {
        match Field::number(name).and_then(Field::numbered).map_or(Value::Null, last::get) {
            Value::Number(number) => {
                (core().evi_param_add)(list, &raw const key, (&raw const number).cast(), NUMBER);
            }
            Value::Text { start, len } => {
                let text = Str { s: start.cast(), len: c_int::try_from(len).unwrap_or(0) };
                (core().evi_param_add)(list, &raw const key, (&raw const text).cast(), TEXT);
            }
            Value::Null => {
                let none = Str::of(b"");
                (core().evi_param_add)(list, &raw const key, (&raw const none).cast(), TEXT);
            }
        }
    }
}
