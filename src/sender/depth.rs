//! How many pushes wait or are under way, how much memory they take, and how much they may.
//!
//! It refuses to let a queue grow without a bound; a place is given back when its push has ended, however it ends.

use crate::config::Settings;
use crate::model::{Kind, Push};
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
    /// Pushes, and their bytes; and how many of both there may be for calls. Other kinds leave a quarter free for them.
    numbers: SharedCounters,
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
        let numbers = SharedCounters::new(4)?;
        let depth = Depth { numbers, emptied: Notify::new(), stats: Arc::clone(stats) };
        depth.set_limits(settings);
        Ok(Arc::new(depth))
    }

    /// Other limits; what is taken already stays.
    pub(super) fn set_limits(&self, settings: &Settings) {
        self.limit(settings.max_queued as u64, settings.max_queued_bytes);
    }

    fn limit(&self, most_pushes: u64, most_bytes: u64) {
        self.numbers.as_slice()[2].store(most_pushes, Ordering::Relaxed);
        self.numbers.as_slice()[3].store(most_bytes, Ordering::Relaxed);
    }

    fn pushes(&self) -> &AtomicU64 {
        &self.numbers.as_slice()[0]
    }

    fn bytes(&self) -> &AtomicU64 {
        &self.numbers.as_slice()[1]
    }

    pub(super) fn now(&self) -> u64 {
        self.pushes().load(Ordering::Acquire)
    }

    /// A look that takes nothing, for a worker.
    pub(super) fn has_room_for(&self, pushes: &[Push]) -> bool {
        let bytes: u64 = pushes.iter().map(size).sum();
        let (most_pushes, most_bytes) = self.most(pushes);
        self.now() + pushes.len() as u64 <= most_pushes
            && self.bytes().load(Ordering::Acquire) + bytes <= most_bytes
    }

    /// Places for all of them, or none.
    pub(super) fn take(self: &Arc<Self>, pushes: Vec<Push>) -> Option<Vec<(Push, Place)>> {
        let bytes: u64 = pushes.iter().map(size).sum();
        let (most_pushes, most_bytes) = self.most(&pushes);
        take(self.pushes(), pushes.len() as u64, most_pushes)?;
        if take(self.bytes(), bytes, most_bytes).is_none() {
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

    /// How much may be taken for these. When room gets scarce, it is for calls: what else there is to say can go without.
    fn most(&self, pushes: &[Push]) -> (u64, u64) {
        let most = |at: usize| self.numbers.as_slice()[at].load(Ordering::Relaxed);
        let (most_pushes, most_bytes) = (most(2), most(3));
        if are_calls(pushes) {
            (most_pushes, most_bytes)
        } else {
            (most_pushes - most_pushes / 4, most_bytes - most_bytes / 4)
        }
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

fn are_calls(pushes: &[Push]) -> bool {
    pushes.iter().all(|push| push.kind == Kind::Call)
}

/// The counter of pushes like these that are refused since the queue is full.
pub(super) fn refused(pushes: &[Push]) -> Counter {
    if are_calls(pushes) { Counter::QueueFull } else { Counter::OtherKindsRefused }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::push_to;

    #[test]
    fn the_last_quarter_is_for_calls() {
        let stats = Arc::new(Stats::new(crate::stats::Counted::default()).unwrap());
        let numbers = SharedCounters::new(4).unwrap();
        let depth = Arc::new(Depth { numbers, emptied: Notify::new(), stats });
        depth.limit(8, 1 << 20);
        let call = push_to("ios", &"ab".repeat(32), "Alice");
        let missed = || vec![call.clone().of_kind(Kind::Missed)];
        let six = depth.take(vec![call.clone(); 6]).unwrap();
        assert!(!depth.has_room_for(&missed()) && depth.take(missed()).is_none());
        assert_eq!(depth.now(), 6);
        assert_eq!((refused(&missed()), refused(&[])), (Counter::OtherKindsRefused, Counter::QueueFull));
        let two = depth.take(vec![call.clone(); 2]).unwrap();
        assert!(depth.take(vec![call.clone()]).is_none());
        drop((six, two));
        assert!(depth.has_room_for(&missed()) && depth.now() == 0);
    }
}
