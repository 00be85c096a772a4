//! The calls that phones were pushed for, as the sender's process remembers them until a while after their end: a phone that wakes
//! up later than that call lasted is to be told.
//!
//! It refuses to grow without a bound, and to tell a phone that the call went to, or that was told before: as far as phones say
//! who they are, and never more of them than were pushed to.

use super::note::{CallId, End, Remember, Wake};
use super::waiting::{Moment, Waiting};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// All INVITEs together take at most so many bytes; the call that would be forgotten first makes room.
const MAX_BYTES: usize = 16 << 20;
/// What a call takes beside its INVITE, about.
const CALL_LEN: usize = 1024;
/// So long after a call's end may word arrive that it went to a contact after all: each process has its own way to us.
const GRACE: Duration = Duration::from_millis(300);
/// What came before its call is kept for so long.
const EARLY: Duration = Duration::from_secs(10);
/// A call whose end nobody told is forgotten after so long; longer than any call rings.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// A user's contacts that one call may have; tm rings no more than 31.
const MAX_CONTACTS: usize = 64;

/// A phone is to be told of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TellLate {
    pub user: String,
    pub sip_call_id: String,
    pub invite: Rc<[u8]>,
    /// Where the INVITE came in, if that was a UDP socket.
    pub received_on: Option<SocketAddr>,
    /// The contact, as the registrar names it.
    pub contact: String,
    /// The address that it is registered for.
    pub aor: String,
    pub end: End,
}

struct Call {
    user: String,
    sip_call_id: String,
    invite: Rc<[u8]>,
    received_on: Option<SocketAddr>,
    /// The contacts that it went to, or that were told, and when: phones of which one registers later had rung before.
    reached: HashMap<String, Moment>,
    /// The phones of those among them that had woken for it.
    phones: HashSet<String>,
    /// Registrations before this moment say nothing of the phones that were pushed, however late word of them comes.
    since: Moment,
    /// How many devices were pushed to that did not wake yet.
    missing: usize,
    /// Phones that have registered since.
    woken: Vec<Woken>,
    /// One has of which nothing else is known: elsewhere, and before others there knew that this call waits.
    is_somebody_woken: bool,
    ended: Option<(Instant, End)>,
    time: Instant,
}

/// A phone that has registered, and may ring already.
struct Woken {
    phone: String,
    moment: Moment,
    aor: String,
    contacts: Vec<String>,
}

/// All calls that are remembered.
pub(super) struct Remembered {
    calls: HashMap<CallId, Call>,
    of_user: HashMap<String, Vec<CallId>>,
    /// When a call is to be looked at or forgotten: one time for each.
    times: BTreeSet<(Instant, CallId)>,
    /// What came before its call was told of.
    early: HashMap<CallId, Vec<Early>>,
    early_times: VecDeque<(Instant, CallId)>,
    bytes: usize,
    waiting: &'static Waiting,
    /// How long after its end a call is remembered.
    keep: Duration,
}

enum Early {
    Over(End),
    Rung(String, Moment),
}

impl Remembered {
    pub fn new(waiting: &'static Waiting, keep: Duration) -> Remembered {
        Remembered {
            calls: HashMap::new(),
            of_user: HashMap::new(),
            times: BTreeSet::new(),
            early: HashMap::new(),
            early_times: VecDeque::new(),
            bytes: 0,
            waiting,
            keep,
        }
    }

    /// Another time that calls are remembered, those whose end is still to come.
    pub fn set_keep(&mut self, keep: Duration) {
        self.keep = keep;
    }

    /// Phones were pushed for a call. `woken` are the registrations of its user that were told before this was.
    pub fn remember(&mut self, call: Remember, woken: &[Wake], now: Instant) {
        let Remember { user, sip_call_id, id, since, devices, invite, received_on } = call;
        if self.keep.is_zero() || self.calls.contains_key(&id) {
            return;
        }
        let len = CALL_LEN + invite.len();
        while self.bytes + len > MAX_BYTES {
            let Some((_, first)) = self.times.first().copied() else { return };
            self.forget(first);
        }
        self.bytes += len;
        self.waiting.interest(&user);
        self.of_user.entry(user.clone()).or_default().push(id);
        let time = now + FORGOTTEN;
        self.times.insert((time, id));
        let mut call = Call {
            user,
            sip_call_id,
            invite: invite.into(),
            received_on,
            reached: HashMap::new(),
            phones: HashSet::new(),
            since,
            missing: devices,
            woken: Vec::new(),
            is_somebody_woken: false,
            ended: None,
            time,
        };
        for wake in woken {
            call.wake(&wake.without_places(), Duration::ZERO);
        }
        self.calls.insert(id, call);
        self.catch_up(id, now);
    }

    /// More phones were pushed for a call.
    pub fn more(&mut self, id: CallId, devices: usize) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.missing += devices;
        }
    }

    /// What was told of this call before it.
    fn catch_up(&mut self, id: CallId, now: Instant) {
        for early in self.early.remove(&id).unwrap_or_default() {
            match early {
                Early::Over(end) => self.over(id, &end, now),
                Early::Rung(contact, at) => drop(self.rung(id, &contact, at, now)),
            }
        }
    }

    fn keep_early(&mut self, id: CallId, early: Early, now: Instant) {
        const MOST: usize = 10_000;
        while let Some((_, old)) =
            self.early_times.front().filter(|(at, _)| *at + EARLY < now || self.early_times.len() >= MOST)
        {
            self.early.remove(old);
            self.early_times.pop_front();
        }
        if self.keep.is_zero() {
            return;
        }
        let its = self.early.entry(id).or_default();
        if its.is_empty() {
            self.early_times.push_back((now, id));
        }
        if its.len() < MAX_CONTACTS {
            its.push(early);
        }
    }

    /// A call went to a contact that was there at this moment. True where that is a phone that was pushed, as far as we know, and
    /// had not come before.
    pub fn rung(&mut self, id: CallId, contact: &str, at: Moment, now: Instant) -> bool {
        if let Some(call) = self.calls.get_mut(&id) {
            return call.rung(contact, at);
        }
        self.keep_early(id, Early::Rung(contact.to_owned(), at), now);
        false
    }

    /// A call is over. Of several ends that are told, one that is nearer to what happened counts: that it was answered, or who hung
    /// up, rather than the status that this led to.
    pub fn over(&mut self, id: CallId, end: &End, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else {
            return self.keep_early(id, Early::Over(end.clone()), now);
        };
        match &mut call.ended {
            Some((_, known)) if end.rank() > known.rank() => *known = end.clone(),
            Some(_) => {}
            None => {
                call.ended = Some((now, end.clone()));
                self.set_time(id, now + GRACE);
            }
        }
    }

    /// A phone of a user has registered, whose contact is here within this time. Gives the calls that had gone to it already, as that
    /// of a phone that was pushed: a call may go on before word of the registration is here.
    pub fn wake(&mut self, wake: &Wake, travels: Duration, now: Instant) -> Vec<CallId> {
        let mut had_it = Vec::new();
        for id in self.of_user.get(&wake.user).cloned().unwrap_or_default() {
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if call.wake(wake, travels) {
                had_it.push(id);
            }
            if let Some((at, _)) = call.ended {
                let time = call.time.min((now + travels).max(at + GRACE));
                self.set_time(id, time);
            }
        }
        had_it
    }

    /// When something is due.
    pub fn due(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }

    /// Who is to be told by now.
    pub fn next_due(&mut self, now: Instant) -> Vec<TellLate> {
        let mut all = Vec::new();
        while let Some((_, id)) = self.times.first().copied().filter(|(at, _)| *at <= now) {
            let forget_at =
                self.calls.get(&id).and_then(|call| call.ended.as_ref()).map(|(at, _)| *at + self.keep);
            match forget_at.filter(|at| now < *at) {
                Some(forget_at) => {
                    all.extend(self.tell(id));
                    self.set_time(id, forget_at);
                }
                None => self.forget(id),
            }
        }
        all
    }

    /// The phones that have registered and do not know yet.
    fn tell(&mut self, id: CallId) -> Vec<TellLate> {
        let Some(call) = self.calls.get_mut(&id) else { return Vec::new() };
        let Some((_, end)) = call.ended.clone() else { return Vec::new() };
        let mut told = Vec::new();
        for Woken { phone, aor, contacts, .. } in std::mem::take(&mut call.woken) {
            if call.missing == 0 {
                break;
            }
            call.reach(phone);
            for contact in contacts {
                call.reached.insert(contact.clone(), self.waiting.now());
                told.push(TellLate {
                    user: call.user.clone(),
                    sip_call_id: call.sip_call_id.clone(),
                    invite: Rc::clone(&call.invite),
                    received_on: call.received_on,
                    contact,
                    aor: aor.clone(),
                    end: end.clone(),
                });
            }
        }
        told
    }

    fn forget(&mut self, id: CallId) {
        let Some(call) = self.calls.remove(&id) else { return };
        self.times.remove(&(call.time, id));
        self.bytes -= CALL_LEN + call.invite.len();
        self.waiting.leave_ended(&call.user);
        if let Some(ids) = self.of_user.get_mut(&call.user) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.of_user.remove(&call.user);
            }
        }
    }

    fn set_time(&mut self, id: CallId, at: Instant) {
        if let Some(call) = self.calls.get_mut(&id) {
            self.times.remove(&(call.time, id));
            call.time = at;
            self.times.insert((at, id));
        }
    }
}

impl Call {
    /// True where it went to this phone, which was pushed, and nobody knew. Word of the registration may have taken so long.
    fn wake(&mut self, wake: &Wake, travels: Duration) -> bool {
        if self.missing == 0 || wake.moment < self.since || self.phones.contains(&wake.phone) {
            return false;
        }
        if wake.phone.is_empty() && wake.contacts.is_empty() {
            self.is_somebody_woken = true;
            return false;
        }
        let travels_us = u64::try_from(travels.as_micros()).unwrap_or(u64::MAX);
        let moment = wake.moment.saturating_sub(travels_us);
        if let Some(at) = wake.registered().iter().filter_map(|contact| self.reached.get(contact)).max() {
            let at = *at;
            return self.reached_by(wake.phone.clone(), moment, at);
        }
        let new = wake.registered().to_vec();
        self.woken.retain(|woken| woken.phone != wake.phone);
        if self.woken.len() < MAX_CONTACTS && !new.is_empty() {
            let (phone, aor) = (wake.phone.clone(), wake.aor.clone());
            self.woken.push(Woken { phone, moment, aor, contacts: new });
        }
        false
    }

    fn rung(&mut self, contact: &str, at: Moment) -> bool {
        let is_new = self.reached.len() < MAX_CONTACTS && !self.reached.contains_key(contact);
        if is_new {
            self.reached.insert(contact.to_owned(), at);
        }
        match self.woken.iter().position(|woken| woken.contacts.iter().any(|its| its == contact)) {
            Some(place) => {
                let woken = self.woken.swap_remove(place);
                self.reached_by(woken.phone, woken.moment, at)
            }
            None => is_new && self.reach_somebody(),
        }
    }

    /// The call went to a phone that has registered at one moment and was there at another. True where it has woken for the call;
    /// else it was there before, and has registered again.
    fn reached_by(&mut self, phone: String, registered_at: Moment, at: Moment) -> bool {
        if registered_at < at {
            return self.reach(phone);
        }
        self.phones.insert(phone);
        false
    }

    /// A contact that nobody has named is that of the phone of which nothing else was known.
    fn reach_somebody(&mut self) -> bool {
        let is_somebody = std::mem::take(&mut self.is_somebody_woken);
        self.missing -= usize::from(is_somebody && self.missing > 0);
        is_somebody
    }

    /// A phone that has woken knows of the call. True where it did not before.
    fn reach(&mut self, phone: String) -> bool {
        let is_new = self.phones.insert(phone);
        if is_new {
            self.missing = self.missing.saturating_sub(1);
        }
        is_new
    }
}

#[cfg(test)]
mod tests;
