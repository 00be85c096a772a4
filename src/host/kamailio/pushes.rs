//! The script functions that push without keeping the worker: `queue_voip_push`, `queue_message_push` and `send_voip_push_async`.
//!
//! It refuses to suspend a call before everything that can be wrong with it was checked: a script that gets a number goes on with a
//! call that nobody else has.

use super::arguments::CALLER;
use super::functions::{Msg, Param, call, media_of};
use super::late;
use super::park;
use super::sender::has_event_route;
use super::tm::{self, NEEDED, tm};
use crate::host::last::{self, Last};
use crate::host::note::{CallId, Note};
use crate::host::{log_failure, script_code, verbs};
use crate::model::Invalid;
use crate::service::{Error, Ready, Service};
use std::ffi::c_int;
use std::time::Duration;

/// How much later than the sender tm ends a call itself, should the sender be stopped or gone.
pub const SAFETY_NET: Duration = Duration::from_secs(2);

pub unsafe extern "C" fn queue_voip_push_3(msg: Msg, user: Param, caller: Param, call_id: Param) -> c_int {
    let params = [("user", user), (CALLER, caller), ("call_id", call_id)];
    call("queue_voip_push", msg, params, |service, [user, caller, call_id]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { queue_call(service, msg, [user, caller, call_id, ""]) }
    })
}

pub unsafe extern "C" fn queue_voip_push_4(
    msg: Msg,
    user: Param,
    caller: Param,
    call_id: Param,
    media: Param,
) -> c_int {
    let params = [("user", user), (CALLER, caller), ("call_id", call_id), ("media", media)];
    // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
    call("queue_voip_push", msg, params, |service, texts| unsafe { queue_call(service, msg, texts) })
}

pub unsafe extern "C" fn queue_message_push(msg: Msg, user: Param, from: Param, call_id: Param) -> c_int {
    let params = [("user", user), (CALLER, from), ("call_id", call_id)];
    call("queue_message_push", msg, params, |service, [user, from, call_id]| {
        let patience = service.settings().message.wake;
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe {
            queue(service, msg, [user, call_id], patience, || service.ready_message(user, from, call_id))
        }
    })
}

unsafe fn queue_call(
    service: &Service,
    msg: Msg,
    [user, caller, call_id, media]: [&str; 4],
) -> Result<Last, Error> {
    // SAFETY: the caller's word.
    unsafe {
        let ready = || service.ready(user, caller, call_id, media_of(msg, media)?);
        let last = queue(service, msg, [user, call_id], service.settings().ring, ready)?;
        if last.code > 0 {
            late::pushed(msg, service, last.devices(), [user, call_id]);
        }
        Ok(last)
    }
}

/// Hands over what `ready` has made. Whoever wants the result gets it, at the latest after `patience`, when it is of no use any more.
unsafe fn queue(
    service: &Service,
    msg: Msg,
    [user, call_id]: [&str; 2],
    patience: Duration,
    ready: impl FnOnce() -> Result<Ready, Error>,
) -> Result<Last, Error> {
    // SAFETY: the caller's word.
    let id = if park::is_used() { unsafe { tm::current(msg)? } } else { None };
    if let Some(id) = id
        && let Some(refused) = park::one_too_many_to(service, user, id)?
    {
        return Ok(refused);
    }
    let ready = ready()?;
    let devices = ready.devices();
    let note = note_for_queued(service, id, user, call_id);
    let patience = (!note.is_empty()).then_some(patience);
    service.hand_over(ready, patience, note)?;
    Ok(verbs::counted(devices))
}

fn note_for_queued(service: &Service, id: Option<CallId>, user: &str, call_id: &str) -> Vec<u8> {
    if !service.has_sender_process() || !(has_event_route() || park::is_used()) {
        return Vec::new();
    }
    Note::Queued { user: user.to_owned(), sip_call_id: call_id.to_owned(), id }.encode()
}

pub unsafe extern "C" fn send_voip_push_async_4(
    msg: Msg,
    user: Param,
    caller: Param,
    call_id: Param,
    route: Param,
) -> c_int {
    let params = [("user", user), (CALLER, caller), ("call_id", call_id), ("route", route)];
    call("send_voip_push_async", msg, params, |service, [user, caller, call_id, route]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { send_and_suspend(service, msg, [user, caller, call_id, route, ""]) }
    })
}

pub unsafe extern "C" fn send_voip_push_async_5(
    msg: Msg,
    user: Param,
    caller: Param,
    call_id: Param,
    route: Param,
    media: Param,
) -> c_int {
    let params = [("user", user), (CALLER, caller), ("call_id", call_id), ("route", route), ("media", media)];
    call("send_voip_push_async", msg, params, |service, texts| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { send_and_suspend(service, msg, texts) }
    })
}

unsafe fn send_and_suspend(
    service: &Service,
    msg: Msg,
    [user, caller, call_id, route, media]: [&str; 5],
) -> Result<Last, Error> {
    check_can_suspend(service, route)?;
    // SAFETY: the caller's word.
    let ready = service.ready(user, caller, call_id, unsafe { media_of(msg, media)? })?;
    let tm = tm().ok_or_else(|| Error::Internal(NEEDED.to_owned()))?;
    let wait = service.settings().wait;
    // SAFETY: the caller's word.
    unsafe {
        let Some(id) = tm.call_to_suspend(msg)? else { return Ok(Last::stop()) };
        late::pushed(msg, service, ready.devices(), [user, call_id]);
        tm.suspend(msg, wait + SAFETY_NET)?;
        let note = Note::Async {
            user: user.to_owned(),
            sip_call_id: call_id.to_owned(),
            id,
            route: route.to_owned(),
        };
        if let Err(error) = hand_over(service, ready, wait, &note) {
            go_on_here(tm, msg, id, route, &error, [user, call_id]);
        }
    }
    Ok(Last::stop())
}

fn hand_over(service: &Service, ready: Ready, wait: Duration, note: &Note) -> Result<(), Error> {
    service.hand_over(ready, Some(wait), note.encode())
}

/// Nobody else will let the call go on, so this worker does, with the reason in `$push(...)`.
///
/// # Safety
/// On Kamailio's own thread, right after the call was suspended.
pub unsafe fn go_on_here(tm: &tm::Tm, msg: Msg, id: CallId, route: &str, error: &Error, about: [&str; 2]) {
    log_failure("the sender was not told", error);
    let [user, call_id] = about;
    last::set(Last::of_error(script_code(error), error).with_call(user, call_id));
    // SAFETY: the caller's word; this is a request route or a route that goes on, not one under tm's lock.
    unsafe { tm.go_on(msg, id, route) };
}

/// Whether a call can be suspended at all, so that it goes on in this route.
pub fn check_can_suspend(service: &Service, route: &str) -> Result<(), Error> {
    if !service.has_sender_process() {
        let why = "a call can only be suspended where Kamailio forks; fork=no has no process to let it go on";
        return Err(Error::Internal(why.to_owned()));
    }
    if !tm::has_route(route) {
        return Err(Invalid::new("route", format!("route[{route}] is not in the configuration")).into());
    }
    Ok(())
}
