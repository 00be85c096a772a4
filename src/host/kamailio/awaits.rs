//! Calls that wait for phones which were pushed and have not come yet: `awaits_phone`.
//!
//! It refuses to ask the sender's process, which a route under tm's lock cannot wait for: all processes share what is known.

use super::functions::{Msg, Param, call};
use super::park::waiting;
use super::tm;
use crate::host::awaited::Awaited;
use crate::host::last::Last;
use crate::host::note::CallId;
use crate::service::Service;
use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static AWAITED: OnceLock<Awaited> = OnceLock::new();

/// Makes what all processes share; before the fork.
pub fn prepare() -> Result<(), String> {
    let awaited = Awaited::new().map_err(|error| format!("no shared memory: {error}"))?;
    AWAITED.get_or_init(|| awaited);
    Ok(())
}

static IS_USED: AtomicBool = AtomicBool::new(false);

/// Called when the configuration has `awaits_phone`.
pub fn is_in_the_script() {
    IS_USED.store(true, Ordering::Relaxed);
}

/// The table, where the configuration asks what is in it.
fn awaited() -> Option<&'static Awaited> {
    AWAITED.get().filter(|_| is_used())
}

/// Whether the configuration has `awaits_phone`.
pub fn is_used() -> bool {
    IS_USED.load(Ordering::Relaxed)
}

pub unsafe extern "C" fn awaits_phone(msg: Msg, _: Param, _: Param) -> c_int {
    call("awaits_phone", msg, [], |_, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let id = unsafe { tm::current(msg)? };
        Ok(match id.and_then(left) {
            Some(_) => Last::new(1),
            None => Last::nothing("no phone that was pushed for this call is still to come"),
        })
    })
}

/// How long this call waits for a phone still; `None` where it waits for none.
pub fn left(id: CallId) -> Option<Duration> {
    awaited()?.left(id, waiting().now()).map(Duration::from_micros)
}

/// The route that is being run sends this call to contacts, and is going to say whether phones are pushed for it: one that declines
/// before that is not to end the call.
pub fn decide(service: &Service, id: CallId) {
    if let Some(awaited) = awaited() {
        let (now, until) = times(service);
        awaited.decide(id, now, until);
    }
}

/// That route has ended.
pub fn decided(id: CallId) {
    if let Some(awaited) = awaited() {
        awaited.decided(id);
    }
}

/// So many phones that this call did not go to are pushed to.
pub fn expect(service: &Service, id: CallId, phones: usize) {
    if let Some(awaited) = awaited() {
        let (now, until) = times(service);
        awaited.expect(id, phones, now, until);
    }
}

/// So many of them have come, or will not.
pub fn less(id: CallId, phones: usize) {
    if let Some(awaited) = awaited() {
        awaited.less(id, phones);
    }
}

/// The call is over, or nobody will say when its phones have come.
pub fn forget(id: CallId) {
    if let Some(awaited) = awaited() {
        awaited.forget(id);
    }
}

fn times(service: &Service) -> (u64, u64) {
    let (now, wake) = (waiting().now(), service.settings().wake.as_micros());
    (now, now.saturating_add(u64::try_from(wake).unwrap_or(u64::MAX)))
}
