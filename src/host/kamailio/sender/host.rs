//! The sender's process as its loop has it: what it is told, and what is due.
//!
//! It refuses to let a panic out: one call that goes wrong is one call.

use super::{calls, tell};
use crate::host::doubts::Doubts;
use crate::host::elsewhere::{Elsewhere, Word};
use crate::host::kamailio::line::Lines;
use crate::host::kamailio::symbols::Forking;
use crate::host::kamailio::{awaits, late, park, pushes};
use crate::host::limiter::Limiter;
use crate::host::note::Note;
use crate::host::remembered::Remembered;
use crate::host::{log_failure, panic_caught};
use crate::model::{Ended, Event, Report};
use crate::service::{Host, Pushes, Service};
use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant};

/// How often it looks for phones that are to renew their registrations.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// What the sender does for the calls of this Kamailio.
pub(super) struct SenderHost {
    pub(super) service: &'static Service,
    pub(super) forking: &'static Forking,
    pub(super) resume_failed: Limiter,
    pub(super) remembered: RefCell<Remembered>,
    pub(super) doubts: RefCell<Doubts>,
    pub(super) elsewhere: RefCell<Elsewhere>,
    /// When to look for phones that are to renew their registrations.
    pub(super) next_refresh: Cell<Option<Instant>>,
    pub(super) lines: Lines,
    pub(super) pushes: RefCell<Option<Pushes>>,
}

impl SenderHost {
    /// Nothing waits yet.
    pub(super) fn new(service: &'static Service, forking: &'static Forking) -> io::Result<SenderHost> {
        Ok(SenderHost {
            service,
            forking,
            resume_failed: Limiter::new()?,
            pushes: RefCell::default(),
            remembered: RefCell::new(Remembered::new(park::waiting(), keep(service))),
            doubts: RefCell::default(),
            elsewhere: RefCell::new(Elsewhere::new(park::waiting(), of_interest(service))),
            next_refresh: Cell::new(service.refreshes().then(Instant::now)),
            lines: Lines::new(service)?,
        })
    }
}

/// How long ended calls are remembered. Where nobody wants to be told of them, those that ring are, so that it is known which of the
/// phones that were pushed have come.
fn keep(service: &Service) -> Duration {
    match (late::is_on(service), awaits::is_used()) {
        (true, _) => service.settings().late,
        (false, true) => Duration::from_millis(1),
        (false, false) => Duration::ZERO,
    }
}

/// How long after it has come a call may want to know of a registration: while it waits or rings, and while it is remembered.
fn of_interest(service: &Service) -> Duration {
    /// Longer than phones ring.
    const RINGS: Duration = Duration::from_secs(90);
    let settings = service.settings();
    settings.wake.max(settings.message.wake) + RINGS.max(keep(service))
}

impl Host for SenderHost {
    fn begins(&self, pushes: Pushes) {
        self.pushes.replace(Some(pushes));
    }

    fn told(&self, note: &[u8], report: Report) {
        panic_caught((), || match Note::decode(note) {
            Some(note) => self.obey(note, report),
            None => ::log::error!("a note cannot be understood"),
        });
        self.obey_itself();
    }

    fn due(&self) -> Option<Instant> {
        let late = self.remembered.borrow().due();
        let doubts = self.doubts.borrow().due();
        calls::with(|parked| parked.due())
            .into_iter()
            .chain(late)
            .chain(doubts)
            .chain(self.elsewhere.borrow().due())
            .chain(self.next_refresh.get())
            .min()
    }

    fn woken(&self) {
        while let Some(act) = calls::with(|parked| parked.next_due(Instant::now())) {
            panic_caught((), || self.act(act));
            self.obey_itself();
        }
        panic_caught((), || {
            self.wake_again();
            self.tell_late();
            self.push_the_silent();
            self.push_refreshes();
        });
    }

    fn settings_changed(&self) {
        calls::with(|parked| parked.set_late(self.service.settings().ring));
        self.remembered.borrow_mut().set_keep(keep(self.service));
        self.elsewhere.borrow_mut().set_within(of_interest(self.service));
        self.next_refresh.set(self.service.refreshes().then(Instant::now));
    }

    fn heard(&self, word: &[u8], age: Duration) {
        panic_caught((), || match Word::decode(word) {
            Some(Word::Wanted { user, missed, within }) => {
                let missed = self.elsewhere.borrow_mut().want(&user, missed, within, age, Instant::now());
                self.say(missed);
            }
            Some(Word::Wake(wake)) => self.wake_from_elsewhere(wake),
            None => ::log::debug!("another machine says what this version does not understand"),
        });
        self.obey_itself();
    }

    fn ended_elsewhere(&self, user: &str, call_id: &str, ended: Ended) {
        crate::host::cancel_for_others(self.service, user, call_id, ended);
    }

    fn stopping(&self) {
        self.release_all();
    }
}

impl SenderHost {
    /// What routes that ran in this process have told it. One after the other: each may run a route again.
    pub(super) fn obey_itself(&self) {
        while let Some(note) = tell::next_to_itself() {
            panic_caught((), || self.obey(note, Report::default()));
        }
    }

    /// Phones whose registration ends soon are asked to renew it.
    fn push_refreshes(&self) {
        let now = Instant::now();
        if self.next_refresh.get().is_none_or(|at| at > now) {
            return;
        }
        self.next_refresh.set(Some(now + REFRESH_EVERY));
        if let Err(error) = self.service.push_refreshes() {
            log_failure("a phone is not asked to renew its registration", &error);
        }
    }

    /// Phones that were taken to be awake and say nothing are pushed to.
    fn push_the_silent(&self) {
        let next = || self.doubts.borrow_mut().next_due(Instant::now());
        while let Some(doubt) = next() {
            match pushes::push_silent(self.service, &doubt) {
                Ok(devices) => self.remembered.borrow_mut().more(doubt.id, devices),
                Err(error) => log_failure("a phone that says nothing is not pushed to", &error),
            }
        }
    }

    /// Phones that have woken too late learn it.
    pub(super) fn tell_late(&self) {
        let late = self.remembered.borrow_mut().next_due(Instant::now());
        for late in &late {
            self.note(&late.user, &late.sip_call_id, Event::Late, String::new);
            self.lines.tell(late);
        }
    }
}
