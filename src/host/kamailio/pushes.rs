//! The script functions that push without keeping the worker: `queue_voip_push`, `queue_message_push` and `send_voip_push_async`.
//!
//! It refuses to suspend a call before everything that can be wrong with it was checked: a script that gets a number goes on with a
//! call that nobody else has.

use super::arguments::CALLER;
use super::functions::{Msg, Param, call, media_of, number_of};
use super::late;
use super::sender::has_event_route;
use super::tm::{self, NEEDED, tm};
use super::{awaits, dialogs, park, reach, sender};
use crate::host::last::{self, Last};
use crate::host::note::{CallId, Doubt, Note, What};
use crate::host::{log_failure, script_code, verbs};
use crate::model::{Device, Invalid, Media};
use crate::service::{Error, Ready, Service};
use crate::stats::Counter;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The script pushes for requests that it may have looked up just before.
static ARE_USED: AtomicBool = AtomicBool::new(false);

/// Called when the configuration has one of these functions.
pub fn are_in_the_script() {
    ARE_USED.store(true, Ordering::Relaxed);
}

/// Whether it has one.
pub fn are_used() -> bool {
    ARE_USED.load(Ordering::Relaxed)
}

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
    call("queue_message_push", msg, params, |service, [user, caller, call_id]| {
        let asked = Asked { user, caller, call_id, what: What::Message };
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { queue(service, msg, &asked) }.map(|(last, _)| last)
    })
}

unsafe fn queue_call(
    service: &Service,
    msg: Msg,
    [user, caller, call_id, media]: [&str; 4],
) -> Result<Last, Error> {
    // SAFETY: the caller's word.
    unsafe {
        let media = media_of(msg, media)?;
        let (last, pushed) = queue(service, msg, &Asked { user, caller, call_id, what: media.into() })?;
        if last.code > 0 {
            late::pushed(msg, service, pushed, [user, call_id]);
        }
        Ok(last)
    }
}

/// What a script asks for.
struct Asked<'a> {
    user: &'a str,
    caller: &'a str,
    call_id: &'a str,
    what: What,
}

impl Asked<'_> {
    /// `request` is the number of the message in hand, where there is one.
    fn ready(&self, service: &Service, request: impl FnOnce() -> Option<u32>) -> Result<Ready, Error> {
        let Asked { user, caller, call_id, what } = self;
        match what {
            What::Message => service.ready_message(request, user, caller, call_id),
            // That one device is known to whoever asks.
            What::Dialog => Err(Error::NoDevice),
            What::Audio => service.ready_for(request, user, caller, call_id, Media::Audio),
            What::Video => service.ready_for(request, user, caller, call_id, Media::Video),
        }
    }

    /// Whoever wants the result gets it, at the latest when it is of no use any more.
    fn patience(&self, service: &Service) -> Duration {
        match self.what {
            What::Message => service.settings().message.wake,
            What::Dialog => service.settings().wake,
            What::Audio | What::Video => service.settings().ring,
        }
    }
}

/// Hands over what is asked for, but for devices that the call went to already and that may be awake. Also says how many are pushed
/// to at once.
unsafe fn queue(service: &Service, msg: Msg, asked: &Asked<'_>) -> Result<(Last, usize), Error> {
    // SAFETY: the caller's word.
    let id = if park::is_used() { unsafe { tm::current(msg)? } } else { None };
    if let Some(id) = id
        && let Some(refused) = park::one_too_many_to(service, asked.user, id)?
    {
        return Ok((refused, 0));
    }
    // SAFETY: the caller's word.
    let ready = asked.ready(service, || unsafe { number_of(msg) })?;
    let devices = ready.devices();
    let awake = id.map(|id| leave_out_the_awake(service, asked, id, &ready)).unwrap_or_default();
    let is_pushed = |device: &Device| !awake.contains(&device.device_id);
    let awaited = id.filter(|_| matches!(asked.what, What::Audio | What::Video));
    if let Some(id) = awaited {
        awaits::expect(service, id, reach::elsewhere(id, ready.each_device(), is_pushed));
    }
    let ready = ready.only(is_pushed);
    let pushed = ready.devices();
    if pushed > 0
        && let Err(error) = hand_over_queued(service, ready, id, asked)
    {
        awaited.into_iter().for_each(awaits::forget);
        return Err(error);
    }
    Ok((verbs::counted(devices), pushed))
}

fn hand_over_queued(
    service: &Service,
    ready: Ready,
    id: Option<CallId>,
    asked: &Asked<'_>,
) -> Result<(), Error> {
    let note = note_for_queued(service, id, asked.user, asked.call_id);
    let patience = (!note.is_empty()).then_some(asked.patience(service));
    service.hand_over(ready, patience, note)
}

/// Has the sender watch the devices that may be awake; says which these are.
fn leave_out_the_awake(service: &Service, asked: &Asked<'_>, id: CallId, ready: &Ready) -> Vec<String> {
    let settings = &service.settings().reachable;
    let phones = reach::awake(id, ready.each_device(), settings);
    if phones.is_empty() {
        return Vec::new();
    }
    let devices: Vec<String> = phones.iter().map(|phone| phone.device_id.clone()).collect();
    let doubt = Doubt {
        user: asked.user.to_owned(),
        sip_call_id: asked.call_id.to_owned(),
        id,
        caller: asked.caller.to_owned(),
        what: asked.what,
        within: settings.provisional,
        phones,
    };
    // Where the sender does not listen, they are pushed to like all others.
    if sender::try_tell(&Note::Doubt(doubt)).is_err() {
        return Vec::new();
    }
    service.stats().add(Counter::Spared, devices.len() as u64);
    devices
}

/// Pushes to phones that were left out and have said nothing since; in the sender's process. Says to how many.
pub fn push_silent(service: &Service, doubt: &Doubt) -> Result<usize, Error> {
    let Doubt { user, sip_call_id, id, caller, what, phones, .. } = doubt;
    let asked = Asked { user, caller, call_id: sip_call_id, what: *what };
    let is_silent = |device: &Device| phones.iter().any(|phone| phone.device_id == device.device_id);
    let ready = match what {
        What::Dialog => dialogs::ready_again(service, doubt)?,
        _ => asked.ready(service, || None)?.only(is_silent),
    };
    let devices = ready.devices();
    if devices > 0 {
        service.stats().add(Counter::Silent, devices as u64);
        hand_over_queued(service, ready, Some(*id), &asked)?;
    }
    Ok(devices)
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
    let media = unsafe { media_of(msg, media)? };
    // SAFETY: the caller's word.
    let ready = service.ready_for(|| unsafe { number_of(msg) }, user, caller, call_id, media)?;
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
