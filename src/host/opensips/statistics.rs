//! Our counters as OpenSIPS' statistics, group `voip_push`.
//!
//! It refuses to count anything: it only shows.

use super::symbols::core;
use crate::host::{panic_caught, shown};
use crate::service::Service;
use std::ffi::{CString, c_ulong, c_ushort, c_void};
use std::ptr;

/// `STAT_NO_RESET` and `STAT_IS_FUNC`: a function is asked for the value.
const ASKED: c_ushort = 1 | 8;

/// Registers every counter with OpenSIPS, which asks for its value when somebody looks. Before the fork. One that OpenSIPS does not
/// take (two apps whose names differ only in their punctuation) is left out with a warning: the MI command has it.
pub fn register(service: &Service) {
    shown::tell(service, |at, reading| {
        let name = reading.flat_name();
        if !register_at(at, &name) {
            log::warn!("OpenSIPS does not take the statistic {name}; see the MI command voip_push:stats");
        }
    });
}

fn register_at(at: usize, name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // OpenSIPS keeps the pointer for ever, so the text is never freed.
    let name = name.into_raw();
    let function = value_at as *const c_void;
    // SAFETY: C strings that stay; the function takes the counter's position for its context.
    unsafe {
        (core().register_stat2)(
            c"voip_push".as_ptr(),
            name,
            function,
            ASKED,
            ptr::without_provenance_mut(at),
            0,
        ) == 0
    }
}

unsafe extern "C" fn value_at(position: *mut c_void) -> c_ulong {
    panic_caught(0, || shown::value_at(position.addr()))
}
