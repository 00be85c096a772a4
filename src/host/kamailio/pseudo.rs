//! Pseudo-variables: ours, `$push(...)`, and how we read Kamailio's.
//!
//! It refuses to keep a pointer into Kamailio's memory: what is read is copied at once, as the next variable may use the same
//! buffer.

use super::layout::{PVT_OTHER, PvExport, PvParam, PvSpec, PvValue, SipMsg, Str};
use super::log::install as install_log;
use super::symbols::core;
use crate::host::last::{self, Field, Value};
use crate::host::panic_caught;
use crate::host::table::Table;
use std::ffi::{c_char, c_int};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `pv_value_t.flags`: there is no value.
const PV_VAL_NULL: c_int = 1;
/// `pv_value_t.flags`: `rs` is set.
const PV_VAL_STR: c_int = 4;

/// The class `$push(...)`.
pub static CLASS: Table<[PvExport; 2]> = Table::new([
    PvExport {
        name: Str::new(c"push"),
        kind: PVT_OTHER,
        getf: Some(get),
        setf: ptr::null(),
        parse_name: Some(parse_name),
        parse_index: ptr::null(),
        init_param: ptr::null(),
        iparam: 0,
    },
    PvExport {
        name: Str { s: ptr::null(), len: 0 },
        kind: 0,
        getf: None,
        setf: ptr::null(),
        parse_name: None,
        parse_index: ptr::null(),
        init_param: ptr::null(),
        iparam: 0,
    },
]);

/// The name between the parentheses, when the configuration is read.
unsafe extern "C" fn parse_name(spec: *mut PvSpec, name: *const Str) -> c_int {
    panic_caught(-1, || {
        // SAFETY: Kamailio passes the text of the configuration and the specification that it is making.
        let (name, spec) = unsafe { (bytes(&*name), &mut *spec) };
        let name = String::from_utf8_lossy(name);
        let Some(number) = Field::number(&name) else {
            install_log();
            log::error!("$push({name}) does not exist; there are: {}", Field::names());
            return -1;
        };
        spec.pvp.name_kind = 0;
        spec.pvp.isname_kind = 0;
        spec.pvp.isname_number = number;
        0
    })
}

unsafe extern "C" fn get(msg: *mut SipMsg, param: *mut PvParam, value: *mut PvValue) -> c_int {
    panic_caught(-1, || {
        // SAFETY: Kamailio passes what `parse_name` filled.
        let number = unsafe { (*param).isname_number };
        let found = Field::numbered(number).map_or(Value::Null, last::get);
        // SAFETY: all three pointers are Kamailio's own; the text is followed by NUL and stays until our next function runs.
        unsafe {
            match found {
                Value::Null => (core().pv_get_null)(msg, param, value),
                Value::Number(number) => (core().pv_get_sintval)(msg, param, value, number.into()),
                Value::Text { start, len } => {
                    let text = Str { s: start.cast(), len: c_int::try_from(len).unwrap_or(0) };
                    (core().pv_get_strval)(msg, param, value, &raw const text)
                }
            }
        }
    })
}

/// The bytes of a `str`; empty where it has none.
///
/// # Safety
/// The text is valid as long as the result is used.
pub unsafe fn bytes<'a>(text: &Str) -> &'a [u8] {
    match usize::try_from(text.len) {
        // SAFETY: the caller's word.
        Ok(len) if !text.s.is_null() => unsafe { std::slice::from_raw_parts(text.s.cast(), len) },
        _ => &[],
    }
}

/// Room for a `pv_value_t` of any version (24 or 32 bytes), with its text at the start.
#[repr(C, align(16))]
struct ValueRoom {
    words: [u32; 32],
}

/// Where the flags are in this Kamailio's `pv_value_t`, in words of 4 bytes: its number is an `int` before 5.7 and a `long` since.
static FLAGS_AT: AtomicUsize = AtomicUsize::new(0);

/// Asks Kamailio itself where it puts the flags, instead of trusting a table of versions.
pub fn learn_layout() -> Result<(), String> {
    /// PV_VAL_STR | PV_VAL_INT | PV_TYPE_INT.
    const EXPECTED: u32 = 28;
    const UNTOUCHED: u32 = 0xAAAA_AAAA;
    let mut room = ValueRoom { words: [UNTOUCHED; 32] };
    // SAFETY: the function writes a pv_value_t, which is far smaller than the room; message and parameter are not looked at.
    unsafe { (core().pv_get_sintval)(ptr::null_mut(), ptr::null_mut(), (&raw mut room).cast(), 7) };
    let known = match room.words[4..8] {
        [7, EXPECTED, UNTOUCHED, UNTOUCHED] => Some(5),
        [7, 0, EXPECTED, _] => Some(6),
        _ => None,
    };
    let at = known.ok_or("this Kamailio's pv_value_t is like that of no known version; please report it with the output of kamailio -v")?;
    FLAGS_AT.store(at, Ordering::Relaxed);
    Ok(())
}

/// Looks at the value of a parsed pseudo-variable; `None` where it has none.
///
/// # Safety
/// On Kamailio's own thread, with a message and a specification that it gave.
pub unsafe fn with_spec<T>(msg: *mut SipMsg, spec: *mut PvSpec, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut room = ValueRoom { words: [0; 32] };
    // SAFETY: the caller's word, and the room is large enough for a pv_value_t.
    if unsafe { (core().pv_get_spec_value)(msg, spec, (&raw mut room).cast()) } != 0 {
        return None;
    }
    let flags = room.words[FLAGS_AT.load(Ordering::Relaxed)].cast_signed();
    if flags & (PV_VAL_NULL | PV_VAL_STR) != PV_VAL_STR {
        return None;
    }
    // SAFETY: a pv_value_t starts with its text, which the flags say is set, and which stays until the next variable is read.
    Some(look(unsafe { bytes(&*(&raw const room).cast::<Str>()) }))
}

/// The value of a pseudo-variable by its name, such as `$rb`; `Ok(None)` where it has none in this message.
///
/// # Errors
/// No module that is loaded knows the variable.
///
/// # Safety
/// On Kamailio's own thread, with a message that it gave.
pub unsafe fn read(msg: *mut SipMsg, name: &'static str) -> Result<Option<Vec<u8>>, UnknownVariable> {
    // SAFETY: the caller's word.
    unsafe { with_value(msg, name, <[u8]>::to_vec) }
}

/// The same where it is a whole number.
///
/// # Errors
/// As [`read`].
///
/// # Safety
/// As [`read`].
pub unsafe fn read_number(msg: *mut SipMsg, name: &'static str) -> Result<Option<u32>, UnknownVariable> {
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok();
    // SAFETY: the caller's word.
    Ok(unsafe { with_value(msg, name, number)? }.flatten())
}

/// # Safety
/// As [`read`].
unsafe fn with_value<T>(
    msg: *mut SipMsg,
    name: &'static str,
    look: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, UnknownVariable> {
    let text = Str { s: name.as_ptr().cast::<c_char>(), len: c_int::try_from(name.len()).unwrap_or(0) };
    // SAFETY: text with its length; the result is in Kamailio's cache, which never shrinks below its limit of thousands.
    let spec = unsafe { (core().pv_cache_get)(&raw const text) };
    if spec.is_null() {
        return Err(UnknownVariable(name));
    }
    // SAFETY: the caller's word.
    Ok(unsafe { with_spec(msg, spec, look) })
}

/// Where the text of a pseudo-variable is in this process' memory, as addresses; `Ok(None)` where it has none. To be compared, not
/// to be read.
///
/// # Errors
/// As [`read`].
///
/// # Safety
/// As [`read`].
pub unsafe fn place(msg: *mut SipMsg, name: &'static str) -> Result<Option<Range<usize>>, UnknownVariable> {
    // SAFETY: the caller's word.
    unsafe { with_value(msg, name, |text| text.as_ptr().addr()..text.as_ptr().addr() + text.len()) }
}

/// The name of a variable that needs a module which is not loaded.
pub struct UnknownVariable(pub &'static str);
