//! The porches for SIP servers that load this library as a module: what they have in common, and the symbols by which a server
//! finds its module.
//!
//! It refuses to do anything in a program that is not a SIP server whose layouts are known: no output, no thread, no file.

mod kamailio;
mod last;
mod limiter;
mod note;
mod parked;
mod remembered;
mod verbs;
mod waiting;

use crate::service::{Error, Service, installed};
use crate::stats::Counter;
use last::Last;
use std::cell::UnsafeCell;
use std::ffi::{CString, c_char};
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
    /// A server that we know: what it wants to see.
    Taken { version: CString, flags: CString },
    /// That server, but not one that we know; the text says why.
    Refused(String),
}

extern "C" fn constructor() {
    // A panic must not leave a constructor; without a claim the server refuses the module by itself.
    let claim = catch_unwind(|| kamailio::claim(&exports)).unwrap_or(Claim::NotMine);
    match claim {
        Claim::NotMine => {}
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

/// How loud a failure is: a user without a device is an everyday thing, a store that is gone is not.
fn log_failure(name: &str, error: &Error) {
    let level = match error {
        Error::NoDevice => log::Level::Debug,
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
    use crate::model::{Invalid, Report};

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
    fn nothing_is_claimed_in_a_program_that_is_no_sip_server() {
        assert!(matches!(kamailio::claim(&exports), Claim::NotMine));
    }
}
