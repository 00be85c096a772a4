//! The one service of this process: made by `voip_push_init`, or on first use from `VOIP_PUSH_CONFIG`.
//!
//! It refuses to remember a failure: the next call tries again, so that a corrected file is enough.

use super::logger;
use super::status::{Failure, VOIP_PUSH_ERR_ALREADY_INITIALISED};
use crate::process::PerProcess;
use crate::service::{self, Service};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Names the configuration file when nobody passes one.
const VARIABLE: &str = "VOIP_PUSH_CONFIG";
/// The file when the variable is missing or empty.
const DEFAULT_FILE: &str = "/etc/voip-push/voip-push.toml";

/// The service, made now if it is not there.
pub(super) fn get() -> Result<&'static Service, Failure> {
    if let Some(service) = service::installed() {
        return Ok(service);
    }
    exclusively(|| match service::installed() {
        Some(service) => Ok(service),
        None => make(&configured_file()),
    })
}

/// Makes the service from this file, or from the one that the environment names.
pub(super) fn init(file: Option<&Path>) -> Result<(), Failure> {
    exclusively(|| match service::installed() {
        Some(_) => Err(Failure::new(
            VOIP_PUSH_ERR_ALREADY_INITIALISED,
            "voip_push is already running; call voip_push_shutdown before another voip_push_init",
        )),
        None => make(&file.map_or_else(configured_file, Path::to_owned)).map(|_| ()),
    })
}

/// Has the service read this file again, or the one in force; makes it where there is none.
pub(super) fn reload(file: Option<&Path>) -> Result<(), Failure> {
    match service::installed() {
        Some(service) => service.reload(file).map(|_| ()).map_err(Failure::from),
        None => init(file),
    }
}

/// Takes the service away and ends what it started; pushes under way get as long as a caller would wait for them.
pub(super) fn shutdown() {
    exclusively(|| {
        if let Some(service) = service::uninstall() {
            service.stop(service.settings().wait);
        }
    });
}

fn make(file: &Path) -> Result<&'static Service, Failure> {
    logger::start();
    let service = Service::prepare_logging(file, logger::apply)?;
    logger::apply(service.log_level());
    Ok(service::install(service))
}

fn configured_file() -> PathBuf {
    let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
    PathBuf::from(named.unwrap_or_else(|| DEFAULT_FILE.into()))
}

/// One thread at a time. The lock belongs to the process, so a child never waits for a thread that it does not have.
fn exclusively<T>(work: impl FnOnce() -> T) -> T {
    static LOCK: PerProcess<Mutex<()>> = PerProcess::new();
    let Ok(lock): Result<Arc<_>, Infallible> = LOCK.get_or_try_make(|| Ok(Mutex::new(())));
    let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}
