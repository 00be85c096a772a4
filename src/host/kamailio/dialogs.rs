//! The script functions that wake a phone for a request within a dialog (RFC 8599 §6): `lookup_purr`, `wake_dialog`,
//! `is_dialog_phone`; and for phones that seem to be there `follow_dialog` and `doubt_dialog`.
//!
//! It refuses to guess who is meant: the PURR in the Request-URI names one device, and only what that device has registered counts.

use super::functions::{Msg, Param, call};
use super::park::{self, text};
use super::{pseudo, pushes, reach, registrar, sender, tm};
use crate::host::last::Last;
use crate::host::log_failure;
use crate::host::note::{Doubt, Doubted, Note, Wake, What};
use crate::model::{Device, Invalid};
use crate::service::{Error, Ready, Service, SipRegister, installed};
use crate::stats::Counter;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The script wakes phones for requests within dialogs, so it is of interest when they register.
static IS_USED: AtomicBool = AtomicBool::new(false);

/// Called when the configuration has `lookup_purr`: from here on phones are offered PURRs. False where that cannot be.
pub fn is_in_the_script() -> bool {
    IS_USED.store(true, Ordering::Relaxed);
    let offered = installed().map_or(Ok(()), Service::offer_purrs);
    offered.inspect_err(|error| ::log::error!("lookup_purr: {error}")).is_ok()
}

/// `lookup_purr()`: 1 where the phone sleeps, as far as anybody knows, 2 where it has registered lately over a connection.
pub unsafe extern "C" fn lookup_purr(msg: Msg, _: Param, _: Param) -> c_int {
    call("lookup_purr", msg, [], |service, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let device = unsafe { device(service, msg)? };
        let last = Last::new(if is_awake(service, &device) { 2 } else { 1 });
        Ok(last.with_device(&device).with_call(device.user.as_str(), ""))
    })
}

/// The device that the request in hand is for, by its Request-URI as it came in.
unsafe fn device(service: &Service, msg: Msg) -> Result<Device, Error> {
    // SAFETY: the caller's word.
    let uri = unsafe { pseudo::read(msg, "$ou")? };
    service.dialog_device(&uri.unwrap_or_default())
}

fn is_awake(service: &Service, device: &Device) -> bool {
    let interval = service.settings().reachable.interval(device.platform);
    let known = key(device).ok().and_then(|key| reach::known(&key));
    known.is_some_and(|known| known.is_connected && !interval.is_zero() && known.age <= interval)
}

pub unsafe extern "C" fn wake_dialog_1(msg: Msg, route: Param, _: Param) -> c_int {
    call("wake_dialog", msg, [("route", route)], |service, [route]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { wake(service, msg, route, None) }
    })
}

pub unsafe extern "C" fn wake_dialog_2(msg: Msg, route: Param, seconds: Param) -> c_int {
    call("wake_dialog", msg, [("route", route), ("seconds", seconds)], |service, [route, seconds]| {
        let within = park::seconds(seconds)?;
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { wake(service, msg, route, Some(within)) }
    })
}

/// Pushes and holds, in that order: a phone that was pushed to and for which nothing can be held just registers.
unsafe fn wake(service: &Service, msg: Msg, route: &str, asked: Option<Duration>) -> Result<Last, Error> {
    pushes::check_can_suspend(service, route)?;
    // SAFETY: the caller's word.
    unsafe {
        let device = device(service, msg)?;
        let method = text(msg, "$rm")?;
        if method == "ACK" {
            // Nobody can be told that an ACK was not delivered.
            return Err(Invalid::new("method", "is ACK, which is not held").into());
        }
        let held = park::Held {
            key: key(&device)?,
            sip_call_id: request_id(msg)?,
            route: route.to_owned(),
            within: park::how_long(&method, asked.unwrap_or(service.settings().wake)),
            looked_before_us: 0,
            awaits: false,
        };
        let from = text(msg, "$hdr(From)")?;
        let ready = service.ready_dialog(&device, &from, &held.sip_call_id, held.within)?;
        let (user, sip_call_id, within) = (device.user.as_str().to_owned(), text(msg, "$ci")?, held.within);
        park::hold(service, msg, held, |id| {
            let note = Note::Queued { user, sip_call_id, id: Some(id) };
            service.hand_over(ready, Some(within), note.encode())
        })
    }
}

/// What the pushes for the request in hand are known by: a dialog has many requests.
unsafe fn request_id(msg: Msg) -> Result<String, Error> {
    // SAFETY: the caller's word.
    unsafe { Ok(format!("{}/{}", text(msg, "$ci")?, text(msg, "$cs")?)) }
}

pub unsafe extern "C" fn follow_dialog(msg: Msg, _: Param, _: Param) -> c_int {
    call("follow_dialog", msg, [], |service, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { park::follow(service, msg, key(&device(service, msg)?)?, request_id(msg)?) }
    })
}

pub unsafe extern "C" fn doubt_dialog(msg: Msg, _: Param, _: Param) -> c_int {
    call("doubt_dialog", msg, [], |service, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let (id, device) = unsafe { (tm::current(msg)?, device(service, msg)?) };
        let Some((id, branches)) =
            id.map(|id| (id, reach::branches_of(id))).filter(|(_, all)| !all.is_empty())
        else {
            return Ok(Last::nothing("it went to no phone that is watched"));
        };
        let doubt = Doubt {
            user: device.user.as_str().to_owned(),
            // SAFETY: as above.
            sip_call_id: unsafe { request_id(msg)? },
            id,
            // SAFETY: as above.
            caller: unsafe { text(msg, "$hdr(From)")? },
            what: What::Dialog,
            within: service.settings().reachable.provisional,
            phones: vec![Doubted { device_id: device.device_id, branches }],
        };
        sender::try_tell(&Note::Doubt(doubt))?;
        service.stats().count(Counter::Spared);
        Ok(Last::new(1))
    })
}

/// The push for a phone that a request went to and that has said nothing.
pub fn ready_again(service: &Service, doubt: &Doubt) -> Result<Ready, Error> {
    let Doubt { user, sip_call_id, caller, phones, .. } = doubt;
    let device_id = phones.first().ok_or(Error::NoDevice)?.device_id.as_str();
    service.ready_dialog_again([user, device_id], caller, sip_call_id, service.settings().wake)
}

pub unsafe extern "C" fn is_dialog_phone(msg: Msg, _: Param, _: Param) -> c_int {
    call("is_dialog_phone", msg, [], |service, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let (device, contact) = unsafe { (device(service, msg)?, text(msg, "$ruid")?) };
        let known = reach::known(&key(&device)?);
        let is_it = !contact.is_empty() && known.map(|known| known.phone) == reach::number_of(&contact);
        Ok(if is_it { Last::new(1) } else { Last::nothing("another contact of this user is meant") })
    })
}

/// Devices have registered, and their REGISTER is in hand: what waits for them goes on. Nobody is told of an error, as whoever waits
/// will be told when the time is over.
///
/// # Safety
/// On Kamailio's own thread, with the message that it has in hand.
pub unsafe fn registered(service: &Service, msg: Msg, register: &SipRegister<'_>) {
    if !IS_USED.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: the caller's word.
    if let Err(error) = unsafe { wake_all(service, msg, register) } {
        log_failure("a request within a dialog goes on waiting", &error);
    }
}

unsafe fn wake_all(service: &Service, msg: Msg, register: &SipRegister<'_>) -> Result<(), Error> {
    // SAFETY: the caller's word.
    let (contacts, transport, aor, flow) = unsafe {
        let flow = format!("{}:{}", text(msg, "$si")?, text(msg, "$sp")?);
        (
            registrar::contacts(msg, &text(msg, "$(hdr(Contact)[*])")?).0,
            text(msg, "$pr")?,
            text(msg, "$tu")?,
            flow,
        )
    };
    for device_id in service.registered_devices(register) {
        let key = key_of(register.user, &device_id)?;
        // The contacts of this REGISTER are the first.
        note(&key, &transport, contacts.first());
        let has_moved = note(&[&key, "flow"].join("\n"), &transport, Some(&flow));
        let Some(moment) = park::waiting().wake(&key) else { continue };
        // A phone with an instance keeps its contact's name in the registrar wherever it is, and what was sent to where it was
        // is to be sent again only where it has moved.
        let contacts = has_moved.then(|| flow.clone()).into_iter().collect();
        let (aor, phone) = (aor.clone(), device_id);
        let wake = Wake { user: key, aor, moment, tells_contacts: true, contacts, phone, registered: 0 };
        sender::try_tell(&Note::Wake(wake))?;
    }
    Ok(())
}

/// Notes what a device has registered; true where that is another than before.
fn note(key: &str, transport: &str, what: Option<&String>) -> bool {
    let before = reach::known(key).map(|known| known.phone);
    reach::registered(&[key.to_owned()], transport, what.map(String::as_str));
    before != what.and_then(|what| reach::number_of(what))
}

/// What requests for this device wait under.
fn key(device: &Device) -> Result<String, Error> {
    key_of(device.user.as_str(), &device.device_id)
}

fn key_of(user: &str, device_id: &str) -> Result<String, Error> {
    Ok([park::key(user)?.as_str(), device_id].join("\n"))
}
