//! Our log lines in OpenSIPS' log: its level, its prefix, its destinations and formats.
//!
//! It refuses lines of the libraries that we use (they may carry what must not be in a log) and lines that are more than one.

use super::symbols::{Core, core};
use crate::host::log_panics;
use crate::model::clean_line;
use log::{Level, LevelFilter, Metadata, Record};
use std::ffi::{CStr, CString, c_char, c_int};
use std::io::Write;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;

/// Longest line, in bytes; OpenSIPS' own buffers have twice that.
const MAX_LINE_LEN: usize = 2048;

/// From here on our log lines and panics go to OpenSIPS' log. Any number of calls.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if log::set_logger(&OpensipsLog).is_ok() {
            log::set_max_level(LevelFilter::Info);
        }
        log_panics();
    });
}

struct OpensipsLog;

impl log::Log for OpensipsLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let ours = target == "voip_push" || target.starts_with("voip_push::");
        ours && host_shows(metadata.level())
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = clean_line(&record.args().to_string(), MAX_LINE_LEN);
            write(core(), &host_level(record.level()), &line);
        }
    }

    fn flush(&self) {}
}

fn host_shows(level: Level) -> bool {
    // SAFETY: OpenSIPS' variable; it points to a number at all times.
    unsafe { core().log_level.read().read() >= host_level(level).number }
}

/// Whether OpenSIPS shows all lines of this level.
pub fn is_shown(level: LevelFilter) -> bool {
    level.to_level().is_none_or(host_shows)
}

/// A level as OpenSIPS has it (dprint.h), with the formats that its macros put together: for stderr, and for syslog.
struct HostLevel {
    number: c_int,
    name: &'static str,
    stderr_format: &'static CStr,
    syslog_format: &'static CStr,
    syslog: c_int,
}

macro_rules! level {
    ($number:expr, $name:literal, $syslog:expr) => {
        HostLevel {
            number: $number,
            name: $name,
            stderr_format: as_c_str(concat!("%s [%d] %s", $name, ":voip_push: %s\n\0")),
            syslog_format: as_c_str(concat!("%s", $name, ":voip_push: %s\n\0")),
            syslog: $syslog,
        }
    };
}

const fn as_c_str(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => c"",
    }
}

fn host_level(level: Level) -> HostLevel {
    match level {
        Level::Error => level!(-1, "ERROR", libc::LOG_ERR),
        Level::Warn => level!(1, "WARNING", libc::LOG_WARNING),
        Level::Info => level!(3, "INFO", libc::LOG_INFO),
        Level::Debug | Level::Trace => level!(4, "DBG", libc::LOG_DEBUG),
    }
}

fn write(core: &Core, level: &HostLevel, line: &str) {
    let Ok(text) = CString::new(line) else { return };
    // SAFETY: gettid has no preconditions.
    let is_first_thread = unsafe { libc::gettid() } == std::process::id().cast_signed();
    if is_first_thread { write_with_host(core, level, &text) } else { write_alone(core, level, &text) }
}

/// As OpenSIPS' own macros do it, so that all its destinations and formats have the line.
fn write_with_host(core: &Core, level: &HostLevel, text: &CStr) {
    let (time, pid) = (time_of_day(), std::process::id().cast_signed());
    // SAFETY: on OpenSIPS' own thread; a time, a number, and a prefix before the text, as the formats and its destinations want
    // them. Without the name of a function nothing else is taken.
    unsafe {
        let (prefix, facility) = (core.log_prefix.read(), core.log_facility.read());
        let (module, function) = (c"voip_push".as_ptr(), ptr::null::<c_char>());
        let (stderr, syslog) = (level.stderr_format.as_ptr(), level.syslog_format.as_ptr());
        let format = c"%s\n".as_ptr();
        (core.dprint)(
            level.number,
            facility,
            module,
            function,
            stderr,
            syslog,
            format,
            time.as_ptr(),
            pid,
            prefix,
            text.as_ptr(),
        );
    }
}

/// On a thread of our own, where nothing of OpenSIPS may be called.
fn write_alone(core: &Core, level: &HostLevel, text: &CStr) {
    let (name, pid) = (level.name, std::process::id());
    // SAFETY: OpenSIPS' settings, which no longer change once there are threads of ours, and formats with what they want.
    unsafe {
        if core.stderr_enabled.read() != 0 {
            let time = time_of_day();
            let (time, text) = (time.to_string_lossy(), text.to_string_lossy());
            let whole = format!("{time} [{pid}] {name}:voip_push: {text}\n");
            // One write, so that lines of several processes stay lines; nobody can be told that stderr is closed.
            let _ = std::io::stderr().write_all(whole.as_bytes());
        }
        if core.syslog_enabled.read() != 0 {
            let priority = level.syslog | core.log_facility.read();
            libc::syslog(priority, level.syslog_format.as_ptr(), c"".as_ptr(), text.as_ptr());
        }
    }
}

/// `Nov 22 18:34:16`, as OpenSIPS prints it.
fn time_of_day() -> CString {
    let mut text = [0_u8; 32];
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: `localtime_r` fills `parts` or gives null, and `strftime` writes at most the length that it is told.
    let len = unsafe {
        let now = libc::time(ptr::null_mut());
        if libc::localtime_r(&raw const now, parts.as_mut_ptr()).is_null() {
            return CString::default();
        }
        libc::strftime(text.as_mut_ptr().cast(), text.len(), c"%b %e %T".as_ptr(), parts.as_ptr())
    };
    CString::new(&text[..len]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_put_together_as_opensips_does_it() {
        let level = host_level(Level::Warn);
        assert_eq!(level.stderr_format, c"%s [%d] %sWARNING:voip_push: %s\n");
        assert_eq!(level.syslog_format, c"%sWARNING:voip_push: %s\n");
        assert_eq!(time_of_day().to_bytes().len(), "Nov 22 18:34:16".len());
    }
}
