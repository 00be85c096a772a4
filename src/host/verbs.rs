//! The script functions, as far as they are the same in every SIP server: arguments in, result for `$push(...)` out.
//!
//! It refuses to know how a server passes arguments.

use super::last::Last;
use crate::model::{Device, Extra, Media, Report};
use crate::service::{Error, Offer, Service, SipRegister, Target};

/// `register_token(user, token, platform [, device_id [, app]])`; empty means absent.
pub(super) fn register_token(
    service: &Service,
    [user, token, platform, device_id, app]: [&str; 5],
) -> Result<Last, Error> {
    let extra = Extra { device_id: Some(device_id), app: Some(app), ..Extra::default() };
    service.register(user, token, platform, &extra)?;
    Ok(Last::new(1))
}

/// `lookup_token(user)`; gives the devices, too.
pub(super) fn lookup_token(service: &Service, user: &str) -> Result<(Last, Vec<Device>), Error> {
    let devices = service.lookup(user)?;
    let newest = devices.first().ok_or(Error::NoDevice)?;
    Ok((counted(devices.len()).with_device(newest), devices))
}

/// `delete_token(user [, device_id])`; an empty device id means the device that was registered without one.
pub(super) fn delete_token(service: &Service, user: &str, device_id: Option<&str>) -> Result<Last, Error> {
    service.delete(user, device_id).map(counted)
}

/// `send_voip_push(user, caller, call_id [, media])`.
pub(super) fn send_voip_push(
    service: &Service,
    [user, caller, call_id]: [&str; 3],
    media: Media,
) -> Result<Last, Error> {
    service.send_media(user, caller, call_id, media).map(|report| pushed(&report))
}

/// `send_voip_push_to(provider, token, app, user, caller, call_id)`.
pub(super) fn send_voip_push_to(
    service: &Service,
    [provider, token, app, user, caller, call_id]: [&str; 6],
) -> Result<Last, Error> {
    let target = Target { provider, token, app };
    service.send_to(&target, user, caller, call_id).map(|report| pushed(&report))
}

/// `cancel_voip_push(user, call_id, reason)`.
pub(super) fn cancel_voip_push(service: &Service, [user, call_id, reason]: [&str; 3]) -> Result<Last, Error> {
    service.cancel(user, call_id, reason).map(|devices| Last::new(1).with_devices(devices))
}

/// `check_contact([user])`: what the answer to the REGISTER in hand is to say about push.
pub(super) fn check_contact(service: &Service, register: &SipRegister<'_>) -> Result<Last, Error> {
    Ok(match service.check_register(register) {
        Offer::Push { devices, headers } => counted(devices).with_headers(&headers),
        Offer::Nothing(why) => Last::nothing(why),
        Offer::Refuse { status, reason, headers } => Last::refusal(status, &reason).with_headers(&headers),
    })
}

/// `register_contact([user])`.
pub(super) fn register_contact(service: &Service, register: &SipRegister<'_>) -> Result<Last, Error> {
    let done = service.register_contacts(register)?;
    if done.stored > 0 {
        return Ok(counted(done.stored));
    }
    Ok(Last::nothing("none stored, some forgotten").with_devices(done.forgotten))
}

/// Pushes that at least one provider accepted.
pub(super) fn pushed(report: &Report) -> Last {
    Last::new(number(report.accepted())).with_report(report)
}

/// So many devices.
pub(super) fn counted(devices: usize) -> Last {
    Last::new(number(devices)).with_devices(devices)
}

/// A count as a script's number. The verbs never succeed with 0, which would stop the script.
pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX).max(1)
}
