//! The door that every call comes in through: the last error is cleared, panics end here, and a failure becomes a number
//! with a text.
//!
//! It refuses to print: the standard library would announce a panic on standard error, with whatever values its message has.

use super::last_error;
use super::status::{Failure, VOIP_PUSH_ERR_INTERNAL};
use crate::process;
use crate::service;
use crate::stats::Counter;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does the work of one exported function.
pub(super) fn entry(work: impl FnOnce() -> Result<i32, Failure>) -> i32 {
    keep_panics_quiet();
    last_error::clear();
    INSIDE.set(true);
    // What a panic leaves half done is behind locks that forgive poisoning, or in a database transaction that is rolled back.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(false);
    match done.unwrap_or_else(|_| Err(caught())) {
        Ok(number) => number,
        Err(failure) => {
            last_error::set(&failure.text);
            failure.status
        }
    }
}

/// A count as C gets it.
pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn caught() -> Failure {
    let at = PANICKED_AT.take().unwrap_or_else(|| "an unknown place".to_owned());
    log::error!("caught a panic at {at}; please report it");
    if let Some(service) = service::installed() {
        service.stats().count(Counter::Panics);
    }
    Failure::new(VOIP_PUSH_ERR_INTERNAL, format!("internal error: panic at {at}; please report it"))
}

/// Panics inside a call are remembered by their place, those of the library's own threads are logged by it; all others go
/// where they went before.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let at = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            if INSIDE.get() {
                PANICKED_AT.set(at);
            } else if process::is_quiet_thread() {
                log::error!("caught a panic at {}; please report it", at.unwrap_or_default());
            } else {
                before(info);
            }
        }));
    });
}
