//! The script functions for REGISTER as a way in (RFC 8599) and for what must not go out again: `check_contact`,
//! `register_contact`, `strip_push_params`.
//!
//! It refuses to answer a REGISTER: what is to be said is in `$push(...)`, and the script says it.

use super::functions::{Msg, Param, call};
use super::layout::{PARAM_INT, Str};
use super::pseudo;
use super::symbols::core;
use super::{arguments, dialogs};
use crate::host::last::Last;
use crate::host::{INTERNAL, log_failure, panic_caught, script_code, verbs};
use crate::model::Invalid;
use crate::service::{Error, Service, SipRegister};
use crate::sip::{hidden, push_params_of_header, push_params_of_uri, unescape};
use std::ffi::{c_int, c_uint};
use std::ops::Range;
use std::sync::OnceLock;

/// Most Contact and Feature-Caps headers of a message that are looked at.
const MAX_HEADERS: usize = 32;

pub unsafe extern "C" fn check_contact_0(msg: Msg, _: Param, _: Param) -> c_int {
    // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
    call("check_contact", msg, [], |service, []: [&str; 0]| unsafe {
        with_register(msg, None, |register| verbs::check_contact(service, register))
    })
}

pub unsafe extern "C" fn check_contact_1(msg: Msg, user: Param, _: Param) -> c_int {
    // SAFETY: as above.
    call("check_contact", msg, [("user", user)], |service, [user]| unsafe {
        with_register(msg, Some(user), |register| verbs::check_contact(service, register))
    })
}

pub unsafe extern "C" fn register_contact_0(msg: Msg, _: Param, _: Param) -> c_int {
    // SAFETY: as above.
    call("register_contact", msg, [], |service, []: [&str; 0]| unsafe {
        with_register(msg, None, |register| register_contact(service, msg, register))
    })
}

pub unsafe extern "C" fn register_contact_1(msg: Msg, user: Param, _: Param) -> c_int {
    // SAFETY: as above.
    call("register_contact", msg, [("user", user)], |service, [user]| unsafe {
        with_register(msg, Some(user), |register| register_contact(service, msg, register))
    })
}

/// Requests within dialogs that wait for one of the devices go on when it is stored.
///
/// # Safety
/// As Kamailio calls a script function.
unsafe fn register_contact(service: &Service, msg: Msg, register: &SipRegister<'_>) -> Result<Last, Error> {
    let done = verbs::register_contact(service, register)?;
    // SAFETY: the caller's word.
    unsafe { dialogs::registered(service, msg, register) };
    Ok(done)
}

/// Reads the REGISTER in hand; in an onreply_route, the one that the reply in hand answers.
///
/// # Safety
/// As Kamailio calls a script function.
unsafe fn with_register<T>(
    msg: Msg,
    user: Option<&str>,
    verb: impl FnOnce(&SipRegister<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    // SAFETY: the caller's word.
    let is_reply = unsafe { pseudo::read(msg, "$rs")? }.is_some();
    let (own, names) = (Names::own(), if is_reply { Names::of_request() } else { Names::own() });
    // SAFETY: the caller's word.
    let all = |names: &[&'static str]| unsafe { read_all(msg, names) };
    let (contacts, mut feature_caps) = (all(&names.contacts)?, all(&names.feature_caps)?);
    let mut granted = Vec::new();
    if is_reply {
        feature_caps.extend(all(&own.feature_caps)?);
        granted = all(&own.contacts)?;
    }
    // SAFETY: the caller's word.
    let (expires, to) = unsafe { (pseudo::read(msg, names.expires)?, pseudo::read(msg, names.to_user)?) };
    let user = match user {
        Some(user) => user.to_owned(),
        None => {
            unescape(&to.unwrap_or_default()).ok_or_else(|| Invalid::new("user", "is wrongly escaped"))?
        }
    };
    verb(&SipRegister {
        user: &user,
        contacts: contacts.iter().map(Vec::as_slice).collect(),
        expires: expires.as_deref(),
        feature_caps: feature_caps.iter().map(Vec::as_slice).collect(),
        most_s: if is_reply { None } else { max_expires_s() },
        granted: is_reply.then(|| granted.iter().map(Vec::as_slice).collect()),
    })
}

/// The names of the variables that a REGISTER is read by.
struct Names {
    contacts: Vec<&'static str>,
    feature_caps: Vec<&'static str>,
    expires: &'static str,
    to_user: &'static str,
}

impl Names {
    fn new(wrap: impl Fn(String) -> String) -> Names {
        let name = |text: &str| &*wrap(text.to_owned()).leak();
        let each = |header| (0..=MAX_HEADERS).map(|at| name(&format!("$(hdr({header})[{at}])"))).collect();
        let (contacts, feature_caps) = (each("Contact"), each("Feature-Caps"));
        Names { contacts, feature_caps, expires: name("$hdr(Expires)"), to_user: name("$tU") }
    }

    /// Of the message in hand.
    fn own() -> &'static Names {
        static NAMES: OnceLock<Names> = OnceLock::new();
        NAMES.get_or_init(|| Names::new(|name| name))
    }

    /// Of the request that the reply in hand belongs to.
    fn of_request() -> &'static Names {
        static NAMES: OnceLock<Names> = OnceLock::new();
        NAMES.get_or_init(|| Names::new(|name| format!("$T_req({name})")))
    }
}

/// # Safety
/// As Kamailio calls a script function.
unsafe fn read_all(msg: Msg, names: &[&'static str]) -> Result<Vec<Vec<u8>>, Error> {
    let mut values = Vec::new();
    for name in names {
        // SAFETY: the caller's word.
        match unsafe { pseudo::read(msg, name)? } {
            Some(value) => values.push(value),
            None => return Ok(values),
        }
    }
    Err(Invalid::new("Contact", format!("is there more than {MAX_HEADERS} times")).into())
}

/// `modparam("registrar", "max_expires", ...)`, in seconds, where the registrar is loaded and has a limit.
fn max_expires_s() -> Option<u32> {
    static LIMIT: OnceLock<Option<u32>> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let (core, mut kind): (_, c_uint) = (core(), 0);
        // SAFETY: C strings; the result is null or points to the module's `int`, which the parser has filled.
        let limit = unsafe {
            let module = (core.find_module_by_name)(c"registrar".as_ptr());
            if module.is_null() {
                return None;
            }
            let found = (core.find_param_export)(module, c"max_expires".as_ptr(), PARAM_INT, &raw mut kind);
            found.cast::<c_int>().as_ref().copied()
        };
        limit.and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit > 0)
    })
}

pub unsafe extern "C" fn strip_push_params_0(msg: Msg, _: Param, _: Param) -> c_int {
    // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
    beside(|| unsafe { strip(msg, true, true) })
}

pub unsafe extern "C" fn strip_push_params_1(msg: Msg, place: Param, _: Param) -> c_int {
    beside(|| {
        // SAFETY: as above, with what `arguments::fix` made.
        let (uri, contacts) = match unsafe { arguments::read(msg, "where", place)? }.as_str() {
            "uri" => (true, false),
            "contact" => (false, true),
            _ => return Err(Invalid::new("where", "is neither contact nor uri").into()),
        };
        // SAFETY: as above.
        unsafe { strip(msg, uri, contacts) }
    })
}

/// Runs a function that leaves `$push(...)` alone: it stands in branch and reply routes, which run while a script is still to look
/// at the result of another.
fn beside(work: impl FnOnce() -> Result<usize, Error>) -> c_int {
    panic_caught(INTERNAL, || match work() {
        Ok(0) => -1,
        Ok(parts) => c_int::try_from(parts).unwrap_or(c_int::MAX),
        Err(error) => {
            log_failure("strip_push_params", &error);
            script_code(&error)
        }
    })
}

/// Not in a REGISTER and its answer: there a phone finds its own contact by these parameters (RFC 8599 §5.3).
///
/// # Safety
/// As Kamailio calls a script function.
unsafe fn strip(msg: Msg, uri: bool, contacts: bool) -> Result<usize, Error> {
    // SAFETY: the caller's word.
    unsafe {
        if pseudo::read(msg, "$rm")?.is_some_and(|method| method == b"REGISTER") {
            return Ok(0);
        }
        let of_uri = if uri { strip_uri(msg)? } else { 0 };
        Ok(of_uri + if contacts { strip_contacts(msg)? } else { 0 })
    }
}

/// The Request-URI, where the message has one.
///
/// # Safety
/// As Kamailio calls a script function.
unsafe fn strip_uri(msg: Msg) -> Result<usize, Error> {
    // SAFETY: the caller's word.
    let Some(uri) = (unsafe { pseudo::read(msg, "$ru")? }) else { return Ok(0) };
    let parts = push_params_of_uri(&uri);
    if parts.is_empty() {
        return Ok(0);
    }
    let left = hidden(&uri, &parts);
    let text = Str { s: left.as_ptr().cast(), len: c_int::try_from(left.len()).unwrap_or(0) };
    // SAFETY: the caller's word; Kamailio copies the text.
    let done = unsafe { (core().rewrite_uri)(msg, &raw const text) };
    if done < 0 {
        Err(Error::Internal("Kamailio cannot change the Request-URI".to_owned()))
    } else {
        Ok(parts.len())
    }
}

/// The Contact headers of a request or a reply. Only the parameters are cut out, so what others have put into the header stays.
///
/// # Safety
/// As Kamailio calls a script function.
unsafe fn strip_contacts(msg: Msg) -> Result<usize, Error> {
    // SAFETY: the caller's word.
    let Some(whole) = (unsafe { pseudo::place(msg, "$mb")? }) else { return Ok(0) };
    let mut stripped = 0;
    for name in &Names::own().contacts {
        // SAFETY: the caller's word.
        let (Some(place), Some(value)) = (unsafe { (pseudo::place(msg, name)?, pseudo::read(msg, name)?) })
        else {
            break;
        };
        if place.start < whole.start || place.end > whole.end {
            return Err(Error::Internal("a header is not where the message is".to_owned()));
        }
        for part in push_params_of_header(&value) {
            let at = place.start - whole.start;
            // SAFETY: the caller's word.
            unsafe { cut(msg, at + part.start..at + part.end)? };
            stripped += 1;
        }
    }
    Ok(stripped)
}

/// Takes a part out of the message as it goes on from here.
///
/// # Safety
/// As Kamailio calls a script function; the part is inside of the message.
unsafe fn cut(msg: Msg, part: Range<usize>) -> Result<(), Error> {
    let number = |number| c_uint::try_from(number).unwrap_or(c_uint::MAX);
    // SAFETY: the caller's word; 0 is HDR_ERROR_T, "of no header in particular", as textops has it.
    let lump = unsafe { (core().del_lump)(msg, number(part.start), number(part.len()), 0) };
    if lump.is_null() {
        Err(Error::Internal("Kamailio cannot change the Contact".to_owned()))
    } else {
        Ok(())
    }
}
