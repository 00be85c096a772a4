//! How many pushes wait or are under way, how much memory they take, and how much they may.
//!
//! It refuses to let a queue grow without a bound; a place is given back when its push has ended, however it ends.

use crate::config::Settings;
use crate::model::Push;
use crate::process::SharedCounters;
use crate::stats::{Counter, Stats};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// What a push takes in memory besides its texts: its task, its request's headers, its place in h2. Measured at 1.4 KB in a
/// trial, texts included.
const OVERHEAD_LEN: u64 = 1024;

/// The places of one sender. In a SIP server the numbers are in shared memory, so that a worker sees a full queue before it
/// hands anything over.
pub(super) struct Depth {
    /// Pushes, and their bytes.
    taken: SharedCounters,
    most_pushes: u64,
    most_bytes: u64,
    emptied: Notify,
    stats: Arc<Stats>,
}

/// One push's place.
pub(super) struct Place {
    depth: Arc<Depth>,
    bytes: u64,
}

impl Depth {
    pub(super) fn new(settings: &Settings, stats: &Arc<Stats>) -> io::Result<Arc<Depth>> {
        Ok(Arc::new(Depth {
            taken: SharedCounters::new(2)?,
            most_pushes: settings.max_queued as u64,
            most_bytes: settings.max_queued_bytes,
            emptied: Notify::new(),
            stats: Arc::clone(stats),
        }))
    }

    fn pushes(&self) -> &AtomicU64 {
        &self.taken.as_slice()[0]
    }

    fn bytes(&self) -> &AtomicU64 {
        &self.taken.as_slice()[1]
    }

    pub(super) fn now(&self) -> u64 {
        self.pushes().load(Ordering::Acquire)
    }

    /// A look that takes nothing, for a worker.
    pub(super) fn has_room_for(&self, pushes: &[Push]) -> bool {
        let bytes: u64 = pushes.iter().map(size).sum();
        self.now() + pushes.len() as u64 <= self.most_pushes
            && self.bytes().load(Ordering::Acquire) + bytes <= self.most_bytes
    }

    /// Places for all of them, or none.
    pub(super) fn take(self: &Arc<Self>, pushes: Vec<Push>) -> Option<Vec<(Push, Place)>> {
        let bytes: u64 = pushes.iter().map(size).sum();
        take(self.pushes(), pushes.len() as u64, self.most_pushes)?;
        if take(self.bytes(), bytes, self.most_bytes).is_none() {
            self.pushes().fetch_sub(pushes.len() as u64, Ordering::AcqRel);
            return None;
        }
        self.stats.add(Counter::Queued, pushes.len() as u64);
        let place = |push: Push| {
            let bytes = size(&push);
            (push, Place { depth: Arc::clone(self), bytes })
        };
        Some(pushes.into_iter().map(place).collect())
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

fn take(from: &AtomicU64, how_many: u64, most: u64) -> Option<u64> {
    let room = |now: u64| Some(now + how_many).filter(|then| *then <= most);
    from.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()
}

fn size(push: &Push) -> u64 {
    let texts = push.call.caller.text_len() + push.call.call_id.len() + push.device.token.expose().len();
    // The call's texts stand several times in the payload.
    OVERHEAD_LEN + 2 * texts as u64
}

impl Drop for Place {
    fn drop(&mut self) {
        self.depth.stats.lower(Counter::Queued, 1);
        self.depth.bytes().fetch_sub(self.bytes, Ordering::AcqRel);
        if self.depth.pushes().fetch_sub(1, Ordering::AcqRel) == 1 {
            self.depth.emptied.notify_waiters();
        }
    }
}
