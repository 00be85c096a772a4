//! One push per call and device, however often the script asks: INVITEs are repeated and forked.
//!
//! It refuses to remember for longer than a phone can ring.

use super::gathering::Gathering;
use crate::model::{Outcome, PushResult};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The pushes of the last seconds, by their ids.
pub(super) struct Window {
    length: Duration,
    pushes: HashMap<Uuid, State>,
    in_order: VecDeque<(Instant, Uuid)>,
}

enum State {
    /// Sent, not answered yet; these are told as well.
    UnderWay(Vec<Rc<Gathering>>),
    Ended(PushResult),
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
        Window { length, pushes: HashMap::new(), in_order: VecDeque::new() }
    }

    pub(super) fn ask(&mut self, id: Uuid, who: &Rc<Gathering>) -> Asked {
        self.forget_old();
        match self.pushes.get_mut(&id) {
            Some(State::UnderWay(waiting)) => {
                waiting.push(Rc::clone(who));
                Asked::UnderWay
            }
            Some(State::Ended(result)) => Asked::Ended(result.clone()),
            None => {
                self.pushes.insert(id, State::UnderWay(Vec::new()));
                self.in_order.push_back((Instant::now(), id));
                Asked::First
            }
        }
    }

    /// Notes how a push ended and gives those who asked for it meanwhile. An end that a second try could better is not
    /// remembered.
    pub(super) fn end(&mut self, id: Uuid, result: &PushResult) -> Vec<Rc<Gathering>> {
        let state = match &result.outcome {
            Outcome::Accepted | Outcome::TokenGone { .. } | Outcome::Rejected { .. } => {
                self.pushes.insert(id, State::Ended(result.clone()))
            }
            Outcome::Throttled { .. } | Outcome::Unavailable { .. } | Outcome::CredentialRefused { .. } => {
                self.pushes.remove(&id)
            }
        };
        match state {
            Some(State::UnderWay(waiting)) => waiting,
            Some(State::Ended(_)) | None => Vec::new(),
        }
    }

    /// Old entries go, oldest first. One that is still under way stays: its retries are bounded by the ring time, which is the
    /// window's length, so it goes with the next look.
    fn forget_old(&mut self) {
        while let Some((at, id)) = self.in_order.front() {
            if at.elapsed() < self.length {
                return;
            }
            if matches!(self.pushes.get(id), Some(State::UnderWay(_))) && at.elapsed() < self.length * 2 {
                return;
            }
            self.pushes.remove(id);
            self.in_order.pop_front();
        }
    }
}
