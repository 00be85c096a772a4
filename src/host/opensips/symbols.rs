//! What we use of OpenSIPS' core, by its names.
//!
//! It refuses to be half there: a core without one of these names is not claimed at all.

use super::layout::{PvSpec, PvValue, SipMsg, Str};
use crate::host::symbol::symbols;
use std::ffi::{c_char, c_double, c_int, c_ushort, c_void};
use std::sync::OnceLock;

symbols! {
    /// What we use of OpenSIPS' core.
    Core {
        // async.h, pvar.h
        async_status: *mut c_int,
        pv_set_value: unsafe extern "C" fn(*mut SipMsg, *mut PvSpec, c_int, *mut PvValue) -> c_int,
        pv_parse_spec: unsafe extern "C" fn(*const Str, *mut PvSpec) -> *const c_char,
        pv_get_spec_value: unsafe extern "C" fn(*mut SipMsg, *mut PvSpec, *mut PvValue) -> c_int,
        // evi/evi_modules.h, evi/evi_params.h
        evi_publish_event: unsafe extern "C" fn(Str) -> c_int,
        evi_probe_event: unsafe extern "C" fn(c_int) -> c_int,
        evi_get_params: unsafe extern "C" fn() -> *mut c_void,
        evi_param_add: unsafe extern "C" fn(*mut c_void, *const Str, *const c_void, c_int) -> c_int,
        evi_raise_event: unsafe extern "C" fn(c_int, *mut c_void) -> c_int,
        // mi/mi.h, mi/item.h
        init_mi_result_object: unsafe extern "C" fn(*mut *mut c_void) -> *mut c_void,
        free_mi_response: unsafe extern "C" fn(*mut c_void),
        init_mi_error_extra: unsafe extern "C" fn(c_int, *const c_char, c_int, *const c_char, c_int) -> *mut c_void,
        add_mi_string: unsafe extern "C" fn(*mut c_void, *const c_char, c_int, *const c_char, c_int) -> c_int,
        add_mi_number: unsafe extern "C" fn(*mut c_void, *const c_char, c_int, c_double) -> c_int,
        add_mi_array: unsafe extern "C" fn(*mut c_void, *const c_char, c_int) -> *mut c_void,
        add_mi_object: unsafe extern "C" fn(*mut c_void, *const c_char, c_int) -> *mut c_void,
        try_get_mi_string_param: unsafe extern "C" fn(
            *const c_void, *const c_char, *mut *const c_char, *mut c_int,
        ) -> c_int,
        // statistics.h
        register_stat2: unsafe extern "C" fn(
            *const c_char, *const c_char, *const c_void, c_ushort, *mut c_void, c_int,
        ) -> c_int,
        // dprint.h
        dprint: unsafe extern "C" fn(
            c_int, c_int, *const c_char, *const c_char, *const c_char, *const c_char, *const c_char, ...
        ),
        log_level: *const *const c_int,
        log_prefix: *const *const c_char,
        log_facility: *const c_int,
        stderr_enabled: *const c_int,
        syslog_enabled: *const c_int,
    }
}

static CORE: OnceLock<Core> = OnceLock::new();

/// Keeps what was found; once, in the constructor.
pub fn keep(core: Core) {
    let _ = CORE.set(core);
}

/// OpenSIPS' core.
pub fn core() -> &'static Core {
    CORE.get().expect(
        "OpenSIPS only calls a module that the constructor has stamped, and it keeps the core before that",
    )
}
