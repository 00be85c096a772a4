//! Our counters where a Kamailio administrator looks for them: the RPC `voip_push.stats` and the statistics group `voip_push`.
//!
//! It refuses to count anything: it only shows.

use super::layout::{Rpc, RpcExport, Table};
use super::symbols::core;
use crate::host::panic_caught;
use crate::service::{Service, installed};
use crate::stats::Reading;
use std::ffi::{CString, c_char, c_int, c_long, c_uint, c_void};
use std::ptr;

/// The RPC commands, and a row of zeros.
pub static RPC: Table<[RpcExport; 2]> = Table::new([
    RpcExport {
        name: c"voip_push.stats".as_ptr(),
        function: Some(rpc_stats),
        doc_str: STATS_DOC.first(),
        flags: 0,
    },
    RpcExport { name: ptr::null(), function: None, doc_str: ptr::null(), flags: 0 },
]);

static STATS_DOC: Table<[*const c_char; 2]> =
    Table::new([c"All counters of voip_push, of all processes together.".as_ptr(), ptr::null()]);

/// One structure with every counter as `name{labels}`. RPC has no 64-bit numbers in old versions, so a larger count is text.
unsafe extern "C" fn rpc_stats(rpc: *const Rpc, context: *mut c_void) {
    panic_caught((), || {
        let Some(service) = installed() else {
            // SAFETY: Kamailio's RPC table and context, valid during this call.
            return unsafe { ((*rpc).fault)(context, 500, c"voip_push was not initialised".as_ptr()) };
        };
        let mut structure: *mut c_void = ptr::null_mut();
        // SAFETY: as above; "{" takes the address of a handle.
        if unsafe { ((*rpc).add)(context, c"{".as_ptr(), &raw mut structure) } < 0 {
            return;
        }
        for Reading { name, labels, value, .. } in service.stats().read() {
            let Ok(name) = CString::new(format!("{name}{labels}")) else { continue };
            // SAFETY: as above; a name, then an unsigned int or a C string as the format says, both copied by Kamailio.
            unsafe {
                if let Ok(number) = c_uint::try_from(value) {
                    ((*rpc).struct_add)(structure, c"u".as_ptr(), name.as_ptr(), number);
                } else if let Ok(digits) = CString::new(value.to_string()) {
                    ((*rpc).struct_add)(structure, c"s".as_ptr(), name.as_ptr(), digits.as_ptr());
                }
            }
        }
    });
}

/// `CNT_F_NO_RESET`: a counter only grows.
const NO_RESET: c_int = 1;

/// Registers every counter with Kamailio, which asks for its value when somebody looks. Before the fork.
///
/// # Errors
/// The name of a counter that Kamailio does not take.
pub fn register(service: &Service) -> Result<(), String> {
    for (at, reading) in service.stats().read().iter().enumerate() {
        let name = statistic_name(reading);
        let texts = CString::new(name.as_str()).and_then(|name| Ok((name, CString::new(reading.help)?)));
        let (c_name, help) = texts.map_err(|_| name.clone())?;
        // Kamailio keeps the pointers for ever, so the texts are never freed.
        let (c_name, help) = (c_name.into_raw(), help.into_raw());
        // SAFETY: C strings that stay; the callback takes the counter's position for its parameter.
        let done = unsafe {
            let position = ptr::without_provenance_mut(at);
            (core().counter_register)(
                ptr::null_mut(),
                c"voip_push".as_ptr(),
                c_name,
                NO_RESET,
                value_at,
                position,
                help,
                0,
            )
        };
        if done < 0 {
            return Err(name);
        }
    }
    Ok(())
}

unsafe extern "C" fn value_at(_handle: u16, position: *mut c_void) -> c_long {
    panic_caught(0, || {
        let readings = installed().map(|service| service.stats().read()).unwrap_or_default();
        readings
            .get(position.addr())
            .map_or(0, |reading| c_long::try_from(reading.value).unwrap_or(c_long::MAX))
    })
}

/// Kamailio's statistics have no labels: `pushes_total{provider="apns",app="a.voip",outcome="accepted"}` is
/// `pushes_apns_a.voip_accepted_total`, and the level `parked` is `parked_now`.
fn statistic_name(reading: &Reading) -> String {
    let (stem, ending) = match reading.name.strip_suffix("_total") {
        Some(stem) => (stem, "total"),
        None => (reading.name, "now"),
    };
    let values = reading.labels.split('"').skip(1).step_by(2);
    let words: Vec<&str> = std::iter::once(stem).chain(values).chain([ending]).collect();
    words.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statistics_name_has_no_labels() {
        let labels = "{provider=\"apns\",app=\"a.voip\",outcome=\"accepted\"}".to_owned();
        let push = Reading { name: "pushes_total", labels, help: "", value: 0 };
        assert_eq!(statistic_name(&push), "pushes_apns_a.voip_accepted_total");
        let plain = Reading { name: "calls_total", labels: String::new(), help: "", value: 0 };
        assert_eq!(statistic_name(&plain), "calls_total");
        let level = Reading { name: "parked", labels: String::new(), help: "", value: 0 };
        assert_eq!(statistic_name(&level), "parked_now");
    }
}
