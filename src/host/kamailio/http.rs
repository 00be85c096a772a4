//! `voip_push_http()`: the HTTP request that xhttp has in hand, answered by our REST API.
//!
//! It refuses to send the answer itself: the script does, with `xhttp_reply` and `$push(...)`.

use super::arguments;
use super::functions::refuse_in_first_process;
use super::layout::SipMsg;
use super::pseudo::{self, UnknownVariable};
use crate::host::{last::Last, script_function};
use crate::model::Invalid;
use crate::rest;
use crate::service::{Error, Service};
use crate::stats::Counter;
use std::borrow::Cow;
use std::ffi::{c_int, c_void};

/// Who asks shows an API key.
pub unsafe extern "C" fn voip_push_http_0(msg: *mut SipMsg, _: *mut c_void, _: *mut c_void) -> c_int {
    script_function("voip_push_http", |service| {
        refuse_in_first_process()?;
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        unsafe { answer(service, msg, None) }
    })
}

/// The script has checked a password: of this user, or of nobody where it was wrong.
pub unsafe extern "C" fn voip_push_http_1(msg: *mut SipMsg, user: *mut c_void, _: *mut c_void) -> c_int {
    script_function("voip_push_http", |service| {
        refuse_in_first_process()?;
        // A user who is no text has no tokens; he is nobody.
        // SAFETY: Kamailio calls a script function on its own thread, with what `arguments::fix` made.
        let user = unsafe { arguments::read(msg, "user", user) }.unwrap_or_default();
        // SAFETY: as above.
        unsafe { answer(service, msg, Some(&user)) }
    })
}

/// # Safety
/// As Kamailio calls a script function.
unsafe fn answer(service: &Service, msg: *mut SipMsg, user: Option<&str>) -> Result<Last, Error> {
    // Reading the variables here, and not as arguments, has no limit on the body and cannot expand what is in it.
    // SAFETY: the caller's word.
    let variable = |name| unsafe { pseudo::read(msg, name) };
    if !variable("$rv")?.is_some_and(|version| version.starts_with(b"HTTP/")) {
        service.stats().count(Counter::BadArgument);
        return Err(Invalid::new("request", "is not HTTP; call it in event_route[xhttp:request]").into());
    }
    let target = variable("$hu")?.unwrap_or_default();
    let method = variable("$rm")?.unwrap_or_default();
    let authorization = variable("$hdr(Authorization)")?;
    let content_type = variable("$hdr(Content-Type)")?;
    let remote = variable("$si")?.unwrap_or_default();
    let body = variable("$rb")?.unwrap_or_default();
    let (authorization, content_type) =
        (authorization.as_deref().map(text), content_type.as_deref().map(text));
    let response = rest::handle(
        service,
        &rest::Request {
            method: &text(&method),
            target: &text(&target),
            authorization: authorization.as_deref(),
            content_type: content_type.as_deref(),
            body: &body,
            remote: &text(&remote),
            user,
        },
    );
    Ok(Last::of_response(&response))
}

/// Bytes that are no UTF-8 become marks that match nothing.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

impl From<UnknownVariable> for Error {
    fn from(UnknownVariable(name): UnknownVariable) -> Self {
        Error::Internal(format!("Kamailio does not know {name}; load its modules pv.so and xhttp.so"))
    }
}
