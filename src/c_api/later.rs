//! Pushing without waiting: for programs with an event loop of their own, and for those who do not want to know.
//!
//! It refuses to call back into the program: a descriptor becomes readable, and the program asks when it likes.

use super::guard::{count, entry};
use super::instance;
use super::pointers::{InText, OutFd, OutLen, OutText, Place, give};
use super::status::{Failure, VOIP_PUSH_ERR_BAD_ARGUMENT, VOIP_PUSH_ERR_NOT_READY};
use crate::model::Report;
use crate::process::{Event, PerProcess};
use crate::service::Error;
use std::collections::HashMap;
use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A call whose result is not collected yet.
struct Pending {
    event: Event,
    result: Mutex<Option<Result<i32, Failure>>>,
}

type Calls = Mutex<HashMap<RawFd, Arc<Pending>>>;

/// This process' calls, by their descriptors.
static CALLS: PerProcess<Calls> = PerProcess::new();

impl Pending {
    fn new() -> Result<Pending, Failure> {
        let event =
            Event::new().map_err(|error| Error::Internal(format!("no descriptor is left: {error}")))?;
        Ok(Pending { event, result: Mutex::new(None) })
    }

    fn end(&self, done: Result<Report, Error>) {
        let result = done.map(|report| count(report.accepted())).map_err(Failure::from);
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.event.set();
    }

    fn fd(&self) -> RawFd {
        self.event.as_fd().as_raw_fd()
    }
}

/// Hands a call's pushes over and leaves: nobody is told what became of them, but the log and
/// the counters. Retries and dead tokens are dealt with as in send_voip_push.
///
/// Returns the number of devices that are being pushed to, at least 1.
///
/// Ownership: the strings stay yours and are not kept.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process has connections of its own.
/// Blocks: on the disk as lookup_token does, never on the network.
/// Errors: NO_DEVICE, QUEUE_FULL, SENDER_GONE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT,
/// CONFIG (on first use), STORE, INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn queue_voip_push(user: InText, caller: InText, call_id: InText) -> i32 {
    entry(|| {
        let (user, caller, call_id) = (user.text("user")?, caller.text("caller")?, call_id.text("call_id")?);
        Ok(count(instance::get()?.queue(user, caller, call_id, None, Vec::new())?))
    })
}

/// Hands a call's pushes over and leaves; *fd becomes readable when send_voip_push would have
/// come back, at the latest after call.wait_ms. Watch it with poll, select or epoll, read
/// nothing from it, and collect the result with voip_push_async_result.
///
/// Returns the number of devices that are being pushed to, at least 1. *fd is -1 after a
/// negative status.
///
/// Ownership: the strings stay yours and are not kept. The descriptor stays the library's:
/// voip_push_async_result closes it, you must not.
/// Threads: any, also at the same time.
/// Fork: a child cannot collect what its parent asked for.
/// Blocks: on the disk as lookup_token does, never on the network.
/// Errors: NO_DEVICE, QUEUE_FULL, SENDER_GONE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT,
/// CONFIG (on first use), STORE, INTERNAL (also when no descriptor is left).
#[unsafe(no_mangle)]
pub extern "C" fn send_voip_push_async(user: InText, caller: InText, call_id: InText, fd: OutFd) -> i32 {
    entry(|| {
        fd.set("fd", -1)?;
        let (user, caller, call_id) = (user.text("user")?, caller.text("caller")?, call_id.text("call_id")?);
        let pending = Arc::new(Pending::new()?);
        let ending = Arc::clone(&pending);
        let devices = instance::get()?.send_with(user, caller, call_id, move |done| ending.end(done))?;
        fd.set("fd", pending.fd())?;
        with_calls(|calls| calls.insert(pending.fd(), pending));
        Ok(count(devices))
    })
}

/// Collects the result of send_voip_push_async, once.
///
/// fd is the descriptor that send_voip_push_async gave. When it was not readable yet, the
/// status is NOT_READY and the descriptor stays; otherwise it is closed.
///
/// Returns what send_voip_push would have returned: the number of devices whose provider
/// accepted the push, at least 1.
///
/// Ownership: the descriptor is closed unless the status is NOT_READY or BAD_ARGUMENT.
/// Threads: any; of two calls at once for one descriptor, one gets BAD_ARGUMENT.
/// Fork: only in the process that asked.
/// Blocks: never.
/// Errors: NOT_READY, BAD_ARGUMENT (no call has this descriptor), NO_DEVICE, ALL_REJECTED,
/// NO_ANSWER, CREDENTIAL_REFUSED, INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn voip_push_async_result(fd: i32) -> i32 {
    entry(|| {
        with_calls(|calls| {
            let unknown = || {
                Failure::new(VOIP_PUSH_ERR_BAD_ARGUMENT, "fd: no call of this process has this descriptor")
            };
            let pending = calls.get(&fd).ok_or_else(unknown)?;
            let result = lock(&pending.result).take();
            let not_ready =
                || Failure::new(VOIP_PUSH_ERR_NOT_READY, "fd: not readable yet; the answers are not in");
            let result = result.ok_or_else(not_ready)?;
            calls.remove(&fd);
            result
        })
    })
}

/// All counters, of this process and of those that it was forked from or has forked, as
/// Prometheus' text format 0.0.4: pushes by provider, app and outcome, what is queued, a
/// histogram of the time from hand-over to the end of a push, and more.
///
/// text gets the text with its NUL, or nothing where it does not fit; *text_len gets its
/// length in both cases, which grows by a digit now and then, so leave some room. text may
/// be NULL with capacity 0 to measure only.
///
/// Returns VOIP_PUSH_OK.
///
/// Ownership: all memory stays yours; it is written during the call only.
/// Threads: any, also at the same time.
/// Fork: counters are shared with children that were forked after the library started.
/// Blocks: never.
/// Errors: BUFFER_TOO_SMALL, NULL_POINTER, CONFIG (on first use), INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn voip_push_stats(text: OutText, text_cap: usize, text_len: OutLen) -> i32 {
    entry(|| {
        let place = Place::new("text", text, text_cap, text_len)?;
        give(&[(&place, &instance::get()?.stats().prometheus())])?;
        Ok(super::status::VOIP_PUSH_OK)
    })
}

fn with_calls<T>(work: impl FnOnce(&mut HashMap<RawFd, Arc<Pending>>) -> T) -> T {
    let Ok(calls): Result<Arc<Calls>, Infallible> = CALLS.get_or_try_make(|| Ok(Mutex::default()));
    work(&mut lock(&calls))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
