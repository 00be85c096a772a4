//! The script functions as Kamailio calls them: pointers in, a number out.
//!
//! It refuses to decide anything: arguments become text here, and the verbs do the rest.

use super::arguments::{self, CALLER};
use super::http::{voip_push_http_0, voip_push_http_1};
use super::late;
use super::layout::{ANY_ROUTE, CmdExport, SipMsg};
use super::pseudo;
use super::tm;
use super::{awaits, contacts, dialogs, park, pushes, reach};
use crate::host::table::Table;
use crate::host::{last::Last, panic_caught, script_function, verbs};
use crate::model::{Invalid, Media};
use crate::process::own_pid;
use crate::service::{Error, Service};
use crate::stats::Counter;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

/// All script functions, and a row of zeros.
pub static TABLE: Table<[CmdExport; 40]> = Table::new([
    row(c"register_token", 3, register_token_3 as *const c_void),
    row(c"register_token", 4, register_token_4 as *const c_void),
    row(c"register_token", 5, register_token_5 as *const c_void),
    row(c"lookup_token", 1, lookup_token as *const c_void),
    row(c"delete_token", 1, delete_token_1 as *const c_void),
    row(c"delete_token", 2, delete_token_2 as *const c_void),
    row(c"send_voip_push", 3, send_voip_push_3 as *const c_void),
    row(c"send_voip_push", 4, send_voip_push_4 as *const c_void),
    row(c"send_voip_push_to", 6, send_voip_push_to as *const c_void),
    pushing(c"queue_voip_push", 3, pushes::queue_voip_push_3 as *const c_void),
    pushing(c"queue_voip_push", 4, pushes::queue_voip_push_4 as *const c_void),
    pushing(c"queue_message_push", 3, pushes::queue_message_push as *const c_void),
    suspending(c"send_voip_push_async", 4, pushes::send_voip_push_async_4 as *const c_void),
    suspending(c"send_voip_push_async", 5, pushes::send_voip_push_async_5 as *const c_void),
    parking(c"park_call", 2, park::park_call_2 as *const c_void),
    parking(c"park_call", 3, park::park_call_3 as *const c_void),
    parking(c"follow_call", 1, park::follow_call as *const c_void),
    row(c"wake_calls", 1, park::wake_calls as *const c_void),
    row(c"was_rung", 0, park::was_rung as *const c_void),
    CmdExport { fixup: Some(fix_awaits), ..row(c"awaits_phone", 0, awaits::awaits_phone as *const c_void) },
    reaching(c"watch_phone", reach::watch_phone as *const c_void),
    reaching(c"phone_answers", reach::phone_answers as *const c_void),
    row(c"check_contact", 0, contacts::check_contact_0 as *const c_void),
    row(c"check_contact", 1, contacts::check_contact_1 as *const c_void),
    row(c"register_contact", 0, contacts::register_contact_0 as *const c_void),
    row(c"register_contact", 1, contacts::register_contact_1 as *const c_void),
    row(c"strip_push_params", 0, contacts::strip_push_params_0 as *const c_void),
    row(c"strip_push_params", 1, contacts::strip_push_params_1 as *const c_void),
    CmdExport { fixup: Some(fix_dialogs), ..row(c"lookup_purr", 0, dialogs::lookup_purr as *const c_void) },
    parking(c"wake_dialog", 1, dialogs::wake_dialog_1 as *const c_void),
    parking(c"wake_dialog", 2, dialogs::wake_dialog_2 as *const c_void),
    row(c"follow_dialog", 0, dialogs::follow_dialog as *const c_void),
    row(c"doubt_dialog", 0, dialogs::doubt_dialog as *const c_void),
    row(c"is_dialog_phone", 0, dialogs::is_dialog_phone as *const c_void),
    row(c"cancel_voip_push", 3, cancel_voip_push as *const c_void),
    CmdExport { fixup: Some(fix_late), ..row(c"is_late_call", 0, late::is_late_call as *const c_void) },
    row(c"is_late_contact", 0, late::is_late_contact as *const c_void),
    row(c"voip_push_http", 0, voip_push_http_0 as *const c_void),
    row(c"voip_push_http", 1, voip_push_http_1 as *const c_void),
    CmdExport {
        name: ptr::null(),
        function: ptr::null(),
        param_no: 0,
        fixup: None,
        free_fixup: None,
        flags: 0,
    },
]);

const fn row(name: &'static CStr, param_no: c_int, function: *const c_void) -> CmdExport {
    let (fixup, free_fixup) =
        if param_no == 0 { (None, None) } else { (Some(arguments::fix as _), Some(arguments::free as _)) };
    CmdExport { name: name.as_ptr(), function, param_no, fixup, free_fixup, flags: ANY_ROUTE }
}

/// A function that lets a call wait for a phone.
const fn parking(name: &'static CStr, param_no: c_int, function: *const c_void) -> CmdExport {
    CmdExport { fixup: Some(fix_parking), ..row(name, param_no, function) }
}

unsafe extern "C" fn fix_parking(param: *mut *mut c_void, number: c_int) -> c_int {
    panic_caught((), || {
        park::is_in_the_script();
        park::check_modules();
    });
    // SAFETY: as Kamailio has called this fixup.
    unsafe { fix_suspending(param, number) }
}

/// A function that says whether phones are awake.
const fn reaching(name: &'static CStr, function: *const c_void) -> CmdExport {
    CmdExport { fixup: Some(fix_reaching), ..row(name, 0, function) }
}

unsafe extern "C" fn fix_reaching(_: *mut *mut c_void, _: c_int) -> c_int {
    reach::is_in_the_script();
    0
}

unsafe extern "C" fn fix_awaits(_: *mut *mut c_void, _: c_int) -> c_int {
    awaits::is_in_the_script();
    0
}

unsafe extern "C" fn fix_dialogs(_: *mut *mut c_void, _: c_int) -> c_int {
    if panic_caught(false, dialogs::is_in_the_script) { 0 } else { -1 }
}

unsafe extern "C" fn fix_late(_: *mut *mut c_void, _: c_int) -> c_int {
    late::is_in_the_script();
    0
}

/// A function that holds a call: a configuration that has it needs the modules for that.
const fn suspending(name: &'static CStr, param_no: c_int, function: *const c_void) -> CmdExport {
    CmdExport { fixup: Some(fix_suspending), ..row(name, param_no, function) }
}

unsafe extern "C" fn fix_suspending(param: *mut *mut c_void, number: c_int) -> c_int {
    let is_possible = panic_caught(false, || {
        let is_possible = tm::tm().is_some();
        pushes::are_in_the_script();
        if !is_possible && number == 1 {
            ::log::error!("send_voip_push_async, park_call and wake_dialog: {}", tm::NEEDED);
        }
        is_possible
    });
    // SAFETY: as Kamailio has called this fixup.
    if is_possible { unsafe { arguments::fix(param, number) } } else { -1 }
}

/// A function that pushes for the request in hand, which a script may have looked up just before.
const fn pushing(name: &'static CStr, param_no: c_int, function: *const c_void) -> CmdExport {
    CmdExport { fixup: Some(fix_pushing), ..row(name, param_no, function) }
}

unsafe extern "C" fn fix_pushing(param: *mut *mut c_void, number: c_int) -> c_int {
    pushes::are_in_the_script();
    // SAFETY: as Kamailio has called this fixup.
    unsafe { arguments::fix(param, number) }
}

/// Kamailio's number for the message in hand, which no other message in this process has; `None` where the module pv is not loaded.
///
/// # Safety
/// On Kamailio's own thread, with the message in hand.
pub unsafe fn number_of(msg: Msg) -> Option<u32> {
    // SAFETY: the caller's word.
    unsafe { pseudo::read_number(msg, "$mi") }.ok().flatten()
}

pub type Msg = *mut SipMsg;
pub type Param = *mut c_void;

unsafe extern "C" fn register_token_3(msg: Msg, user: Param, token: Param, platform: Param) -> c_int {
    let params = [("user", user), ("token", token), ("platform", platform)];
    call("register_token", msg, params, |service, [user, token, platform]| {
        verbs::register_token(service, [user, token, platform, "", ""])
    })
}

unsafe extern "C" fn register_token_4(
    msg: Msg,
    user: Param,
    token: Param,
    platform: Param,
    device_id: Param,
) -> c_int {
    let params = [("user", user), ("token", token), ("platform", platform), ("device_id", device_id)];
    call("register_token", msg, params, |service, [user, token, platform, device_id]| {
        verbs::register_token(service, [user, token, platform, device_id, ""])
    })
}

unsafe extern "C" fn register_token_5(
    msg: Msg,
    user: Param,
    token: Param,
    platform: Param,
    device_id: Param,
    app: Param,
) -> c_int {
    let params =
        [("user", user), ("token", token), ("platform", platform), ("device_id", device_id), ("app", app)];
    call("register_token", msg, params, verbs::register_token)
}

unsafe extern "C" fn lookup_token(msg: Msg, user: Param, _: Param) -> c_int {
    call("lookup_token", msg, [("user", user)], |service, [user]| {
        let (last, devices) = verbs::lookup_token(service, user)?;
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        if let Some(request) = pushes::are_used().then(|| unsafe { number_of(msg) }).flatten() {
            service.keep_for(request, devices);
        }
        Ok(last)
    })
}

unsafe extern "C" fn delete_token_1(msg: Msg, user: Param, _: Param) -> c_int {
    call("delete_token", msg, [("user", user)], |service, [user]| verbs::delete_token(service, user, None))
}

unsafe extern "C" fn delete_token_2(msg: Msg, user: Param, device_id: Param) -> c_int {
    call("delete_token", msg, [("user", user), ("device_id", device_id)], |service, [user, device_id]| {
        verbs::delete_token(service, user, Some(device_id))
    })
}

unsafe extern "C" fn send_voip_push_3(msg: Msg, user: Param, caller: Param, call_id: Param) -> c_int {
    let params = [("user", user), (CALLER, caller), ("call_id", call_id)];
    call("send_voip_push", msg, params, |service, call| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { send(service, msg, call, Media::Audio) }
    })
}

unsafe extern "C" fn send_voip_push_4(
    msg: Msg,
    user: Param,
    caller: Param,
    call_id: Param,
    media: Param,
) -> c_int {
    let params = [("user", user), (CALLER, caller), ("call_id", call_id), ("media", media)];
    call("send_voip_push", msg, params, |service, [user, caller, call_id, media]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { send(service, msg, [user, caller, call_id], media_of(msg, media)?) }
    })
}

unsafe fn send(service: &Service, msg: Msg, call: [&str; 3], media: Media) -> Result<Last, Error> {
    let last = verbs::send_voip_push(service, call, media)?;
    let [user, _, call_id] = call;
    // SAFETY: the caller's word.
    unsafe { late::pushed(msg, service, last.devices(), [user, call_id]) };
    Ok(last)
}

/// What the script says of a call's media: `audio`, `video`, or `sdp` for what the message in hand offers.
///
/// # Errors
/// Another word, or `sdp` where no module knows the message's body.
///
/// # Safety
/// On Kamailio's own thread, with the message in hand.
pub unsafe fn media_of(msg: Msg, text: &str) -> Result<Media, Error> {
    if !text.eq_ignore_ascii_case("sdp") {
        let known = Media::parse(text);
        return Ok(known.map_err(|_| Invalid::new("media", "is none of audio, video and sdp"))?);
    }
    // SAFETY: the caller's word.
    let body = unsafe { pseudo::read(msg, "$rb")? };
    Ok(Media::of_body(&body.unwrap_or_default()))
}

unsafe extern "C" fn send_voip_push_to(
    msg: Msg,
    provider: Param,
    token: Param,
    app: Param,
    user: Param,
    caller: Param,
    call_id: Param,
) -> c_int {
    let params = [
        ("provider", provider),
        ("token", token),
        ("app", app),
        ("user", user),
        (CALLER, caller),
        ("call_id", call_id),
    ];
    call("send_voip_push_to", msg, params, verbs::send_voip_push_to)
}

unsafe extern "C" fn cancel_voip_push(msg: Msg, user: Param, call_id: Param, reason: Param) -> c_int {
    let params = [("user", user), ("call_id", call_id), ("reason", reason)];
    call("cancel_voip_push", msg, params, verbs::cancel_voip_push)
}

/// Room for the arguments of most calls.
const ARGUMENTS_LEN: usize = 256;

/// Reads the arguments one after the other (each is copied, since the next may be read into the same buffer) and runs the verb.
pub fn call<const N: usize>(
    name: &str,
    msg: Msg,
    params: [(&'static str, Param); N],
    verb: impl FnOnce(&Service, [&str; N]) -> Result<Last, Error>,
) -> c_int {
    script_function(name, |service| {
        refuse_in_first_process()?;
        let mut all = String::with_capacity(ARGUMENTS_LEN);
        let mut ends = [0; N];
        for (end, (what, param)) in ends.iter_mut().zip(params) {
            // SAFETY: Kamailio calls a script function on its own thread with what `arguments::fix` made.
            unsafe { arguments::read_behind(&mut all, msg, what, param) }
                .inspect_err(|_| service.stats().count(Counter::BadArgument))?;
            *end = all.len();
        }
        let mut start = 0;
        verb(service, ends.map(|end| &all[std::mem::replace(&mut start, end)..end]))
    })
}

/// The process that forks all others, by id, as long as it may still fork; 0 where there is none.
static FIRST_PROCESS: AtomicU32 = AtomicU32::new(0);

/// Called by `mod_init`, which runs in the process that will fork.
pub fn this_process_will_fork() {
    FIRST_PROCESS.store(std::process::id(), Ordering::Relaxed);
}

/// Called where this process turns out to be a worker; with `fork=no` it is the first process itself.
pub fn this_process_is_a_worker() {
    FIRST_PROCESS.store(0, Ordering::Relaxed);
}

/// Whether this process forks, or has forked, all others.
pub fn is_first_process() -> bool {
    FIRST_PROCESS.load(Ordering::Relaxed) == own_pid()
}

/// A database handle or a thread must not exist in a process that forks, and event routes such as `htable:mod-init` run there.
pub fn refuse_in_first_process() -> Result<(), Error> {
    if !is_first_process() {
        return Ok(());
    }
    Err(Error::Internal(
        "not usable while Kamailio is starting; call it in a route that handles messages".to_owned(),
    ))
}
