//! The script functions as OpenSIPS calls them: pointers in, a number out.
//!
//! It refuses to decide anything: arguments become text here, and the verbs do the rest.

use super::arguments::{self, Args, Msg, Output};
use super::body::media_of;
use super::event;
use super::layout::{ANY_ROUTE, CmdExport, CmdFunction, CmdParam, OPTIONAL, TEXT, VARIABLE, params};
use super::refresh::{self, Found};
use crate::host::last::Last;
use crate::host::table::Table;
use crate::host::{CALLER, script_function, verbs};
use crate::service::{Error, Ready, Service, SipRegister};
use crate::stats::Counter;
use std::ffi::{CStr, c_int};
use std::ptr;
use std::time::Duration;

/// All script functions, and a row of zeros.
pub static TABLE: Table<[CmdExport; 11]> = Table::new([
    row(c"register_token", register_token, params([TEXT, TEXT, TEXT, TEXT | OPTIONAL, TEXT | OPTIONAL])),
    row(c"register_contact", register_contact, params([TEXT, TEXT, TEXT | OPTIONAL, OUT, OUT])),
    row(c"lookup_token", lookup_token, params([TEXT, OUT, OUT, OUT, OUT, OUT, OUT])),
    row(c"delete_token", delete_token, params([TEXT, TEXT | OPTIONAL, OUT])),
    row(c"send_voip_push", send_voip_push, SEND),
    row(c"send_voip_push_to", send_voip_push_to, SEND_TO),
    row(c"send_voip_push_contact", send_voip_push_contact, SEND_CONTACT),
    row(c"queue_voip_push", queue_voip_push, params([TEXT, TEXT, TEXT, TEXT | OPTIONAL, OUT])),
    row(c"queue_message_push", queue_message_push, params([TEXT, TEXT, TEXT, OUT])),
    row(c"cancel_voip_push", cancel_voip_push, params([TEXT, TEXT, TEXT, OUT])),
    CmdExport { name: ptr::null(), function: None, params: params([]), flags: 0 },
]);

/// A variable that may be left out.
const OUT: c_int = VARIABLE | OPTIONAL;

/// `send_voip_push(user, caller, call_id [, media [, $accepted [, $reason]]])`.
pub const SEND: [CmdParam; 9] = params([TEXT, TEXT, TEXT, TEXT | OPTIONAL, OUT, OUT]);
/// `send_voip_push_to(provider, token, app, user, caller, call_id [, $reason])`.
pub const SEND_TO: [CmdParam; 9] = params([TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, OUT]);
/// `send_voip_push_contact(user, contact, cause, caller, call_id [, media [, $reason]])`.
pub const SEND_CONTACT: [CmdParam; 9] = params([TEXT, TEXT, TEXT, TEXT, TEXT, TEXT | OPTIONAL, OUT]);

const fn row(name: &'static CStr, function: CmdFunction, params: [CmdParam; 9]) -> CmdExport {
    CmdExport { name: name.as_ptr(), function: Some(function), params, flags: ANY_ROUTE }
}

/// Makes the function that OpenSIPS calls from one that takes all arguments at once.
macro_rules! functions {
    ($($name:ident($msg:ident, $args:ident) $body:block)*) => {
        $(unsafe extern "C" fn $name(
            $msg: Msg,
            p1: *mut std::ffi::c_void,
            p2: *mut std::ffi::c_void,
            p3: *mut std::ffi::c_void,
            p4: *mut std::ffi::c_void,
            p5: *mut std::ffi::c_void,
            p6: *mut std::ffi::c_void,
            p7: *mut std::ffi::c_void,
            p8: *mut std::ffi::c_void,
        ) -> c_int {
            let $args: Args = [p1, p2, p3, p4, p5, p6, p7, p8];
            $body
        })*
    };
}

functions! {
    register_token(msg, args) {
        call("register_token", msg, args, ["user", "token", "platform", "device_id", "app"], [], verbs::register_token)
    }

    register_contact(msg, args) {
        let is_given = !args[2].is_null();
        let (names, outputs) = (["user", "contact", "expires"], ["devices", "reason"]);
        call("register_contact", msg, args, names, outputs, |service, [user, contact, expires]| {
            let expires = (is_given && !expires.is_empty()).then_some(expires.as_bytes());
            let contacts = vec![contact.as_bytes()];
            verbs::register_contact(service, &SipRegister { user, contacts, expires, ..SipRegister::default() })
        })
    }

    lookup_token(msg, args) {
        let outputs = ["token", "platform", "provider", "app", "device_id", "devices"];
        call("lookup_token", msg, args, ["user"], outputs, |service, [user]| {
            verbs::lookup_token(service, user).map(|(last, _)| last)
        })
    }

    delete_token(msg, args) {
        let is_given = !args[1].is_null();
        call("delete_token", msg, args, ["user", "device_id"], ["reason"], |service, [user, device_id]| {
            verbs::delete_token(service, user, is_given.then_some(device_id))
        })
    }

    send_voip_push(msg, args) {
        let (names, outputs) = (["user", CALLER, "call_id", "media"], ["accepted", "reason"]);
        call("send_voip_push", msg, args, names, outputs, |service, [user, caller, call_id, media]| {
            // SAFETY: OpenSIPS calls a script function on its own thread with the message in hand.
            verbs::send_voip_push(service, [user, caller, call_id], unsafe { media_of(msg, media)? })
        })
    }

    send_voip_push_to(msg, args) {
        let names = ["provider", "token", "app", "user", CALLER, "call_id"];
        call("send_voip_push_to", msg, args, names, ["reason"], verbs::send_voip_push_to)
    }

    send_voip_push_contact(msg, args) {
        let names = ["user", "contact", "cause", CALLER, "call_id", "media"];
        call("send_voip_push_contact", msg, args, names, ["reason"], |service, texts| {
            // SAFETY: OpenSIPS calls a script function on its own thread with the message in hand.
            match unsafe { refresh::look(service, msg, texts)? } {
                Found::Nothing(why) => Ok(*why),
                Found::Ready(ready) => service.send_ready(ready).map(|report| verbs::pushed(&report)),
            }
        })
    }

    queue_voip_push(msg, args) {
        let names = ["user", CALLER, "call_id", "media"];
        call("queue_voip_push", msg, args, names, ["reason"], |service, [user, caller, call_id, media]| {
            // SAFETY: OpenSIPS calls a script function on its own thread with the message in hand.
            let ready = service.ready(user, caller, call_id, unsafe { media_of(msg, media)? })?;
            queue(service, ready, service.settings().ring, [user, call_id])
        })
    }

    queue_message_push(msg, args) {
        let names = ["user", CALLER, "call_id"];
        call("queue_message_push", msg, args, names, ["reason"], |service, [user, from, call_id]| {
            let ready = service.ready_message(|| None, user, from, call_id)?;
            queue(service, ready, service.settings().message.wake, [user, call_id])
        })
    }

    cancel_voip_push(msg, args) {
        let names = ["user", "call_id", "reason"];
        call("cancel_voip_push", msg, args, names, ["devices"], verbs::cancel_voip_push)
    }
}

/// Hands over without waiting. Whoever wants the result gets it, at the latest when it is of no use any more.
fn queue(
    service: &Service,
    ready: Ready,
    of_use: Duration,
    [user, call_id]: [&str; 2],
) -> Result<Last, Error> {
    let devices = ready.devices();
    let note = event::note(user, call_id);
    let patience = (!note.is_empty()).then_some(of_use);
    service.hand_over(ready, patience, note)?;
    Ok(verbs::counted(devices))
}

/// Reads the texts at the beginning of the arguments, runs the verb, and fills the variables after them.
fn call<const N: usize, const M: usize>(
    name: &str,
    msg: Msg,
    args: Args,
    texts: [&'static str; N],
    outputs: [&'static str; M],
    verb: impl FnOnce(&Service, [&str; N]) -> Result<Last, Error>,
) -> c_int {
    let code = script_function(name, |service| {
        let texts = read(service, args, texts)?;
        verb(service, texts.each_ref().map(String::as_str))
    });
    // SAFETY: OpenSIPS calls a script function on its own thread with the message in hand and the variables of the script.
    unsafe { arguments::fill(msg, &outputs_of::<M>(args, N, outputs)) };
    code
}

/// The texts at the beginning of the arguments.
pub fn read<const N: usize>(
    service: &Service,
    args: Args,
    names: [&'static str; N],
) -> Result<[String; N], Error> {
    let mut texts = [const { String::new() }; N];
    for ((text, name), param) in texts.iter_mut().zip(names).zip(args) {
        // SAFETY: the tables say that these parameters are text.
        *text = unsafe { arguments::text(name, param) }
            .inspect_err(|_| service.stats().count(Counter::BadArgument))?;
    }
    Ok(texts)
}

/// The variables after the first `skip` arguments.
pub fn outputs_of<const M: usize>(args: Args, skip: usize, fields: [&'static str; M]) -> [Output; M] {
    std::array::from_fn(|at| Output { variable: args[skip + at], field: fields[at] })
}
