//! How many pushes a device may get and a caller may cause: a flood of INVITEs must not become a flood of pushes, since
//! Apple and Google punish senders who annoy.
//!
//! It refuses to remember who called whom: only hashes are kept, and only while a budget is not full.

use super::window::Mixed;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use tokio::time::Instant;

/// Full buckets are thrown away when there are this many; what remains is bounded by the queue's own limit over a minute.
const TIDY_AT: usize = 16_384;
const MINUTE_US: u64 = 60_000_000;

/// Token buckets, one per key: so many a minute, and as many at once.
pub(super) struct Budget {
    per_minute: u32,
    /// When each bucket will be full again, in µs since the start: all that there is to know about it.
    full_at_us: HashMap<u64, u64, Mixed>,
    hasher: RandomState,
    start: Instant,
    tidy_at: usize,
}

impl Budget {
    /// `per_minute` 0 is no limit.
    pub(super) fn new(per_minute: u32) -> Self {
        let full_at_us = HashMap::with_hasher(Mixed::new());
        Budget { per_minute, full_at_us, hasher: RandomState::new(), start: Instant::now(), tidy_at: TIDY_AT }
    }

    /// Another limit; who has had something of this minute's has had it.
    pub(super) fn set_limit(&mut self, per_minute: u32) {
        self.per_minute = per_minute;
    }

    /// Takes one from the key's budget; false when there is none left.
    pub(super) fn take(&mut self, key: impl Hash, now: Instant) -> bool {
        if self.per_minute == 0 {
            return true;
        }
        let now_us = now.saturating_duration_since(self.start).as_micros() as u64;
        self.tidy(now_us);
        // Rounded up, so that it is never more than what was said.
        let one_us = MINUTE_US.div_ceil(u64::from(self.per_minute));
        let full_at_us = self.full_at_us.entry(self.hasher.hash_one(key)).or_insert(now_us);
        let then_us = now_us.max(*full_at_us) + one_us;
        if then_us - now_us > one_us * u64::from(self.per_minute) {
            return false;
        }
        *full_at_us = then_us;
        true
    }

    fn tidy(&mut self, now_us: u64) {
        if self.full_at_us.len() < self.tidy_at {
            return;
        }
        self.full_at_us.retain(|_, full_at_us| *full_at_us > now_us);
        // Not again before it has doubled, or every push would look at all of them.
        self.tidy_at = (self.full_at_us.len() * 2).max(TIDY_AT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn so_many_at_once_then_so_many_a_minute_each_for_himself() {
        let (mut budget, now) = (Budget::new(3), Instant::now());
        assert_eq!([0; 4].map(|_| budget.take("alice", now)), [true, true, true, false]);
        assert!(budget.take("bob", now));
        assert!(!budget.take("alice", now + Duration::from_secs(19)));
        assert!(budget.take("alice", now + Duration::from_secs(41)));
    }

    #[test]
    fn zero_is_no_limit() {
        let (mut budget, now) = (Budget::new(0), Instant::now());
        assert!((0..10_000).all(|_| budget.take("alice", now)));
    }

    #[test]
    fn memory_is_given_back() {
        let (mut budget, now) = (Budget::new(60), Instant::now());
        (0..TIDY_AT).for_each(|key| assert!(budget.take(key, now)));
        assert!(budget.take("later", now + Duration::from_secs(60)));
        assert_eq!(budget.full_at_us.len(), 1);
    }

    proptest! {
        #[test]
        fn never_more_than_a_burst_and_the_rate(per_minute in 1u32..100, asks in proptest::collection::vec(0u64..3000, 1..300)) {
            let (mut budget, start) = (Budget::new(per_minute), Instant::now());
            let mut now = start;
            let mut taken = 0u32;
            for pause_ms in asks {
                now += Duration::from_millis(pause_ms);
                taken += u32::from(budget.take("key", now));
            }
            let minutes = (now - start).div_duration_f64(Duration::from_secs(60));
            prop_assert!(f64::from(taken) <= f64::from(per_minute) * (1.0 + minutes) + 1e-6);
        }
    }
}
