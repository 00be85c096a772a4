//! The porches for SIP servers that load this library as a module: what they have in common, and the symbols by which a server
//! finds its module.
//!
//! It refuses to do anything in a program that is not a SIP server whose layouts are known: no output, no thread, no file.

mod awaited;
mod doubts;
mod elsewhere;
mod facts;
mod fresh;
mod kamailio;
mod last;
mod limiter;
mod note;
mod opensips;
mod parked;
mod remembered;
mod shown;
mod symbol;
mod table;
mod verbs;
mod waiting;

use crate::model::{Ended, Invalid};
use crate::service::{Error, Service, installed};
use crate::stats::Counter;
use last::Last;
use std::cell::UnsafeCell;
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Largest `struct module_exports` of the servers that we know, with room to spare.
const EXPORTS_LEN: usize = 512;

/// Memory that a server reads as its `struct module_exports`.
#[repr(C, align(16))]
struct Exports(UnsafeCell<[u8; EXPORTS_LEN]>);

// SAFETY: written by the constructor only, which runs before anybody can look it up; afterwards it belongs to the server.
unsafe impl Sync for Exports {}

/// The table that both Kamailio and OpenSIPS look up under this name, each with its own layout.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the servers' name for it")]
static exports: Exports = Exports(UnsafeCell::new([0; EXPORTS_LEN]));

/// The server version that the module was made for, which Kamailio compares with its own. Text of our own makes it print that
/// text and end.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "Kamailio's name for it")]
static module_version: AtomicPtr<c_char> =
    AtomicPtr::new(concat!("voip_push ", env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast_mut().cast());

/// The compile flags that the module was made for, compared likewise.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "Kamailio's name for it")]
static module_flags: AtomicPtr<c_char> = AtomicPtr::new(c"".as_ptr().cast_mut());

/// Runs when the library is loaded, before the server looks at any symbol of it.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

/// What a host's porch makes of the program that has loaded us.
enum Claim {
    /// Another program.
    NotMine,
    /// A Kamailio that we know: what it wants to see.
    Taken { version: CString, flags: CString },
    /// A Kamailio, but not one that we know; the text says why.
    Refused(String),
    /// An OpenSIPS: what it wants to see is in the table, even where that is a refusal.
    Filled,
}

/// Whether the module loads into a SIP server that calls itself so: `kamailio 5.6.3 (x86_64/linux)` or `opensips 3.6.8 (…)`.
///
/// # Errors
/// One line that says which versions it knows.
pub fn check_version(version: &str) -> Result<(), String> {
    if version.starts_with("opensips ") {
        return opensips::check_version(version);
    }
    kamailio::check_version(version)
}

extern "C" fn constructor() {
    // A panic must not leave a constructor; without a claim the server refuses the module by itself.
    let claim = catch_unwind(|| match kamailio::claim(&exports) {
        Claim::NotMine => opensips::claim(&exports),
        claim => claim,
    });
    match claim.unwrap_or(Claim::NotMine) {
        Claim::NotMine | Claim::Filled => {}
        Claim::Taken { version, flags } => stamp(version, flags),
        Claim::Refused(why) => stamp(CString::new(why).unwrap_or_default(), CString::default()),
    }
}

/// Puts the stamps in place; they are never freed, as the server keeps the pointers.
fn stamp(version: CString, flags: CString) {
    module_version.store(version.into_raw(), Ordering::Release);
    module_flags.store(flags.into_raw(), Ordering::Release);
}

impl Exports {
    /// Fills the table.
    ///
    /// # Safety
    /// Only from the constructor, and `T` is the `struct module_exports` of the server that has loaded us.
    unsafe fn fill<T>(&self, table: T) {
        const { assert!(size_of::<T>() <= EXPORTS_LEN && align_of::<T>() <= align_of::<Exports>()) };
        // SAFETY: large enough and aligned, as asserted; nobody else has the address yet.
        unsafe { ptr::write(self.0.get().cast::<T>(), table) };
    }
}

/// The one place where an error becomes the number that a routing script sees (design: "Script functions"). Never 0, which
/// would stop the script.
fn script_code(error: &Error) -> i32 {
    match error {
        Error::NoDevice => -1,
        Error::AllRejected(_) => -2,
        Error::NoAnswer(_) => -3,
        Error::CredentialRefused(_) => -4,
        Error::QueueFull | Error::SenderGone => -5,
        Error::Argument(_) | Error::TooManyDevices { .. } => -6,
        Error::Store(_) => -7,
        Error::Config(_) | Error::Internal(_) => INTERNAL,
    }
}

/// The number of an internal error.
const INTERNAL: i32 = -8;

/// The one argument that is never refused: how somebody calls themselves must not keep a phone from ringing.
const CALLER: &str = "caller";

/// The value of an argument as text; empty where a variable in the middle of a text has no value.
fn argument(name: &'static str, value: Vec<u8>) -> Result<String, Invalid> {
    /// What both servers print for such a variable.
    const NO_VALUE: &[u8] = b"<null>";
    if value == NO_VALUE {
        return Ok(String::new());
    }
    if name == CALLER {
        return Ok(String::from_utf8(value)
            .unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned()));
    }
    if value.contains(&0) {
        return Err(Invalid::new(name, "has a NUL byte"));
    }
    String::from_utf8(value).map_err(|_| Invalid::new(name, "is not valid UTF-8"))
}

/// Panics become lines of the log: the place only, as what a panic says may carry what it was about.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(at) => {
            log::error!("panic at {}:{}; this is a bug in voip_push, please report it", at.file(), at.line());
        }
        None => log::error!("panic at an unknown place; this is a bug in voip_push, please report it"),
    }));
}

/// What a server's initialising of its module comes to: 0, or -1 with a line in the log.
fn initialise(install_log: fn(), prepare: fn() -> Result<(), String>) -> c_int {
    panic_caught(-1, || {
        install_log();
        match prepare() {
            Ok(()) => 0,
            Err(why) => {
                ::log::error!("{why}");
                -1
            }
        }
    })
}

/// Runs what a server asked for, so that no panic reaches the server: it would end, and with it everybody's calls. The panic hook
/// has logged where it was.
fn panic_caught<T>(or: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        if let Some(service) = installed() {
            service.stats().count(Counter::Panics);
        }
        or
    })
}

/// Runs one script function: its number goes back to the script, the rest into `$push(...)`, and what went wrong is one line of
/// the log.
fn script_function(name: &str, verb: impl FnOnce(&Service) -> Result<Last, Error>) -> i32 {
    let not_ready = || Error::Internal("voip_push was not initialised".to_owned());
    let run = || installed().ok_or_else(not_ready).and_then(verb);
    let done = panic_caught(Err(Error::Internal("a panic was caught".to_owned())), run);
    let last = done.unwrap_or_else(|error| {
        log_failure(name, &error);
        Last::of_error(script_code(&error), &error)
    });
    let code = last.code;
    last::set(last);
    code
}

/// A call that this machine may have pushed for has ended at another one: its devices are told. In the sender's process.
fn cancel_for_others(service: &Service, user: &str, call_id: &str, ended: Ended) {
    let done = panic_caught(Ok(0), || service.cancel(user, call_id, ended.as_str()));
    if let Err(error) = done {
        log_failure("the devices of a call that has ended at another machine are not told", &error);
    }
}

/// How loud a failure is: a user without a device is an everyday thing, a store that is gone is not.
fn log_failure(name: &str, error: &Error) {
    let level = match error {
        Error::NoDevice => log::Level::Debug,
        // The server's log says once that the engine is away, or refuses us.
        Error::Store(why) if why.is_told() => log::Level::Debug,
        Error::Argument(_)
        | Error::TooManyDevices { .. }
        | Error::AllRejected(_)
        | Error::NoAnswer(_)
        | Error::CredentialRefused(_)
        | Error::QueueFull
        | Error::SenderGone => log::Level::Warn,
        Error::Store(_) | Error::Config(_) | Error::Internal(_) => log::Level::Error,
    };
    log::log!(level, "{name}: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Report;

    #[test]
    fn every_error_has_its_number_and_none_stops_the_script() {
        let numbers = [
            (Error::NoDevice, -1),
            (Error::AllRejected(Report::default()), -2),
            (Error::NoAnswer(Report::default()), -3),
            (Error::CredentialRefused(Report::default()), -4),
            (Error::QueueFull, -5),
            (Error::SenderGone, -5),
            (Error::Argument(Invalid::new("user", "is empty")), -6),
            (Error::TooManyDevices { limit: 20 }, -6),
            (Error::Internal(String::new()), -8),
        ];
        for (error, number) in numbers {
            assert_eq!(script_code(&error), number, "{error}");
        }
    }

    #[test]
    fn a_panic_is_caught_and_becomes_an_internal_error() {
        assert_eq!(panic_caught(INTERNAL, || panic!("as a test")), -8);
    }

    #[test]
    fn an_argument_is_text_or_is_refused_by_name() {
        assert_eq!(argument("user", b"alice".to_vec()), Ok("alice".to_owned()));
        assert_eq!(argument("user", b"<null>".to_vec()), Ok(String::new()));
        assert_eq!(argument("user", b"al\0ice".to_vec()).unwrap_err().to_string(), "user: has a NUL byte");
        assert_eq!(argument(CALLER, b"Al\xeec\0e".to_vec()), Ok("Al\u{fffd}c\0e".to_owned()));
        assert_eq!(argument("user", vec![0xff]).unwrap_err().to_string(), "user: is not valid UTF-8");
    }

    #[test]
    fn nothing_is_claimed_in_a_program_that_is_no_sip_server() {
        assert!(matches!(kamailio::claim(&exports), Claim::NotMine));
        assert!(matches!(opensips::claim(&exports), Claim::NotMine));
    }
}
