//! The calls that are followed in the route that is being run, until the sender is told of them.
//!
//! It refuses to tell of a call before its route has ended: see [`tell_of_followed`].

use super::tell::try_tell;
use crate::host::kamailio::layout::SipMsg;
use crate::host::kamailio::symbols::forking;
use crate::host::kamailio::{awaits, park};
use crate::host::note::{CallId, Follow, Note, ruid_of};
use crate::host::panic_caught;
use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_uint, c_void};

thread_local! {
    /// The calls that are to be told of when the route that is being run has ended.
    static FOLLOWED: RefCell<Vec<Follow>> = const { RefCell::new(Vec::new()) };
    /// Kamailio was asked to tell us when a route has ended.
    static IS_ASKED: Cell<bool> = const { Cell::new(false) };
}

/// Tells of a call that rings once the route that is being run has ended, and with it everything that it does to its call: tm
/// cannot bear two processes that give a call its branches.
pub fn tell_of_followed(follow: Follow) {
    /// `POST_SCRIPT_CB`, with `REQUEST_CB` and `FAILURE_CB`.
    const AFTER_ROUTES: c_uint = 1 << 31 | 1 | 2;
    if IS_ASKED.with(|asked| !asked.replace(true))
        && let Some(forking) = forking()
    {
        // SAFETY: this process' own list, on its own thread, and a function of ours, which stays.
        unsafe { (forking.register_script_cb)(after_route, AFTER_ROUTES, std::ptr::null_mut()) };
    }
    FOLLOWED.with_borrow_mut(|followed| followed.push(follow));
}

/// The same call is parked instead in the same route: what is known of it.
pub fn take_followed(id: CallId) -> Option<Follow> {
    FOLLOWED.with_borrow_mut(|followed| {
        let at = followed.iter().position(|follow| follow.id == id)?;
        Some(followed.swap_remove(at))
    })
}

/// A call that was followed in the route that is being run is over, or followed anew.
pub fn follow_no_more(id: CallId) {
    if let Some(follow) = take_followed(id) {
        park::count_out(&follow.user, follow.is_counted);
    }
}

unsafe extern "C" fn after_route(_: *mut SipMsg, _: c_uint, _: *mut c_void) -> c_int {
    panic_caught((), || {
        for follow in FOLLOWED.take() {
            awaits::decided(follow.id);
            let (user, is_counted) = (follow.user.clone(), follow.is_counted);
            if let Err(error) = try_tell(&Note::Follow(follow)) {
                park::count_out(&user, is_counted);
                ::log::warn!("a call is not followed, since the sender was not told: {error}");
            }
        }
    });
    1
}

/// A call went to a contact; false where it is not followed in the route that is being run.
pub(super) fn rings_at(id: CallId, contact: &str) -> bool {
    FOLLOWED.with_borrow_mut(|followed| match followed.iter_mut().find(|follow| follow.id == id) {
        Some(follow) => {
            follow.rung.push(contact.to_owned());
            true
        }
        None => false,
    })
}

/// The contacts that a call went to in the route that is being run, as far as it was followed there, by the registrar's names.
pub fn rung_in_hand(id: CallId) -> Vec<String> {
    FOLLOWED.with_borrow(|followed| {
        let rung = followed.iter().find(|follow| follow.id == id).map(|follow| follow.rung.as_slice());
        rung.unwrap_or_default().iter().map(|contact| ruid_of(contact).to_owned()).collect()
    })
}

/// A call that was followed in the route that is being run could not be relayed after all.
pub fn went_nowhere(id: CallId) {
    FOLLOWED.with_borrow_mut(|followed| {
        followed.iter_mut().filter(|follow| follow.id == id).for_each(|follow| follow.rung.clear());
    });
}

/// Whether a call was followed in the route that is being run.
pub fn is_followed(id: CallId) -> bool {
    FOLLOWED.with_borrow(|followed| followed.iter().any(|follow| follow.id == id))
}
