//! Which phones need no push, since the call goes to them anyway: `watch_phone` and `phone_answers`.
//!
//! It refuses to trust a phone for long: one that says nothing is pushed to a moment later.

use super::functions::{Msg, Param, call};
use super::park::text;
use super::{sender, tm};
use crate::config::ReachableSettings;
use crate::host::fresh::{Fresh, Known};
use crate::host::last::Last;
use crate::host::note::{CallId, Doubted, Note};
use crate::model::Device;
use crate::service::Error;
use std::cell::RefCell;
use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static FRESH: OnceLock<Fresh> = OnceLock::new();

/// Makes what all processes share; before the fork.
pub fn prepare() -> Result<(), String> {
    let fresh = Fresh::new().map_err(|error| format!("no shared memory: {error}"))?;
    FRESH.get_or_init(|| fresh);
    Ok(())
}

/// The script watches phones, so it is of interest when they register.
static IS_USED: AtomicBool = AtomicBool::new(false);

/// Called when the configuration has one of these functions.
pub fn is_in_the_script() {
    IS_USED.store(true, Ordering::Relaxed);
}

/// Whether the configuration has one of these functions.
pub fn is_used() -> bool {
    IS_USED.load(Ordering::Relaxed)
}

/// A phone has registered these contacts.
pub fn registered(contacts: &[String], transport: &str, phone: Option<&str>) {
    let Some(fresh) = FRESH.get() else { return };
    let is_connected = !transport.eq_ignore_ascii_case("udp");
    let phone = phone.unwrap_or_default().trim_matches(['<', '>', '"']);
    contacts.iter().for_each(|contact| fresh.note(contact, is_connected, phone));
}

/// The branches of the call in hand that were watched and were sent to a contact, by their numbers.
pub fn branches_of(id: CallId) -> Vec<u32> {
    let sent_to = sender::rung_in_hand(id);
    BRANCHES.with_borrow(|branches| {
        let its = branches
            .contacts
            .iter()
            .filter(|(_, contact)| branches.call == Some(id) && sent_to.contains(contact));
        its.map(|(number, _)| *number).collect()
    })
}

/// What is known of a contact, or of what else was noted by [`registered`].
pub fn known(contact: &str) -> Option<Known> {
    FRESH.get()?.look(contact)
}

/// The number that a phone has in what is known.
pub fn number_of(phone: &str) -> Option<u16> {
    Some(FRESH.get()?.phone(phone))
}

/// The branches of the call in hand, and the contacts that they go to.
struct Branches {
    call: Option<CallId>,
    contacts: Vec<(u32, String)>,
}

thread_local! {
    static BRANCHES: RefCell<Branches> = const { RefCell::new(Branches { call: None, contacts: Vec::new() }) };
}

pub unsafe extern "C" fn watch_phone(msg: Msg, _: Param, _: Param) -> c_int {
    call("watch_phone", msg, [], |_, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let (id, branch, contact) = unsafe { (tm::current(msg)?, branch(msg)?, text(msg, "$ruid")?) };
        let (Some(id), Some(branch)) = (id, branch) else {
            return Ok(Last::nothing("this is not a branch of a call"));
        };
        BRANCHES.with_borrow_mut(|branches| {
            if branches.call != Some(id) {
                *branches = Branches { call: Some(id), contacts: Vec::new() };
            }
            branches.contacts.push((branch, contact));
        });
        Ok(Last::new(1))
    })
}

pub unsafe extern "C" fn phone_answers(msg: Msg, _: Param, _: Param) -> c_int {
    call("phone_answers", msg, [], |_, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let (id, branch) = unsafe { (tm::current(msg)?, branch(msg)?) };
        let (Some(id), Some(branch)) = (id, branch) else {
            return Ok(Last::nothing("this is not a reply to a call"));
        };
        sender::tell(Note::Answers { id, branch });
        Ok(Last::new(1))
    })
}

/// The branch in hand, by its number.
unsafe fn branch(msg: Msg) -> Result<Option<u32>, Error> {
    // SAFETY: the caller's word.
    Ok(unsafe { text(msg, "$T_branch_idx")? }.parse().ok())
}

/// A branch that the call in hand has, and what is known of its contact.
#[derive(Debug, Clone, Copy)]
struct Branch {
    number: u32,
    known: Option<Known>,
}

/// Of these devices, those that the call in hand went to already and that are taken to be awake.
pub fn awake<'a>(
    id: CallId,
    devices: impl Iterator<Item = &'a Device>,
    settings: &ReachableSettings,
) -> Vec<Doubted> {
    let Some(fresh) = FRESH.get() else { return Vec::new() };
    let branches = branches_in_hand(fresh, id);
    if branches.is_empty() {
        return Vec::new();
    }
    let devices: Vec<(&Device, [u16; 2])> = devices.map(|device| (device, names(fresh, device))).collect();
    judge(&branches, &devices, settings)
}

/// The branches that the call in hand has by now.
fn branches_in_hand(fresh: &Fresh, id: CallId) -> Vec<Branch> {
    let sent_to = sender::rung_in_hand(id);
    BRANCHES.with_borrow(|branches| {
        let is_its = branches.call == Some(id);
        let its = branches.contacts.iter().filter(|(_, contact)| is_its && sent_to.contains(contact));
        its.map(|(number, contact)| Branch { number: *number, known: fresh.look(contact) }).collect()
    })
}

/// How many of the devices that are pushed to are at none of the contacts that the call in hand went to.
pub fn elsewhere<'a>(
    id: CallId,
    devices: impl Iterator<Item = &'a Device>,
    is_pushed: impl Fn(&Device) -> bool,
) -> usize {
    let Some(fresh) = FRESH.get() else { return 0 };
    let branches = branches_in_hand(fresh, id);
    let devices: Vec<(&Device, [u16; 2])> = devices.map(|device| (device, names(fresh, device))).collect();
    count_elsewhere(&branches, &devices, is_pushed)
}

/// By what a phone may be known: its instance, or its token.
fn names(fresh: &Fresh, device: &Device) -> [u16; 2] {
    let instance = device.device_id.strip_prefix("sip:").unwrap_or(&device.device_id);
    [fresh.phone(instance.trim_matches(['<', '>', '"'])), fresh.phone(device.token.expose())]
}

/// A device that says nothing of itself when it registers is at one of the branches that are no other device's, as far as these suffice.
fn count_elsewhere(
    branches: &[Branch],
    devices: &[(&Device, [u16; 2])],
    is_pushed: impl Fn(&Device) -> bool,
) -> usize {
    let is_here = |names: &[u16; 2]| branches.iter().any(|branch| is_of(branch, names));
    let pushed = devices.iter().filter(|(device, names)| is_pushed(device) && !is_here(names));
    let (known, others): (Vec<&Device>, Vec<&Device>) =
        pushed.map(|(device, _)| *device).partition(|device| says_who_it_is(device));
    let is_nobodys = |branch: &&Branch| !devices.iter().any(|(_, names)| is_of(branch, names));
    known.len() + others.len().saturating_sub(branches.iter().filter(is_nobodys).count())
}

fn is_of(branch: &Branch, names: &[u16; 2]) -> bool {
    branch.known.is_some_and(|known| names.contains(&known.phone))
}

/// A device that was registered by REGISTER is known by what its Contact says.
fn says_who_it_is(device: &Device) -> bool {
    device.device_id.starts_with("sip:")
}

/// A device is at the branches whose contact it has registered. One that says nothing of itself when it registers may be at any
/// branch that is no other device's.
fn judge(branches: &[Branch], devices: &[(&Device, [u16; 2])], settings: &ReachableSettings) -> Vec<Doubted> {
    let is_nobodys = |branch: &&Branch| !devices.iter().any(|(_, names)| is_of(branch, names));
    let doubted = |(device, names): &(&Device, [u16; 2])| {
        let own: Vec<&Branch> = branches.iter().filter(|branch| is_of(branch, names)).collect();
        let speaks_for_itself = !own.is_empty() || says_who_it_is(device);
        let its = if speaks_for_itself { own } else { branches.iter().filter(is_nobodys).collect() };
        let interval = settings.interval(device.platform);
        let is_awake = |known: Known| known.is_connected && !interval.is_zero() && known.age <= interval;
        let awake: Vec<u32> = its
            .iter()
            .filter(|branch| branch.known.is_some_and(is_awake))
            .map(|branch| branch.number)
            .collect();
        (!awake.is_empty()).then(|| Doubted { device_id: device.device_id.clone(), branches: awake })
    };
    devices.iter().filter_map(doubted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::push_to;
    use std::time::Duration;

    const SETTINGS: ReachableSettings = ReachableSettings {
        ios: Duration::from_secs(60),
        android: Duration::from_secs(3600),
        provisional: Duration::from_secs(1),
    };

    fn device(platform: &str, device_id: &str) -> Device {
        let token = if platform == "ios" { "ab".repeat(32) } else { format!("c:APA91b{}", "x".repeat(130)) };
        Device { device_id: device_id.to_owned(), ..push_to(platform, &token, "").device }
    }

    fn branch(number: u32, age_s: u64, is_connected: bool, phone: u16) -> Branch {
        Branch { number, known: Some(Known { age: Duration::from_secs(age_s), is_connected, phone }) }
    }

    fn at(branches: &[Branch], devices: &[(&Device, [u16; 2])]) -> Vec<(String, Vec<u32>)> {
        let doubted = judge(branches, devices, &SETTINGS);
        doubted.into_iter().map(|one| (one.device_id, one.branches)).collect()
    }

    #[test]
    fn a_phone_is_awake_that_has_registered_lately_over_a_connection() {
        let iphone = device("ios", "sip:<urn:uuid:1>");
        let its = [(&iphone, [7, 8])];
        let awake = vec![("sip:<urn:uuid:1>".to_owned(), vec![0])];
        assert_eq!(at(&[branch(0, 60, true, 7)], &its), awake);
        assert_eq!(at(&[branch(0, 60, true, 8)], &its), awake);
        assert_eq!(at(&[branch(0, 61, true, 7)], &its), []);
        assert_eq!(at(&[branch(0, 1, false, 7)], &its), []);
        assert_eq!(at(&[branch(0, 1, true, 9)], &its), [], "a desk phone");
        assert_eq!(at(&[Branch { number: 0, known: None }], &its), []);
        let android = device("android", "sip:<urn:uuid:1>");
        assert_eq!(at(&[branch(0, 3600, true, 7)], &[(&android, [7, 8])]), awake);
    }

    #[test]
    fn a_phone_that_does_not_say_who_it_is_may_be_any_but_another() {
        let (silent, other) = (device("android", ""), device("ios", "sip:<urn:uuid:1>"));
        let devices = [(&silent, [1, 2]), (&other, [7, 8])];
        assert_eq!(at(&[branch(0, 1, true, 7)], &devices), [("sip:<urn:uuid:1>".to_owned(), vec![0])]);
        let both = [branch(0, 1, true, 7), branch(1, 1, true, 99)];
        assert_eq!(at(&both, &devices), [(String::new(), vec![1]), ("sip:<urn:uuid:1>".to_owned(), vec![0])]);
    }

    #[test]
    fn phones_are_elsewhere_as_far_as_they_can_be_told_from_those_that_ring() {
        let (known, silent) = (device("ios", "sip:<urn:uuid:1>"), device("android", "x"));
        let count = |branches: &[Branch], devices: &[(&Device, [u16; 2])]| {
            count_elsewhere(branches, devices, |_| true)
        };
        let (own, desk) = (branch(0, 900, false, 7), branch(1, 900, true, 99));
        let (iphone, android) = ((&known, [7, 8]), (&silent, [1, 2]));
        assert_eq!(count(&[], &[iphone, android]), 2, "nothing rings");
        assert_eq!((count(&[own], &[iphone]), count(&[desk], &[iphone])), (0, 1));
        assert_eq!((count(&[desk], &[android]), count(&[own, desk], &[iphone, android])), (0, 0));
        assert_eq!((count(&[own], &[iphone, android]), count(&[desk], &[iphone, android])), (1, 1));
        assert_eq!(count_elsewhere(&[], &[iphone, android], |device| device.device_id == "x"), 1);
    }

    #[test]
    fn no_phone_is_awake_where_the_interval_is_zero() {
        let iphone = device("ios", "");
        let never = ReachableSettings { ios: Duration::ZERO, ..SETTINGS };
        assert!(judge(&[branch(0, 0, true, 7)], &[(&iphone, [7, 8])], &never).is_empty());
    }
}
