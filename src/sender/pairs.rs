//! Pairs that cannot work, as a provider has said: a credential and an app that it may not push to, or a device and an app
//! that it is not of. They are left alone for a while, since senders who insist are slowed down or cut off (Apple: too many
//! such errors lower the stream limit).
//!
//! It refuses to touch a token: the mistake may be ours. A pair is tried again when its time is over, when the configuration
//! has changed (a credential that is another after a reload has another number), when the device has registered again, or when an administrator says so.

use super::lane::Lane;
use crate::model::{Outcome, Push};
use crate::provider::Blame;
use crate::stats::{Counter, Stats};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// More than these are not remembered; the provider will say it again.
const MOST: usize = 100_000;

pub(super) struct Pairs {
    rest: Cell<Duration>,
    stats: Arc<Stats>,
    hasher: RandomState,
    bad: RefCell<HashMap<u64, Bad>>,
}

struct Bad {
    /// The credential's number.
    lane: u64,
    until: Instant,
    /// When the device that was refused had registered; one that did so later is tried again.
    registered_at_ms: i64,
    reason: String,
}

impl Pairs {
    pub(super) fn new(rest: Duration, stats: &Arc<Stats>) -> Self {
        Pairs {
            rest: Cell::new(rest),
            stats: Arc::clone(stats),
            hasher: RandomState::new(),
            bad: RefCell::default(),
        }
    }

    /// Why this push is not worth sending with this credential, where it is not.
    pub(super) fn refusal(&self, lane: &Rc<Lane>, push: &Push) -> Option<Outcome> {
        if self.bad.borrow().is_empty() {
            return None;
        }
        // An app that nobody may push to stays so, whoever registers.
        let reason = self
            .standing(self.key(lane, push, Blame::App)?, i64::MIN)
            .or_else(|| self.standing(self.key(lane, push, Blame::Device)?, push.device.registered_at_ms))?;
        Some(Outcome::Rejected { reason: format!("{reason}, in quarantine") })
    }

    /// Notes a rejection, and says it once for as long as the pair rests.
    pub(super) fn note(&self, lane: &Rc<Lane>, push: &Push, blame: Blame, reason: &str) {
        let Some(key) = self.key(lane, push, blame) else { return };
        self.forget_old();
        let mut bad = self.bad.borrow_mut();
        if bad.len() >= MOST {
            return;
        }
        let until = Instant::now() + self.rest.get();
        let registered_at_ms = push.device.registered_at_ms;
        let bad_pair = Bad { lane: lane.number(), until, registered_at_ms, reason: reason.to_owned() };
        if bad.insert(key, bad_pair).is_some() {
            return;
        }
        self.stats.count(Counter::PairsQuarantined);
        self.stats.add(Counter::PairsInQuarantine, 1);
        let (credential, app, rest_s) = (lane.name(), lane.app(&push.device), self.rest.get().as_secs());
        match blame {
            Blame::App => log::error!(
                "{credential}: {reason} for {app}: this key may not push to it; is the app's id right, and of this team or \
                 project? No push is sent to it for {rest_s} s; tokens are kept"
            ),
            _ => log::warn!(
                "{credential}: {reason} for {app} from {:?}: the device is of another app or environment; it gets no \
                 push for {rest_s} s unless it registers again; the token is kept",
                push.device.token
            ),
        }
    }

    /// Forgets all of them, as an administrator says.
    pub(super) fn clear(&self) {
        let forgotten = self.bad.take().len();
        self.stats.lower(Counter::PairsInQuarantine, forgotten as u64);
    }

    /// Another time that pairs rest, from the next one on; and only these credentials are left.
    pub(super) fn settle(&self, rest: Duration, lanes: &[Rc<Lane>]) {
        self.rest.set(rest);
        let mut bad = self.bad.borrow_mut();
        let before = bad.len();
        bad.retain(|_, pair| lanes.iter().any(|lane| lane.number() == pair.lane));
        self.stats.lower(Counter::PairsInQuarantine, (before - bad.len()) as u64);
    }

    fn standing(&self, key: u64, registered_at_ms: i64) -> Option<String> {
        let mut bad = self.bad.borrow_mut();
        let found = bad.get(&key)?;
        if Instant::now() < found.until && registered_at_ms <= found.registered_at_ms {
            return Some(found.reason.clone());
        }
        bad.remove(&key);
        self.stats.lower(Counter::PairsInQuarantine, 1);
        None
    }

    fn key(&self, lane: &Rc<Lane>, push: &Push, blame: Blame) -> Option<u64> {
        let device = match blame {
            Blame::Push => return None,
            Blame::App => "",
            Blame::Device | Blame::Environment => push.device.token.expose(),
        };
        Some(self.hasher.hash_one((lane.number(), lane.app(&push.device), device)))
    }

    fn forget_old(&self) {
        let mut bad = self.bad.borrow_mut();
        let (before, now) = (bad.len(), Instant::now());
        bad.retain(|_, pair| now < pair.until);
        self.stats.lower(Counter::PairsInQuarantine, (before - bad.len()) as u64);
    }
}
