//! How many pushes wait or are under way, and how many may.
//!
//! It refuses to let a queue grow without a bound; a place is given back when its push has ended, however it ends.

use crate::process::SharedCounters;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// The places of one sender. In a SIP server the number is in shared memory, so that a worker sees a full queue before it
/// hands anything over.
pub(super) struct Depth {
    taken: SharedCounters,
    most: u64,
    emptied: Notify,
}

/// Some pushes' places.
pub(super) struct Place(Arc<Depth>);

impl Depth {
    pub(super) fn new(most: usize) -> io::Result<Arc<Depth>> {
        Ok(Arc::new(Depth { taken: SharedCounters::new(1)?, most: most as u64, emptied: Notify::new() }))
    }

    fn cell(&self) -> &AtomicU64 {
        &self.taken.as_slice()[0]
    }

    pub(super) fn now(&self) -> u64 {
        self.cell().load(Ordering::Acquire)
    }

    pub(super) fn has_room_for(&self, how_many: usize) -> bool {
        self.now() + how_many as u64 <= self.most
    }

    /// Places for all of them, or none.
    pub(super) fn take(self: &Arc<Self>, how_many: usize) -> Option<Vec<Place>> {
        let room = |now: u64| Some(now + how_many as u64).filter(|then| *then <= self.most);
        self.cell().fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        Some((0..how_many).map(|_| Place(Arc::clone(self))).collect())
    }

    pub(super) async fn until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.now() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.cell().fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}
