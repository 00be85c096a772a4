//! The devices that were looked up last in this process, for the push that the same SIP request asks for next.
//!
//! It refuses to answer for another request or another user, and after a moment: what was registered since must be found.

use super::{Error, Ready, Service};
use crate::model::{Call, Caller, Device, Media, User};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// A request that is held, or that comes back from a failure route, is the same one long after; by then a phone may have registered.
const MOMENT: Duration = Duration::from_millis(20);

struct Known {
    /// The server's number for the request, in this process.
    request: u32,
    user: User,
    devices: Vec<Device>,
    at: Instant,
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

impl Service {
    /// [`Service::ready`] for a SIP request: what was looked up and [kept](Service::keep_for) for it a moment ago is not looked up again.
    /// `request` is the server's number for it, in this process, and is asked only where something was kept.
    ///
    /// # Errors
    /// `Argument`, `Store` or `NoDevice`.
    pub fn ready_for(
        &self,
        request: impl FnOnce() -> Option<u32>,
        user: &str,
        caller: &str,
        call_id: &str,
        media: Media,
    ) -> Result<Ready, Error> {
        self.counted(|| {
            let call = Call::new(user, Caller::parse(caller), call_id, media)?;
            let devices = self.devices_for(&call.callee, request)?;
            Ok(Ready { pushes: self.pushes(call, devices, true) })
        })
    }

    /// Keeps what [`Service::lookup`] has found for the push that the same request asks for next, if that comes at once.
    pub fn keep_for(&self, request: u32, devices: Vec<Device>) {
        if let Some(first) = devices.first() {
            keep(request, first.user.clone(), devices);
        }
    }

    pub(super) fn devices_for(
        &self,
        user: &User,
        request: impl FnOnce() -> Option<u32>,
    ) -> Result<Vec<Device>, Error> {
        take(user, request).map_or_else(|| self.devices_of(user), Ok)
    }
}

fn keep(request: u32, user: User, devices: Vec<Device>) {
    KNOWN.set(Some(Known { request, user, devices, at: Instant::now() }));
}

/// The store is about to be used for something else, maybe to be changed.
pub(super) fn forget() {
    KNOWN.set(None);
}

/// What was kept for this very request and user, once. `request` is asked only where there is something.
fn take(user: &User, request: impl FnOnce() -> Option<u32>) -> Option<Vec<Device>> {
    let known = KNOWN.take()?;
    let is_it = known.user == *user && known.at.elapsed() <= MOMENT && request() == Some(known.request);
    is_it.then_some(known.devices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::push_to;

    #[test]
    fn only_the_same_user_in_the_same_request_gets_it_and_only_once() {
        let device = push_to("ios", &"ab".repeat(32), "").device;
        let (user, other) = (device.user.clone(), User::parse("somebody-else").unwrap());
        let keep = || keep(7, user.clone(), vec![device.clone()]);
        keep();
        assert_eq!(take(&user, || Some(7)), Some(vec![device.clone()]));
        assert_eq!(take(&user, || Some(7)), None);
        for (who, request) in [(&other, Some(7)), (&user, Some(8)), (&user, None)] {
            keep();
            assert_eq!(take(who, || request), None);
        }
        keep();
        forget();
        assert_eq!(take(&user, || Some(7)), None);
    }

    #[test]
    fn after_a_moment_it_is_looked_up_anew() {
        let device = push_to("ios", &"ab".repeat(32), "").device;
        let user = device.user.clone();
        let at = Instant::now().checked_sub(MOMENT * 2).unwrap();
        KNOWN.set(Some(Known { request: 7, user: user.clone(), devices: vec![device], at }));
        assert_eq!(take(&user, || Some(7)), None);
    }
}
