//! Starting, changing while it runs, and ending: `voip_push_init`, `voip_push_reload`, `voip_push_log_level` and `voip_push_shutdown`.
//!
//! It refuses to be needed: every other function starts the library by itself.

use super::guard::entry;
use super::instance;
use super::pointers::InText;
use super::status::{Failure, VOIP_PUSH_ERR_BAD_ARGUMENT, VOIP_PUSH_OK};
use std::path::Path;

/// Reads the configuration and the keys that it names, prepares the token store, and makes
/// the counters that this process and its children share. It starts no thread and leaves no
/// file or connection open, so it is safe to fork afterwards.
///
/// path is the configuration file. NULL means the file that the environment variable
/// VOIP_PUSH_CONFIG names or, where that is missing or empty,
/// /etc/voip-push/voip-push.toml.
///
/// Returns VOIP_PUSH_OK.
///
/// Ownership: path stays yours and is not kept.
/// Threads: any; of two calls at once, one gets ALREADY_INITIALISED.
/// Fork: call it before you fork; children use what it made and need no call of their own.
/// Blocks: on files, for some milliseconds.
/// Errors: CONFIG, ALREADY_INITIALISED, INVALID_UTF8, BAD_ARGUMENT (path is empty),
/// INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn voip_push_init(path: InText) -> i32 {
    entry(|| {
        instance::init(file(&path)?)?;
        Ok(VOIP_PUSH_OK)
    })
}

/// The path that was passed, if there was one.
fn file(path: &InText) -> Result<Option<&Path>, Failure> {
    let path = path.optional("path")?;
    if path == Some("") {
        let why = "path: is empty; pass NULL for the default";
        return Err(Failure::new(VOIP_PUSH_ERR_BAD_ARGUMENT, why));
    }
    Ok(path.map(Path::new))
}

/// Reads the configuration and the keys that it names again and puts them in force, in this
/// process and in all that were forked since the library started. All of it is checked
/// first; where something is wrong, everything stays as it was. Pushes under way end as they
/// began, and connections to a provider stay where its key does. A new [store] takes
/// effect only after voip_push_shutdown and voip_push_init; the log says so.
///
/// path is the configuration file. NULL means the one in force. Where the library is not
/// running it starts, with path as voip_push_init takes it.
///
/// Returns VOIP_PUSH_OK.
///
/// Ownership: path stays yours and is not kept.
/// Threads: any; of two calls at once, in whichever processes, one gets CONFIG.
/// Fork: the others take the new settings over with their next call.
/// Blocks: on files, for some milliseconds.
/// Errors: CONFIG, INVALID_UTF8, BAD_ARGUMENT (path is empty), INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn voip_push_reload(path: InText) -> i32 {
    entry(|| {
        instance::reload(file(&path)?)?;
        Ok(VOIP_PUSH_OK)
    })
}

/// Changes how much is logged, in this process and in all that were forked since the library
/// started, until the next voip_push_reload: "off", "error", "warn", "info", "debug" or
/// "trace". It goes before the configuration and before VOIP_PUSH_LOG. Where the program has
/// a logger of its own for Rust's log crate, nothing changes.
///
/// Returns VOIP_PUSH_OK.
///
/// Ownership: level stays yours and is not kept.
/// Threads: any.
/// Fork: the others follow with their next call.
/// Blocks: never, but as voip_push_init where the library is not running yet.
/// Errors: NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT (it is no level), CONFIG (a reload is
/// under way), INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn voip_push_log_level(level: InText) -> i32 {
    entry(|| {
        let level = level.text("level")?;
        instance::get()?.set_log_level(level)?;
        Ok(VOIP_PUSH_OK)
    })
}

/// Ends what this process started: pushes under way get up to call.wait_ms to be answered,
/// then the thread that sends ends and the token store is closed. voip_push_init may follow,
/// also with another file; any other call starts the library again by itself. Some
/// kilobytes stay allocated for each pair of init and shutdown, so this is for the end of a
/// program and not for every call.
///
/// Returns VOIP_PUSH_OK, also where nothing was running.
///
/// Ownership: nothing is passed.
/// Threads: any, when the others have come back from their calls. One that is still inside a
/// call stays safe, but may start a part of the library again.
/// Fork: ends what this very process started; its parent and children are not touched.
/// Blocks: up to call.wait_ms.
/// Errors: INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn voip_push_shutdown() -> i32 {
    entry(|| {
        instance::shutdown();
        Ok(VOIP_PUSH_OK)
    })
}
