//! Our log lines in Kamailio's log: its level, its prefix, its destination.
//!
//! It refuses lines of the libraries that we use (they may carry what must not be in a log) and lines that are more than one.

use super::symbols::{Core, LogData, core};
use crate::host::log_panics;
use crate::model::clean_line;
use log::{Level, LevelFilter, Metadata, Record};
use std::ffi::{CStr, CString, c_int};
use std::io::Write;
use std::sync::Once;

const MODULE: &CStr = c"voip_push";
const PREFIX: &CStr = c"voip_push: ";
/// Longest line, in bytes; Kamailio's own destinations cut at about this length.
const MAX_LINE_LEN: usize = 2048;

/// From here on our log lines and panics go to Kamailio's log. Any number of calls.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if log::set_logger(&KamailioLog).is_ok() {
            log::set_max_level(LevelFilter::Info);
        }
        log_panics();
    });
}

struct KamailioLog;

impl log::Log for KamailioLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let ours = target == "voip_push" || target.starts_with("voip_push::");
        ours && host_shows(metadata.level())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = clean_line(&record.args().to_string(), MAX_LINE_LEN);
            write_on_this_thread(core(), &host_level(record.level()), &line, record.line());
        }
    }

    fn flush(&self) {}
}

fn host_shows(level: Level) -> bool {
    // SAFETY: a NUL-terminated name and its length; the function only reads Kamailio's settings.
    unsafe {
        (core().get_debug_level)(MODULE.as_ptr(), MODULE.count_bytes() as c_int) >= host_level(level).number
    }
}

/// Whether Kamailio shows all lines of this level.
pub fn is_shown(level: LevelFilter) -> bool {
    level.to_level().is_none_or(host_shows)
}

/// A level as Kamailio has it (dprint.h).
struct HostLevel {
    number: c_int,
    name: &'static CStr,
    syslog: c_int,
}

fn host_level(level: Level) -> HostLevel {
    let (number, name, syslog) = match level {
        Level::Error => (-1, c"ERROR", libc::LOG_ERR),
        Level::Warn => (0, c"WARNING", libc::LOG_WARNING),
        Level::Info => (2, c"INFO", libc::LOG_INFO),
        Level::Debug | Level::Trace => (3, c"DEBUG", libc::LOG_DEBUG),
    };
    HostLevel { number, name, syslog }
}

fn write_on_this_thread(core: &Core, level: &HostLevel, line: &str, at: Option<u32>) {
    // SAFETY: gettid has no preconditions.
    if unsafe { libc::gettid() } != std::process::id().cast_signed() {
        return write(core, level, "", line, at);
    }
    if let Some(_critical) = Critical::enter(core) {
        write(core, level, &host_prefix(core), line, at);
    }
}

/// Kamailio's guard of its log against its own signal handlers: a plain counter. The handlers run on the first thread only (ours
/// block signals), and a second thread's `++` could leave the counter up for ever, which would silence Kamailio; so it is
/// for the first thread alone.
struct Critical(*mut c_int);

impl Critical {
    /// `None` where a signal has interrupted another line.
    fn enter(core: &Core) -> Option<Critical> {
        // SAFETY: Kamailio's variable, on the one thread that uses it; volatile since a signal handler looks at it.
        unsafe {
            let is_free = core.dprint_crit.read_volatile() == 0;
            is_free.then(|| core.dprint_crit.write_volatile(1))?;
        }
        Some(Critical(core.dprint_crit))
    }
}

impl Drop for Critical {
    fn drop(&mut self) {
        // SAFETY: as in `enter`; it was 0 before, and nobody else counts on this thread.
        unsafe { self.0.write_volatile(0) };
    }
}

/// The administrator's `log_prefix` for the message in hand.
fn host_prefix(core: &Core) -> String {
    // SAFETY: Kamailio's `str *log_prefix_val`, null or text that is valid as long as the first thread does not leave the message.
    let bytes = unsafe {
        match (*core.log_prefix_val).as_ref() {
            Some(prefix) if !prefix.s.is_null() => {
                std::slice::from_raw_parts(prefix.s.cast::<u8>(), usize::try_from(prefix.len).unwrap_or(0))
            }
            _ => &[],
        }
    };
    String::from_utf8_lossy(bytes).into_owned()
}

/// The three ways of LOG_FX in dprint.h.
fn write(core: &Core, level: &HostLevel, prefix: &str, line: &str, at: Option<u32>) {
    // SAFETY: Kamailio's variables, set before there is a second thread.
    let (structured, to_stderr, to_syslog) =
        unsafe { (*core._ksr_slog_func, *core.log_stderr != 0, *core._km_log_func) };
    if let Some(structured) = structured {
        return write_structured(core, structured, level, line, at);
    }
    if to_stderr {
        // SAFETY: as above; it is a number that each process sets once.
        let process_no = unsafe { *core.process_no };
        let name = level.name.to_string_lossy();
        let whole = format!("{process_no:2}({}) {name}: {prefix}voip_push: {line}\n", std::process::id());
        // One write, so that lines of several processes stay lines; nobody can be told that stderr is closed.
        let _ = std::io::stderr().write_all(whole.as_bytes());
    } else if let Some(log) = to_syslog
        && let Ok(text) = CString::new(format!("{prefix}voip_push: {line}"))
    {
        // SAFETY: as syslog(3), with two strings for the format's two.
        unsafe {
            log(level.syslog | facility(core), c"%s: %s\n".as_ptr(), level.name.as_ptr(), text.as_ptr())
        };
    }
}

fn write_structured(
    core: &Core,
    log: super::symbols::StructuredLog,
    level: &HostLevel,
    line: &str,
    at: Option<u32>,
) {
    let Ok(text) = CString::new(line) else { return };
    let data = LogData {
        facility: level.syslog | facility(core),
        level: level.number,
        level_name: level.name.as_ptr(),
        file: MODULE.as_ptr(),
        line: at.and_then(|line| c_int::try_from(line).ok()).unwrap_or(0),
        module: MODULE.as_ptr(),
        function: c"".as_ptr(),
        prefix: PREFIX.as_ptr(),
        pid: 0,
        process_no: 0,
    };
    // SAFETY: the structure of dprint.h, valid during the call, and one string for the format's one.
    unsafe { log(&raw const data, c"%s\n".as_ptr(), text.as_ptr()) };
}

fn facility(core: &Core) -> c_int {
    // SAFETY: a NUL-terminated name and its length; the function only reads Kamailio's settings.
    unsafe { (core.get_debug_facility)(MODULE.as_ptr(), MODULE.count_bytes() as c_int) }
}
