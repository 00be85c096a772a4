//! Our counters as Kamailio's own statistics, group `voip_push`.
//!
//! It refuses to count anything: it only shows.

use super::symbols::core;
use crate::host::{panic_caught, shown};
use crate::service::Service;
use std::ffi::{CString, c_int, c_long, c_void};
use std::ptr;

/// `CNT_F_NO_RESET`: a counter only grows.
const NO_RESET: c_int = 1;

/// Registers every counter with Kamailio, which asks for its value when somebody looks. Before the fork. One that Kamailio does
/// not take (two apps whose names differ only in their punctuation) is left out with a warning: the RPC has it.
pub fn register(service: &Service) {
    shown::tell(service, |at, reading| {
        let name = reading.flat_name();
        if !register_at(at, &name, reading.help) {
            log::warn!("Kamailio has a statistic {name} already; see the RPC voip_push.stats for this one");
        }
    });
}

fn register_at(at: usize, name: &str, help: &str) -> bool {
    let (Ok(name), Ok(help)) = (CString::new(name), CString::new(help)) else { return false };
    // Kamailio keeps the pointers for ever, so the texts are never freed.
    let (name, help) = (name.into_raw(), help.into_raw());
    let position = ptr::without_provenance_mut(at);
    let (group, no_handle) = (c"voip_push".as_ptr(), ptr::null_mut());
    // SAFETY: C strings that stay; the callback takes the counter's position for its parameter.
    unsafe { (core().counter_register)(no_handle, group, name, NO_RESET, value_at, position, help, 0) >= 0 }
}

unsafe extern "C" fn value_at(_handle: u16, position: *mut c_void) -> c_long {
    panic_caught(0, || c_long::try_from(shown::value_at(position.addr())).unwrap_or(c_long::MAX))
}
