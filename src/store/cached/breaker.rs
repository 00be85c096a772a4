//! Whether the engine is to be asked at all: after a failure it is left alone for a pause that grows, and then one asks for all.
//!
//! It refuses to count failures: one is enough, since the answer of a lookup that fails has cost its deadline already.

use crate::process::SharedCounters;
use crate::stats::{Counter, Stats};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The pause after a first failure, and the longest.
const FIRST_PAUSE_MS: u64 = 100;
const LONGEST_PAUSE_MS: u64 = 2000;
/// A part's word is 0 while the engine answers, else when it is to be asked again, and below that the pause before.
const PAUSE_BITS: u32 = 16;

/// Behind the parts' words: how many are away, and since when the first one is, in ms since 1970.
const MORE_WORDS: usize = 2;

/// Shared by all processes of a server; made before the fork.
pub(super) struct Breaker {
    words: SharedCounters,
    made_at: Instant,
    stats: Arc<Stats>,
    /// The engine, for the log.
    name: String,
}

/// The right to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is there as far as is known.
    Ask,
    /// It was away; this one asks for all.
    Probe,
}

impl Breaker {
    /// For an engine with so many parts that can fail alone.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub(super) fn new(name: String, parts: usize, stats: &Arc<Stats>) -> io::Result<Breaker> {
        let words = SharedCounters::new(parts + MORE_WORDS)?;
        Ok(Breaker { words, made_at: Instant::now(), stats: Arc::clone(stats), name })
    }

    pub(super) fn parts(&self) -> usize {
        self.words.as_slice().len() - MORE_WORDS
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.made_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether a part may be asked now, which may take `deadline`; `None` where it is to be left alone.
    pub(super) fn turn(&self, part: usize, deadline: Duration) -> Option<Turn> {
        match self.word(part).load(Ordering::Relaxed) {
            0 => Some(Turn::Ask),
            seen => self.turn_at(part, seen, self.now_ms(), deadline),
        }
    }

    fn turn_at(&self, part: usize, seen: u64, now_ms: u64, deadline: Duration) -> Option<Turn> {
        let (again_at_ms, pause_ms) = unpacked(seen);
        // Should whoever asks now die of it, another one asks after that.
        let taken = packed(now_ms + deadline.as_millis() as u64 + pause_ms, pause_ms);
        let may = now_ms >= again_at_ms
            && self.word(part).compare_exchange(seen, taken, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        may.then_some(Turn::Probe)
    }

    /// It has answered.
    pub(super) fn answered(&self, part: usize, turn: Turn) {
        if turn == Turn::Probe && self.word(part).swap(0, Ordering::AcqRel) != 0 {
            self.is_back();
        }
    }

    /// It has not, and why.
    pub(super) fn failed(&self, part: usize, turn: Turn, why: &dyn std::fmt::Display) {
        self.failed_at(part, turn, self.now_ms(), why);
    }

    fn failed_at(&self, part: usize, turn: Turn, now_ms: u64, why: &dyn std::fmt::Display) {
        let seen = self.word(part).load(Ordering::Relaxed);
        let pause_ms = match (turn, unpacked(seen).1) {
            (_, 0) => FIRST_PAUSE_MS,
            (Turn::Probe, pause_ms) => (pause_ms * 2).min(LONGEST_PAUSE_MS),
            // It was asked before it was known to be away.
            (Turn::Ask, _) => return,
        };
        let next = packed(now_ms + pause_ms, pause_ms);
        let is_told =
            self.word(part).compare_exchange(seen, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_told && seen == 0 {
            self.is_away_since(now_ms_since_1970(), why);
        }
    }

    /// Whether it is away, as far as is known.
    pub(super) fn is_away(&self, part: usize) -> bool {
        self.word(part).load(Ordering::Relaxed) != 0
    }

    fn is_away_since(&self, since_ms: u64, why: &dyn std::fmt::Display) {
        if self.away().fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        self.since().store(since_ms, Ordering::Relaxed);
        self.stats.set(Counter::EngineAway, 1);
        self.stats.set(Counter::EngineAwaySince, since_ms / 1000);
        log::warn!(
            "the token store {} is away: {why}; calls go on with what this machine remembers, and registrations of tokens are refused until it is back",
            self.name
        );
    }

    fn is_back(&self) {
        if self.away().fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let away_ms = now_ms_since_1970().saturating_sub(self.since().load(Ordering::Relaxed));
        self.stats.set(Counter::EngineAway, 0);
        self.stats.set(Counter::EngineAwaySince, 0);
        log::warn!(
            "the token store {} is back after {}.{} s",
            self.name,
            away_ms / 1000,
            away_ms % 1000 / 100
        );
    }

    fn away(&self) -> &AtomicU64 {
        self.word(self.parts())
    }

    fn since(&self) -> &AtomicU64 {
        self.word(self.parts() + 1)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words.as_slice()[at]
    }
}

fn packed(again_at_ms: u64, pause_ms: u64) -> u64 {
    again_at_ms << PAUSE_BITS | pause_ms
}

fn unpacked(word: u64) -> (u64, u64) {
    (word >> PAUSE_BITS, word & ((1 << PAUSE_BITS) - 1))
}

fn now_ms_since_1970() -> u64 {
    crate::clock::now_ms().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counted;

    const DEADLINE: Duration = Duration::from_millis(50);

    fn breaker() -> Breaker {
        Breaker::new("redis://test".to_owned(), 3, &Arc::new(Stats::new(Counted::default()).unwrap()))
            .unwrap()
    }

    /// What [`Breaker::turn`] is, at a time.
    fn turn_at(breaker: &Breaker, part: usize, now_ms: u64) -> Option<Turn> {
        match breaker.word(part).load(Ordering::Relaxed) {
            0 => Some(Turn::Ask),
            seen => breaker.turn_at(part, seen, now_ms, DEADLINE),
        }
    }

    #[test]
    fn after_a_failure_one_asks_at_a_time_and_ever_more_seldom() {
        let breaker = breaker();
        assert_eq!(turn_at(&breaker, 0, 1000), Some(Turn::Ask));
        breaker.failed_at(0, Turn::Ask, 1000, &"it is stopped");
        breaker.failed_at(0, Turn::Ask, 1001, &"so say all who had asked before");
        assert_eq!(turn_at(&breaker, 0, 1099), None);
        let mut now_ms = 1100;
        for pause_ms in [200, 400, 800, 1600, 2000, 2000] {
            assert_eq!(turn_at(&breaker, 0, now_ms), Some(Turn::Probe));
            assert_eq!(turn_at(&breaker, 0, now_ms), None, "one at a time");
            breaker.failed_at(0, Turn::Probe, now_ms, &"it is still stopped");
            assert_eq!(turn_at(&breaker, 0, now_ms + pause_ms - 1), None);
            now_ms += pause_ms;
        }
        assert_eq!(turn_at(&breaker, 0, now_ms), Some(Turn::Probe));
        assert!(breaker.is_away(0) && breaker.stats.get(Counter::EngineAway) == 1);
        breaker.answered(0, Turn::Probe);
        assert_eq!(turn_at(&breaker, 0, now_ms), Some(Turn::Ask));
        assert_eq!(breaker.stats.get(Counter::EngineAway), 0);
        assert_eq!(breaker.stats.get(Counter::EngineAwaySince), 0);
    }

    #[test]
    fn another_one_asks_where_the_one_who_did_has_died() {
        let breaker = breaker();
        breaker.failed_at(0, Turn::Ask, 0, &"it is stopped");
        assert_eq!(turn_at(&breaker, 0, 100), Some(Turn::Probe));
        assert_eq!(turn_at(&breaker, 0, 249), None);
        assert_eq!(turn_at(&breaker, 0, 250), Some(Turn::Probe));
    }

    #[test]
    fn parts_fail_alone_and_the_engine_is_away_while_one_is() {
        let breaker = breaker();
        breaker.failed_at(1, Turn::Ask, 0, &"a master is gone");
        breaker.failed_at(2, Turn::Ask, 0, &"a master is gone");
        assert_eq!(turn_at(&breaker, 0, 1), Some(Turn::Ask));
        assert!(breaker.stats.get(Counter::EngineAwaySince) > 0);
        breaker.answered(1, Turn::Probe);
        breaker.answered(1, Turn::Probe);
        assert_eq!(breaker.stats.get(Counter::EngineAway), 1);
        breaker.answered(2, Turn::Probe);
        assert_eq!(breaker.stats.get(Counter::EngineAway), 0);
    }
}
