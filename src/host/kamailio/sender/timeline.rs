//! What the sender's process writes into a call's timeline.
//!
//! It refuses to make a text that nobody keeps: each is made when there is somebody to write it.

use super::calls;
use super::host::SenderHost;
use crate::host::note::{CallId, End};
use crate::host::parked::user_of;
use crate::model::Event;

impl SenderHost {
    /// Something happened to a call, for whoever asks later why a phone did not ring.
    pub(super) fn note(&self, user: &str, sip_call_id: &str, event: Event, detail: impl FnOnce() -> String) {
        if let Some(pushes) = self.pushes.borrow().as_ref() {
            pushes.note(user_of(user), sip_call_id, event, detail);
        }
    }

    /// The same of a call that waits or rings.
    pub(super) fn note_of(&self, id: CallId, event: Event, detail: impl FnOnce() -> String) {
        if self.service.settings().timeline.is_some()
            && let Some((user, sip_call_id)) = calls::with(|parked| parked.name_of(id))
        {
            self.note(&user, &sip_call_id, event, detail);
        }
    }

    pub(super) fn note_end(&self, id: CallId, end: &End) {
        match end {
            End::Answered => self.note_of(id, Event::Answered, String::new),
            End::Cancelled(reason) => {
                self.note_of(id, Event::Cancelled, || {
                    format!("reason={:?}", reason.as_deref().unwrap_or(""))
                });
            }
            End::Failed(status) => self.note_of(id, Event::Failed, || format!("status={status}")),
        }
    }
}
