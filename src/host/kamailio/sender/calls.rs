//! The calls that wait or ring, as the sender's process has them.
//!
//! It refuses to guess for other processes: there it knows of none.

use super::{followed, tell};
use crate::host::note::{CallId, Note};
use crate::host::parked::Parked;
use std::cell::{OnceCell, RefCell};

thread_local! {
    static PARKED: OnceCell<RefCell<Parked>> = const { OnceCell::new() };
}

/// This is the sender's process, and these are its calls.
pub(super) fn begin(parked: Parked) {
    PARKED.with(|place| place.get_or_init(|| RefCell::new(parked)).borrow().due());
}

/// Does something with them, in the sender's process.
pub(super) fn with<T>(work: impl FnOnce(&mut Parked) -> T) -> T {
    PARKED.with(|place| work(&mut place.get().expect("run() has set it before the loop began").borrow_mut()))
}

/// Whether a call is watched already, as far as this process knows.
pub fn knows(id: CallId) -> bool {
    followed::is_followed(id) || is_listed(id)
}

/// Whether a call is on its user's list already, as far as this process knows: only the sender's does.
pub fn is_listed(id: CallId) -> bool {
    PARKED.with(|parked| parked.get().is_some_and(|parked| parked.borrow().knows(id)))
}

/// Whether a call went to a contact already, as far as this process knows: only the sender's does.
pub fn was_rung(id: CallId, contact: &str) -> bool {
    let is_it = |note: &Note| matches!(note, Note::Rung { id: its, contact: other } if *its == id && other == contact);
    tell::has_told_itself(is_it)
        || PARKED.with(|parked| parked.get().is_some_and(|parked| parked.borrow().was_rung(id, contact)))
}
