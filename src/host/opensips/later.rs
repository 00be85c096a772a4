//! The script functions inside `async()` and `launch()`: the worker serves others while a call's pushes are under way.
//!
//! It refuses to wait where it need not: a descriptor in the worker's own event loop says when the report is there. Where OpenSIPS
//! has no event loop and asks at once, it waits, as the function without `async()` does.

use super::abi;
use super::arguments::{self, Args, Msg, Output};
use super::body::media_of;
use super::functions::{SEND, SEND_CONTACT, SEND_TO, outputs_of, read};
use super::layout::{AcmdExport, AcmdFunction, AsyncCtx, CmdParam, Resume, params};
use super::refresh::{self, Found};
use super::symbols::core;
use crate::host::last::{self, Last};
use crate::host::table::Table;
use crate::host::{CALLER, INTERNAL, log_failure, panic_caught, script_code, verbs};
use crate::model::Report;
use crate::service::{Error, Pending, Service, Target, installed};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All functions that can be asynchronous, and a row of zeros.
pub static TABLE: Table<[AcmdExport; 4]> = Table::new([
    row(c"send_voip_push", send_voip_push, SEND),
    row(c"send_voip_push_to", send_voip_push_to, SEND_TO),
    row(c"send_voip_push_contact", send_voip_push_contact, SEND_CONTACT),
    AcmdExport { name: ptr::null(), function: None, params: params([]) },
]);

const fn row(name: &'static CStr, function: AcmdFunction, params: [CmdParam; 9]) -> AcmdExport {
    AcmdExport { name: name.as_ptr(), function: Some(function), params }
}

/// `ASYNC_SYNC`: the result is there already.
const DONE_AT_ONCE: c_int = -7;
/// `ASYNC_DONE_CLOSE_FD`: the result is there, and OpenSIPS closes the descriptor.
const DONE: c_int = -3;

/// How much later than the sender's own time OpenSIPS ends the waiting, should the sender be stopped.
const SAFETY_NET: Duration = Duration::from_secs(2);

/// OpenSIPS' own timeouts come first, where it has one; they are up to a second late.
const OVERDUE: Duration = Duration::from_secs(2);

/// Makes the function that OpenSIPS calls from one that takes all arguments at once.
macro_rules! functions {
    ($($name:ident($msg:ident, $ctx:ident, $args:ident) $body:block)*) => {
        $(unsafe extern "C" fn $name(
            $msg: Msg,
            $ctx: *mut AsyncCtx,
            p1: *mut c_void,
            p2: *mut c_void,
            p3: *mut c_void,
            p4: *mut c_void,
            p5: *mut c_void,
            p6: *mut c_void,
            p7: *mut c_void,
            p8: *mut c_void,
        ) -> c_int {
            let $args: Args = [p1, p2, p3, p4, p5, p6, p7, p8];
            $body
        })*
    };
}

functions! {
    send_voip_push(msg, ctx, args) {
        let names = ["user", CALLER, "call_id", "media"];
        let begin = |service: &Service, [user, caller, call_id, media]: [&str; 4]| {
            // SAFETY: OpenSIPS calls it on its own thread with the message in hand.
            let media = unsafe { media_of(msg, media)? };
            service.start(user, caller, call_id, media).map(Begun::Pending)
        };
        start("send_voip_push", [msg.cast(), ctx.cast()], args, names, ["accepted", "reason"], begin)
    }

    send_voip_push_to(msg, ctx, args) {
        let names = ["provider", "token", "app", "user", CALLER, "call_id"];
        let begin = |service: &Service, [provider, token, app, user, caller, call_id]: [&str; 6]| {
            service.start_to(&Target { provider, token, app }, user, caller, call_id).map(Begun::Pending)
        };
        start("send_voip_push_to", [msg.cast(), ctx.cast()], args, names, ["reason"], begin)
    }

    send_voip_push_contact(msg, ctx, args) {
        let names = ["user", "contact", "cause", CALLER, "call_id", "media"];
        let begin = |service: &Service, texts: [&str; 6]| {
            // SAFETY: OpenSIPS calls it on its own thread with the message in hand.
            match unsafe { refresh::look(service, msg, texts)? } {
                Found::Nothing(why) => Ok(Begun::Ended(why)),
                Found::Ready(ready) => service.start_ready(ready).map(Begun::Pending),
            }
        };
        start("send_voip_push_contact", [msg.cast(), ctx.cast()], args, names, ["reason"], begin)
    }
}

/// How a function begins.
enum Begun {
    /// With a call whose report will be there.
    Pending(Pending),
    /// With its end: there is nothing to wait for.
    Ended(Box<Last>),
}

/// A call whose report is awaited, until `resume` or `timeout` ends it.
struct Job {
    name: &'static str,
    /// Its descriptor is closed by OpenSIPS, and by nobody else.
    pending: ManuallyDrop<Pending>,
    until: Instant,
    outputs: Vec<Output>,
}

fn start<const N: usize, const M: usize>(
    name: &'static str,
    [msg, ctx]: [*mut c_void; 2],
    args: Args,
    texts: [&'static str; N],
    outputs: [&'static str; M],
    begin: impl FnOnce(&Service, [&str; N]) -> Result<Begun, Error>,
) -> c_int {
    let outputs = outputs_of::<M>(args, N, outputs);
    panic_caught(INTERNAL, || {
        end_overdue();
        let not_ready = || Error::Internal("voip_push was not initialised".to_owned());
        let begun = installed().ok_or_else(not_ready).and_then(|service| {
            let texts = read(service, args, texts)?;
            let begun = begin(service, texts.each_ref().map(String::as_str))?;
            Ok((begun, service.settings().wait + SAFETY_NET))
        });
        // SAFETY: OpenSIPS has called an asynchronous function with this message and context.
        let at_once = |done| unsafe { end(name, msg.cast(), &outputs, done, DONE_AT_ONCE) };
        match begun {
            Err(error) => at_once(Err(error)),
            Ok((Begun::Ended(last), _)) => at_once(Ok(*last)),
            Ok((Begun::Pending(pending), within)) => {
                let job = Job {
                    name,
                    pending: ManuallyDrop::new(pending),
                    until: Instant::now() + within,
                    outputs: outputs.to_vec(),
                };
                // SAFETY: as above.
                unsafe { leave(ctx.cast(), job, within) }
            }
        }
    })
}

/// When each job of this process is to be over, and its descriptor. `launch()` has no timeout: a sender that is stopped would keep its jobs
/// for ever.
static WAITING: Mutex<Vec<(Instant, RawFd)>> = Mutex::new(Vec::new());

fn waiting() -> MutexGuard<'static, Vec<(Instant, RawFd)>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the waiting of jobs whose time is over and that OpenSIPS has not ended: it finds their descriptors readable.
fn end_overdue() {
    let now = Instant::now();
    for (_, fd) in waiting().iter().filter(|(until, _)| *until + OVERDUE < now) {
        // SAFETY: the descriptor of a job that is not finished, which OpenSIPS has not closed.
        unsafe { libc::shutdown(*fd, libc::SHUT_RDWR) };
    }
}

/// Leaves the job with OpenSIPS, which calls `resume` or `timeout` once.
///
/// # Safety
/// The context that OpenSIPS has called the function with.
unsafe fn leave(ctx: *mut AsyncCtx, job: Job, within: Duration) -> c_int {
    let fd = job.pending.as_fd().as_raw_fd();
    let layout = &abi().async_ctx;
    let at = |offset: usize| ctx.cast::<u8>().wrapping_add(offset);
    waiting().push((job.until, fd));
    let within_s = c_uint::try_from(within.as_millis().div_ceil(1000)).unwrap_or(c_uint::MAX);
    // SAFETY: the offsets of this version's `async_ctx`, and OpenSIPS' variable, on its own thread.
    unsafe {
        ctx.cast::<Resume>().write(resume);
        if let Some(name) = layout.resume_name {
            at(name).cast::<*const c_char>().write(c"voip_push_resume".as_ptr());
        }
        at(layout.resume_param).cast::<*mut Job>().write(Box::into_raw(Box::new(job)));
        at(layout.timeout).cast::<Resume>().write(timeout);
        if let Some(timeout_s) = layout.timeout_s {
            let timeout_s = at(timeout_s).cast::<c_uint>();
            let scripts = timeout_s.read();
            timeout_s.write(if scripts == 0 { within_s } else { scripts.min(within_s) });
        }
        core().async_status.write(fd);
    }
    1
}

/// The descriptor is readable, or OpenSIPS has no event loop here and asks at once.
unsafe extern "C" fn resume(_: c_int, msg: Msg, param: *mut c_void) -> c_int {
    // SAFETY: as OpenSIPS calls it, once, with what `leave` has left.
    unsafe { finish(msg, param.cast(), |job| job.until.saturating_duration_since(Instant::now())) }
}

/// The script's time is over. Who is late writes to a connection that is closed.
unsafe extern "C" fn timeout(_: c_int, msg: Msg, param: *mut c_void) -> c_int {
    // SAFETY: as OpenSIPS calls it, once, with what `leave` has left.
    unsafe { finish(msg, param.cast(), |_| Duration::ZERO) }
}

/// # Safety
/// As OpenSIPS calls `resume` and `timeout`, once for each job.
unsafe fn finish(msg: Msg, job: *mut Job, patience: impl FnOnce(&Job) -> Duration) -> c_int {
    panic_caught(INTERNAL, || {
        // SAFETY: made by `leave`, and OpenSIPS gives it back once.
        let job = unsafe { Box::from_raw(job) };
        let fd = job.pending.as_fd().as_raw_fd();
        waiting().retain(|(_, waits)| *waits != fd);
        let none = Report { devices: job.pending.devices(), results: Vec::new() };
        let is_over = Instant::now() >= job.until;
        let fetched = job
            .pending
            .fetch(patience(&job))
            .or_else(|error| if is_over { Ok(None) } else { Err(error.into()) });
        let done = fetched.and_then(|report| {
            let report = report.unwrap_or(none);
            installed().ok_or(Error::SenderGone).and_then(|service| service.verdict(report))
        });
        // SAFETY: the caller's word.
        unsafe { end(job.name, msg, &job.outputs, done.map(|report| verbs::pushed(&report)), DONE) }
    })
}

/// Gives the script its result.
///
/// # Safety
/// On OpenSIPS' own thread, with the message in hand and variables of the script.
unsafe fn end(name: &str, msg: Msg, outputs: &[Output], done: Result<Last, Error>, status: c_int) -> c_int {
    let last = done.unwrap_or_else(|error| {
        log_failure(name, &error);
        Last::of_error(script_code(&error), &error)
    });
    let code = last.code;
    last::set(last);
    // SAFETY: the caller's word; OpenSIPS' variable, on its own thread.
    unsafe {
        arguments::fill(msg, outputs);
        core().async_status.write(status);
    }
    code
}
