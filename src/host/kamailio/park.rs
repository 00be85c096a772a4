//! The script functions that hold a call until a phone of its user registers: `park_call`, `follow_call`, `wake_calls`, `was_rung`.
//!
//! It refuses to let a call go on in a worker, but for the one case that nobody else can: the sender was not told of it.

use super::functions::{Msg, Param, call};
use super::layout::FAILURE_ROUTE;
use super::pushes::{SAFETY_NET, check_can_suspend, go_on_here};
use super::symbols::forking;
use super::tm::{self, InHand, NEEDED, tm};
use super::{awaits, pseudo, reach, registrar, sender};
use crate::host::last::Last;
use crate::host::limiter::Limiter;
use crate::host::note::{CallId, Follow, Note, Park, Wake};
use crate::host::parked::user_of;
use crate::host::waiting::{Moment, Waiting};
use crate::model::{Invalid, User};
use crate::service::{Error, Service};
use crate::stats::Counter;
use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, OnceLock};
use std::time::Duration;

/// Longest time that a call may wait. tm ends a call that has had no answer for longer (`max_inv_lifetime`, 180 s).
const MAX_SECONDS: u64 = 120;

/// Longest time that a request other than INVITE may wait.
const MOST_WITHOUT_100: Duration = Duration::from_secs(25);

/// How long before it was parked a call may have looked for contacts, as far as we assume.
const LOOKED_BEFORE_US: Moment = 3_000_000;

static WAITING: OnceLock<Waiting> = OnceLock::new();
static REFUSED: OnceLock<Limiter> = OnceLock::new();

/// Makes what all processes share; before the fork.
pub fn prepare() -> Result<(), String> {
    let no_memory = |error| format!("no shared memory: {error}");
    let (waiting, refused) = (Waiting::new().map_err(no_memory)?, Limiter::new().map_err(no_memory)?);
    WAITING.get_or_init(|| waiting);
    REFUSED.get_or_init(|| refused);
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
        unsafe { park(service, msg, user, route, None) }
    })
}

pub unsafe extern "C" fn park_call_3(msg: Msg, user: Param, route: Param, seconds: Param) -> c_int {
    let params = [("user", user), ("route", route), ("seconds", seconds)];
    call("park_call", msg, params, |service, [user, route, seconds]| {
        let within = self::seconds(seconds)?;
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { park(service, msg, user, route, Some(within)) }
    })
}

/// How long a script wants something to be held.
pub fn seconds(text: &str) -> Result<Duration, Invalid> {
    let seconds = text.parse().ok().filter(|seconds| (1..=MAX_SECONDS).contains(seconds));
    let why = || Invalid::new("seconds", format!("is not a number from 1 to {MAX_SECONDS}"));
    seconds.map(Duration::from_secs).ok_or_else(why)
}

unsafe fn park(
    service: &Service,
    msg: Msg,
    user: &str,
    route: &str,
    within: Option<Duration>,
) -> Result<Last, Error> {
    check_can_suspend(service, route)?;
    // SAFETY: the caller's word.
    unsafe {
        let method = text(msg, "$rm")?;
        let settings = service.settings();
        let awaits = awaits::is_used() && is_in_failure_route(service);
        // A call that was declined waits for what is left of the time of the phones that were pushed for it.
        let left = if awaits { tm::current(msg)?.and_then(awaits::left) } else { None };
        let usual = if method == "INVITE" { settings.wake } else { settings.message.wake };
        let held = Held {
            key: key(user)?,
            sip_call_id: text(msg, "$ci")?,
            route: route.to_owned(),
            within: how_long(&method, within.or(left).unwrap_or(usual)),
            looked_before_us: if awaits { 0 } else { LOOKED_BEFORE_US },
            awaits,
        };
        hold(service, msg, held, |_| Ok(()))
    }
}

/// A request that is to be held.
pub struct Held {
    /// Whose registration it waits for: a user's, by [`key`], or a device's.
    pub key: String,
    /// What its pushes are known by.
    pub sip_call_id: String,
    /// Where it goes on.
    pub route: String,
    /// How long it waits.
    pub within: Duration,
    /// How long ago a registration may have been that it has missed.
    pub looked_before_us: Moment,
    /// It waits for phones that were pushed and have not come yet, and for nothing else.
    pub awaits: bool,
}

/// Holds the request in hand. `push` is called once it is sure that there is something to be held, and before.
///
/// # Safety
/// On Kamailio's own thread, with the message that it has in hand.
pub unsafe fn hold(
    service: &Service,
    msg: Msg,
    held: Held,
    push: impl FnOnce(CallId) -> Result<(), Error>,
) -> Result<Last, Error> {
    let tm = tm().ok_or_else(|| Error::Internal(NEEDED.to_owned()))?;
    let Held { key, sip_call_id, route, within, looked_before_us, awaits } = held;
    // SAFETY: the caller's word.
    unsafe {
        let Some(id) = tm.call_to_suspend(msg)? else {
            // Cancelled between the look for contacts and the relay: tm had named the contacts, and sent them nothing.
            if let Some(id) = tm::current(msg)? {
                sender::went_nowhere(id);
            }
            return Ok(Last::stop());
        };
        if let Some(refused) = one_too_many(service, &key, id) {
            return Ok(refused);
        }
        push(id)?;
        if !sender::knows(id) {
            tm.watch(msg, id)?;
        }
        // A call that was followed before it looked for contacts knows what it may have missed; another one guesses.
        let (missed_since, is_counted) = match sender::take_followed(id) {
            Some(followed) => (followed.missed_since, followed.is_counted),
            None => {
                let (now, is_counted) = count_in(&key, id);
                (now.saturating_sub(looked_before_us), is_counted)
            }
        };
        if let Err(error) = tm.suspend(msg, within + SAFETY_NET) {
            count_out(&key, is_counted);
            return Err(error);
        }
        let (about, name) = ((key.clone(), sip_call_id.clone()), route.clone());
        let note =
            Note::Park(Park { user: key, sip_call_id, id, route, within, missed_since, is_counted, awaits });
        if let Err(error) = sender::try_tell(&note) {
            count_out(&about.0, is_counted);
            go_on_here(tm, msg, id, &name, &error, [user_of(&about.0), &about.1]);
        }
    }
    Ok(Last::stop())
}

/// How long a request waits. Whoever has sent anything but an INVITE hears nothing meanwhile and gives up after 32 s (RFC 3261
/// §17.1.2.2, timer F).
pub fn how_long(method: &str, wanted: Duration) -> Duration {
    if method == "INVITE" { wanted } else { wanted.min(MOST_WITHOUT_100) }
}

/// Whether phones have declined the call in hand. A route in which a call goes on is of the same type, and runs in the sender's process.
fn is_in_failure_route(service: &Service) -> bool {
    // SAFETY: Kamailio's own number, on its own thread.
    let route_type = forking().map(|forking| unsafe { forking.route_type.read() });
    route_type == Some(FAILURE_ROUTE) && !service.is_sender()
}

/// Counts a call in; says since when a registration is of interest to it, and whether it was not counted before.
fn count_in(user: &str, id: CallId) -> (Moment, bool) {
    if sender::is_listed(id) { (waiting().now(), false) } else { (waiting().arrive(user), true) }
}

/// The call that was counted in is not told of.
pub fn count_out(user: &str, is_counted: bool) {
    if is_counted {
        waiting().leave(user);
    }
}

thread_local! {
    /// The call that was refused last, so that it is counted once, however many functions refuse it.
    static LAST_REFUSED: Cell<Option<CallId>> = const { Cell::new(None) };
}

/// What a script gets for a call to a user to whom too many wait or ring already, not counting itself. Of calls that come at the
/// same moment fewer than the limit may be taken, and of calls that were followed never more.
fn one_too_many(service: &Service, user: &str, id: CallId) -> Option<Last> {
    let limit = u64::from(service.settings().calls_per_user);
    let itself = u64::from(sender::is_followed(id));
    if limit == 0 || sender::is_listed(id) || waiting().count(user) < limit + itself {
        return None;
    }
    if LAST_REFUSED.replace(Some(id)) != Some(id) {
        service.stats().count(Counter::TooManyCalls);
        if let Some(silent) = REFUSED.get().and_then(Limiter::may_speak) {
            ::log::warn!(
                "too many calls to one user wait or ring ([limits] calls_per_user); one more is refused, and {silent} \
                 since the last such line"
            );
        }
    }
    Some(Last::told(-5, "too many calls to this user wait or ring"))
}

/// The same for a call that is to be pushed for a user as the script has him.
pub fn one_too_many_to(service: &Service, user: &str, id: CallId) -> Result<Option<Last>, Error> {
    Ok(one_too_many(service, &key(user)?, id))
}

pub unsafe extern "C" fn follow_call(msg: Msg, user: Param, _: Param) -> c_int {
    call("follow_call", msg, [("user", user)], |service, [user]| {
        let user = key(user)?;
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe {
            let done = follow(service, msg, user, text(msg, "$ci")?)?;
            if let Some(id) = tm::current(msg)?.filter(|id| sender::is_followed(*id) && !service.is_sender())
            {
                awaits::decide(service, id);
            }
            Ok(done)
        }
    })
}

/// The request in hand is going to contacts; who registers under this key from here on is of interest to it.
///
/// # Safety
/// On Kamailio's own thread, with the message that it has in hand.
pub unsafe fn follow(service: &Service, msg: Msg, key: String, sip_call_id: String) -> Result<Last, Error> {
    if !service.has_sender_process() {
        return Err(Error::Internal("there is no sender's process; Kamailio does not fork".to_owned()));
    }
    let tm = tm().ok_or_else(|| Error::Internal(NEEDED.to_owned()))?;
    // SAFETY: the caller's word.
    unsafe {
        let InHand::Call(id) = tm.call_in_hand(msg)? else {
            return Ok(Last::nothing("the caller has hung up"));
        };
        if !sender::knows(id) {
            tm.watch(msg, id)?;
        }
        sender::follow_no_more(id);
        let (missed_since, is_counted) = count_in(&key, id);
        let follow = Follow { user: key, sip_call_id, id, missed_since, is_counted, rung: Vec::new() };
        sender::tell_of_followed(follow);
    }
    Ok(Last::new(1))
}

pub unsafe extern "C" fn wake_calls(msg: Msg, user: Param, _: Param) -> c_int {
    call("wake_calls", msg, [("user", user)], |_, [user]| {
        let user = key(user)?;
        if reach::is_used() {
            // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
            unsafe {
                let header = text(msg, "$(hdr(Contact)[*])")?;
                let (mut contacts, registered) = registrar::contacts(msg, &header);
                contacts.truncate(registered);
                reach::registered(&contacts, &text(msg, "$pr")?, registrar::phone(&header));
            }
        }
        // Every REGISTER of every phone comes here, and hardly ever does a call wait.
        let Some(moment) = waiting().wake(&user) else {
            return Ok(Last::nothing("no call of this user waits or rings"));
        };
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let (aor, header, call_id) =
            unsafe { (text(msg, "$tu")?, text(msg, "$(hdr(Contact)[*])")?, text(msg, "$ci")?) };
        // SAFETY: as above.
        let (contacts, registered) = unsafe { registrar::placed_contacts(msg, &header) };
        let phone = registrar::phone(&header).unwrap_or(&call_id).to_owned();
        let tells_contacts = registrar::tells_contacts();
        let wake = Wake { user, aor, moment, tells_contacts, contacts, phone, registered };
        sender::try_tell(&Note::Wake(wake))?;
        Ok(Last::new(1))
    })
}

/// Says what a configuration with these functions lacks for further phones to ring; once, when it is read.
pub fn check_modules() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if registrar::keeps_contacts_to_itself() {
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
        let (id, contact) = unsafe { (tm::current(msg)?, registrar::contact_in_hand(msg)) };
        let was_rung = id.zip(contact).is_some_and(|(id, contact)| sender::was_rung(id, &contact));
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
