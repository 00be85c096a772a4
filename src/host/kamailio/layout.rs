//! Kamailio's structures as they lie in memory on x86_64, from its headers `sr_module.h`, `pvar.h`, `str.h`, `route_struct.h`,
//! `dprint.h` and `rpc.h`; the same in 5.4 to 5.8, 6.0 and 6.1.
//!
//! It refuses to guess: whatever differs between versions (`pv_value_t`) or is large and changing (`sip_msg`) is only a pointer
//! here. The sizes and offsets are asserted when this is compiled.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::offset_of;

/// `str`: text with a length.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Str {
    pub s: *const c_char,
    pub len: c_int,
}

impl Str {
    /// Text that a NUL follows, as Kamailio's script languages want it.
    pub const fn new(text: &'static std::ffi::CStr) -> Str {
        Str { s: text.as_ptr(), len: text.count_bytes() as c_int }
    }
}

/// `struct sip_msg`: never looked into.
#[repr(C)]
pub struct SipMsg {
    _opaque: [u8; 0],
}

/// `pv_value_t`: its size and the place of its flags differ; see [`super::pseudo`].
#[repr(C)]
pub struct PvValue {
    _opaque: [u8; 0],
}

/// `rpc_t` up to the last function that we call.
#[repr(C)]
pub struct Rpc {
    pub fault: unsafe extern "C" fn(*mut c_void, c_int, *const c_char, ...),
    pub send: *const c_void,
    pub add: unsafe extern "C" fn(*mut c_void, *const c_char, ...) -> c_int,
    pub scan: unsafe extern "C" fn(*mut c_void, *const c_char, ...) -> c_int,
    pub rpl_printf: *const c_void,
    pub struct_add: unsafe extern "C" fn(*mut c_void, *const c_char, ...) -> c_int,
}

/// `struct module_exports`.
#[repr(C)]
pub struct ModuleExports {
    pub name: *const c_char,
    pub dlflags: c_uint,
    pub cmds: *const CmdExport,
    pub params: *const ParamExport,
    pub rpc_methods: *const RpcExport,
    pub pv_items: *const PvExport,
    pub response_f: *const c_void,
    pub init_mod_f: Option<extern "C" fn() -> c_int>,
    pub init_child_f: Option<extern "C" fn(c_int) -> c_int>,
    pub destroy_mod_f: Option<extern "C" fn()>,
}

/// `fixup_function` and `free_fixup_function`.
pub type Fixup = unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int;

/// `cmd_export_t`: a script function. `function` has as many pointer arguments after the message as `param_no` says, but never
/// fewer than two.
#[repr(C)]
pub struct CmdExport {
    pub name: *const c_char,
    pub function: *const c_void,
    pub param_no: c_int,
    pub fixup: Option<Fixup>,
    pub free_fixup: Option<Fixup>,
    pub flags: c_uint,
}

/// `cmd_export_t.flags`: usable in every route.
pub const ANY_ROUTE: c_uint = c_uint::MAX;

/// `param_export_t`: a modparam.
#[repr(C)]
pub struct ParamExport {
    pub name: *const c_char,
    pub kind: c_uint,
    pub pointer: *const c_void,
}

/// `PARAM_STRING`: the value is a `char *` that stays Kamailio's.
pub const PARAM_STRING: c_uint = 1;

/// `PARAM_INT`: the value is an `int`.
pub const PARAM_INT: c_uint = 2;

/// `PARAM_STR`: the value is a `str`.
pub const PARAM_STR: c_uint = 4;

/// `rpc_export_t`.
#[repr(C)]
pub struct RpcExport {
    pub name: *const c_char,
    pub function: Option<unsafe extern "C" fn(*const Rpc, *mut c_void)>,
    pub doc_str: *const *const c_char,
    pub flags: c_uint,
}

/// `pv_export_t`: a class of pseudo-variables.
#[repr(C)]
pub struct PvExport {
    pub name: Str,
    pub kind: c_int,
    pub getf: Option<PvGet>,
    pub setf: *const c_void,
    pub parse_name: Option<unsafe extern "C" fn(*mut PvSpec, *const Str) -> c_int>,
    pub parse_index: *const c_void,
    pub init_param: *const c_void,
    pub iparam: c_int,
}

/// `pv_getf_t`.
pub type PvGet = unsafe extern "C" fn(*mut SipMsg, *mut PvParam, *mut PvValue) -> c_int;

/// `PVT_OTHER`: a class that the core treats in no special way.
pub const PVT_OTHER: c_int = 22;

/// `pv_spec_t`: a parsed pseudo-variable.
#[repr(C)]
pub struct PvSpec {
    pub kind: c_int,
    pub getf: *const c_void,
    pub setf: *const c_void,
    pub pvp: PvParam,
    pub trans: *const c_void,
}

/// `pv_param_t`, with `pv_name_t` as the `isname` half of its union.
#[repr(C)]
pub struct PvParam {
    pub name_kind: c_int,
    pub name_free: *const c_void,
    pub isname_kind: c_int,
    pub isname_number: usize,
    pub isname_rest: usize,
    pub index: [usize; 2],
}

/// `fparam_t`: an argument of a script function after its fixup.
#[repr(C)]
pub struct Fparam {
    pub orig: *const c_char,
    pub kind: c_int,
    pub value: FparamValue,
    pub fixed: *const c_void,
}

/// `fparam_t.v`, as far as we ask for it.
#[repr(C)]
pub union FparamValue {
    pub number: c_int,
    pub text: Str,
    pub spec: *mut PvSpec,
    pub room: [usize; 4],
}

/// `fparam_t.type`: a number.
pub const FPARAM_INT: c_int = 1;
/// `fparam_t.type`: one pseudo-variable.
pub const FPARAM_PVS: c_int = 4;
/// `fparam_t.type`: literal text.
pub const FPARAM_STR: c_int = 32;
/// `fparam_t.type`: text with pseudo-variables in it.
pub const FPARAM_PVE: c_int = 256;

impl Fparam {
    /// A number, as another module's script function takes it.
    pub fn of_number(number: c_int) -> Fparam {
        let value = FparamValue { number };
        Fparam { orig: std::ptr::null(), kind: FPARAM_INT, value, fixed: std::ptr::null() }
    }

    /// Text, as another module's script function takes it; it stays where it is.
    pub fn of_text(text: &std::ffi::CStr) -> Fparam {
        let len = c_int::try_from(text.count_bytes()).unwrap_or(c_int::MAX);
        let value = FparamValue { text: Str { s: text.as_ptr(), len } };
        Fparam { orig: text.as_ptr(), kind: FPARAM_STR, value, fixed: std::ptr::null() }
    }
}

/// `cmd_function`: the C function of a script function; it takes as many pointers as the function has arguments, at least two.
pub type CmdFunction = unsafe extern "C" fn(*mut SipMsg, *mut c_void, *mut c_void) -> c_int;

/// A `cmd_function` with three arguments.
pub type CmdFunction3 = unsafe extern "C" fn(*mut SipMsg, *mut c_void, *mut c_void, *mut c_void) -> c_int;

/// A `cmd_function` with four arguments.
pub type CmdFunction4 =
    unsafe extern "C" fn(*mut SipMsg, *mut c_void, *mut c_void, *mut c_void, *mut c_void) -> c_int;

/// `cb_function` of script_cb.h.
pub type ScriptCallback = unsafe extern "C" fn(*mut SipMsg, c_uint, *mut c_void) -> c_int;

/// `struct route_list`: the routes of one kind, up to the last member that we look at.
#[repr(C)]
pub struct RouteList {
    /// `rlist`: what each route does, null where it is only named.
    pub actions: *const *mut c_void,
}

/// `FAILURE_ROUTE`.
pub const FAILURE_ROUTE: c_int = 2;

/// `EVENT_ROUTE`.
pub const EVENT_ROUTE: c_int = 513;

/// `PROC_RPC`: a process in which every module initialises what a worker needs.
pub const PROC_RPC: c_int = -2;

/// `action_u_t`, the array element whose `u` a fixup gets the address of.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ActionParam {
    pub kind: c_int,
    pub data: *mut c_void,
    pub len: c_int,
}

const _: () = {
    assert!(size_of::<*const c_void>() == 8);
    assert!(size_of::<Str>() == 16 && offset_of!(Str, len) == 8);
    assert!(offset_of!(Rpc, add) == 16 && offset_of!(Rpc, scan) == 24);
    assert!(offset_of!(Rpc, struct_add) == 40);
    assert!(size_of::<ModuleExports>() == 80 && offset_of!(ModuleExports, cmds) == 16);
    assert!(offset_of!(ModuleExports, rpc_methods) == 32 && offset_of!(ModuleExports, pv_items) == 40);
    assert!(offset_of!(ModuleExports, init_mod_f) == 56 && offset_of!(ModuleExports, init_child_f) == 64);
    assert!(size_of::<CmdExport>() == 48 && offset_of!(CmdExport, param_no) == 16);
    assert!(offset_of!(CmdExport, fixup) == 24 && offset_of!(CmdExport, flags) == 40);
    assert!(size_of::<ParamExport>() == 24 && offset_of!(ParamExport, pointer) == 16);
    assert!(size_of::<RpcExport>() == 32 && offset_of!(RpcExport, doc_str) == 16);
    assert!(size_of::<PvExport>() == 72 && offset_of!(PvExport, getf) == 24);
    assert!(offset_of!(PvExport, parse_name) == 40 && offset_of!(PvExport, iparam) == 64);
    assert!(size_of::<PvSpec>() == 88 && offset_of!(PvSpec, pvp) == 24 && offset_of!(PvSpec, trans) == 80);
    assert!(size_of::<PvParam>() == 56 && offset_of!(PvParam, index) == 40);
    assert!(offset_of!(PvParam, isname_kind) == 16 && offset_of!(PvParam, isname_number) == 24);
    assert!(size_of::<Fparam>() == 56 && offset_of!(Fparam, value) == 16 && offset_of!(Fparam, fixed) == 48);
    assert!(size_of::<ActionParam>() == 24 && offset_of!(ActionParam, data) == 8);
    assert!(offset_of!(ActionParam, len) == 16);
};
