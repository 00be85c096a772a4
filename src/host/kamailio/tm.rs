//! Kamailio's transactions: holding a call and letting it go on, through the script functions of the modules tm and tmx.
//!
//! It refuses to look into a transaction: its layout differs from version to version, and its names do not.

use super::functions::Msg;
use super::layout::{CmdFunction, CmdFunction3, Fparam, SipMsg};
use super::pseudo;
use super::symbols::{core, forking};
use crate::host::note::CallId;
use crate::service::Error;
use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Functions of tm and tmx.
pub struct Tm {
    new: CmdFunction,
    is_canceled: CmdFunction,
    set_timers: CmdFunction,
    reset_timers: CmdFunction,
    suspend: CmdFunction,
    go_on: CmdFunction3,
}

/// What a script function says that needs the modules.
pub const NEEDED: &str = "needs the modules tm.so and tmx.so; load both";

/// tm and tmx, where both are loaded. Not before the whole configuration was read.
pub fn tm() -> Option<&'static Tm> {
    static TM: OnceLock<Option<Tm>> = OnceLock::new();
    TM.get_or_init(Tm::find).as_ref()
}

impl Tm {
    fn find() -> Option<Tm> {
        let go_on = find_export(c"t_continue", 3)?;
        // SAFETY: `cmd_function` is declared with two arguments and called with as many as the function was registered with; this
        // one has three.
        let go_on = unsafe { std::mem::transmute::<CmdFunction, CmdFunction3>(go_on) };
        Some(Tm {
            new: find_export(c"t_newtran", 0)?,
            is_canceled: find_export(c"t_is_canceled", 0)?,
            set_timers: find_export(c"t_set_fr", 2)?,
            reset_timers: find_export(c"t_reset_fr", 0)?,
            suspend: find_export(c"t_suspend", 0)?,
            go_on,
        })
    }

    /// The call in hand; its transaction is made where there is none yet. `None` when there is nothing to be done for it any more:
    /// the message is a retransmission, or the caller has hung up.
    ///
    /// # Safety
    /// On Kamailio's own thread, with the message that it has in hand.
    pub unsafe fn call_in_hand(&self, msg: Msg) -> Result<Option<CallId>, Error> {
        // SAFETY: the caller's word.
        let mut id = unsafe { current(msg)? };
        if id.is_none() {
            // 0 is an error, below 0 a transaction that exists already: another worker has this very request.
            // SAFETY: the caller's word.
            match unsafe { (self.new)(msg, ptr::null_mut(), ptr::null_mut()) } {
                1.. => {}
                0 => return Err(Error::Internal("tm cannot make a transaction".to_owned())),
                _ => return Ok(None),
            }
            // SAFETY: the caller's word.
            id = unsafe { current(msg)? };
        }
        let id = id.ok_or_else(|| Error::Internal("tmx does not know the transaction in hand".to_owned()))?;
        // SAFETY: the caller's word.
        let canceled = unsafe { (self.is_canceled)(msg, ptr::null_mut(), ptr::null_mut()) } > 0;
        Ok((!canceled).then_some(id))
    }

    /// Holds the call in hand. When nobody lets it go on within `at_most`, tm itself ends it, through the failure route that the
    /// script has armed, or with 408. From here on the call may go on in another process at any time.
    ///
    /// # Safety
    /// As [`Tm::call_in_hand`].
    pub unsafe fn suspend(&self, msg: Msg, at_most: Duration) -> Result<(), Error> {
        // SAFETY: the caller's word; the numbers live through the call.
        let suspended = unsafe {
            self.limit(msg, at_most);
            (self.suspend)(msg, ptr::null_mut(), ptr::null_mut())
        };
        if suspended > 0 {
            return Ok(());
        }
        // SAFETY: the caller's word.
        unsafe { self.reset_limit(msg) };
        Err(Error::Internal("tm cannot suspend the transaction".to_owned()))
    }

    /// Sets how long the next branch of the call may be without any answer (`fr_timer`).
    unsafe fn limit(&self, msg: Msg, at_most: Duration) {
        let ms = c_int::try_from(at_most.as_millis()).unwrap_or(c_int::MAX);
        let (mut as_it_was, mut ms) = (Fparam::of_number(0), Fparam::of_number(ms));
        // SAFETY: the caller's word; both numbers live through the call.
        unsafe { (self.set_timers)(msg, (&raw mut as_it_was).cast(), (&raw mut ms).cast()) };
    }

    unsafe fn reset_limit(&self, msg: Msg) {
        // SAFETY: the caller's word.
        unsafe { (self.reset_timers)(msg, ptr::null_mut(), ptr::null_mut()) };
    }

    /// Lets a suspended call go on in a route of the script. False when it is over. In a worker, `msg` is the message in hand; in
    /// the sender's process there is none, and null is given.
    ///
    /// # Safety
    /// On Kamailio's own thread; never from within a route of that same call that tm runs under its lock.
    pub unsafe fn go_on(&self, msg: Msg, id: CallId, route: &str) -> bool {
        let (Some(forking), Ok(route)) = (forking(), CString::new(route)) else { return false };
        // Kamailio reads both as `int` and then as what they were.
        let (mut index, mut label) =
            (Fparam::of_number(id.index.cast_signed()), Fparam::of_number(id.label.cast_signed()));
        let mut name = Fparam::of_text(&route);
        // SAFETY: the caller's word; all three live through the call.
        unsafe {
            let msg = if msg.is_null() { (forking.faked_msg_next)() } else { msg };
            GOES_ON.store(true, Ordering::Relaxed);
            let done =
                (self.go_on)(msg, (&raw mut index).cast(), (&raw mut label).cast(), (&raw mut name).cast());
            GOES_ON.store(false, Ordering::Relaxed);
            done > 0
        }
    }
}

/// The call in hand, where it has a transaction.
///
/// # Safety
/// As [`Tm::call_in_hand`].
pub unsafe fn current(msg: Msg) -> Result<Option<CallId>, Error> {
    let number = |name| -> Result<Option<u32>, Error> {
        // SAFETY: the caller's word.
        let digits = unsafe { pseudo::read(msg, name)? };
        Ok(digits.and_then(|digits| std::str::from_utf8(&digits).ok()?.parse().ok()))
    };
    let (index, label) = (number("$T(id_index)")?, number("$T(id_label)")?);
    Ok(index.zip(label).map(|(index, label)| CallId { index, label }))
}

/// Whether the script has a route of this name for calls to go on in.
pub fn has_route(name: &str) -> bool {
    let (Some(forking), Ok(name)) = (forking(), CString::new(name)) else { return false };
    // SAFETY: Kamailio's table of routes, which no longer changes once the configuration was read, and a C string.
    unsafe {
        let at = (forking.route_lookup)(forking.main_rt, name.as_ptr());
        usize::try_from(at).is_ok_and(|at| !(*(*forking.main_rt).actions.add(at)).is_null())
    }
}

fn find_export(name: &CStr, params: c_int) -> Option<CmdFunction> {
    // SAFETY: a C string; Kamailio looks through the tables of its modules.
    unsafe { (core().find_export)(name.as_ptr(), params, 0) }
}

/// A call is just being let go on by this process.
static GOES_ON: AtomicBool = AtomicBool::new(false);

/// Makes the time that a call was held for end with its being held: without this it would also be the time within which a phone
/// must answer at all. To be called in the sender's process.
pub fn reset_timers_of_calls_that_go_on() {
    /// `PRE_SCRIPT_CB | FAILURE_CB`: tm runs such a call's route as it runs a failure route.
    const BEFORE_FAILURE_ROUTES: c_uint = 1 << 30 | 2;
    if let Some(forking) = forking() {
        // SAFETY: the callback is a function of ours, which stays.
        unsafe { (forking.register_script_cb)(before_route, BEFORE_FAILURE_ROUTES, ptr::null_mut()) };
    }
}

unsafe extern "C" fn before_route(msg: *mut SipMsg, _: c_uint, _: *mut c_void) -> c_int {
    if GOES_ON.load(Ordering::Relaxed)
        && let Some(tm) = tm()
    {
        // SAFETY: Kamailio calls this with the message that the route is about to be run with.
        unsafe { tm.reset_limit(msg) };
    }
    1
}
