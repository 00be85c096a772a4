//! At most one line of the log per interval for what may happen thousands of times, whichever process says it.
//!
//! It refuses to lose count: each line tells how often nothing was said since the one before.

use crate::process::SharedCounters;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// From one line to the next.
const PAUSE: Duration = Duration::from_secs(10);

/// One kind of line; made before the fork.
pub(super) struct Limiter {
    /// When the next line may be said, in µs since `start`, and how often nothing was said.
    shared: SharedCounters,
    start: Instant,
}

impl Limiter {
    /// The first line may be said at once.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new() -> io::Result<Limiter> {
        Ok(Limiter { shared: SharedCounters::new(2)?, start: Instant::now() })
    }

    /// How many lines were kept back since the last one, when it is time for one.
    pub fn may_speak(&self) -> Option<u64> {
        self.may_speak_at(self.start.elapsed())
    }

    fn may_speak_at(&self, now: Duration) -> Option<u64> {
        let [next, silent] = self.shared.as_slice() else { return None };
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let is_time = |next: u64| (next <= us(now)).then(|| us(now + PAUSE));
        // Of two processes at the same moment one speaks.
        if next.fetch_update(Relaxed, Relaxed, is_time).is_ok() {
            return Some(silent.swap(0, Relaxed));
        }
        silent.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_says_how_many_there_were() {
        let limiter = Limiter::new().unwrap();
        let said = |seconds| limiter.may_speak_at(Duration::from_secs(seconds));
        assert_eq!([0, 1, 9, 10, 11, 25].map(said), [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
