//! What is done to a call: it goes on in its route, rings at one more phone, or is given up.
//!
//! It refuses to try twice: a call that cannot go on is over.

use super::calls;
use super::host::SenderHost;
use crate::host::kamailio::{location_table, symbols, tm};
use crate::host::last::{self, Last};
use crate::host::note::CallId;
use crate::host::panic_caught;
use crate::host::parked::{Act, GoOn, Told, Why};
use crate::model::Event;
use crate::stats::Counter;
use std::time::Instant;

impl SenderHost {
    /// The server stops, or an administrator wants no call to wait any longer: all that wait go on in their routes.
    pub(super) fn release_all(&self) {
        let acts = calls::with(|parked| parked.stop(Instant::now()));
        if !acts.is_empty() {
            ::log::info!(
                "the server stops; {} calls that wait for a phone go on in their routes",
                acts.len()
            );
        }
        for act in acts {
            panic_caught((), || self.act(act));
        }
    }

    pub(super) fn act_all(&self, acts: impl IntoIterator<Item = Act>) {
        acts.into_iter().for_each(|act| self.act(act));
    }

    pub(super) fn act(&self, act: Act) {
        match act {
            Act::GoOn(go_on) => {
                if let Why::Woken(told) = go_on.why {
                    self.note(&go_on.user, &go_on.sip_call_id, Event::Registered, || at_whom(told));
                }
                let detail = || format!("why={}", go_on.why.as_str());
                self.note(&go_on.user, &go_on.sip_call_id, Event::WentOn, detail);
                // A phone registers while the caller hangs up, and its word is read before the caller's: no reason to worry anybody.
                let level = ::log::Level::Info;
                if !self.resume(go_on.id, &go_on.route, why_it_goes_on(&go_on), level) {
                    calls::with(|parked| parked.gone(go_on.id));
                }
            }
            Act::GiveUp { user, sip_call_id, why } => {
                if let Some(pushes) = self.pushes.borrow().as_ref() {
                    pushes.give_up(&user, &sip_call_id, why);
                }
            }
            Act::Append { id, aor, told } => self.append(id, &aor, told),
        }
    }

    fn append(&self, id: CallId, aor: &str, told: Told) {
        if told != Told::Again {
            self.note_of(id, Event::Registered, || at_whom(told));
        }
        let append = || {
            // SAFETY: the process' main thread, in the sender's loop; a call that rings is not suspended, and only this process
            // parks it again, or tells us first.
            unsafe { tm::append(id, location_table(), aor) };
        };
        // The contact of a phone elsewhere may not be here yet, and tm takes it for an error that a call gets none.
        if told == Told::Here { append() } else { symbols::without_errors(append) }
    }

    /// Lets a call go on in its route, which sees `last`. A call that is over is counted, logged at this level, and
    /// never tried again.
    pub(super) fn resume(&self, id: CallId, route: &str, last: Last, level: ::log::Level) -> bool {
        last::set(last);
        // SAFETY: the process' main thread, in the sender's loop: no route is being run.
        let went_on = tm::tm().is_some_and(|tm| unsafe { tm.go_on(std::ptr::null_mut(), id, route) });
        if !went_on {
            self.service.stats().count(Counter::ResumeFailed);
            if let Some(silent) = self.resume_failed.may_speak() {
                ::log::log!(
                    level,
                    "a call was over before it could go on in route[{route}]; {silent} more since the last such line"
                );
            }
        }
        went_on
    }
}

/// Where a phone has registered, for the timeline.
fn at_whom(told: Told) -> String {
    if told == Told::Here { String::new() } else { "at=another_machine".to_owned() }
}

/// What a parked call's route sees: 1 a phone has registered; -3 nobody has in time, or the number of what went wrong with the
/// pushes; -2 nobody will; -5 the server stops.
fn why_it_goes_on(go_on: &GoOn) -> Last {
    let push = go_on.push.as_ref();
    let failed = push.filter(|push| push.code < 0);
    let last = match (go_on.why, failed) {
        (Why::Woken(_), _) => Last::new(1),
        (Why::TimeIsOver | Why::Hopeless, Some(push)) if push.code != -3 => {
            Last::told(push.code, &push.reason)
        }
        (Why::TimeIsOver | Why::Hopeless, _) => Last::told(-3, "no phone has registered in time"),
        (Why::ServerStops, _) => Last::told(-5, "the server stops"),
    };
    let (devices, accepted) = push.map_or((0, 0), |push| (push.devices, push.accepted));
    last.with_counts(devices, accepted).with_call(&go_on.user, &go_on.sip_call_id)
}
