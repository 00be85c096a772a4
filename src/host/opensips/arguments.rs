//! Arguments of script functions, which OpenSIPS hands over expanded, and the variables that they fill.
//!
//! It refuses to keep OpenSIPS' text: it is valid during the call only.

use super::layout::{PV_NULL, PV_NUMBER, PV_TEXT, PvSpec, PvValue, SipMsg, Str};
use super::symbols::core;
use crate::host::argument;
use crate::host::last::{self, Field, Value};
use crate::model::Invalid;
use std::borrow::Cow;
use std::ffi::{c_int, c_void};
use std::ptr;

/// The message in hand.
pub type Msg = *mut SipMsg;
/// All arguments of a function; null where one is left out.
pub type Args = [*mut c_void; 8];

/// The text of an argument; empty where it is left out.
///
/// # Errors
/// It is no text: not UTF-8, or with a NUL byte.
///
/// # Safety
/// What OpenSIPS passes for a parameter of the kind text.
pub unsafe fn text(name: &'static str, param: *mut c_void) -> Result<String, Invalid> {
    // SAFETY: the caller's word.
    let text = unsafe { param.cast::<Str>().as_ref().map_or(&[][..], |text| text.bytes()) };
    argument(name, text).map(Cow::into_owned)
}

/// A variable of the script that gets a field of the last result; null where the script has left it out.
#[derive(Clone, Copy)]
pub struct Output {
    pub variable: *mut c_void,
    /// As in Kamailio's `$push(name)`.
    pub field: &'static str,
}

/// Fills the variables from the last result.
///
/// # Safety
/// On OpenSIPS' own thread with the message in hand, and variables that the script has passed.
pub unsafe fn fill(msg: Msg, outputs: &[Output]) {
    for Output { variable, field } in outputs.iter().filter(|output| !output.variable.is_null()) {
        let found = Field::number(field).and_then(Field::numbered).map_or(Value::Null, last::get);
        // SAFETY: the caller's word.
        let done = unsafe { set(msg, variable.cast(), &found) };
        if done < 0 {
            log::warn!("the variable for {field} cannot be written");
        }
    }
}

/// # Safety
/// As for [`fill`].
unsafe fn set(msg: Msg, variable: *mut PvSpec, value: &Value) -> c_int {
    let none = Str { s: ptr::null(), len: 0 };
    let mut value = match *value {
        Value::Null => PvValue { text: none, number: 0, flags: PV_NULL },
        Value::Number(number) => PvValue { text: none, number, flags: PV_NUMBER },
        Value::Text { start, len } => {
            let text = Str { s: start.cast(), len: c_int::try_from(len).unwrap_or(0) };
            PvValue { text, number: 0, flags: PV_TEXT }
        }
    };
    // SAFETY: the caller's word; OpenSIPS copies the value, and 0 is the operator of a plain assignment.
    unsafe { (core().pv_set_value)(msg, variable, 0, &raw mut value) }
}
