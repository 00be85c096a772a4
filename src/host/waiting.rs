//! Which users have a call that waits or rings, and how many: a table of numbers that all processes share, so that a worker knows
//! without asking whether a phone that registers is of interest to anybody, and whether one more call is one too many.
//!
//! It refuses to know users exactly: they share rows by hash, so it may say yes where it is no, and never the other way round.

use crate::process::SharedCounters;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Rows of each kind; 1 MB of memory that stays untouched as long as nobody registers or is called.
const ROWS: usize = 1 << 16;
/// Bits of a row that count calls; the others are when somebody registered last, in µs, which suffices for eight years.
const COUNT_BITS: u32 = 16;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// A moment, in µs since the server started and never 0; no two registrations of the same row are at the same one.
pub(super) type Moment = u64;

/// The table; made before the fork.
pub(super) struct Waiting {
    /// Calls that a registration is of interest to, and the last registration; then the calls that wait or ring, which are all of
    /// these but those that have ended and would like to know of a phone that comes late.
    rows: SharedCounters,
    hasher: RandomState,
    start: Instant,
}

impl Waiting {
    /// An empty table.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new() -> io::Result<Waiting> {
        let rows = SharedCounters::new(2 * ROWS)?;
        Ok(Waiting { rows, hasher: RandomState::new(), start: Instant::now() })
    }

    /// One more call of this user waits, from the moment that is returned.
    pub fn arrive(&self, user: &str) -> Moment {
        self.change(user, |row| if row & COUNT == COUNT { row } else { row + 1 });
        self.calls(user).fetch_add(1, Ordering::SeqCst);
        self.now()
    }

    /// When a phone of this user registered last, as far as anybody knows by now; 0 for never.
    pub fn last_wake(&self, user: &str) -> Moment {
        self.row(user).load(Ordering::SeqCst) >> COUNT_BITS
    }

    /// A call of this user is over, and was not [`Waiting::end`]ed before.
    pub fn leave(&self, user: &str) {
        self.end(user);
        self.leave_ended(user);
    }

    /// A call of this user neither waits nor rings any more; a registration is of interest to it still.
    pub fn end(&self, user: &str) {
        let less = |calls: u64| calls.checked_sub(1);
        // An error is none, and less than none is none.
        let _ = self.calls(user).fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// A call that was [`Waiting::end`]ed is of no interest any more.
    pub fn leave_ended(&self, user: &str) {
        self.change(user, |row| if row & COUNT == 0 { row } else { row - 1 });
    }

    /// Registrations of this user are of interest to somebody else than a call that waits or rings.
    pub fn interest(&self, user: &str) {
        self.change(user, |row| if row & COUNT == COUNT { row } else { row + 1 });
    }

    /// How many calls of this user, and of users in the same row, wait or ring.
    pub fn count(&self, user: &str) -> u64 {
        self.calls(user).load(Ordering::SeqCst)
    }

    /// A phone of this user has registered just now. Says when that is, where a call of the user waits or rings.
    pub fn wake(&self, user: &str) -> Option<Moment> {
        let now = self.now();
        let later = |row: u64| now.max((row >> COUNT_BITS) + 1);
        let before = self.change(user, |row| later(row) << COUNT_BITS | row & COUNT);
        (before & COUNT > 0).then(|| later(before))
    }

    /// How many calls a registration of this user is of interest to, and of users in the same row.
    #[cfg(test)]
    pub fn interested(&self, user: &str) -> u64 {
        self.row(user).load(Ordering::SeqCst) & COUNT
    }

    /// The moment that it is.
    pub fn now(&self) -> Moment {
        // 0 is never.
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Changes the user's row in one step and gives what it was.
    fn change(&self, user: &str, change: impl Fn(u64) -> u64) -> u64 {
        let all = Ordering::SeqCst;
        let row = self.row(user);
        row.fetch_update(all, all, |row| Some(change(row))).unwrap_or_else(|row| row)
    }

    fn row(&self, user: &str) -> &AtomicU64 {
        &self.rows.as_slice()[self.row_number(user)]
    }

    fn calls(&self, user: &str) -> &AtomicU64 {
        &self.rows.as_slice()[ROWS + self.row_number(user)]
    }

    fn row_number(&self, user: &str) -> usize {
        usize::try_from(self.hasher.hash_one(user) % ROWS as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_of_interest_while_a_call_waits() {
        let waiting = Waiting::new().unwrap();
        assert_eq!(waiting.wake("bob"), None);
        let parked_at = waiting.arrive("bob");
        let missed = waiting.last_wake("bob");
        assert!(0 < missed && missed <= parked_at, "the call learns of the registration before it");
        let (first, second) = (waiting.wake("bob").unwrap(), waiting.wake("bob").unwrap());
        assert!(missed < first && first < second);
        waiting.arrive("bob");
        assert_eq!(waiting.last_wake("bob"), second);
        waiting.leave("bob");
        assert!(waiting.wake("bob").is_some());
        waiting.leave("bob");
        assert_eq!(waiting.wake("bob"), None);
        waiting.leave("bob");
        assert_eq!(waiting.wake("bob"), None, "less than none is none");
        assert_eq!(waiting.last_wake("alice"), 0);
    }

    #[test]
    fn a_call_that_has_ended_is_none_of_those_that_ring_and_still_wants_to_know_who_registers() {
        let waiting = Waiting::new().unwrap();
        waiting.arrive("bob");
        waiting.arrive("bob");
        assert_eq!(waiting.count("bob"), 2);
        waiting.end("bob");
        waiting.leave("bob");
        assert_eq!(waiting.count("bob"), 0);
        assert!(waiting.wake("bob").is_some());
        waiting.leave_ended("bob");
        assert_eq!(waiting.wake("bob"), None);
        waiting.leave("bob");
        assert_eq!(waiting.count("bob"), 0, "less than none is none");
    }
}
