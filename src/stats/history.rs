//! The last hour, minute by minute, and the last failures, in shared memory: what the page shows.
//!
//! It refuses more than one writer: the sender alone writes, all others read. And it refuses users and tokens.

use super::histogram::{BOUNDS_MS, bucket_of};
use super::names::OUTCOMES;
use crate::model::{Outcome, Provider};
use crate::process::SharedCounters;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MINUTES: usize = 60;
const PUSHES_LEN: usize = Provider::ALL.len() * OUTCOMES.len();
const WAKES_LEN: usize = BOUNDS_MS.len() + 1;
/// Which minute since 1970 a row is about, its pushes, its wakes.
const ROW_LEN: usize = 1 + PUSHES_LEN + WAKES_LEN;

const FAILURES: usize = 20;
/// Words of 8 bytes that a failure's reason may have; longer ones are cut.
const REASON_LEN: usize = 12;
/// Stamp, time in ms since 1970, provider and outcome, reason.
const FAILURE_LEN: usize = 3 + REASON_LEN;

/// One minute of the last hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since 1970.
    pub minute: u64,
    /// Pushes that ended in it, by provider and the outcomes' order.
    pub pushes: [[u64; OUTCOMES.len()]; Provider::ALL.len()],
    /// Phones that woke in it, by the time from the accepted push to the REGISTER; the last is above all bounds.
    pub wakes: [u64; WAKES_LEN],
}

/// A push that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// ms since 1970.
    pub at_ms: u64,
    /// Who said so.
    pub provider: Provider,
    /// How it ended, as `Outcome::name`.
    pub outcome: &'static str,
    /// Why, in the provider's words or ours.
    pub reason: String,
}

/// The last hour.
pub(super) struct History {
    minutes: SharedCounters,
    /// The first number is how many failures were ever written.
    failures: SharedCounters,
}

impl History {
    pub fn new() -> io::Result<History> {
        Ok(History {
            minutes: SharedCounters::new(MINUTES * ROW_LEN)?,
            failures: SharedCounters::new(1 + FAILURES * FAILURE_LEN)?,
        })
    }

    /// A push has ended. `now_ms` is in ms since 1970.
    pub fn push_ended(&self, provider: Provider, outcome: &Outcome, now_ms: u64) {
        let column = OUTCOMES.iter().position(|known| *known == outcome.name()).unwrap_or(0);
        let row = self.row_of(now_ms);
        row[1 + provider_at(provider) * OUTCOMES.len() + column].fetch_add(1, Ordering::Relaxed);
        if !matches!(outcome, Outcome::Accepted) {
            self.note_failure(provider, column, outcome.reason(), now_ms);
        }
    }

    /// A phone has registered so long after the push was accepted.
    pub fn woke(&self, took: Duration, now_ms: u64) {
        self.row_of(now_ms)[1 + PUSHES_LEN + bucket_of(took)].fetch_add(1, Ordering::Relaxed);
    }

    /// The row of this minute, empty where it was an older minute's.
    fn row_of(&self, now_ms: u64) -> &[AtomicU64] {
        let minute = now_ms / 60_000;
        let at = usize::try_from(minute).unwrap_or(0) % MINUTES;
        let row = &self.minutes.as_slice()[at * ROW_LEN..][..ROW_LEN];
        if row[0].load(Ordering::Acquire) != minute {
            // Nobody reads it as this minute's before it is empty.
            row[0].store(0, Ordering::Release);
            row[1..].iter().for_each(|number| number.store(0, Ordering::Relaxed));
            row[0].store(minute, Ordering::Release);
        }
        row
    }

    /// The minutes of the last hour in which something happened, oldest first.
    pub fn minutes(&self, now_ms: u64) -> Vec<Minute> {
        let (this, hour) = (now_ms / 60_000, MINUTES as u64);
        let rows = self.minutes.as_slice().chunks_exact(ROW_LEN).filter_map(read_minute);
        let mut minutes: Vec<Minute> =
            rows.filter(|row| row.minute + hour > this && row.minute <= this).collect();
        minutes.sort_by_key(|row| row.minute);
        minutes
    }

    fn note_failure(&self, provider: Provider, outcome: usize, reason: &str, now_ms: u64) {
        let numbers = self.failures.as_slice();
        let written = numbers[0].load(Ordering::Relaxed);
        let at = usize::try_from(written % FAILURES as u64).expect("less than FAILURES");
        let entry = &numbers[1 + at * FAILURE_LEN..][..FAILURE_LEN];
        // 0 while it is written, so that nobody reads half of it.
        entry[0].store(0, Ordering::SeqCst);
        entry[1].store(now_ms, Ordering::SeqCst);
        entry[2].store((provider_at(provider) * OUTCOMES.len() + outcome) as u64, Ordering::SeqCst);
        let bytes = reason.as_bytes();
        for (at, word) in entry[3..].iter().enumerate() {
            let mut piece = [0; 8];
            let rest = bytes.get(at * 8..).unwrap_or_default();
            let len = rest.len().min(8);
            piece[..len].copy_from_slice(&rest[..len]);
            word.store(u64::from_ne_bytes(piece), Ordering::SeqCst);
        }
        entry[0].store(written + 1, Ordering::SeqCst);
        numbers[0].store(written + 1, Ordering::SeqCst);
    }

    /// The last failures, newest first.
    pub fn failures(&self) -> Vec<Failure> {
        let entries = self.failures.as_slice()[1..].chunks_exact(FAILURE_LEN);
        let mut found: Vec<(u64, Failure)> = entries.filter_map(read_failure).collect();
        found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        found.into_iter().map(|(_, failure)| failure).collect()
    }
}

fn read_minute(row: &[AtomicU64]) -> Option<Minute> {
    let minute = row[0].load(Ordering::Acquire);
    let value = |at: usize| row[at].load(Ordering::Relaxed);
    let pushes = std::array::from_fn(|provider| {
        std::array::from_fn(|outcome| value(1 + provider * OUTCOMES.len() + outcome))
    });
    let wakes = std::array::from_fn(|bucket| value(1 + PUSHES_LEN + bucket));
    let is_whole = minute != 0 && row[0].load(Ordering::Acquire) == minute;
    is_whole.then_some(Minute { minute, pushes, wakes })
}

fn read_failure(entry: &[AtomicU64]) -> Option<(u64, Failure)> {
    let value = |at: usize| entry[at].load(Ordering::SeqCst);
    let number = value(0);
    let what = usize::try_from(value(2)).ok()?;
    let bytes: Vec<u8> = (3..FAILURE_LEN).flat_map(|at| value(at).to_ne_bytes()).collect();
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let failure = Failure {
        at_ms: value(1),
        provider: *Provider::ALL.get(what / OUTCOMES.len())?,
        outcome: OUTCOMES.get(what % OUTCOMES.len())?,
        // A cut in the middle of a character, or nothing of the kind.
        reason: String::from_utf8_lossy(text).trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned(),
    };
    (number != 0 && value(0) == number).then_some((number, failure))
}

fn provider_at(provider: Provider) -> usize {
    Provider::ALL.iter().position(|known| *known == provider).expect("ALL has every provider")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const NOW_MS: u64 = 29_000_000 * MINUTE_MS;

    fn rejected(reason: &str) -> Outcome {
        Outcome::Rejected { reason: reason.to_owned() }
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let history = History::new().unwrap();
        for minute in 0..90 {
            for _ in 0..=minute {
                history.push_ended(Provider::Fcm, &Outcome::Accepted, NOW_MS + minute * MINUTE_MS);
            }
        }
        history.woke(Duration::from_millis(3), NOW_MS + 89 * MINUTE_MS);
        let minutes = history.minutes(NOW_MS + 89 * MINUTE_MS);
        let accepted: Vec<u64> = minutes.iter().map(|row| row.pushes[1][0]).collect();
        assert_eq!(accepted, (31..=90).collect::<Vec<u64>>());
        assert_eq!((minutes[59].wakes[2], minutes[59].wakes.iter().sum::<u64>()), (1, 1));
        assert!(history.minutes(NOW_MS + 200 * MINUTE_MS).is_empty());
        assert!(history.minutes(NOW_MS - MINUTE_MS).is_empty(), "a clock that went back shows no future");
    }

    #[test]
    fn the_last_failures_are_kept_newest_first() {
        let history = History::new().unwrap();
        assert!(history.failures().is_empty());
        for at in 0..25 {
            history.push_ended(Provider::Apns, &rejected(&format!("Reason{at}")), NOW_MS + at);
        }
        history.push_ended(Provider::Apns, &Outcome::Accepted, NOW_MS);
        let failures = history.failures();
        assert_eq!(failures.len(), FAILURES);
        let newest = &failures[0];
        assert_eq!(
            (newest.at_ms, newest.outcome, newest.reason.as_str()),
            (NOW_MS + 24, "rejected", "Reason24")
        );
        assert_eq!(failures[19].reason, "Reason5");
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let history = History::new().unwrap();
        history.push_ended(Provider::Fcm, &rejected(&format!("x{}", "ü".repeat(60))), NOW_MS);
        let reason = &history.failures()[0].reason;
        assert_eq!(*reason, format!("x{}", "ü".repeat(47)));
    }
}
