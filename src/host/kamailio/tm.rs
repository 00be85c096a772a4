//! Kamailio's transactions: holding a call and letting it go on, through the script functions of the modules tm and tmx.
//!
//! It refuses to look into a transaction: its layout differs from version to version, and its names do not.

use super::functions::{Msg, is_first_process};
use super::layout::{CmdFunction, CmdFunction3, CmdFunction4, Fparam, SipMsg};
use super::symbols::{core, forking};
use super::{pseudo, registrar, sender};
use crate::host::note::{CallId, End, Note};
use crate::host::panic_caught;
use crate::service::{Error, installed};
use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Functions of tm and tmx.
pub struct Tm {
    /// Of tm's library, not of its script functions.
    register_tmcb: RegisterCallback,
    new: CmdFunction,
    is_canceled: CmdFunction,
    reply: CmdFunction,
    set_timers: CmdFunction,
    reset_timers: CmdFunction,
    suspend: CmdFunction,
    go_on: CmdFunction3,
}

/// What the message in hand is.
pub enum InHand {
    /// A call that can be held, relayed or answered.
    Call(CallId),
    /// A call whose caller has hung up.
    Canceled,
    /// A request that another worker has in hand already.
    Repeated,
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
        let start = find_export(c"t_newtran", 0)?;
        // SAFETY: `cmd_function` is declared with two arguments and called with as many as the function was registered with; this
        // one has three.
        let go_on = unsafe { std::mem::transmute::<CmdFunction, CmdFunction3>(go_on) };
        Some(Tm {
            register_tmcb: in_library_of(start as *const c_void, c"register_tmcb")?,
            new: start,
            is_canceled: find_export(c"t_is_canceled", 0)?,
            reply: find_export(c"t_reply", 2)?,
            set_timers: find_export(c"t_set_fr", 2)?,
            reset_timers: find_export(c"t_reset_fr", 0)?,
            suspend: find_export(c"t_suspend", 0)?,
            go_on,
        })
    }

    /// The call in hand; its transaction is made where there is none yet.
    ///
    /// # Safety
    /// On Kamailio's own thread, with the message that it has in hand.
    pub unsafe fn call_in_hand(&self, msg: Msg) -> Result<InHand, Error> {
        // SAFETY: the caller's word.
        let mut id = unsafe { current(msg)? };
        if id.is_none() {
            // 0 is an error, below 0 a transaction that exists already: another worker has this very request.
            // SAFETY: the caller's word.
            match unsafe { (self.new)(msg, ptr::null_mut(), ptr::null_mut()) } {
                1.. => {}
                0 => return Err(Error::Internal("tm cannot make a transaction".to_owned())),
                _ => return Ok(InHand::Repeated),
            }
            // SAFETY: the caller's word.
            id = unsafe { current(msg)? };
        }
        let id = id.ok_or_else(|| Error::Internal("tmx does not know the transaction in hand".to_owned()))?;
        // SAFETY: the caller's word.
        let canceled = unsafe { (self.is_canceled)(msg, ptr::null_mut(), ptr::null_mut()) } > 0;
        Ok(if canceled { InHand::Canceled } else { InHand::Call(id) })
    }

    /// The same for who wants to suspend it. `None` when there is nothing to be done for it any more: another worker has it, or the
    /// caller has hung up, and then has a 487.
    ///
    /// # Safety
    /// As [`Tm::call_in_hand`].
    pub unsafe fn call_to_suspend(&self, msg: Msg) -> Result<Option<CallId>, Error> {
        // SAFETY: the caller's word.
        match unsafe { self.call_in_hand(msg)? } {
            InHand::Call(id) => Ok(Some(id)),
            InHand::Repeated => Ok(None),
            InHand::Canceled => {
                // A CANCEL that finds no branch leaves the answer to whoever has the call in hand; tm would make it a 500.
                let (mut code, mut reason) = (Fparam::of_number(487), Fparam::of_text(c"Request Terminated"));
                // SAFETY: the caller's word; both live through the call.
                unsafe { (self.reply)(msg, (&raw mut code).cast(), (&raw mut reason).cast()) };
                Ok(None)
            }
        }
    }

    /// Has [`watch`] called with everything that happens to the call in hand from here on.
    ///
    /// # Safety
    /// As [`Tm::call_in_hand`].
    pub unsafe fn watch(&self, msg: Msg, id: CallId) -> Result<(), Error> {
        let events = REQUEST_FWDED | RESPONSE_OUT | DESTROY | E2ECANCEL_IN;
        let name = ptr::without_provenance_mut(pack(id));
        // SAFETY: the caller's word; without a transaction given, tm takes the one in hand. The parameter is a number.
        let done = unsafe { (self.register_tmcb)(msg, ptr::null_mut(), events, watch, name, None) };
        if done > 0 { Ok(()) } else { Err(Error::Internal("tm does not let us watch the call".to_owned())) }
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
    // SAFETY: the caller's word.
    let (index, label) =
        unsafe { (pseudo::read_number(msg, "$T(id_index)")?, pseudo::read_number(msg, "$T(id_label)")?) };
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

/// `register_tmcb` of t_hooks.h.
type RegisterCallback = unsafe extern "C" fn(
    *mut SipMsg,
    *mut c_void,
    c_int,
    Callback,
    *mut c_void,
    Option<unsafe extern "C" fn(*mut c_void)>,
) -> c_int;

/// `transaction_cb` of t_hooks.h.
type Callback = unsafe extern "C" fn(*mut c_void, c_int, *mut CallbackParams);

/// `struct tmcb_params` of t_hooks.h, up to the last member that we look at; the same from 5.4 to 6.1.
#[repr(C)]
struct CallbackParams {
    request: *mut SipMsg,
    reply: *mut SipMsg,
    param: *mut *mut c_void,
    code: c_int,
}

/// `TMCB_REQUEST_FWDED`: the request goes to a contact; the message in hand is as that contact gets it.
const REQUEST_FWDED: c_int = 1 << 4;
/// `TMCB_RESPONSE_OUT`: an answer was sent to the caller.
const RESPONSE_OUT: c_int = 1 << 9;
/// `TMCB_DESTROY`: the transaction ends.
const DESTROY: c_int = 1 << 17;
/// `TMCB_E2ECANCEL_IN`: the caller has hung up.
const E2ECANCEL_IN: c_int = 1 << 18;

/// A call's name as a number that fits into a pointer.
fn pack(id: CallId) -> usize {
    (id.index as usize) << 32 | id.label as usize
}

fn unpack(number: usize) -> CallId {
    CallId { index: ((number >> 32) & 0xFFFF) as u32, label: number as u32 }
}

/// In that number: the call's end was told. A transaction's row has 16 bits (h_table.h).
const IS_TOLD: usize = 1 << 63;
/// In that number: it was told that a phone rings.
const RINGS: usize = 1 << 61;
/// In that number: it was told that a phone has answered.
const IS_ANSWERED: usize = 1 << 62;

/// Something has happened to a call that we watch; in whichever process it happened.
unsafe extern "C" fn watch(_: *mut c_void, event: c_int, params: *mut CallbackParams) {
    // There it is Kamailio's end: tm destroys what is left, and the sender has gone.
    if is_first_process() {
        return;
    }
    panic_caught((), || {
        // SAFETY: tm gives its parameters and the place where it keeps ours.
        let (request, code, param) = unsafe { ((*params).request, (*params).code, (*params).param) };
        // SAFETY: as above; two processes may both see it unmarked, and both tell, which is harmless.
        let number = unsafe { (*param).addr() };
        if event == REQUEST_FWDED {
            // SAFETY: tm is on this process' own thread, with this message in hand.
            let contact = unsafe { registrar::contact_in_hand(request) };
            return went_to(unpack(number), contact);
        }
        let rings = event == RESPONSE_OUT && (180..=183).contains(&code);
        if rings && number & RINGS == 0 && keeps_timelines() {
            // SAFETY: as above.
            unsafe { *param = ptr::without_provenance_mut(number | RINGS) };
            return sender::tell(Note::Rings { id: unpack(number) });
        }
        let is_over = event != RESPONSE_OUT || code >= 200;
        // A phone may answer while the caller hangs up: that is told, too.
        let is_answered = event == RESPONSE_OUT && (200..300).contains(&code);
        let marks = if is_answered { IS_TOLD | IS_ANSWERED } else { IS_TOLD };
        if is_over && number & marks != marks {
            // SAFETY: as above.
            unsafe { *param = ptr::without_provenance_mut(number | marks) };
            // SAFETY: tm is on this process' own thread, with this message in hand.
            let end = unsafe { end(event, code, request) };
            sender::tell(Note::Over { id: unpack(number), end });
        }
    });
}

/// Whether anybody wants to know later that a phone rang.
fn keeps_timelines() -> bool {
    installed().is_some_and(|service| service.settings().timeline.is_some())
}

/// How the call ended, by what tm says.
unsafe fn end(event: c_int, code: c_int, request: *mut SipMsg) -> End {
    /// Longest Reason that is passed on, in bytes.
    const MAX_REASON_LEN: usize = 512;
    match (event, u16::try_from(code)) {
        (E2ECANCEL_IN, _) => {
            // SAFETY: the caller's word; the message is the CANCEL.
            let reason = unsafe { pseudo::read(request, "$(hdr(Reason)[*])") }.ok().flatten();
            let reason = reason.and_then(|reason| String::from_utf8(reason).ok());
            End::Cancelled(reason.filter(|r| r.len() <= MAX_REASON_LEN && !r.chars().any(char::is_control)))
        }
        (RESPONSE_OUT, Ok(200..300)) => End::Answered,
        (RESPONSE_OUT, Ok(code)) => End::Failed(code),
        // It ended without an answer; to whoever is called that is the same as one that came too late.
        _ => End::Failed(408),
    }
}

fn went_to(id: CallId, contact: Option<String>) {
    if let Some(contact) = contact {
        sender::tell(Note::Rung { id, contact });
    }
}

/// A symbol of the shared library that this address is in.
fn in_library_of(address: *const c_void, name: &CStr) -> Option<RegisterCallback> {
    // SAFETY: asks the loader about an address in a module that Kamailio has loaded and never unloads; the symbol has this type
    // in every version that we know.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr(address, &raw mut info) == 0 {
            return None;
        }
        let library = libc::dlopen(info.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if library.is_null() {
            return None;
        }
        let found = libc::dlsym(library, name.as_ptr());
        libc::dlclose(library);
        (!found.is_null()).then(|| std::mem::transmute::<*mut c_void, RegisterCallback>(found))
    }
}

/// Gives a call that rings every contact of an address that it does not ring yet, through the module tsilo. Zero or less when there
/// is none, or the call is over.
///
/// # Safety
/// On Kamailio's own thread, in the sender's process, and never with a call that is suspended.
pub unsafe fn append(id: CallId, table: &CStr, aor: &str) -> Option<c_int> {
    let (aor, msg) = (CString::new(aor).ok()?, faked_message()?);
    let (mut index, mut label) =
        (Fparam::of_number(id.index.cast_signed()), Fparam::of_number(id.label.cast_signed()));
    let (index, label) = ((&raw mut index).cast(), (&raw mut label).cast());
    let (table, mut uri) = (table.as_ptr().cast_mut().cast(), Fparam::of_text(&aor));
    // SAFETY: the caller's word; all of it lives through the call, and the table's name is only read. A `cmd_function` is called
    // with as many arguments as it was registered with.
    unsafe {
        if aor.is_empty() {
            let append = find_export(c"ts_append_to", 3)?;
            let append = std::mem::transmute::<CmdFunction, CmdFunction3>(append);
            return Some(append(msg, index, label, table));
        }
        let append = find_export(c"ts_append_to", 4)?;
        let append = std::mem::transmute::<CmdFunction, CmdFunction4>(append);
        Some(append(msg, index, label, table, (&raw mut uri).cast()))
    }
}

/// Whether tsilo is loaded.
pub fn can_append() -> bool {
    find_export(c"ts_append_to", 3).is_some() && find_export(c"ts_append_to", 4).is_some()
}

/// A message to call functions with where none is in hand.
fn faked_message() -> Option<*mut SipMsg> {
    // SAFETY: Kamailio's own buffer, on this process' own thread.
    Some(unsafe { (forking()?.faked_msg_next)() })
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
