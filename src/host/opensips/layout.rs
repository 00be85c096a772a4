//! OpenSIPS' structures as they lie in memory on x86_64, from its headers `sr_module.h`, `cmds.h`, `async.h`, `pvar.h`,
//! `mi/mi.h` and `str.h`, and the table of what differs between 3.4, 3.5, 3.6 and 4.0.
//!
//! It refuses to guess: what is large and changing (`sip_msg`, `pv_spec_t`) is only a pointer here. The sizes and offsets are
//! asserted when this is compiled.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::offset_of;

/// What differs between the versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abi {
    /// The first two numbers of the version.
    pub version: (u32, u32),
    /// `async_ctx`.
    pub async_ctx: AsyncLayout,
    /// Whether OpenSIPS itself puts the module's name before those of its management commands.
    pub names_mi_commands: bool,
    /// Size of `mi_export_t`: a row of the table of management commands.
    pub mi_export_len: usize,
    /// Size of `mi_recipe_t`, of which it has 48: a command and 10 or 20 names of parameters.
    pub mi_recipe_len: usize,
}

/// Where the members of `async_ctx` are; `resume_f` is always the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncLayout {
    /// `resume_f_name`, where it is.
    pub resume_name: Option<usize>,
    pub resume_param: usize,
    pub timeout: usize,
    /// `timeout_s`, where it is.
    pub timeout_s: Option<usize>,
}

/// Before 4.0.
const ASYNC_3: AsyncLayout =
    AsyncLayout { resume_name: None, resume_param: 8, timeout: 16, timeout_s: Some(24) };
/// 4.0 put a name in between, for its profiling.
const ASYNC_4: AsyncLayout =
    AsyncLayout { resume_name: Some(8), resume_param: 16, timeout: 24, timeout_s: Some(32) };

/// Every version whose headers were compared and that was run.
const KNOWN: [Abi; 4] = [
    Abi {
        version: (3, 4),
        async_ctx: ASYNC_3,
        names_mi_commands: false,
        mi_export_len: 4256,
        mi_recipe_len: 88,
    },
    Abi {
        version: (3, 5),
        async_ctx: ASYNC_3,
        names_mi_commands: false,
        mi_export_len: 4256,
        mi_recipe_len: 88,
    },
    Abi {
        version: (3, 6),
        async_ctx: ASYNC_3,
        names_mi_commands: false,
        mi_export_len: 4256,
        mi_recipe_len: 88,
    },
    Abi {
        version: (4, 0),
        async_ctx: ASYNC_4,
        names_mi_commands: true,
        mi_export_len: 8128,
        mi_recipe_len: 168,
    },
];

/// The first 3.4 with `timeout_s`: the structure grew within the stable branch.
const TIMEOUT_S_SINCE: (u32, u32, u32) = (3, 4, 3);

impl Abi {
    /// The layouts of a version, if they are known.
    pub fn of(numbers: (u32, u32, u32)) -> Option<Abi> {
        let mut abi = KNOWN.into_iter().find(|abi| abi.version == (numbers.0, numbers.1))?;
        if numbers < TIMEOUT_S_SINCE {
            abi.async_ctx.timeout_s = None;
        }
        Some(abi)
    }

    /// The known versions, for a message: `3.4, 3.5, 3.6, 4.0`.
    pub fn versions() -> String {
        KNOWN.map(|Abi { version: (major, minor), .. }| format!("{major}.{minor}")).join(", ")
    }
}

/// `str`: text with a length.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Str {
    pub s: *const c_char,
    pub len: c_int,
}

impl Str {
    /// Text that stays where it is while the result is used.
    pub fn of(text: &[u8]) -> Str {
        Str { s: text.as_ptr().cast(), len: c_int::try_from(text.len()).unwrap_or(c_int::MAX) }
    }

    /// Its bytes; none where it has no text.
    ///
    /// # Safety
    /// The text is valid as long as the result is used.
    pub unsafe fn bytes<'a>(&self) -> &'a [u8] {
        match usize::try_from(self.len) {
            // SAFETY: the caller's word.
            Ok(len) if !self.s.is_null() => unsafe { std::slice::from_raw_parts(self.s.cast(), len) },
            _ => &[],
        }
    }
}

/// `struct sip_msg`: never looked into.
#[repr(C)]
pub struct SipMsg {
    _opaque: [u8; 0],
}

/// `pv_spec_t`: a variable of the script, never looked into.
#[repr(C)]
pub struct PvSpec {
    _opaque: [u8; 0],
}

/// `async_ctx`: see [`AsyncLayout`].
#[repr(C)]
pub struct AsyncCtx {
    _opaque: [u8; 0],
}

/// `pv_value_t`.
#[repr(C)]
pub struct PvValue {
    pub text: Str,
    pub number: c_int,
    pub flags: c_int,
}

/// `PV_VAL_NULL`.
pub const PV_NULL: c_int = 1;
/// `PV_VAL_STR`.
pub const PV_TEXT: c_int = 4;
/// `PV_VAL_INT` and `PV_TYPE_INT`.
pub const PV_NUMBER: c_int = 8 | 16;

/// `struct module_exports`, the same in 3.4 to 4.0.
#[repr(C)]
pub struct ModuleExports {
    pub name: *const c_char,
    pub kind: c_int,
    pub version: *const c_char,
    pub compile_flags: *const c_char,
    pub scm_type: *const c_char,
    pub scm_rev: *const c_char,
    pub dlflags: c_uint,
    pub load_f: Option<extern "C" fn() -> c_int>,
    pub deps: *const c_void,
    pub cmds: *const CmdExport,
    pub acmds: *const AcmdExport,
    pub params: *const ParamExport,
    pub stats: *const c_void,
    pub mi_cmds: *const c_void,
    pub items: *const c_void,
    pub trans: *const c_void,
    pub procs: *const ProcExport,
    pub preinit_f: Option<extern "C" fn() -> c_int>,
    pub init_f: Option<extern "C" fn() -> c_int>,
    pub response_f: *const c_void,
    pub destroy_f: Option<extern "C" fn()>,
    pub init_child_f: Option<extern "C" fn(c_int) -> c_int>,
    pub reload_ack_f: Option<extern "C" fn() -> c_int>,
}

/// `MOD_TYPE_DEFAULT`.
pub const MODULE_KIND: c_int = 1;

/// `cmd_function`: OpenSIPS always passes eight arguments, null where there is none.
pub type CmdFunction = unsafe extern "C" fn(
    *mut SipMsg,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
) -> c_int;

/// `acmd_function`: the same with the context of the asynchronous operation.
pub type AcmdFunction = unsafe extern "C" fn(
    *mut SipMsg,
    *mut AsyncCtx,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
) -> c_int;

/// `async_resume_module`: what is called when the descriptor is readable, or when the time is over.
pub type Resume = unsafe extern "C" fn(c_int, *mut SipMsg, *mut c_void) -> c_int;

/// `struct cmd_param`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CmdParam {
    pub flags: c_int,
    pub fixup: *const c_void,
    pub free_fixup: *const c_void,
}

/// `MAX_CMD_PARAMS`, and an entry of zeros.
const CMD_PARAMS: usize = 9;

/// `cmd_export_t`: a script function.
#[repr(C)]
pub struct CmdExport {
    pub name: *const c_char,
    pub function: Option<CmdFunction>,
    pub params: [CmdParam; CMD_PARAMS],
    pub flags: c_int,
}

/// `acmd_export_t`: a script function inside `async()` and `launch()`.
#[repr(C)]
pub struct AcmdExport {
    pub name: *const c_char,
    pub function: Option<AcmdFunction>,
    pub params: [CmdParam; CMD_PARAMS],
}

/// `CMD_PARAM_STR`: a `str *`, expanded.
pub const TEXT: c_int = 2;
/// `CMD_PARAM_VAR`: a `pv_spec_t *` that may be written to.
pub const VARIABLE: c_int = 4;
/// `CMD_PARAM_OPT`: may be left out, which is null then.
pub const OPTIONAL: c_int = 16;

/// Every kind of route but `startup_route`, which runs before OpenSIPS has forked.
pub const ANY_ROUTE: c_int = 511 & !64;

/// The parameters of a function, and zeros after them.
pub const fn params<const N: usize>(kinds: [c_int; N]) -> [CmdParam; CMD_PARAMS] {
    let none = CmdParam { flags: 0, fixup: std::ptr::null(), free_fixup: std::ptr::null() };
    let mut params = [none; CMD_PARAMS];
    let mut at = 0;
    while at < N {
        params[at].flags = kinds[at];
        at += 1;
    }
    params
}

/// `param_export_t`: a modparam.
#[repr(C)]
pub struct ParamExport {
    pub name: *const c_char,
    pub kind: c_uint,
    pub pointer: *const c_void,
}

/// `STR_PARAM`: a `char *` that OpenSIPS keeps.
pub const PARAM_TEXT: c_uint = 1;

/// `proc_export_t`: processes that OpenSIPS forks for a module.
#[repr(C)]
pub struct ProcExport {
    pub name: *const c_char,
    pub pre_fork: Option<extern "C" fn() -> c_int>,
    pub post_fork: Option<extern "C" fn() -> c_int>,
    pub function: Option<extern "C" fn(c_int)>,
    pub how_many: c_uint,
    pub flags: c_uint,
}

/// `PROC_FLAG_INITCHILD`: all modules are initialised in it as well.
pub const PROC_INITCHILD: c_uint = 1;

const _: () = {
    assert!(size_of::<*const c_void>() == 8);
    assert!(size_of::<Str>() == 16 && offset_of!(Str, len) == 8);
    assert!(size_of::<PvValue>() == 24 && offset_of!(PvValue, number) == 16);
    assert!(offset_of!(PvValue, flags) == 20);
    assert!(size_of::<ModuleExports>() == 184 && offset_of!(ModuleExports, kind) == 8);
    assert!(offset_of!(ModuleExports, version) == 16 && offset_of!(ModuleExports, compile_flags) == 24);
    assert!(offset_of!(ModuleExports, scm_type) == 32 && offset_of!(ModuleExports, scm_rev) == 40);
    assert!(offset_of!(ModuleExports, dlflags) == 48 && offset_of!(ModuleExports, load_f) == 56);
    assert!(offset_of!(ModuleExports, cmds) == 72 && offset_of!(ModuleExports, acmds) == 80);
    assert!(offset_of!(ModuleExports, params) == 88 && offset_of!(ModuleExports, mi_cmds) == 104);
    assert!(offset_of!(ModuleExports, procs) == 128 && offset_of!(ModuleExports, init_f) == 144);
    assert!(offset_of!(ModuleExports, destroy_f) == 160 && offset_of!(ModuleExports, init_child_f) == 168);
    assert!(offset_of!(ModuleExports, reload_ack_f) == 176);
    assert!(size_of::<CmdParam>() == 24 && offset_of!(CmdParam, fixup) == 8);
    assert!(size_of::<CmdExport>() == 240 && offset_of!(CmdExport, function) == 8);
    assert!(offset_of!(CmdExport, params) == 16 && offset_of!(CmdExport, flags) == 232);
    assert!(size_of::<AcmdExport>() == 232 && offset_of!(AcmdExport, params) == 16);
    assert!(size_of::<ParamExport>() == 24 && offset_of!(ParamExport, pointer) == 16);
    assert!(size_of::<ProcExport>() == 40 && offset_of!(ProcExport, function) == 24);
    assert!(offset_of!(ProcExport, how_many) == 32 && offset_of!(ProcExport, flags) == 36);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_version_has_its_layouts_and_no_other_has_any() {
        for (numbers, resume_param, timeout_s, mi_recipe_len) in [
            ((3, 4, 0), 8, None, 88),
            ((3, 4, 2), 8, None, 88),
            ((3, 4, 3), 8, Some(24), 88),
            ((3, 5, 0), 8, Some(24), 88),
            ((3, 6, 8), 8, Some(24), 88),
            ((4, 0, 1), 16, Some(32), 168),
        ] {
            let abi = Abi::of(numbers).unwrap();
            assert_eq!(abi.version, (numbers.0, numbers.1));
            let AsyncLayout { resume_name, timeout, .. } = abi.async_ctx;
            assert_eq!(abi.async_ctx.resume_param, resume_param);
            assert_eq!((abi.async_ctx.timeout_s, abi.mi_recipe_len), (timeout_s, mi_recipe_len));
            assert_eq!((timeout, resume_name.is_some()), (resume_param + 8, numbers.0 == 4));
        }
        for unknown in [(3, 3, 9), (3, 7, 0), (4, 1, 0), (5, 0, 0)] {
            assert_eq!(Abi::of(unknown), None);
        }
        assert_eq!(Abi::versions(), "3.4, 3.5, 3.6, 4.0");
    }
}
