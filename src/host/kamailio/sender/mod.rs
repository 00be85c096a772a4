//! The sender's process inside Kamailio: how it comes into being. What it does then stands in its rooms.
//!
//! It refuses to return into Kamailio's own start: that process is ours from its fork to its end.

mod acts;
mod calls;
mod event;
mod followed;
mod host;
mod obey;
mod tell;
mod timeline;
mod wakes;

pub use calls::{is_listed, knows, was_rung};
pub use event::has_event_route;
pub use followed::{
    follow_no_more, is_followed, rung_in_hand, take_followed, tell_of_followed, went_nowhere,
};
pub use tell::{tell, try_tell};

use super::layout::PROC_RPC;
use super::symbols::{Forking, forking};
use super::{park, tm};
use crate::host::panic_caught;
use crate::host::parked::Parked;
use crate::service::{Service, installed};
use host::SenderHost;
use std::ffi::c_int;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    calls::begin(Parked::new(park::waiting(), service.stats(), service.settings().ring));
    let host = SenderHost::new(service, forking).map_err(|error| format!("no memory: {error}"))?;
    service.run_sender(Rc::new(host)).map_err(|error| error.to_string())
}
