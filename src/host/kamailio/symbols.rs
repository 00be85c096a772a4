//! Kamailio's own functions and variables, found by name in the running program.
//!
//! It refuses to link any of them: the same file opens in a program that has none.

use super::layout::{CmdFunction, Fparam, PvParam, PvSpec, PvValue, RouteList, ScriptCallback, SipMsg, Str};
use crate::host::symbol::symbols;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

symbols! {
    /// What we use of Kamailio's core.
    Core {
        // sr_module.h, mod_fix.h
        fix_param_types: unsafe extern "C" fn(c_int, *mut *mut c_void) -> c_int,
        fixup_free_fparam_all: unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int,
        get_str_fparam: unsafe extern "C" fn(*mut Str, *mut SipMsg, *mut Fparam) -> c_int,
        // pvar.h
        pv_parse_spec2: unsafe extern "C" fn(*const Str, *mut PvSpec, c_int) -> *const c_char,
        pv_cache_get: unsafe extern "C" fn(*const Str) -> *mut PvSpec,
        pv_get_spec_value: unsafe extern "C" fn(*mut SipMsg, *mut PvSpec, *mut PvValue) -> c_int,
        pv_get_null: unsafe extern "C" fn(*mut SipMsg, *mut PvParam, *mut PvValue) -> c_int,
        pv_get_strval: unsafe extern "C" fn(*mut SipMsg, *mut PvParam, *mut PvValue, *const Str) -> c_int,
        // int before 5.7, long since: the argument travels in a register, sign-extended, and suits both.
        pv_get_sintval: unsafe extern "C" fn(*mut SipMsg, *mut PvParam, *mut PvValue, std::ffi::c_long) -> c_int,
        // data_lump.h, dset.h
        del_lump: unsafe extern "C" fn(*mut SipMsg, c_uint, c_uint, c_int) -> *mut c_void,
        rewrite_uri: unsafe extern "C" fn(*mut SipMsg, *const Str) -> c_int,
        // dprint.h, pt.h
        dprint_crit: *mut c_int,
        get_debug_level: unsafe extern "C" fn(*const c_char, c_int) -> c_int,
        get_debug_facility: unsafe extern "C" fn(*const c_char, c_int) -> c_int,
        log_stderr: *const c_int,
        log_prefix_val: *const *const Str,
        process_no: *const c_int,
        _ksr_slog_func: *const Option<StructuredLog>,
        _km_log_func: *const Option<unsafe extern "C" fn(c_int, *const c_char, ...)>,
        // counters.h
        counter_register: unsafe extern "C" fn(
            *mut u16, *const c_char, *const c_char, c_int, CounterGet, *mut c_void, *const c_char, c_int,
        ) -> c_int,
        // sr_module.h: the C function behind a script function of another module, and a modparam of one
        find_module_by_name: unsafe extern "C" fn(*const c_char) -> *mut c_void,
        find_param_export: unsafe extern "C" fn(*mut c_void, *const c_char, c_uint, *mut c_uint) -> *mut c_void,
        find_export: unsafe extern "C" fn(*const c_char, c_int, c_int) -> Option<CmdFunction>,
    }
}

symbols! {
    /// What a process of our own needs beside that. Without it the sender is a thread.
    Forking {
        // pt.h, cfg/cfg_struct.h
        register_procs: unsafe extern "C" fn(c_int) -> c_int,
        cfg_register_child: unsafe extern "C" fn(c_int) -> c_int,
        cfg_child_init: unsafe extern "C" fn() -> c_int,
        fork_process: unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int,
        // globals.h
        dont_fork: *const c_int,
        // fmsg.h, route.h, action.h, receive.h
        faked_msg_next: unsafe extern "C" fn() -> *mut SipMsg,
        main_rt: *mut RouteList,
        event_rt: *mut RouteList,
        route_lookup: unsafe extern "C" fn(*mut RouteList, *const c_char) -> c_int,
        route_type: *mut c_int,
        run_top_route: unsafe extern "C" fn(*mut c_void, *mut SipMsg, *mut c_void) -> c_int,
        ksr_msg_env_reset: unsafe extern "C" fn(),
        // script_cb.h
        register_script_cb: unsafe extern "C" fn(ScriptCallback, c_uint, *mut c_void) -> c_int,
    }
}

symbols! {
    /// How loud this process is. Without it a look for a contact that is not there yet leaves a line in the log.
    Loudness {
        // dprint.h; of the calling process alone
        set_local_debug_level: unsafe extern "C" fn(c_int),
        reset_local_debug_level: unsafe extern "C" fn(),
    }
}

/// Does something in Kamailio whose errors are none: they leave no line in the log, while worse things still do.
pub fn without_errors(work: impl FnOnce()) {
    /// `L_CRIT`, below which nothing is written.
    const CRITICAL: c_int = -2;
    static LOUDNESS: OnceLock<Option<Loudness>> = OnceLock::new();
    let Some(loudness) = LOUDNESS.get_or_init(|| Loudness::find().ok()) else { return work() };
    // SAFETY: they set and clear a number of this process.
    unsafe { (loudness.set_local_debug_level)(CRITICAL) };
    work();
    // SAFETY: as above.
    unsafe { (loudness.reset_local_debug_level)() };
}

/// `ksr_slog_f`.
pub type StructuredLog = unsafe extern "C" fn(*const LogData, *const c_char, ...);

/// `counter_cbk_f`; `counter_handle_t` is a structure of one `unsigned short`.
pub type CounterGet = unsafe extern "C" fn(u16, *mut c_void) -> std::ffi::c_long;

/// `ksr_logdata_t`.
#[repr(C)]
pub struct LogData {
    pub facility: c_int,
    pub level: c_int,
    pub level_name: *const c_char,
    pub file: *const c_char,
    pub line: c_int,
    pub module: *const c_char,
    pub function: *const c_char,
    pub prefix: *const c_char,
    pub pid: c_int,
    pub process_no: c_int,
}

static CORE: OnceLock<Core> = OnceLock::new();

/// Keeps what was found; once, in the constructor.
pub fn keep(core: Core) {
    let _ = CORE.set(core);
}

/// Kamailio's core.
pub fn core() -> &'static Core {
    CORE.get().expect(
        "Kamailio only calls a module that the constructor has stamped, and it keeps the core before that",
    )
}

/// What a process of our own needs, where this Kamailio has all of it.
pub fn forking() -> Option<&'static Forking> {
    static FORKING: OnceLock<Option<Forking>> = OnceLock::new();
    FORKING.get_or_init(|| Forking::find().ok()).as_ref()
}
