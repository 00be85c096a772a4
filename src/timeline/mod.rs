//! What happened to each call, kept for a while, for whoever asks later why a phone did not ring.
//!
//! It refuses to slow a call down: events are written by a thread of its own, some of them are left out when there are too many,
//! and a disk that is full costs the timeline and nothing else.

mod verdict;
mod writer;

pub use verdict::verdict;

use crate::config::TimelineSettings;
use crate::model::{Event, Happening};
use crate::stats::Stats;
use std::cell::RefCell;
use std::sync::Arc;
use writer::Writer;

/// Takes what happens, in the process that sends: made there, and never carried over a fork.
pub struct Timeline {
    keep: Option<TimelineSettings>,
    stats: Arc<Stats>,
    writer: RefCell<Option<Writer>>,
}

impl Timeline {
    /// Nothing is opened and no thread begins before there is something to tell. `None` keeps nothing.
    pub fn new(keep: Option<TimelineSettings>, stats: &Arc<Stats>) -> Timeline {
        Timeline { keep, stats: Arc::clone(stats), writer: RefCell::new(None) }
    }

    /// Something happened to a call. `detail` is asked only where it is kept; see [`Happening::detail`].
    pub fn note(&self, call_id: &str, user: &str, event: Event, detail: impl FnOnce() -> String) {
        let Some(keep) = &self.keep else { return };
        let mut writer = self.writer.borrow_mut();
        let writer = writer.get_or_insert_with(|| Writer::start(keep, &self.stats));
        if writer.wants(call_id, event) {
            let at_ms = crate::clock::now_ms();
            let (call_id, user) = (call_id.to_owned(), user.to_owned());
            writer.take(Happening { call_id, user, at_ms, event, detail: detail() });
        }
    }

    /// Writes what is not written yet, and waits for it; to be called before the process ends.
    pub fn finish(&self) {
        if let Some(writer) = self.writer.take() {
            writer.finish();
        }
    }
}

impl Drop for Timeline {
    fn drop(&mut self) {
        self.finish();
    }
}
