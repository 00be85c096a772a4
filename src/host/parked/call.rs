//! One call that waits or rings: what it knows of phones that have come and of those that it rang.
//!
//! It refuses to know other calls, and the time when something is due for it.

use super::super::note::Wake;
use super::super::waiting::Moment;
use super::act::{Act, Verdict, user_of};
use crate::service::Needless;
use std::collections::HashSet;
use std::time::Instant;

pub(super) struct Call {
    pub user: String,
    pub sip_call_id: String,
    pub route: String,
    pub state: State,
    /// It waits for phones that were pushed and have not come, and for nothing else.
    pub awaits: bool,
    /// Until then word is to come of what it rang, and since when: it was declined before that was told.
    pub follows_until: Option<Instant>,
    /// Registrations before this moment were there when it looked for contacts.
    pub since: Moment,
    /// The last registration that it has acted on.
    pub seen: Moment,
    /// The contacts that it went to, as the registrar names them.
    pub rung: HashSet<String>,
    pub push: Option<Verdict>,
    /// When a provider accepted its first push, until it has gone to a phone.
    pub accepted_at: Option<Instant>,
    /// When its time to wait is over, from the first time that it was parked: a call that is parked again gets no more.
    pub deadline: Option<Instant>,
}

impl Call {
    /// One that has just come, and rings as far as we know.
    pub fn new(user: &str, sip_call_id: String) -> Call {
        Call {
            user: user.to_owned(),
            sip_call_id,
            route: String::new(),
            state: State::Rings,
            awaits: false,
            follows_until: None,
            since: 0,
            seen: 0,
            rung: HashSet::new(),
            push: None,
            accepted_at: None,
            deadline: None,
        }
    }

    /// What came of its pushes, which was known at this time.
    pub fn learn(&mut self, verdict: Verdict, at: Instant) {
        if verdict.accepted > 0 {
            self.accepted_at.get_or_insert(at);
        }
        self.push = Some(verdict);
    }

    /// It looks for contacts: what registers from this moment on it may miss.
    pub fn looked_at(&mut self, moment: Moment) {
        self.since = self.since.max(moment);
        self.seen = self.seen.max(moment.saturating_sub(1));
    }

    /// Whether word is to come, in a moment, of what it rang and has missed since.
    pub fn is_to_hear_what_it_rang(&self, now: Instant) -> bool {
        self.follows_until.is_some_and(|until| now < until)
    }

    /// Whether it did not find a phone that has registered, as far as that one is known.
    pub fn has_missed(&self, wake: &Wake) -> bool {
        let is_found =
            wake.registered > 0 && wake.registered().iter().all(|contact| self.rung.contains(contact));
        match self.state {
            State::Parked | State::Rings => !is_found,
            State::Missed => false,
        }
    }

    /// Whether a registration is one to act on, which it is only once.
    pub fn is_to_act_on(&mut self, wake: &Wake, now: Instant) -> bool {
        if wake.moment < self.since || self.is_to_hear_what_it_rang(now) {
            return false;
        }
        // Word of an earlier registration may come after that of a later one. Who it is from is known then, or it is not looked at.
        let is_known = wake.tells_contacts && wake.registered > 0;
        if wake.moment == self.seen || (wake.moment < self.seen && !is_known) {
            return false;
        }
        self.seen = self.seen.max(wake.moment);
        true
    }

    /// Whether the user has a contact that it did not go to, or may have, as far as that is known.
    pub fn may_reach_more(&self, wake: &Wake) -> bool {
        !wake.tells_contacts || wake.contacts.iter().any(|contact| !self.rung.contains(contact))
    }

    pub fn give_up(&self, why: Needless) -> Act {
        Act::GiveUp { user: user_of(&self.user).to_owned(), sip_call_id: self.sip_call_id.clone(), why }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Parked,
    Rings,
    /// It ended before a phone came; kept to be able to say that one came late.
    Missed,
}
