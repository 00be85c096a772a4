//! What the sender's process is told, from whichever process.
//!
//! It refuses to run a route while another one is run: what the process tells itself waits until that has ended.

use super::followed;
use crate::host::note::Note;
use crate::service::{Error, installed};
use std::cell::RefCell;
use std::collections::VecDeque;

thread_local! {
    /// What the sender's process has told itself, while a route was run in it.
    static TOLD_ITSELF: RefCell<VecDeque<Note>> = const { RefCell::new(VecDeque::new()) };
}

/// Tells the sender's process something, from whichever process.
pub fn try_tell(note: &Note) -> Result<(), Error> {
    let service = installed().ok_or(Error::SenderGone)?;
    if service.is_sender() {
        TOLD_ITSELF.with_borrow_mut(|notes| notes.push_back(note.clone()));
        return Ok(());
    }
    service.tell_sender(note.encode())
}

/// The same where nothing can be done about a failure.
pub fn tell(note: Note) {
    if let Note::Rung { id, contact } = &note
        && followed::rings_at(*id, contact)
    {
        return;
    }
    if let Note::Over { id, .. } = &note {
        followed::follow_no_more(*id);
    }
    if let Err(error) = try_tell(&note) {
        ::log::warn!("the sender was not told what became of a call: {error}");
    }
}

/// What it has told itself first of what it has not obeyed yet.
pub(super) fn next_to_itself() -> Option<Note> {
    TOLD_ITSELF.with_borrow_mut(VecDeque::pop_front)
}

/// Whether it has told itself such a note, which it has not obeyed yet.
pub(super) fn has_told_itself(is_it: impl Fn(&Note) -> bool) -> bool {
    TOLD_ITSELF.with_borrow(|notes| notes.iter().any(is_it))
}
