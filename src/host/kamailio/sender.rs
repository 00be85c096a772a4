//! The sender's process inside Kamailio: how it comes into being, and what it does when a report is there.
//!
//! It refuses to return into Kamailio's own start: that process is ours from its fork to its end.

use super::layout::{EVENT_ROUTE, PROC_RPC, SipMsg};
use super::line::Lines;
use super::symbols::{Forking, forking};
use super::{awaits, late, park, pushes, reach, tm};
use crate::host::doubts::Doubts;
use crate::host::elsewhere::{Elsewhere, Word};
use crate::host::last::{self, Last};
use crate::host::limiter::Limiter;
use crate::host::note::{CallId, End, Follow, Note, Wake, ruid_of};
use crate::host::parked::{Act, GoOn, Parked, Verdict, Why, user_of};
use crate::host::remembered::Remembered;
use crate::host::waiting::Moment;
use crate::host::{log_failure, panic_caught, script_code, verbs};
use crate::model::{Ended, Event, Report};
use crate::service::{Error, Host, Pushes, Service, installed};
use crate::stats::Counter;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_int, c_uint, c_void};
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often it looks for phones that are to renew their registrations.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// Makes room for the process, before Kamailio forks. With `fork=no` there is none, and each process sends by itself.
pub fn plan(service: &Service) -> Result<(), String> {
    let Some(forking) = forking() else {
        ::log::warn!("this Kamailio lacks a symbol; the sender is a thread of each worker, without events");
        return Ok(());
    };
    // SAFETY: Kamailio's number, set when the command line was read; and functions that mod_init may call.
    unsafe {
        if *forking.dont_fork != 0 {
            return Ok(());
        }
        service.plan_sender_process().map_err(|error| error.to_string())?;
        (forking.register_procs)(1);
        (forking.cfg_register_child)(1);
    }
    Ok(())
}

/// Set while the sender's process is being forked: Kamailio asks all modules to initialise themselves in it, us as well.
static IS_BEING_FORKED: AtomicBool = AtomicBool::new(false);

/// Called in each process as it starts, and does nothing in the sender's.
pub fn this_is_another_process() {
    if !IS_BEING_FORKED.load(Ordering::Relaxed)
        && let Some(service) = installed()
    {
        service.is_no_sender();
    }
}

/// Forks the process; in Kamailio's first process, when all workers but those for TCP have been forked.
pub fn fork() -> c_int {
    let (Some(service), Some(forking)) = (installed(), forking()) else { return 0 };
    if !service.has_sender_process() {
        return 0;
    }
    let parent = std::process::id();
    IS_BEING_FORKED.store(true, Ordering::Relaxed);
    // With sockets, since calls that go on from there may go over TCP.
    // SAFETY: child_init of the first process may fork; the text is copied.
    let pid = unsafe { (forking.fork_process)(PROC_RPC, c"voip_push sender".as_ptr(), 1) };
    if std::process::id() != parent {
        let ended = panic_caught(Err("a panic was caught".to_owned()), || run(service, forking, pid));
        if let Err(why) = &ended {
            ::log::error!("the sender's process ends: {why}");
        }
        // SAFETY: ends this process at once; what Kamailio does at its end is for the first process to do.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    IS_BEING_FORKED.store(false, Ordering::Relaxed);
    service.is_no_sender();
    if pid < 0 {
        ::log::error!("Kamailio cannot fork the sender's process");
        return -1;
    }
    0
}

fn run(service: &'static Service, forking: &'static Forking, pid: c_int) -> Result<(), String> {
    if pid < 0 {
        return Err("a module cannot be initialised in it".to_owned());
    }
    // SAFETY: as Kamailio's documentation of fork_process wants it, in the new process.
    if unsafe { (forking.cfg_child_init)() } != 0 {
        return Err("it cannot take part in Kamailio's settings".to_owned());
    }
    tm::reset_timers_of_calls_that_go_on();
    let parked = Parked::new(park::waiting(), service.stats(), service.settings().ring);
    PARKED.with(|place| place.get_or_init(|| RefCell::new(parked)).borrow().due());
    let resume_failed = Limiter::new().map_err(|error| format!("no memory: {error}"))?;
    let host = SenderHost {
        service,
        forking,
        resume_failed,
        pushes: RefCell::default(),
        remembered: RefCell::new(Remembered::new(park::waiting(), keep(service))),
        doubts: RefCell::default(),
        elsewhere: RefCell::new(Elsewhere::new(park::waiting(), of_interest(service))),
        is_from_elsewhere: Cell::new(false),
        next_refresh: Cell::new(service.refreshes().then(Instant::now)),
        lines: Lines::new(service).map_err(|error| format!("no memory: {error}"))?,
    };
    service.run_sender(Rc::new(host)).map_err(|error| error.to_string())
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

/// So long after word of a registration elsewhere its contact has come to us, or is given up.
const CONTACT_COMES: Duration = Duration::from_millis(250);

thread_local! {
    /// In the sender's process: the calls that wait or ring.
    static PARKED: OnceCell<RefCell<Parked>> = const { OnceCell::new() };
    /// What the sender's process has told itself, while a route was run in it.
    static TOLD_ITSELF: RefCell<VecDeque<Note>> = const { RefCell::new(VecDeque::new()) };
    /// The calls that are to be told of when the route that is being run has ended.
    static FOLLOWED: RefCell<Vec<Follow>> = const { RefCell::new(Vec::new()) };
    /// Kamailio was asked to tell us when a route has ended.
    static IS_ASKED: Cell<bool> = const { Cell::new(false) };
}

/// Tells the sender's process something, from whichever process.
pub fn try_tell(note: &Note) -> Result<(), Error> {
    let service = installed().ok_or(Error::SenderGone)?;
    if service.is_sender() {
        TOLD_ITSELF.with_borrow_mut(|notes| notes.push_back(note.clone()));
        return Ok(());
    }
    service.tell_sender(note.encode())
}

/// The same where nothing can be done about a failure.
pub fn tell(note: Note) {
    if let Note::Rung { id, contact } = &note
        && FOLLOWED.with_borrow_mut(|followed| match followed.iter_mut().find(|follow| follow.id == *id) {
            Some(follow) => {
                follow.rung.push(contact.clone());
                true
            }
            None => false,
        })
    {
        return;
    }
    if let Note::Over { id, .. } = &note {
        follow_no_more(*id);
    }
    if let Err(error) = try_tell(&note) {
        ::log::warn!("the sender was not told what became of a call: {error}");
    }
}

/// Tells of a call that rings once the route that is being run has ended, and with it everything that it does to its call: tm
/// cannot bear two processes that give a call its branches.
pub fn tell_of_followed(follow: Follow) {
    /// `POST_SCRIPT_CB`, with `REQUEST_CB` and `FAILURE_CB`.
    const AFTER_ROUTES: c_uint = 1 << 31 | 1 | 2;
    if IS_ASKED.with(|asked| !asked.replace(true))
        && let Some(forking) = forking()
    {
        // SAFETY: this process' own list, on its own thread, and a function of ours, which stays.
        unsafe { (forking.register_script_cb)(after_route, AFTER_ROUTES, std::ptr::null_mut()) };
    }
    FOLLOWED.with_borrow_mut(|followed| followed.push(follow));
}

/// The same call is parked instead in the same route: what is known of it.
pub fn take_followed(id: CallId) -> Option<Follow> {
    FOLLOWED.with_borrow_mut(|followed| {
        let at = followed.iter().position(|follow| follow.id == id)?;
        Some(followed.swap_remove(at))
    })
}

/// A call that was followed in the route that is being run is over, or followed anew.
pub fn follow_no_more(id: CallId) {
    if let Some(follow) = take_followed(id) {
        park::count_out(&follow.user, follow.is_counted);
    }
}

unsafe extern "C" fn after_route(_: *mut SipMsg, _: c_uint, _: *mut c_void) -> c_int {
    panic_caught((), || {
        for follow in FOLLOWED.take() {
            awaits::decided(follow.id);
            let (user, is_counted) = (follow.user.clone(), follow.is_counted);
            if let Err(error) = try_tell(&Note::Follow(follow)) {
                park::count_out(&user, is_counted);
                ::log::warn!("a call is not followed, since the sender was not told: {error}");
            }
        }
    });
    1
}

/// Whether a call is watched already, as far as this process knows.
pub fn knows(id: CallId) -> bool {
    is_followed(id) || is_listed(id)
}

/// The contacts that a call went to in the route that is being run, as far as it was followed there, by the registrar's names.
pub fn rung_in_hand(id: CallId) -> Vec<String> {
    FOLLOWED.with_borrow(|followed| {
        let rung = followed.iter().find(|follow| follow.id == id).map(|follow| follow.rung.as_slice());
        rung.unwrap_or_default().iter().map(|contact| ruid_of(contact).to_owned()).collect()
    })
}

/// A call that was followed in the route that is being run could not be relayed after all.
pub fn went_nowhere(id: CallId) {
    FOLLOWED.with_borrow_mut(|followed| {
        followed.iter_mut().filter(|follow| follow.id == id).for_each(|follow| follow.rung.clear());
    });
}

/// Whether a call was followed in the route that is being run.
pub fn is_followed(id: CallId) -> bool {
    FOLLOWED.with_borrow(|followed| followed.iter().any(|follow| follow.id == id))
}

/// Whether a call is on its user's list already, as far as this process knows: only the sender's does.
pub fn is_listed(id: CallId) -> bool {
    PARKED.with(|parked| parked.get().is_some_and(|parked| parked.borrow().knows(id)))
}

/// Whether a call went to a contact already, as far as this process knows: only the sender's does.
pub fn was_rung(id: CallId, contact: &str) -> bool {
    let is_it = |note: &Note| matches!(note, Note::Rung { id: its, contact: other } if *its == id && other == contact);
    TOLD_ITSELF.with_borrow(|notes| notes.iter().any(is_it))
        || PARKED.with(|parked| parked.get().is_some_and(|parked| parked.borrow().was_rung(id, contact)))
}

/// What the sender does for the calls of this Kamailio.
struct SenderHost {
    service: &'static Service,
    forking: &'static Forking,
    resume_failed: Limiter,
    remembered: RefCell<Remembered>,
    doubts: RefCell<Doubts>,
    elsewhere: RefCell<Elsewhere>,
    /// What is done just now is done for a phone that has registered at another machine.
    is_from_elsewhere: Cell<bool>,
    /// When to look for phones that are to renew their registrations.
    next_refresh: Cell<Option<Instant>>,
    lines: Lines,
    pushes: RefCell<Option<Pushes>>,
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
        self.parked(|parked| parked.due())
            .into_iter()
            .chain(late)
            .chain(doubts)
            .chain(self.elsewhere.borrow().due())
            .chain(self.next_refresh.get())
            .min()
    }

    fn woken(&self) {
        while let Some(act) = self.parked(|parked| parked.next_due(Instant::now())) {
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
        self.parked(|parked| parked.set_late(self.service.settings().ring));
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
        let acts = self.parked(|parked| parked.stop(Instant::now()));
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
}

impl SenderHost {
    fn parked<T>(&self, work: impl FnOnce(&mut Parked) -> T) -> T {
        PARKED.with(|place| {
            work(&mut place.get().expect("run() has set it before the loop began").borrow_mut())
        })
    }

    /// What routes that ran in this process have told it. One after the other: each may run a route again.
    fn obey_itself(&self) {
        while let Some(note) = TOLD_ITSELF.with_borrow_mut(VecDeque::pop_front) {
            panic_caught((), || self.obey(note, Report::default()));
        }
    }

    fn obey(&self, note: Note, report: Report) {
        let now = Instant::now();
        match note {
            Note::Queued { user, sip_call_id, id } => {
                let (last, verdict) = self.verdict(report);
                if let Some(id) = id {
                    awaits::less(id, verdict.devices.saturating_sub(verdict.accepted));
                    self.act_all(self.parked(|parked| parked.pushed(id, verdict, now)));
                    self.see_who_is_awaited(id, now);
                }
                self.run_event(last.with_call(&user, &sip_call_id));
            }
            Note::Async { user, sip_call_id, id, route } => {
                let (last, _) = self.verdict(report);
                self.resume(id, &route, last.with_call(&user, &sip_call_id), ::log::Level::Warn);
            }
            Note::Remember(call) => self.remembered.borrow_mut().remember(call, now),
            Note::Park(park) => {
                let (id, seconds) = (park.id, park.within.as_secs());
                self.tell_others_of_a_call(&park.user, park.missed_since);
                self.note(&park.user, &park.sip_call_id, Event::Parked, || format!("seconds={seconds}"));
                self.act_all(self.parked(|parked| parked.park(park, now)));
                self.see_who_is_awaited(id, now);
            }
            Note::Follow(follow) => {
                if !follow.rung.is_empty() {
                    let contacts = follow.rung.len();
                    let detail = || format!("contacts={contacts}");
                    self.note(&follow.user, &follow.sip_call_id, Event::Invited, detail);
                }
                let id = follow.id;
                self.tell_others_of_a_call(&follow.user, follow.missed_since);
                follow.rung.iter().for_each(|contact| self.went_to(id, contact, now));
                self.act_all(self.parked(|parked| parked.follow(follow, now)));
                self.see_who_is_awaited(id, now);
            }
            Note::Wake(wake) => {
                let others = self.elsewhere.borrow_mut().woke(&wake, now);
                self.say(others);
                self.wake(&wake, Duration::ZERO, now);
            }
            Note::Rings { id } => self.note_of(id, Event::Rings, String::new),
            Note::Rung { id, contact } => {
                self.note_of(id, Event::Invited, || "contacts=1".to_owned());
                self.went_to(id, &contact, now);
                self.act_all(self.parked(|parked| parked.rung(id, contact, now)));
                self.see_who_is_awaited(id, now);
            }
            Note::Over { id, end } => {
                awaits::forget(id);
                self.note_end(id, &end);
                self.remembered.borrow_mut().over(id, &end, now);
                if reach::is_used() {
                    self.doubts.borrow_mut().over(id, now);
                }
                self.act_all(self.parked(|parked| parked.over(id, now)));
            }
            Note::Doubt(doubt) => {
                let phones = doubt.phones.len();
                let detail = || format!("devices={phones}");
                self.note(&doubt.user, &doubt.sip_call_id, Event::Spared, detail);
                self.doubts.borrow_mut().doubt(doubt, now);
            }
            Note::Answers { id, branch } => self.doubts.borrow_mut().answered(id, branch, now),
            Note::Release => self.stopping(),
        }
    }

    /// A phone has registered, whose contact is here within this time.
    fn wake(&self, wake: &Wake, travels: Duration, now: Instant) {
        self.act_all(self.parked(|parked| parked.wake(wake, now)));
        self.remembered.borrow_mut().wake(&wake.without_places(), travels, now);
        self.tell_late();
    }

    fn wake_from_elsewhere(&self, wake: Wake) {
        let now = Instant::now();
        self.service.stats().count(Counter::NodeWakesHeard);
        let of_interest = self.elsewhere.borrow_mut().heard(wake, now);
        if let Some(wake) = of_interest {
            self.for_elsewhere(|| self.wake(&wake, CONTACT_COMES, now));
        }
    }

    /// Calls that have not found a phone which has registered elsewhere look for it again.
    fn wake_again(&self) {
        let next = || self.elsewhere.borrow_mut().next_due(Instant::now());
        while let Some(wake) = next() {
            let acts = self.parked(|parked| parked.wake_again(&wake, Instant::now()));
            self.for_elsewhere(|| self.act_all(acts));
            self.obey_itself();
        }
    }

    fn for_elsewhere(&self, work: impl FnOnce()) {
        self.is_from_elsewhere.set(true);
        work();
        self.is_from_elsewhere.set(false);
    }

    /// A phone of this user may register at another machine.
    fn tell_others_of_a_call(&self, user: &str, missed_since: Moment) {
        if self.pushes.borrow().as_ref().is_some_and(Pushes::has_others) {
            let word = self.elsewhere.borrow_mut().came(user, missed_since, Instant::now());
            self.say(word);
        }
    }

    fn say(&self, word: Option<Word>) {
        if let (Some(word), Some(pushes)) = (word, self.pushes.borrow().as_ref()) {
            if matches!(word, Word::Wake(_)) {
                self.service.stats().count(Counter::NodeWakesSaid);
            }
            pushes.say(word.encode());
        }
    }

    /// A call went to a contact.
    fn went_to(&self, id: CallId, contact: &str, now: Instant) {
        if self.remembered.borrow_mut().rung(id, ruid_of(contact), now) {
            awaits::less(id, 1);
        }
    }

    /// A call that waits for nothing but phones which were pushed goes on when none of them is still to come.
    fn see_who_is_awaited(&self, id: CallId, now: Instant) {
        if awaits::left(id).is_none() {
            self.act_all(self.parked(|parked| parked.nobody_else(id, now)));
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
    fn tell_late(&self) {
        let late = self.remembered.borrow_mut().next_due(Instant::now());
        for late in &late {
            self.note(&late.user, &late.sip_call_id, Event::Late, String::new);
            self.lines.tell(late);
        }
    }

    fn act_all(&self, acts: impl IntoIterator<Item = Act>) {
        acts.into_iter().for_each(|act| self.act(act));
    }

    fn act(&self, act: Act) {
        match act {
            Act::GoOn(go_on) => {
                if go_on.why == Why::Woken {
                    self.note(&go_on.user, &go_on.sip_call_id, Event::Registered, || self.at_whom());
                }
                let detail = || format!("why={}", go_on.why.as_str());
                self.note(&go_on.user, &go_on.sip_call_id, Event::WentOn, detail);
                // A phone registers while the caller hangs up, and its word is read before the caller's: no reason to worry anybody.
                let level = ::log::Level::Info;
                if !self.resume(go_on.id, &go_on.route, why_it_goes_on(&go_on), level) {
                    self.parked(|parked| parked.gone(go_on.id));
                }
            }
            Act::GiveUp { user, sip_call_id, why } => {
                if let Some(pushes) = self.pushes.borrow().as_ref() {
                    pushes.give_up(&user, &sip_call_id, why);
                }
            }
            Act::Append { id, aor } => {
                self.note_of(id, Event::Registered, || self.at_whom());
                // SAFETY: the process' main thread, in the sender's loop; a call that rings is not suspended, and only this process
                // parks it again, or tells us first.
                unsafe { tm::append(id, super::location_table(), &aor) };
            }
        }
    }

    /// Where a phone has registered, for the timeline.
    fn at_whom(&self) -> String {
        if self.is_from_elsewhere.get() { "at=another_machine".to_owned() } else { String::new() }
    }

    /// Something happened to a call, for whoever asks later why a phone did not ring.
    fn note(&self, user: &str, sip_call_id: &str, event: Event, detail: impl FnOnce() -> String) {
        if let Some(pushes) = self.pushes.borrow().as_ref() {
            pushes.note(user_of(user), sip_call_id, event, detail);
        }
    }

    /// The same of a call that waits or rings.
    fn note_of(&self, id: CallId, event: Event, detail: impl FnOnce() -> String) {
        if self.service.settings().timeline.is_some()
            && let Some((user, sip_call_id)) = self.parked(|parked| parked.name_of(id))
        {
            self.note(&user, &sip_call_id, event, detail);
        }
    }

    fn note_end(&self, id: CallId, end: &End) {
        match end {
            End::Answered => self.note_of(id, Event::Answered, String::new),
            End::Cancelled(reason) => {
                self.note_of(id, Event::Cancelled, || {
                    format!("reason={:?}", reason.as_deref().unwrap_or(""))
                });
            }
            End::Failed(status) => self.note_of(id, Event::Failed, || format!("status={status}")),
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

    /// Lets a call go on in its route, which sees `last`. A call that is over is counted, logged at this level, and
    /// never tried again.
    fn resume(&self, id: CallId, route: &str, last: Last, level: ::log::Level) -> bool {
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

    /// Runs `event_route[voip-push:result]`, which sees `last`.
    fn run_event(&self, last: Last) {
        let Some(at) = event_route(self.forking) else { return };
        last::set(last);
        let Forking { event_rt, route_type, faked_msg_next, run_top_route, ksr_msg_env_reset, .. } =
            self.forking;
        // SAFETY: the process' main thread, in the sender's loop; the route exists and never changes. The route's type is put back
        // as Kamailio's own modules do it.
        unsafe {
            let before = route_type.read();
            route_type.write(EVENT_ROUTE);
            let actions = *(**event_rt).actions.add(at);
            run_top_route(actions, faked_msg_next(), std::ptr::null_mut());
            ksr_msg_env_reset();
            route_type.write(before);
        }
    }
}

/// What a parked call's route sees: 1 a phone has registered; -3 nobody has in time, or the number of what went wrong with the
/// pushes; -2 nobody will; -5 the server stops.
fn why_it_goes_on(go_on: &GoOn) -> Last {
    let push = go_on.push.as_ref();
    let failed = push.filter(|push| push.code < 0);
    let last = match (go_on.why, failed) {
        (Why::Woken, _) => Last::new(1),
        (Why::TimeIsOver | Why::Hopeless, Some(push)) if push.code != -3 => {
            Last::told(push.code, &push.reason)
        }
        (Why::TimeIsOver | Why::Hopeless, _) => Last::told(-3, "no phone has registered in time"),
        (Why::ServerStops, _) => Last::told(-5, "the server stops"),
    };
    let (devices, accepted) = push.map_or((0, 0), |push| (push.devices, push.accepted));
    last.with_counts(devices, accepted).with_call(&go_on.user, &go_on.sip_call_id)
}

/// Whether the script wants to be told results of `queue_voip_push`. Asked once: routes do not change after the configuration was
/// read, which the first call of a script function comes after.
pub fn has_event_route() -> bool {
    static HAS_IT: OnceLock<bool> = OnceLock::new();
    *HAS_IT.get_or_init(|| forking().is_some_and(|forking| event_route(forking).is_some()))
}

fn event_route(forking: &Forking) -> Option<usize> {
    // SAFETY: Kamailio's table of routes, which no longer changes once the configuration was read, and a C string.
    unsafe {
        let at = (forking.route_lookup)(forking.event_rt, c"voip-push:result".as_ptr());
        let at = usize::try_from(at).ok()?;
        (!(*(*forking.event_rt).actions.add(at)).is_null()).then_some(at)
    }
}
