//! The script functions that hold a call until a phone of its user registers: `park_call`, `follow_call`, `wake_calls`, `was_rung`.
//!
//! It refuses to let a call go on in a worker, but for the one case that nobody else can: the sender was not told of it.

use super::functions::{Msg, Param, call};
use super::layout::{PARAM_STR, Str};
use super::pushes::{SAFETY_NET, check_can_suspend, go_on_here};
use super::symbols::core;
use super::tm::{self, InHand, NEEDED, tm};
use super::{pseudo, sender};
use crate::host::last::Last;
use crate::host::note::{Follow, Note, Park, Wake};
use crate::host::waiting::{Moment, Waiting};
use crate::model::{Invalid, User};
use crate::service::{Error, Service};
use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, OnceLock};
use std::time::Duration;

/// Longest time that a call may wait. tm ends a call that has had no answer for longer (`max_inv_lifetime`, 180 s).
const MAX_SECONDS: u64 = 120;

/// How long before it was parked a call may have looked for contacts, as far as we assume.
const LOOKED_BEFORE_US: Moment = 3_000_000;

static WAITING: OnceLock<Waiting> = OnceLock::new();

/// Makes the table that all processes share; before the fork.
pub fn prepare() -> Result<(), String> {
    let waiting = Waiting::new().map_err(|error| format!("no shared memory: {error}"))?;
    WAITING.get_or_init(|| waiting);
    Ok(())
}

/// The table that all processes share.
pub fn waiting() -> &'static Waiting {
    WAITING.get().expect("mod_init has made it, and Kamailio runs nothing of ours before")
}

/// The script parks calls or follows them, so pushes are of interest to the calls that they are for.
static IS_USED: AtomicBool = AtomicBool::new(false);

/// Called when the configuration has one of these functions.
pub fn is_in_the_script() {
    IS_USED.store(true, Ordering::Relaxed);
}

/// Whether the configuration has one of these functions.
pub fn is_used() -> bool {
    IS_USED.load(Ordering::Relaxed)
}

pub unsafe extern "C" fn park_call_2(msg: Msg, user: Param, route: Param) -> c_int {
    call("park_call", msg, [("user", user), ("route", route)], |service, [user, route]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { park(service, msg, user, route, service.settings().wake) }
    })
}

pub unsafe extern "C" fn park_call_3(msg: Msg, user: Param, route: Param, seconds: Param) -> c_int {
    let params = [("user", user), ("route", route), ("seconds", seconds)];
    call("park_call", msg, params, |service, [user, route, seconds]| {
        let seconds = seconds.parse().ok().filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
        let why = || Invalid::new("seconds", format!("is not a number from 1 to {MAX_SECONDS}"));
        let within = Duration::from_secs(seconds.ok_or_else(why)?);
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { park(service, msg, user, route, within) }
    })
}

unsafe fn park(
    service: &Service,
    msg: Msg,
    user: &str,
    route: &str,
    within: Duration,
) -> Result<Last, Error> {
    check_can_suspend(service, route)?;
    let user = key(user)?;
    let tm = tm().ok_or_else(|| Error::Internal(NEEDED.to_owned()))?;
    // SAFETY: the caller's word.
    unsafe {
        let Some(id) = tm.call_to_suspend(msg)? else { return Ok(Last::stop()) };
        if !sender::knows(id) {
            tm.watch(msg, id)?;
        }
        let sip_call_id = text(msg, "$ci")?;
        // A call that was followed before it looked for contacts knows what it may have missed; another one guesses.
        let followed = sender::take_followed(id);
        let missed_since = match &followed {
            Some(followed) => followed.missed_since,
            None => waiting().arrive(&user).saturating_sub(LOOKED_BEFORE_US),
        };
        if let Err(error) = tm.suspend(msg, within + SAFETY_NET) {
            waiting().leave(&user);
            return Err(error);
        }
        let (about, name) = ((user.clone(), sip_call_id.clone()), route.to_owned());
        let note = Note::Park(Park { user, sip_call_id, id, route: name, within, missed_since });
        if let Err(error) = sender::try_tell(&note) {
            waiting().leave(&about.0);
            go_on_here(tm, msg, id, route, &error, [&about.0, &about.1]);
        }
    }
    Ok(Last::stop())
}

pub unsafe extern "C" fn follow_call(msg: Msg, user: Param, _: Param) -> c_int {
    call("follow_call", msg, [("user", user)], |service, [user]| {
        let user = key(user)?;
        if !service.has_sender_process() {
            return Err(Error::Internal("there is no sender's process; Kamailio does not fork".to_owned()));
        }
        let tm = tm().ok_or_else(|| Error::Internal(NEEDED.to_owned()))?;
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe {
            let InHand::Call(id) = tm.call_in_hand(msg)? else {
                return Ok(Last::nothing("the caller has hung up"));
            };
            if !sender::knows(id) {
                tm.watch(msg, id)?;
            }
            sender::take_followed(id).inspect(|_| waiting().leave(&user));
            let sip_call_id = text(msg, "$ci")?;
            let missed_since = waiting().arrive(&user);
            sender::tell_of_followed(Follow { user, sip_call_id, id, missed_since, rung: Vec::new() });
        }
        Ok(Last::new(1))
    })
}

pub unsafe extern "C" fn wake_calls(msg: Msg, user: Param, _: Param) -> c_int {
    call("wake_calls", msg, [("user", user)], |_, [user]| {
        let user = key(user)?;
        // Every REGISTER of every phone comes here, and hardly ever does a call wait.
        let Some(moment) = waiting().wake(&user) else {
            return Ok(Last::nothing("no call of this user waits or rings"));
        };
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let (aor, (contacts, registered)) = unsafe { (text(msg, "$tu")?, contacts(msg)) };
        let tells_contacts = !contact_names().is_empty();
        sender::try_tell(&Note::Wake(Wake { user, aor, moment, tells_contacts, contacts, registered }))?;
        Ok(Last::new(1))
    })
}

/// All contacts of the user as `save()` leaves them, where the registrar is told to, and how many of them, which are the first,
/// stand in the REGISTER in hand.
unsafe fn contacts(msg: Msg) -> (Vec<String>, usize) {
    let read = |name: &'static str| {
        // SAFETY: the caller's word.
        let value = unsafe { pseudo::read(msg, name) }.ok().flatten()?;
        String::from_utf8(value).ok()
    };
    let header = read("$(hdr(Contact)[*])").unwrap_or_default();
    let is_registered = |uri: Option<String>| uri.is_some_and(|uri| has_uri(&header, &uri));
    let each = contact_names().iter().map_while(|[ruid, uri]| Some((read(ruid)?, is_registered(read(uri)))));
    let (registered, others): (Vec<_>, Vec<_>) = each.partition(|(_, is_registered)| *is_registered);
    let len = registered.len();
    let all: Vec<String> = registered.into_iter().chain(others).map(|(ruid, _)| ruid).collect();
    // Where the script has changed the Contact before save(), it may be any of them.
    let registered = if len == 0 { all.len() } else { len };
    (all, registered)
}

/// Whether a Contact header has this very URI.
fn has_uri(header: &str, uri: &str) -> bool {
    let mut found = header.match_indices(uri);
    let ends = |rest: &str| rest.chars().next().is_none_or(|next| ">;, \t\r\n".contains(next));
    !uri.is_empty() && found.any(|(at, _)| ends(&header[at + uri.len()..]))
}

/// The variables that have ruid and URI of each: with `modparam("registrar", "xavp_rcd", "ulrcd")` they are
/// `$xavp(ulrcd=>ruid[0])`, `$xavp(ulrcd=>contact[0])` and so on.
fn contact_names() -> &'static [[&'static str; 2]] {
    /// tm rings at most so many contacts of a call (`max_branches` is 12 and at most 31).
    const MOST: usize = 31;
    static NAMES: OnceLock<Vec<[&'static str; 2]>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let name = module_text(c"registrar", c"xavp_rcd").unwrap_or_default();
        let variable = |at, what: &str| &*format!("$xavp({name}=>{what}[{at}])").leak();
        if name.is_empty() {
            Vec::new()
        } else {
            (0..MOST).map(|at| [variable(at, "ruid"), variable(at, "contact")]).collect()
        }
    })
}

/// A text that the configuration has set with modparam for another module; empty where that module is loaded and the text not set.
fn module_text(module: &CStr, name: &CStr) -> Option<String> {
    let core = core();
    let mut kind = 0;
    // SAFETY: C strings; the result is null or points to the module's `str`, which the parser has filled.
    unsafe {
        let module = (core.find_module_by_name)(module.as_ptr());
        if module.is_null() {
            return None;
        }
        let text = (core.find_param_export)(module, name.as_ptr(), PARAM_STR, &raw mut kind).cast::<Str>();
        Some(
            text.as_ref()
                .map(|text| String::from_utf8_lossy(pseudo::bytes(text)).into_owned())
                .unwrap_or_default(),
        )
    }
}

/// Says what a configuration with these functions lacks for further phones to ring; once, when it is read.
pub fn check_modules() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if contact_names().is_empty() && module_text(c"registrar", c"xavp_rcd").is_some() {
            ::log::warn!(
                "a phone that registers while a call rings cannot be told from one that rings already; \
                 set modparam(\"registrar\", \"xavp_rcd\", \"ulrcd\")"
            );
        }
        if !tm::can_append() {
            ::log::warn!("a second phone that registers while the first rings is not called; load tsilo.so");
        }
    });
}

pub unsafe extern "C" fn was_rung(msg: Msg, _: Param, _: Param) -> c_int {
    call("was_rung", msg, [], |_, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let (id, contact) = unsafe { (tm::current(msg)?, text(msg, "$ruid")?) };
        let was_rung = id.is_some_and(|id| sender::was_rung(id, &contact));
        Ok(if was_rung { Last::new(1) } else { Last::nothing("this call did not go to this contact yet") })
    })
}

/// Users as the registrar compares them by default: `Bob` is `bob`.
pub fn key(user: &str) -> Result<String, Error> {
    Ok(User::parse(user)?.as_str().to_lowercase())
}

/// A variable as text; empty where it has no value.
///
/// # Safety
/// On Kamailio's own thread, with the message that it has in hand.
pub unsafe fn text(msg: Msg, name: &'static str) -> Result<String, Error> {
    // SAFETY: the caller's word.
    let value = unsafe { pseudo::read(msg, name)? }.unwrap_or_default();
    Ok(String::from_utf8_lossy(&value).replace('\0', ""))
}
