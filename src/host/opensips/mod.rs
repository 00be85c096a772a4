//! The OpenSIPS module: recognises its host, hands it the tables, and runs where OpenSIPS' life cycle lets it.
//!
//! It refuses OpenSIPS versions whose layouts it does not know, and to start anything before OpenSIPS has forked.

mod arguments;
mod body;
mod event;
mod functions;
mod later;
mod layout;
mod log;
mod mi;
mod refresh;
mod sender;
mod stamp;
mod statistics;
mod symbols;

use super::{Claim, Exports, initialise, panic_caught};
use crate::host::table::Table;
use crate::service::{self, Service};
use layout::{Abi, MODULE_KIND, ModuleExports, PARAM_TEXT, ParamExport};
use stamp::{INSIST, Stamps};
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The layouts of the OpenSIPS that has loaded us.
static ABI: OnceLock<Abi> = OnceLock::new();

/// Whether the layouts of this version are known, and if not, what to say.
pub fn check_version(version: &str) -> Result<(), String> {
    stamp::check(version, None).map(|_| ())
}

/// Looks whether this program is an OpenSIPS, and fills its table: with our tables, or with the reason why not in the place of the
/// version, which OpenSIPS prints beside its own before it ends.
pub fn claim(table: &Exports) -> Claim {
    let Some((stamps, version)) = stamp::of_this_program() else { return Claim::NotMine };
    let exports = match accept(&version) {
        Ok(abi) => ModuleExports { mi_cmds: mi::table(abi), ..module_exports(&stamps) },
        Err(why) => {
            // OpenSIPS keeps the pointer, so the text is never freed.
            let why = CString::new(why).unwrap_or_default().into_raw();
            module_exports(&Stamps { version: why, ..stamps })
        }
    };
    // SAFETY: this is the constructor, and the program is an OpenSIPS; where its layouts are not known, it reads no more than the
    // version and ends.
    unsafe { table.fill(exports) };
    Claim::Filled
}

fn accept(version: &str) -> Result<&'static Abi, String> {
    let insisted = std::env::var(INSIST).ok();
    let abi = stamp::check(version, insisted.as_deref())?;
    let core = symbols::Core::find().map_err(|name| {
        let ours = env!("CARGO_PKG_VERSION");
        format!("voip_push {ours} needs the symbol {name}, which this '{version}' does not have")
    })?;
    symbols::keep(core);
    Ok(ABI.get_or_init(|| abi))
}

/// The layouts of the OpenSIPS that has loaded us.
fn abi() -> &'static Abi {
    ABI.get()
        .expect("OpenSIPS only calls a module that it has accepted, and the layouts are known before that")
}

fn module_exports(stamps: &Stamps) -> ModuleExports {
    ModuleExports {
        name: c"voip_push".as_ptr(),
        kind: MODULE_KIND,
        version: stamps.version,
        compile_flags: stamps.compile_flags,
        scm_type: stamps.scm_type,
        scm_rev: stamps.scm_rev,
        dlflags: 0,
        load_f: None,
        deps: ptr::null(),
        cmds: functions::TABLE.first(),
        acmds: later::TABLE.first(),
        params: PARAMS.first(),
        stats: ptr::null(),
        mi_cmds: ptr::null(),
        items: ptr::null(),
        trans: ptr::null(),
        procs: sender::PROCESSES.first(),
        preinit_f: None,
        init_f: Some(mod_init),
        response_f: ptr::null(),
        // Nothing in the first process is ours to end.
        destroy_f: None,
        init_child_f: Some(child_init),
        reload_ack_f: None,
    }
}

/// Where the configuration is when nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/voip-push/voip-push.toml";

/// `modparam("voip_push", "config", "/path")`; OpenSIPS keeps the text.
static CONFIG: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());

static PARAMS: Table<[ParamExport; 2]> = Table::new([
    ParamExport { name: c"config".as_ptr(), kind: PARAM_TEXT, pointer: CONFIG.as_ptr().cast_const().cast() },
    ParamExport { name: ptr::null(), kind: 0, pointer: ptr::null() },
]);

/// Once, in the process that will fork, while the operator is looking.
extern "C" fn mod_init() -> c_int {
    initialise(log::install, prepare)
}

fn prepare() -> Result<(), String> {
    let file = config_file();
    let service = Service::prepare(&file).map_err(|error| error.to_string())?;
    ::log::set_max_level(service.settings().log_level);
    service.plan_sender_process().map_err(|error| error.to_string())?;
    event::publish()?;
    body::prepare()?;
    statistics::register(service::install(service));
    let (major, minor) = abi().version;
    ::log::info!(
        "voip_push {} is ready with {}, with the layouts of OpenSIPS {major}.{minor}",
        env!("CARGO_PKG_VERSION"),
        file.display()
    );
    Ok(())
}

fn config_file() -> PathBuf {
    let text = CONFIG.load(Ordering::Acquire);
    if text.is_null() {
        return PathBuf::from(DEFAULT_CONFIG);
    }
    // SAFETY: the parser has put a C string there and keeps it while OpenSIPS starts.
    let text = unsafe { CStr::from_ptr(text) };
    Path::new(OsStr::from_bytes(text.to_bytes())).to_owned()
}

/// In each process as it starts. Nothing is opened but a worker's way to a shared token store: the service opens what it needs in the worker
/// that first uses it.
extern "C" fn child_init(rank: c_int) -> c_int {
    panic_caught(-1, || {
        if rank > 0
            && let Some(service) = service::installed()
        {
            service.reach_store();
        }
        sender::this_is_another_process();
        0
    })
}
