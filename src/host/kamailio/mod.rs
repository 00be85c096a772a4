//! The Kamailio module: recognises its host, hands it the tables, and runs where Kamailio's life cycle lets it.
//!
//! It refuses Kamailio versions whose layouts it does not know, and to start anything before Kamailio has forked.

mod arguments;
mod awaits;
mod contacts;
mod counters;
mod dialogs;
mod functions;
mod http;
mod late;
mod layout;
mod line;
mod log;
mod park;
mod pseudo;
mod pushes;
mod reach;
mod registrar;
mod rpc;
mod sender;
mod stamp;
mod symbols;
mod tm;

pub use stamp::check as check_version;

use super::{Claim, Exports, initialise, panic_caught};
use crate::host::table::Table;
use crate::service::{self, Service};
use layout::{ModuleExports, PARAM_STRING, ParamExport};
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Looks whether this program is a Kamailio that we know, and if so fills its table.
pub fn claim(table: &Exports) -> Claim {
    let Some(version) = stamp::running_version() else { return Claim::NotMine };
    if let Err(why) = stamp::check(&version) {
        return Claim::Refused(why);
    }
    let core = match symbols::Core::find() {
        Ok(core) => core,
        Err(name) => {
            let ours = env!("CARGO_PKG_VERSION");
            return Claim::Refused(format!(
                "voip_push {ours} needs the symbol {name}, which this '{version}' does not have"
            ));
        }
    };
    let Ok(version_text) = std::ffi::CString::new(version.as_str()) else { return Claim::NotMine };
    symbols::keep(core);
    // SAFETY: this is the constructor, and the program is a Kamailio whose layout this is.
    unsafe { table.fill(module_exports()) };
    Claim::Taken { version: version_text, flags: stamp::flags(&version) }
}

fn module_exports() -> ModuleExports {
    ModuleExports {
        name: c"voip_push".as_ptr(),
        dlflags: 0,
        cmds: functions::TABLE.first(),
        params: PARAMS.first(),
        rpc_methods: rpc::RPC.first(),
        pv_items: pseudo::CLASS.first(),
        response_f: ptr::null(),
        init_mod_f: Some(mod_init),
        init_child_f: Some(child_init),
        // Kamailio ends its workers with _exit; nothing in the first process is ours to end.
        destroy_mod_f: None,
    }
}

/// Where the configuration is when nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/voip-push/voip-push.toml";

/// `modparam("voip_push", "config", "/path")`; Kamailio keeps the text.
static CONFIG: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());

/// `modparam("voip_push", "location", "location")`: the registrar's table, for further phones of a call that rings.
static LOCATION: AtomicPtr<c_char> = AtomicPtr::new(c"location".as_ptr().cast_mut());

/// That table's name.
fn location_table() -> &'static CStr {
    // SAFETY: our own text, or the parser's, which stays as long as Kamailio runs.
    unsafe { CStr::from_ptr(LOCATION.load(Ordering::Acquire)) }
}

static PARAMS: Table<[ParamExport; 3]> = Table::new([
    ParamExport {
        name: c"location".as_ptr(),
        kind: PARAM_STRING,
        pointer: LOCATION.as_ptr().cast_const().cast(),
    },
    ParamExport {
        name: c"config".as_ptr(),
        kind: PARAM_STRING,
        pointer: CONFIG.as_ptr().cast_const().cast(),
    },
    ParamExport { name: ptr::null(), kind: 0, pointer: ptr::null() },
]);

/// Once, in the process that will fork, while the operator is looking. `kamailio -c` does not come here.
extern "C" fn mod_init() -> c_int {
    initialise(log::install, prepare)
}

fn prepare() -> Result<(), String> {
    functions::this_process_will_fork();
    pseudo::learn_layout()?;
    let file = config_file();
    let service = Service::prepare(&file).map_err(|error| error.to_string())?;
    ::log::set_max_level(service.settings().log_level);
    park::prepare()?;
    awaits::prepare()?;
    reach::prepare()?;
    late::prepare()?;
    sender::plan(&service)?;
    counters::register(service::install(service));
    ::log::info!("voip_push {} is ready with {}", env!("CARGO_PKG_VERSION"), file.display());
    Ok(())
}

fn config_file() -> PathBuf {
    let text = CONFIG.load(Ordering::Acquire);
    if text.is_null() {
        return PathBuf::from(DEFAULT_CONFIG);
    }
    // SAFETY: the parser has put a C string there and keeps it while Kamailio starts.
    let text = unsafe { CStr::from_ptr(text) };
    Path::new(OsStr::from_bytes(text.to_bytes())).to_owned()
}

/// In each process as it starts; in the first one, so that it forks the sender's. Nothing is opened but a worker's way to a shared
/// token store: the service opens what it needs in the worker that first uses it.
extern "C" fn child_init(rank: c_int) -> c_int {
    panic_caught(-1, || {
        if rank == FIRST_PROCESS {
            return sender::fork();
        }
        if rank > 0 {
            functions::this_process_is_a_worker();
            if let Some(service) = service::installed() {
                service.reach_store();
            }
        }
        // Before the workers are forked, Kamailio asks the first process once as if it were one.
        if rank != BEFORE_FORKS {
            sender::this_is_another_process();
        }
        0
    })
}

/// `PROC_MAIN`.
const FIRST_PROCESS: c_int = 0;
/// `PROC_INIT`.
const BEFORE_FORKS: c_int = -127;
