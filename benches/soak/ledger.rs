//! What every process of the soak writes down, in memory that all of them share: which push was handed over, and how it ended.
//!
//! It refuses locks: any process may be killed between two instructions.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use voip_push::model::{Outcome, Report};
use voip_push::process::SharedCounters;

/// Users with one device each.
pub const USERS: usize = 20_000;

/// A push was about to be handed over. A worker killed right after this may or may not have done it.
const MEANT: u64 = 1;
/// The hand-over said yes.
const TAKEN: u64 = 2;
/// The hand-over said no, for good.
const GIVEN_UP: u64 = 4;
/// One end; counted from here on up.
const ENDED: u64 = 1 << 8;

/// One cell per push, then some per user, then totals.
pub struct Ledger {
    pushes: SharedCounters,
    /// Per user: the generation of the token that was registered last and said so.
    registered: SharedCounters,
    /// Per user: the generation that is being registered, at least `registered`.
    meant: SharedCounters,
    /// Per user: the greatest generation whose token was answered with "gone", plus one.
    dead: SharedCounters,
    totals: SharedCounters,
}

/// The totals by place.
#[derive(Clone, Copy)]
pub enum Total {
    /// The next push to hand over.
    Next,
    /// Hand-overs that said yes.
    Taken,
    /// Ends.
    Ended,
    /// Attempts of all pushes.
    Attempts,
    /// Ends by outcome, in the order of [`OUTCOMES`].
    Outcomes,
}

/// `Outcome::name` of every outcome.
pub const OUTCOMES: [&str; 6] =
    ["accepted", "token_gone", "rejected", "throttled", "unavailable", "credential_refused"];

/// What goes along with a push and comes back with its end.
#[derive(Clone, Copy)]
pub struct Slip {
    /// The push's number.
    pub push: u64,
    /// Whom it is for.
    pub user: usize,
    /// The generation of the user's token.
    pub generation: u64,
}

impl Slip {
    /// For the note of a hand-over.
    pub fn encode(self) -> Vec<u8> {
        [self.push, self.user as u64, self.generation].map(u64::to_le_bytes).concat()
    }

    /// The reverse.
    pub fn decode(note: &[u8]) -> Slip {
        let number = |at: usize| u64::from_le_bytes(note[at * 8..at * 8 + 8].try_into().expect("8 bytes"));
        Slip { push: number(0), user: number(1) as usize, generation: number(2) }
    }
}

impl Ledger {
    /// Room for so many pushes; before any fork.
    pub fn new(pushes: u64) -> Ledger {
        let cells = |len: usize| SharedCounters::new(len).expect("there is memory for the ledger");
        Ledger {
            pushes: cells(pushes as usize),
            registered: cells(USERS),
            meant: cells(USERS),
            dead: cells(USERS),
            totals: cells(Total::Outcomes as usize + OUTCOMES.len()),
        }
    }

    /// One of the totals.
    pub fn total(&self, total: Total) -> &AtomicU64 {
        &self.totals.as_slice()[total as usize]
    }

    /// How often pushes ended so.
    pub fn outcome(&self, at: usize) -> &AtomicU64 {
        &self.totals.as_slice()[Total::Outcomes as usize + at]
    }

    /// Pushes handed over and not ended.
    pub fn under_way(&self) -> u64 {
        let ended = self.total(Total::Ended).load(SeqCst);
        self.total(Total::Taken).load(SeqCst).saturating_sub(ended)
    }

    /// The generation of a user's token.
    pub fn generation(&self, user: usize) -> u64 {
        self.registered.as_slice()[user].load(SeqCst)
    }

    /// The next generation, from now on possibly registered.
    pub fn begin_generation(&self, user: usize) -> u64 {
        self.meant.as_slice()[user].fetch_add(1, SeqCst) + 1
    }

    /// It was registered.
    pub fn finish_generation(&self, user: usize, generation: u64) {
        self.registered.as_slice()[user].store(generation, SeqCst);
    }

    /// Before a hand-over.
    pub fn mean(&self, push: u64) {
        self.pushes.as_slice()[push as usize].fetch_or(MEANT, SeqCst);
    }

    /// After a hand-over that said yes.
    pub fn take(&self, push: u64) {
        self.pushes.as_slice()[push as usize].fetch_or(TAKEN, SeqCst);
        self.total(Total::Taken).fetch_add(1, SeqCst);
    }

    /// After a hand-over that will not be tried again.
    pub fn give_up(&self, push: u64) {
        self.pushes.as_slice()[push as usize].fetch_or(GIVEN_UP, SeqCst);
    }

    /// In the sender's process: a push has ended.
    pub fn end(&self, slip: Slip, report: &Report) {
        self.pushes.as_slice()[slip.push as usize].fetch_add(ENDED, SeqCst);
        self.total(Total::Ended).fetch_add(1, SeqCst);
        for result in &report.results {
            let at = OUTCOMES.iter().position(|name| *name == result.outcome.name()).expect("all are listed");
            self.outcome(at).fetch_add(1, SeqCst);
            self.total(Total::Attempts).fetch_add(u64::from(result.attempts), SeqCst);
            if matches!(result.outcome, Outcome::TokenGone { .. }) {
                self.dead.as_slice()[slip.user].fetch_max(slip.generation + 1, SeqCst);
            }
        }
    }

    /// What does not add up among the pushes: their numbers by kind of fault.
    pub fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        for cell in self.pushes.as_slice() {
            let state = cell.load(SeqCst);
            let (ends, is_taken) = (state / ENDED, state & TAKEN != 0);
            faults.taken += u64::from(is_taken);
            faults.ended_twice += u64::from(ends > 1);
            faults.never_ended += u64::from(is_taken && ends == 0);
            faults.ended_unasked += u64::from(ends > 0 && (state & MEANT == 0 || state & GIVEN_UP != 0));
            let is_unknown = state & MEANT != 0 && !is_taken && state & GIVEN_UP == 0;
            faults.unknown += u64::from(is_unknown);
            faults.unknown_ended += u64::from(is_unknown && ends > 0);
            faults.never_meant += u64::from(state == 0);
        }
        faults
    }

    /// What must be in the store at the end, where that is certain.
    pub fn expected(&self, user: usize) -> Expected {
        let generation = self.generation(user);
        if self.meant.as_slice()[user].load(SeqCst) != generation {
            return Expected::Either; // A worker was killed while it registered.
        }
        if self.dead.as_slice()[user].load(SeqCst) > generation {
            Expected::Gone
        } else {
            Expected::There(generation)
        }
    }
}

/// Pushes whose ends do not fit what was handed over.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// No fault: handed over, and said so.
    pub taken: u64,
    /// More than one end.
    pub ended_twice: u64,
    /// Handed over, and no end.
    pub never_ended: u64,
    /// An end, although nothing was handed over.
    pub ended_unasked: u64,
    /// No fault: a worker was killed in the middle, so nobody knows whether it was handed over.
    pub unknown: u64,
    /// Of these, those that ended, so they were.
    pub unknown_ended: u64,
    /// No fault: a worker was killed when it had just taken the number.
    pub never_meant: u64,
}

/// What the store should say of a user.
#[derive(Debug, PartialEq, Eq)]
pub enum Expected {
    /// The token of this generation: it was never answered with "gone".
    There(u64),
    /// No token: the last one was answered with "gone".
    Gone,
    /// Nobody knows.
    Either,
}
