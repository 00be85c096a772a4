//! Whether an engine that answers refuses what we ask: a password or a permission that somebody has changed while we run.
//!
//! It refuses to keep anybody from asking: a refusal comes at once, and the next answer may be a good one.

use crate::process::SharedCounters;
use crate::stats::{Counter, Stats};
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// So long after the last refusal it is over: until then one process may be let in by its old connection, and another one not.
const OVER_AFTER_MS: u64 = 2000;

/// What is asked of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Which devices a user has.
    Lookup,
    /// To store a device.
    Registration,
}

/// Shared by all processes of a server; made before the fork.
pub(super) struct Refusal {
    of: Asked,
    /// When it began and when it was seen last, in ms by our own clock; 0 while nothing is refused.
    words: SharedCounters,
    made_at: Instant,
    stats: Arc<Stats>,
}

impl Refusal {
    /// # Errors
    /// The system has no memory to give.
    pub(super) fn new(of: Asked, stats: &Arc<Stats>) -> io::Result<Refusal> {
        Ok(Refusal { of, words: SharedCounters::new(2)?, made_at: Instant::now(), stats: Arc::clone(stats) })
    }

    /// The engine has refused it, and why. The log says so once.
    pub(super) fn began(&self, why: &dyn Display) {
        self.began_at(self.now_ms(), why);
    }

    /// The engine has done it.
    pub(super) fn answered(&self) {
        if self.since().load(Ordering::Relaxed) != 0 {
            self.answered_at(self.now_ms());
        }
    }

    /// Whether it was refused a moment ago.
    pub(super) fn is_on(&self) -> bool {
        self.since().load(Ordering::Relaxed) != 0 && !self.is_over_at(self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.made_at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn began_at(&self, now_ms: u64, why: &dyn Display) {
        self.last().fetch_max(now_ms, Ordering::AcqRel);
        if self.since().compare_exchange(0, now_ms, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.stats.set(self.gauge(), 1);
            let meanwhile = match self.of {
                Asked::Lookup => "calls go on with what this machine remembers until it allows it",
                Asked::Registration => "registrations of tokens are refused until it takes them",
            };
            log::error!("the token store does not do {}: {why}; {meanwhile}", self.what());
        }
    }

    fn answered_at(&self, now_ms: u64) {
        let since = self.since().load(Ordering::Acquire);
        if since == 0 || !self.is_over_at(now_ms) {
            return;
        }
        if self.since().compare_exchange(since, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.stats.set(self.gauge(), 0);
            let lasted_ms = now_ms.saturating_sub(since);
            let (seconds, tenths) = (lasted_ms / 1000, lasted_ms % 1000 / 100);
            log::warn!("the token store does {} again after {seconds}.{tenths} s", self.what());
        }
    }

    fn is_over_at(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last().load(Ordering::Acquire)) >= OVER_AFTER_MS
    }

    fn what(&self) -> &'static str {
        match self.of {
            Asked::Lookup => "our lookups",
            Asked::Registration => "our registrations",
        }
    }

    fn gauge(&self) -> Counter {
        match self.of {
            Asked::Lookup => Counter::EngineRefusesLookups,
            Asked::Registration => Counter::EngineRefusesRegistrations,
        }
    }

    fn since(&self) -> &AtomicU64 {
        &self.words.as_slice()[0]
    }

    fn last(&self) -> &AtomicU64 {
        &self.words.as_slice()[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counted;

    #[test]
    fn it_lasts_until_nobody_was_refused_for_a_while() {
        let stats = Arc::new(Stats::new(Counted::default()).unwrap());
        let refusal = Refusal::new(Asked::Lookup, &stats).unwrap();
        let is_told = || stats.get(Counter::EngineRefusesLookups) == 1;
        refusal.answered_at(5);
        assert!(!is_told());
        refusal.began_at(10, &"it has another password");
        refusal.answered_at(11);
        refusal.began_at(1500, &"so says another process");
        refusal.answered_at(3499);
        assert!(is_told(), "one process is let in by its old connection, and another one is not");
        refusal.answered_at(3500);
        assert!(!is_told());
        refusal.began_at(4000, &"it has another password again");
        assert!(is_told() && stats.get(Counter::EngineRefusesRegistrations) == 0);
    }
}
