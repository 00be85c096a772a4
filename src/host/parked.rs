//! The calls that wait for a phone or ring, as the sender's process keeps them: it alone lets them go on, one after the other.
//!
//! It refuses to call the server: it says what is to be done, so that nothing of it is under way while it happens.

mod act;
mod call;

pub(super) use act::{Act, GoOn, Told, Verdict, Why, user_of};

use super::note::{CallId, Follow, Park, Wake};
use super::waiting::{Moment, Waiting};
use crate::service::Needless;
use crate::stats::{Counter, Stats};
use call::{Call, State};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// What came before its call is kept for so long.
const EARLY: Duration = Duration::from_secs(10);
/// Word that a call rings comes so long after word that it was declined and waits, at most: each process has its own way to us.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(1);
/// A call whose end nobody told is forgotten after so long; longer than any call rings.
const FORGOTTEN: Duration = Duration::from_secs(900);

enum Early {
    Over,
    Verdict(Verdict, Instant),
}

/// All calls that wait or ring.
pub(super) struct Parked {
    calls: HashMap<CallId, Call>,
    of_user: HashMap<String, Vec<CallId>>,
    early: HashMap<CallId, Early>,
    /// The last registrations, for calls that are told of after them.
    recent: VecDeque<(Instant, Wake, Told)>,
    /// When something is due for a call, or what came early for it is to be dropped: one time for each.
    times: BTreeSet<(Instant, CallId)>,
    time_of: HashMap<CallId, Instant>,
    waiting: &'static Waiting,
    stats: &'static Stats,
    /// How long a phone is late rather than just registering.
    late: Duration,
}

impl Parked {
    pub fn new(waiting: &'static Waiting, stats: &'static Stats, late: Duration) -> Parked {
        Parked {
            calls: HashMap::new(),
            of_user: HashMap::new(),
            early: HashMap::new(),
            recent: VecDeque::new(),
            times: BTreeSet::new(),
            time_of: HashMap::new(),
            waiting,
            stats,
            late,
        }
    }

    /// Another time after which a phone is late.
    pub fn set_late(&mut self, late: Duration) {
        self.late = late;
    }

    /// A worker has suspended a call; it was told in [`Waiting`], once for each note.
    pub fn park(&mut self, park: Park, now: Instant) -> Option<Act> {
        let Park { user, sip_call_id, id, route, within, missed_since, is_counted, awaits } = park;
        // Read now: what was told before this note was read has been read before it, too.
        let last_wake = self.waiting.last_wake(&user);
        let verdict = match self.early.get(&id) {
            Some(Early::Verdict(verdict, at)) => Some((verdict.clone(), *at)),
            Some(Early::Over) | None => None,
        };
        let is_new = !self.calls.contains_key(&id);
        if let Some(over) = self.enlist(&user, sip_call_id, id, is_counted, now) {
            return Some(over);
        }
        let call = self.calls.get_mut(&id)?;
        if is_new && awaits {
            call.follows_until = Some(now + FOLLOWS_WITHIN);
        }
        let deadline = *call.deadline.get_or_insert(now + within);
        if call.state != State::Parked {
            self.stats.add(Counter::ParkedNow, 1);
            self.stats.count(Counter::Parked);
        }
        (call.state, call.route, call.awaits) = (State::Parked, route, awaits);
        if let Some((verdict, at)) = verdict {
            call.learn(verdict, at);
        }
        self.set_time(id, deadline);
        let call = self.calls.get_mut(&id)?;
        // A call that phones have declined was followed before: the note about that says what it may have missed, also where it comes
        // after this one.
        if !awaits {
            call.looked_at(missed_since);
        }
        if !call.is_to_hear_what_it_rang(now) && last_wake > call.seen && last_wake >= missed_since {
            call.seen = last_wake;
            let told = self.told_since(&user, missed_since).last().map_or(Told::Here, |(_, told)| *told);
            return self.go_on(id, Why::Woken(told), now);
        }
        if call.push.as_ref().is_some_and(|push| push.is_hopeless) {
            return self.go_on(id, Why::Hopeless, now);
        }
        None
    }

    /// A call rings: phones that register from then on are to ring too.
    pub fn follow(&mut self, follow: Follow, now: Instant) -> Vec<Act> {
        let Follow { user, sip_call_id, id, missed_since, is_counted, rung } = follow;
        if let Some(over) = self.enlist(&user, sip_call_id, id, is_counted, now) {
            return vec![over];
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.follows_until = None;
        }
        let came = rung.into_iter().filter_map(|contact| self.rung(id, contact, now)).last();
        came.into_iter().chain(self.catch_up(&user, id, missed_since, now)).collect()
    }

    /// A call gets the phones that have registered since it has looked for contacts.
    fn catch_up(&mut self, user: &str, id: CallId, missed_since: Moment, now: Instant) -> Vec<Act> {
        let Some(call) = self.calls.get_mut(&id) else { return Vec::new() };
        call.looked_at(missed_since);
        if call.state == State::Missed {
            return Vec::new();
        }
        let missed = self.told_since(user, missed_since);
        missed.iter().filter_map(|(wake, told)| self.wake_call(id, wake, *told, now)).collect()
    }

    /// The registrations of a user from this moment on that were told already: by several processes, and so in any order and before
    /// the call that they matter to.
    pub fn woken_since(&self, user: &str, moment: Moment) -> Vec<Wake> {
        self.told_since(user, moment).into_iter().map(|(wake, _)| wake).collect()
    }

    fn told_since(&self, user: &str, moment: Moment) -> Vec<(Wake, Told)> {
        let since = self.recent.iter().filter(|(_, wake, _)| wake.user == user && wake.moment >= moment);
        let mut since: Vec<_> = since.map(|(_, wake, told)| (wake.clone(), *told)).collect();
        since.sort_by_key(|(wake, _)| wake.moment);
        since
    }

    /// Puts a call on its user's list, unless it is over. Where it is on it already, it was counted once too often.
    fn enlist(
        &mut self,
        user: &str,
        sip_call_id: String,
        id: CallId,
        is_counted: bool,
        now: Instant,
    ) -> Option<Act> {
        let is_over = matches!(self.take_early(id), Some(Early::Over));
        if is_over || self.calls.contains_key(&id) {
            if is_counted {
                self.waiting.leave(user);
            }
            let why = Needless::CallOver;
            return is_over.then(|| Act::GiveUp { user: user_of(user).to_owned(), sip_call_id, why });
        }
        if !is_counted {
            self.waiting.arrive(user);
        }
        self.set_time(id, now + FORGOTTEN);
        self.of_user.entry(user.to_owned()).or_default().push(id);
        self.calls.insert(id, Call::new(user, sip_call_id));
        None
    }

    /// A phone of a user has registered.
    pub fn wake(&mut self, wake: &Wake, told: Told, now: Instant) -> Vec<Act> {
        while self.recent.front().is_some_and(|(at, ..)| *at + EARLY < now) {
            self.recent.pop_front();
        }
        self.recent.push_back((now, wake.clone(), told));
        let ids = self.of_user.get(&wake.user).cloned().unwrap_or_default();
        ids.into_iter().filter_map(|id| self.wake_call(id, wake, told, now)).collect()
    }

    /// A phone of a user has registered elsewhere a moment ago, which was told before: for calls that did not find it then, since its
    /// contact had not come yet.
    pub fn wake_again(&mut self, wake: &Wake, now: Instant) -> Vec<Act> {
        let ids = self.of_user.get(&wake.user).cloned().unwrap_or_default();
        let has_missed = |id: &CallId| self.calls.get(id).is_some_and(|call| call.has_missed(wake));
        let ids: Vec<CallId> = ids.into_iter().filter(has_missed).collect();
        ids.into_iter().filter_map(|id| self.wake_call(id, wake, Told::Again, now)).collect()
    }

    fn wake_call(&mut self, id: CallId, wake: &Wake, told: Told, now: Instant) -> Option<Act> {
        let call = self.calls.get_mut(&id)?;
        if !call.is_to_act_on(wake, now) {
            return None;
        }
        match call.state {
            // The phone that has declined has registered before, of which word comes now, or again.
            State::Parked if !call.has_missed(wake) => None,
            State::Parked => self.go_on(id, Why::Woken(told), now),
            State::Rings => {
                call.may_reach_more(wake).then(|| Act::Append { id, aor: wake.aor.clone(), told })
            }
            State::Missed => {
                self.stats.count(Counter::Late);
                self.forget(id);
                None
            }
        }
    }

    /// A call went to a contact. One that has waited has found its phone so, unless it waits again, since that one has declined.
    pub fn rung(&mut self, id: CallId, contact: String, now: Instant) -> Option<Act> {
        let call = self.calls.get_mut(&id)?;
        call.rung.insert(contact);
        if call.state != State::Rings {
            return None;
        }
        if let Some(accepted_at) = call.accepted_at.take()
            && call.deadline.is_some()
        {
            self.stats.invited(now.saturating_duration_since(accepted_at));
        }
        call.deadline.map(|_| call.give_up(Needless::PhoneCame))
    }

    /// Who is called, and the call's Call-ID.
    pub fn name_of(&self, id: CallId) -> Option<(String, String)> {
        self.calls.get(&id).map(|call| (call.user.clone(), call.sip_call_id.clone()))
    }

    /// Whether a call is here already.
    pub fn knows(&self, id: CallId) -> bool {
        self.calls.contains_key(&id)
    }

    /// Whether a call went to this contact.
    pub fn was_rung(&self, id: CallId, contact: &str) -> bool {
        self.calls.get(&id).is_some_and(|call| call.rung.contains(contact))
    }

    /// What came of a call's pushes.
    pub fn pushed(&mut self, id: CallId, verdict: Verdict, now: Instant) -> Option<Act> {
        let Some(call) = self.calls.get_mut(&id) else {
            self.keep_early(id, Early::Verdict(verdict, now), now);
            return None;
        };
        let is_over = call.state == State::Parked && verdict.is_hopeless;
        call.learn(verdict, now);
        if is_over { self.go_on(id, Why::Hopeless, now) } else { None }
    }

    /// Every phone that was pushed for this call has come, or will not.
    pub fn nobody_else(&mut self, id: CallId, now: Instant) -> Option<Act> {
        self.calls.get(&id).filter(|call| call.awaits)?;
        self.go_on(id, Why::Hopeless, now)
    }

    /// The caller has a final answer, or has hung up.
    pub fn over(&mut self, id: CallId, now: Instant) -> Option<Act> {
        let Some(call) = self.calls.get(&id) else {
            self.keep_early(id, Early::Over, now);
            return None;
        };
        let act = call.give_up(Needless::CallOver);
        match call.state {
            State::Parked => self.missed(id, now),
            State::Rings => self.forget(id),
            State::Missed => return None,
        }
        Some(act)
    }

    /// The call that is to go on could not: its transaction is gone.
    pub fn gone(&mut self, id: CallId) {
        self.forget(id);
    }

    /// When something is due.
    pub fn due(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }

    /// The next of what is due.
    pub fn next_due(&mut self, now: Instant) -> Option<Act> {
        while let Some((at, id)) = self.times.first().copied().filter(|(at, _)| *at <= now) {
            self.times.remove(&(at, id));
            self.time_of.remove(&id);
            match self.calls.get(&id).map(|call| call.state) {
                Some(State::Parked) => {
                    self.stats.count(Counter::WakeTimeout);
                    return self.go_on(id, Why::TimeIsOver, now);
                }
                Some(State::Rings | State::Missed) => self.forget(id),
                None => drop(self.early.remove(&id)),
            }
        }
        None
    }

    /// The server stops: every call that waits goes on.
    pub fn stop(&mut self, now: Instant) -> Vec<Act> {
        let ids: Vec<CallId> = self.calls.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.go_on(id, Why::ServerStops, now)).collect()
    }

    /// A call that waits rings from here on, as far as we are concerned; if its route parks it again, we are told again.
    fn go_on(&mut self, id: CallId, why: Why, now: Instant) -> Option<Act> {
        let call = self.calls.get_mut(&id).filter(|call| call.state == State::Parked)?;
        call.state = State::Rings;
        self.stats.lower(Counter::ParkedNow, 1);
        if matches!(why, Why::Woken(_)) {
            self.stats.count(Counter::Woken);
            if let Some(accepted_at) = call.accepted_at {
                self.stats.woke(now.saturating_duration_since(accepted_at));
            }
        }
        let act = Act::GoOn(GoOn {
            id,
            route: call.route.clone(),
            user: user_of(&call.user).to_owned(),
            sip_call_id: call.sip_call_id.clone(),
            why,
            push: call.push.clone(),
        });
        self.set_time(id, now + FORGOTTEN);
        Some(act)
    }

    fn missed(&mut self, id: CallId, now: Instant) {
        self.set_time(id, now + self.late);
        if let Some(call) = self.calls.get_mut(&id) {
            self.stats.lower(Counter::ParkedNow, 1);
            self.waiting.end(&call.user);
            call.state = State::Missed;
        }
    }

    fn forget(&mut self, id: CallId) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.clear_time(id);
        if call.state == State::Parked {
            self.stats.lower(Counter::ParkedNow, 1);
        }
        match call.state {
            State::Missed => self.waiting.leave_ended(&call.user),
            State::Parked | State::Rings => self.waiting.leave(&call.user),
        }
        if let Some(ids) = self.of_user.get_mut(&call.user) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.of_user.remove(&call.user);
            }
        }
    }

    fn keep_early(&mut self, id: CallId, early: Early, now: Instant) {
        self.early.insert(id, early);
        self.set_time(id, now + EARLY);
    }

    fn take_early(&mut self, id: CallId) -> Option<Early> {
        let early = self.early.remove(&id)?;
        self.clear_time(id);
        Some(early)
    }

    fn set_time(&mut self, id: CallId, at: Instant) {
        self.clear_time(id);
        self.times.insert((at, id));
        self.time_of.insert(id, at);
    }

    fn clear_time(&mut self, id: CallId) {
        if let Some(at) = self.time_of.remove(&id) {
            self.times.remove(&(at, id));
        }
    }
}

#[cfg(test)]
mod tests;
