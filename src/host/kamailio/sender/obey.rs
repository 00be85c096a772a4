//! What the sender's process does when it is told something about a call.
//!
//! It refuses to judge a push: the service does, and a script sees what it says.

use super::calls;
use super::host::SenderHost;
use crate::host::kamailio::{awaits, park, reach};
use crate::host::last::Last;
use crate::host::note::{CallId, End, Follow, Note, Park, ruid_of};
use crate::host::parked::{Told, Verdict};
use crate::host::waiting::Moment;
use crate::host::{script_code, verbs};
use crate::model::{Event, Report};
use crate::service::Error;
use std::time::Instant;

impl SenderHost {
    pub(super) fn obey(&self, note: Note, report: Report) {
        let now = Instant::now();
        match note {
            Note::Queued { user, sip_call_id, id } => {
                let last = self.queued(id, report, now);
                self.run_event(last.with_call(&user, &sip_call_id));
            }
            Note::Async { user, sip_call_id, id, route } => {
                let (last, _) = self.verdict(report);
                self.resume(id, &route, last.with_call(&user, &sip_call_id), ::log::Level::Warn);
            }
            Note::Remember(call) => {
                let woken = calls::with(|parked| parked.woken_since(&call.user, call.since));
                self.remembered.borrow_mut().remember(call, &woken, now);
            }
            Note::Park(park) => self.park(park, now),
            Note::Follow(follow) => self.follow(follow, now),
            Note::Wake(wake) => {
                let others = self.elsewhere.borrow_mut().woke(&wake, now);
                self.say(others);
                self.wake(&wake, Told::Here, now);
            }
            Note::Rings { id } => self.note_of(id, Event::Rings, String::new),
            Note::Rung { id, contact } => {
                self.note_of(id, Event::Invited, || "contacts=1".to_owned());
                self.went_to(id, &contact, park::waiting().now(), now);
                self.act_all(calls::with(|parked| parked.rung(id, contact, now)));
                self.see_who_is_awaited(id, now);
            }
            Note::Over { id, end } => self.over(id, &end, now),
            Note::Doubt(doubt) => {
                let phones = doubt.phones.len();
                let detail = || format!("devices={phones}");
                self.note(&doubt.user, &doubt.sip_call_id, Event::Spared, detail);
                self.doubts.borrow_mut().doubt(doubt, now);
            }
            Note::Answers { id, branch } => self.doubts.borrow_mut().answered(id, branch, now),
            Note::Release => self.release_all(),
        }
    }

    /// What came of pushes that nobody waits for, but perhaps their call.
    fn queued(&self, id: Option<CallId>, report: Report, now: Instant) -> Last {
        let (last, verdict) = self.verdict(report);
        if let Some(id) = id {
            awaits::less(id, verdict.devices.saturating_sub(verdict.accepted));
            self.act_all(calls::with(|parked| parked.pushed(id, verdict, now)));
            self.see_who_is_awaited(id, now);
        }
        last
    }

    fn park(&self, park: Park, now: Instant) {
        let (id, seconds) = (park.id, park.within.as_secs());
        self.tell_others_of_a_call(&park.user, park.missed_since);
        self.note(&park.user, &park.sip_call_id, Event::Parked, || format!("seconds={seconds}"));
        self.act_all(calls::with(|parked| parked.park(park, now)));
        self.see_who_is_awaited(id, now);
    }

    fn follow(&self, follow: Follow, now: Instant) {
        if !follow.rung.is_empty() {
            let contacts = follow.rung.len();
            let detail = || format!("contacts={contacts}");
            self.note(&follow.user, &follow.sip_call_id, Event::Invited, detail);
        }
        let id = follow.id;
        self.tell_others_of_a_call(&follow.user, follow.missed_since);
        follow.rung.iter().for_each(|contact| self.went_to(id, contact, follow.missed_since, now));
        self.act_all(calls::with(|parked| parked.follow(follow, now)));
        self.see_who_is_awaited(id, now);
    }

    fn over(&self, id: CallId, end: &End, now: Instant) {
        awaits::forget(id);
        self.note_end(id, end);
        self.remembered.borrow_mut().over(id, end, now);
        if reach::is_used() {
            self.doubts.borrow_mut().over(id, now);
        }
        self.act_all(calls::with(|parked| parked.over(id, now)));
    }

    /// A call went to a contact that was there at this moment.
    fn went_to(&self, id: CallId, contact: &str, at: Moment, now: Instant) {
        if self.remembered.borrow_mut().rung(id, ruid_of(contact), at, now) {
            awaits::less(id, 1);
        }
    }

    /// A call that waits for nothing but phones which were pushed goes on when none of them is still to come.
    pub(super) fn see_who_is_awaited(&self, id: CallId, now: Instant) {
        if awaits::left(id).is_none() {
            self.act_all(calls::with(|parked| parked.nobody_else(id, now)));
        }
    }

    /// What `send_voip_push` would have returned.
    fn verdict(&self, report: Report) -> (Last, Verdict) {
        let judged = self.service.verdict(report);
        let (code, reason, report, is_hopeless) = match &judged {
            Ok(report) => (verbs::number(report.accepted()), "ok".to_owned(), Some(report), false),
            Err(error) => {
                let is_hopeless = matches!(error, Error::AllRejected(_));
                (script_code(error), error.to_string(), error.report(), is_hopeless)
            }
        };
        let (devices, accepted) = report.map_or((0, 0), |report| (report.devices, report.accepted()));
        let last = Last::told(code, &reason).with_counts(devices, accepted);
        (last, Verdict { code, reason, devices, accepted, is_hopeless })
    }
}
