//! Arguments of script functions: constants, pseudo-variables and text with pseudo-variables in it.
//!
//! It refuses to expand a value: `$rb` may hold `$ru`, written by whoever sent the message, and Kamailio's own
//! `fixup_spve_all` would expand that too.

use super::layout::{ActionParam, FPARAM_PVE, FPARAM_PVS, FPARAM_STR, Fparam, SipMsg, Str};
use super::pseudo::{bytes, with_spec};
use super::symbols::core;
pub(in crate::host) use crate::host::CALLER;
use crate::host::{argument, panic_caught};
use crate::model::Invalid;
use std::ffi::{CStr, c_int, c_void};
use std::mem::offset_of;
use std::ptr;

/// `fixup_function` of all our functions. Kamailio calls it once for what stands in quotes, when the configuration is read; for
/// everything else (a bare `$rU`, a sum of texts) with each value, while the script runs.
pub unsafe extern "C" fn fix(param: *mut *mut c_void, _: c_int) -> c_int {
    // SAFETY: Kamailio passes the address of an argument's text within its action.
    panic_caught(-1, || unsafe { fix_argument(param) })
}

/// `free_fixup_function`; without one Kamailio takes no variables as arguments.
pub unsafe extern "C" fn free(param: *mut *mut c_void, number: c_int) -> c_int {
    // SAFETY: the argument was fixed by `fix`, that is by Kamailio's own fix_param_types.
    unsafe { (core().fixup_free_fparam_all)(param, number) }
}

/// # Safety
/// As Kamailio calls a fixup.
unsafe fn fix_argument(param: *mut *mut c_void) -> c_int {
    // SAFETY: as this function's own.
    unsafe {
        // Order matters to Kamailio: one pseudo-variable first, else literal text.
        let done = (core().fix_param_types)(FPARAM_PVS | FPARAM_STR, param);
        let fixed = (*param).cast::<Fparam>();
        if done < 0 || (*fixed).kind == FPARAM_PVS && is_one_variable(fixed) {
            return done;
        }
        if (*fixed).kind == FPARAM_PVS {
            (core().fixup_free_fparam_all)(param, 0);
            return (core().fix_param_types)(FPARAM_PVE, param);
        }
        if is_value(param) {
            // Kamailio has measured it with strlen; the value's own length shows a NUL byte in it.
            (*fixed).value.text.len = (*action_of(param)).len.max((*fixed).value.text.len);
            return done;
        }
        if !CStr::from_ptr((*fixed).orig).to_bytes().contains(&b'$') {
            return done;
        }
        (core().fixup_free_fparam_all)(param, 0);
        (core().fix_param_types)(FPARAM_PVE, param)
    }
}

/// Whether the text ends where its first pseudo-variable does: Kamailio takes `$rU@$rd` for `$rU`, and says so to nobody but who
/// parses it himself.
///
/// # Safety
/// With an argument that Kamailio has fixed as one pseudo-variable, while the configuration is read.
unsafe fn is_one_variable(fixed: *mut Fparam) -> bool {
    // SAFETY: the text is the configuration's, and the place for what is parsed is that of the same variable before.
    unsafe {
        let text = CStr::from_ptr((*fixed).orig).to_bytes().trim_ascii();
        let name = Str { s: text.as_ptr().cast_mut().cast(), len: text.len() as c_int };
        let end = (core().pv_parse_spec2)(&raw const name, (*fixed).value.spec, 1);
        end.cast::<u8>() == text.as_ptr_range().end
    }
}

/// The array element that the address of an argument is within.
fn action_of(param: *mut *mut c_void) -> *mut ActionParam {
    param.wrapping_byte_sub(offset_of!(ActionParam, data)).cast()
}

/// Whether the argument is a value that the script has computed, and not text of the configuration. Only the core's
/// `fix_param_types` knows (the mark's number differs between versions), so it is asked with a text of ours in the argument's
/// place: in a value it leaves `$ru` alone.
///
/// # Safety
/// As Kamailio calls a fixup.
unsafe fn is_value(param: *mut *mut c_void) -> bool {
    // SAFETY: the mark of the argument's element is copied, and what is made for our text is freed before it goes.
    unsafe {
        let kind = (*action_of(param)).kind;
        let mut probe = ActionParam { kind, data: c"$ru".as_ptr().cast_mut().cast(), len: 3 };
        let data = &raw mut probe.data;
        if (core().fix_param_types)(FPARAM_PVS | FPARAM_STR, data) < 0 {
            return true;
        }
        let literal = (*probe.data.cast::<Fparam>()).kind == FPARAM_STR;
        (core().fixup_free_fparam_all)(data, 0);
        literal
    }
}

/// The text of an argument; empty where a variable has no value. In a [`CALLER`] what is no text becomes U+FFFD.
///
/// # Errors
/// It is no text: not UTF-8, with a NUL byte, or too long for Kamailio's own buffers.
///
/// # Safety
/// On Kamailio's own thread, with what it passes to a script function that is fixed by [`fix`].
pub unsafe fn read(msg: *mut SipMsg, name: &'static str, param: *mut c_void) -> Result<String, Invalid> {
    let mut text = String::new();
    // SAFETY: the caller's word.
    unsafe { read_behind(&mut text, msg, name, param)? };
    Ok(text)
}

/// The same, put behind what `texts` has already.
///
/// # Errors
/// As [`read`].
///
/// # Safety
/// As [`read`].
pub unsafe fn read_behind(
    texts: &mut String,
    msg: *mut SipMsg,
    name: &'static str,
    param: *mut c_void,
) -> Result<(), Invalid> {
    let mut add = |value: &[u8]| argument(name, value).map(|text| texts.push_str(&text));
    let param = param.cast::<Fparam>();
    // SAFETY: the caller's word; `kind` says which half of the union is set.
    unsafe {
        if (*param).kind == FPARAM_PVS {
            return with_spec(msg, (*param).value.spec, add).unwrap_or(Ok(()));
        }
        let mut text = Str { s: ptr::null(), len: 0 };
        if (core().get_str_fparam)(&raw mut text, msg, param) != 0 {
            let why = "cannot be read; is it longer than Kamailio's pv_buffer_size?";
            return Err(Invalid::new(name, why));
        }
        add(bytes(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arguments_element_is_found_from_the_address_of_its_text() {
        let mut action = ActionParam { kind: 4711, data: ptr::null_mut(), len: 0 };
        let found = action_of(&raw mut action.data);
        assert_eq!(found, &raw mut action);
    }
}
