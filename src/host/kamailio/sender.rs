//! The sender's process inside Kamailio: how it comes into being, and what it does when a report is there.
//!
//! It refuses to return into Kamailio's own start: that process is ours from its fork to its end.

use super::layout::{EVENT_ROUTE, PROC_RPC};
use super::symbols::{Forking, forking};
use super::tm;
use crate::host::last::{self, Last};
use crate::host::note::{CallId, Note};
use crate::host::{panic_caught, script_code, verbs};
use crate::model::Report;
use crate::service::{Host, Service, installed};
use crate::stats::Counter;
use std::cell::Cell;
use std::ffi::c_int;
use std::rc::Rc;
use std::time::{Duration, Instant};

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

/// Forks the process; in Kamailio's first process, when all workers but those for TCP have been forked.
pub fn fork() -> c_int {
    let (Some(service), Some(forking)) = (installed(), forking()) else { return 0 };
    if !service.has_sender_process() {
        return 0;
    }
    let parent = std::process::id();
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
    let host = SenderHost { service, forking, resume_failed: Limiter::new() };
    service.run_sender(Rc::new(host)).map_err(|error| error.to_string())
}

/// What the sender does for the calls of this Kamailio.
struct SenderHost {
    service: &'static Service,
    forking: &'static Forking,
    resume_failed: Limiter,
}

impl Host for SenderHost {
    fn told(&self, note: &[u8], report: Report) {
        panic_caught((), || match Note::decode(note) {
            Some(note) => self.obey(note, report),
            None => ::log::error!("a note cannot be understood"),
        });
    }
}

impl SenderHost {
    fn obey(&self, note: Note, report: Report) {
        match note {
            Note::Queued { user, sip_call_id, .. } => {
                let last = self.verdict(report);
                self.run_event(last.with_call(&user, &sip_call_id));
            }
            Note::Async { user, sip_call_id, id, route } => {
                let last = self.verdict(report);
                self.resume(id, &route, last.with_call(&user, &sip_call_id));
            }
        }
    }

    /// What `send_voip_push` would have returned.
    fn verdict(&self, report: Report) -> Last {
        match self.service.verdict(report) {
            Ok(report) => verbs::pushed(&report),
            Err(error) => Last::of_error(script_code(&error), &error),
        }
    }

    /// Lets a call go on in its route, which sees `last`. A call that is over is counted and never tried again.
    fn resume(&self, id: CallId, route: &str, last: Last) -> bool {
        last::set(last);
        // SAFETY: the process' main thread, in the sender's loop: no route is being run.
        let went_on = tm::tm().is_some_and(|tm| unsafe { tm.go_on(std::ptr::null_mut(), id, route) });
        if !went_on {
            self.service.stats().count(Counter::ResumeFailed);
            if let Some(silent) = self.resume_failed.may_speak() {
                ::log::warn!(
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

/// Whether the script wants to be told results of `queue_voip_push`.
pub fn has_event_route() -> bool {
    forking().is_some_and(|forking| event_route(forking).is_some())
}

fn event_route(forking: &Forking) -> Option<usize> {
    // SAFETY: Kamailio's table of routes, which no longer changes once the configuration was read, and a C string.
    unsafe {
        let at = (forking.route_lookup)(forking.event_rt, c"voip-push:result".as_ptr());
        let at = usize::try_from(at).ok()?;
        (!(*(*forking.event_rt).actions.add(at)).is_null()).then_some(at)
    }
}

/// Lets one line through every ten seconds.
struct Limiter {
    last: Cell<Option<Instant>>,
    silent: Cell<u64>,
}

impl Limiter {
    fn new() -> Limiter {
        Limiter { last: Cell::new(None), silent: Cell::new(0) }
    }

    /// How many lines were kept back since the last one, when it is time for one.
    fn may_speak(&self) -> Option<u64> {
        const PAUSE: Duration = Duration::from_secs(10);
        if self.last.get().is_some_and(|last| last.elapsed() < PAUSE) {
            self.silent.set(self.silent.get() + 1);
            return None;
        }
        self.last.set(Some(Instant::now()));
        Some(self.silent.replace(0))
    }
}
