//! How many pushes a device may get and a caller may cause: a flood of INVITEs must not become a flood of pushes, since
//! Apple and Google punish senders who annoy.
//!
//! It refuses to remember who called whom: only hashes are kept, and only while a budget is not full.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;
use tokio::time::Instant;

/// Full buckets are thrown away when there are this many; what remains is bounded by the queue's own limit over a minute.
const TIDY_AT: usize = 16_384;

/// Token buckets, one per key: so many a minute, and as many at once.
pub(super) struct Budget {
    per_minute: u32,
    buckets: HashMap<u64, Bucket>,
    hasher: RandomState,
    tidy_at: usize,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Budget {
    /// `per_minute` 0 is no limit.
    pub(super) fn new(per_minute: u32) -> Self {
        Budget { per_minute, buckets: HashMap::new(), hasher: RandomState::new(), tidy_at: TIDY_AT }
    }

    /// Takes one from the key's budget; false when there is none left.
    pub(super) fn take(&mut self, key: impl Hash, now: Instant) -> bool {
        if self.per_minute == 0 {
            return true;
        }
        self.tidy(now);
        let whole = f64::from(self.per_minute);
        let bucket = self.buckets.entry(self.hasher.hash_one(key)).or_insert(Bucket { left: whole, at: now });
        bucket.left = filled(bucket, whole, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }

    fn tidy(&mut self, now: Instant) {
        if self.buckets.len() < self.tidy_at {
            return;
        }
        let whole = f64::from(self.per_minute);
        self.buckets.retain(|_, bucket| filled(bucket, whole, now) < whole);
        // Not again before it has doubled, or every push would look at all of them.
        self.tidy_at = (self.buckets.len() * 2).max(TIDY_AT);
    }
}

fn filled(bucket: &Bucket, whole: f64, now: Instant) -> f64 {
    let minutes = now.saturating_duration_since(bucket.at).div_duration_f64(Duration::from_secs(60));
    (bucket.left + whole * minutes).min(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert_eq!(budget.buckets.len(), 1);
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
