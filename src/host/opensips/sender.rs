//! The sender's process inside OpenSIPS, which forks it for us, and what it does when a report is there.
//!
//! It refuses to return into OpenSIPS' own start: that process is ours from its first function to its end.

use super::event;
use super::layout::{PROC_INITCHILD, ProcExport};
use crate::host::last::Last;
use crate::host::note::Note;
use crate::host::table::Table;
use crate::host::{cancel_for_others, panic_caught, script_code, verbs};
use crate::model::{Ended, Report};
use crate::service::{Host, Service, installed};
use std::ffi::c_int;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The one process. All modules are initialised in it, since it raises events, which may be any module's to tell.
pub static PROCESSES: Table<[ProcExport; 2]> = Table::new([
    ProcExport {
        name: c"voip_push sender".as_ptr(),
        pre_fork: Some(before_fork),
        post_fork: Some(after_fork),
        function: Some(run),
        how_many: 1,
        flags: PROC_INITCHILD,
    },
    ProcExport { name: ptr::null(), pre_fork: None, post_fork: None, function: None, how_many: 0, flags: 0 },
]);

/// Set while the sender's process is being forked, and so in that process.
static IS_BEING_FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn before_fork() -> c_int {
    IS_BEING_FORKED.store(true, Ordering::Relaxed);
    0
}

extern "C" fn after_fork() -> c_int {
    IS_BEING_FORKED.store(false, Ordering::Relaxed);
    this_is_another_process();
    0
}

/// Called in each process as it starts, and does nothing in the sender's.
pub fn this_is_another_process() {
    if !IS_BEING_FORKED.load(Ordering::Relaxed)
        && let Some(service) = installed()
    {
        service.is_no_sender();
    }
}

extern "C" fn run(_: c_int) {
    let ended = panic_caught(Err("a panic was caught".to_owned()), || match installed() {
        Some(service) => {
            service.run_sender(Rc::new(SenderHost { service })).map_err(|error| error.to_string())
        }
        None => Err("voip_push was not initialised".to_owned()),
    });
    if let Err(why) = &ended {
        ::log::error!("the sender's process ends: {why}");
    }
    // SAFETY: ends this process at once; what OpenSIPS does at its end is for the first process to do.
    unsafe { libc::_exit(i32::from(ended.is_err())) };
}

/// What the sender does for this OpenSIPS.
struct SenderHost {
    service: &'static Service,
}

impl Host for SenderHost {
    fn told(&self, note: &[u8], report: Report) {
        panic_caught((), || match Note::decode(note) {
            Some(Note::Queued { user, sip_call_id, .. }) => {
                event::raise(self.result(report).with_call(&user, &sip_call_id));
            }
            _ => ::log::error!("a note cannot be understood"),
        });
    }

    fn ended_elsewhere(&self, user: &str, call_id: &str, ended: Ended) {
        cancel_for_others(self.service, user, call_id, ended);
    }
}

impl SenderHost {
    /// What `send_voip_push` would have returned.
    fn result(&self, report: Report) -> Last {
        match self.service.verdict(report) {
            Ok(report) => verbs::pushed(&report),
            Err(error) => Last::of_error(script_code(&error), &error),
        }
    }
}
