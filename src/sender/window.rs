//! One push per call and device, however often the script asks: INVITEs are repeated and forked.
//!
//! It refuses to remember for longer than a phone can ring.

use super::gathering::Gathering;
use crate::model::{Outcome, Provider, PushResult};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The pushes of the last seconds, by their ids. At some thousand calls a second there are some hundred thousand of them, so an
/// entry is small.
pub(super) struct Window {
    length: Duration,
    pushes: HashMap<Uuid, State, Mixed>,
    in_order: VecDeque<(Age, Uuid)>,
    start: Instant,
}

/// Milliseconds since the window was made; it may wrap around after 49 days, since only differences are looked at.
type Age = u32;

enum State {
    /// Sent, not answered yet.
    UnderWay,
    /// The same, and these asked for it meanwhile.
    #[expect(clippy::box_collection, reason = "rare, and three words in each of the others' entries")]
    Awaited(Box<Vec<Rc<Gathering>>>),
    /// The usual end.
    Accepted(Provider, u32),
    /// Another end.
    Ended(Box<PushResult>),
}

/// What a push that is asked for turns out to be.
pub(super) enum Asked {
    /// The first of its kind: to be sent.
    First,
    /// The same is under way; its result will be told.
    UnderWay,
    /// The same has ended so.
    Ended(PushResult),
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let pushes = HashMap::with_hasher(Mixed::new());
        Window { length, pushes, in_order: VecDeque::new(), start: Instant::now() }
    }

    pub(super) fn set_length(&mut self, length: Duration) {
        self.length = length;
    }

    pub(super) fn ask(&mut self, id: Uuid, who: &Rc<Gathering>, now: Instant) -> Asked {
        let now = now.saturating_duration_since(self.start).as_millis() as Age;
        self.forget_old(now);
        match self.pushes.get_mut(&id) {
            Some(State::Awaited(waiting)) => {
                waiting.push(Rc::clone(who));
                Asked::UnderWay
            }
            Some(state @ State::UnderWay) => {
                *state = State::Awaited(Box::new(vec![Rc::clone(who)]));
                Asked::UnderWay
            }
            Some(State::Accepted(provider, attempts)) => {
                let (provider, attempts) = (*provider, *attempts);
                Asked::Ended(PushResult { provider, outcome: Outcome::Accepted, attempts })
            }
            Some(State::Ended(result)) => Asked::Ended(PushResult::clone(result)),
            None => {
                self.pushes.insert(id, State::UnderWay);
                self.in_order.push_back((now, id));
                Asked::First
            }
        }
    }

    /// Notes how a push ended and gives those who asked for it meanwhile. An end that a second try could better is not
    /// remembered.
    pub(super) fn end(&mut self, id: Uuid, result: &PushResult) -> Vec<Rc<Gathering>> {
        let ended = match &result.outcome {
            Outcome::Accepted => Some(State::Accepted(result.provider, result.attempts)),
            Outcome::TokenGone { .. } | Outcome::Rejected { .. } => {
                Some(State::Ended(Box::new(result.clone())))
            }
            Outcome::Throttled { .. } | Outcome::Unavailable { .. } | Outcome::CredentialRefused { .. } => {
                None
            }
        };
        let before = match ended {
            Some(ended) => self.pushes.insert(id, ended),
            None => self.pushes.remove(&id),
        };
        match before {
            Some(State::Awaited(waiting)) => *waiting,
            Some(State::UnderWay | State::Accepted(..) | State::Ended(_)) | None => Vec::new(),
        }
    }

    /// Old entries go, oldest first. One that is still under way stays: its retries are bounded by the ring time, which is the
    /// window's length, so it goes with the next look.
    fn forget_old(&mut self, now: Age) {
        let length = self.length.as_millis() as Age;
        while let Some((at, id)) = self.in_order.front() {
            let age = now.wrapping_sub(*at);
            if age < length {
                return;
            }
            let is_under_way = || matches!(self.pushes.get(id), Some(State::UnderWay | State::Awaited(_)));
            if age < length.saturating_mul(2) && is_under_way() {
                return;
            }
            self.pushes.remove(id);
            self.in_order.pop_front();
        }
    }
}

/// Hashes what is a hash already. It is mixed with a number that nobody outside knows, since a caller chooses the Call-IDs.
pub(super) struct Mixed(u64);

impl Mixed {
    pub(super) fn new() -> Mixed {
        Mixed(RandomState::new().hash_one(0) | 1)
    }
}

impl Default for Mixed {
    fn default() -> Mixed {
        Mixed::new()
    }
}

impl BuildHasher for Mixed {
    type Hasher = Mixing;

    fn build_hasher(&self) -> Mixing {
        Mixing { state: 0, key: self.0 }
    }
}

/// A multiplication to twice the length, folded, for each eight bytes.
pub(super) struct Mixing {
    state: u64,
    key: u64,
}

impl Hasher for Mixing {
    fn write(&mut self, bytes: &[u8]) {
        for eight in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..eight.len()].copy_from_slice(eight);
            self.write_u64(u64::from_le_bytes(padded));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.state ^ number ^ self.key) * u128::from(self.key);
        self.state = product as u64 ^ (product >> 64) as u64;
    }

    fn write_usize(&mut self, _: usize) {
        // The length of an array that always has the same.
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Rc<Gathering> {
        Rc::new(Gathering::new(1, Box::new(drop)))
    }

    fn result(outcome: Outcome) -> PushResult {
        PushResult { provider: Provider::Apns, outcome, attempts: 2 }
    }

    #[test]
    fn the_same_push_is_sent_once_until_the_phone_would_have_stopped_ringing() {
        let (second, id) = (Duration::from_secs(1), Uuid::from_u128(7));
        let mut window = Window::new(second);
        let start = window.start;
        assert!(matches!(window.ask(id, &who(), start), Asked::First));
        assert!(matches!(window.ask(id, &who(), start), Asked::UnderWay));
        assert!(matches!(window.ask(id, &who(), start), Asked::UnderWay));
        assert!(matches!(window.ask(id, &who(), start + second), Asked::UnderWay));
        assert_eq!(window.end(id, &result(Outcome::Accepted)).len(), 3);
        let Asked::Ended(ended) = window.ask(id, &who(), start + second / 2) else { panic!("it has ended") };
        assert_eq!((ended.outcome, ended.attempts), (Outcome::Accepted, 2));
        assert!(matches!(window.ask(id, &who(), start + second), Asked::First));
        assert_eq!((window.pushes.len(), window.in_order.len()), (1, 1));
    }

    #[test]
    fn an_end_that_a_second_try_could_better_is_not_remembered() {
        let mut window = Window::new(Duration::from_secs(1));
        let start = window.start;
        let reason = String::new;
        for (number, outcome, is_kept) in [
            (1, Outcome::TokenGone { since_ms: None }, true),
            (2, Outcome::Rejected { reason: reason() }, true),
            (3, Outcome::Unavailable { reason: reason() }, false),
            (4, Outcome::Throttled { retry_after: None, reason: reason() }, false),
        ] {
            let id = Uuid::from_u128(number);
            window.ask(id, &who(), start);
            assert!(window.end(id, &result(outcome)).is_empty());
            assert_eq!(matches!(window.ask(id, &who(), start), Asked::Ended(_)), is_kept);
        }
    }

    #[test]
    fn an_entry_is_small_and_ids_spread() {
        assert!(size_of::<(Uuid, State)>() <= 32 && size_of::<(Age, Uuid)>() <= 20);
        let mixed = Mixed::new();
        let rows: std::collections::HashSet<u64> =
            (0..1000).map(|number| mixed.hash_one(Uuid::from_u128(number << 64)) % 4096).collect();
        assert!(rows.len() > 700, "{}", rows.len());
    }
}
