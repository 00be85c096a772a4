//! What an administrator asks the module with `kamcmd`: the counters, the calls that wait, the tokens in quarantine.
//!
//! It refuses to do anything in the process that is asked: the sender does it, and is told.

use super::layout::{Rpc, RpcExport};
use super::sender;
use crate::host::note::Note;
use crate::host::panic_caught;
use crate::host::table::Table;
use crate::service::{Error, QuarantineAction, Service, installed};
use crate::stats::{Counter, Reading};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;

/// The RPC commands, and a row of zeros.
pub static RPC: Table<[RpcExport; 5]> = Table::new([
    row(c"voip_push.stats", stats, &STATS_DOC),
    row(c"voip_push.latency", latency, &LATENCY_DOC),
    row(c"voip_push.calls", calls, &CALLS_DOC),
    row(c"voip_push.quarantine", quarantine, &QUARANTINE_DOC),
    RpcExport { name: ptr::null(), function: None, doc_str: ptr::null(), flags: 0 },
]);

type Doc = Table<[*const c_char; 2]>;

static STATS_DOC: Doc = doc(c"All counters of voip_push, of all processes together.");
static LATENCY_DOC: Doc = doc(c"How long pushes took: buckets of Prometheus' histograms.");
static CALLS_DOC: Doc = doc(
    c"How many calls wait for a phone; with 'release', all go on in their routes, as when the server stops.",
);
static QUARANTINE_DOC: Doc =
    doc(c"What is to be done with dead tokens in quarantine: 'release' deletes them, 'drop' keeps them.");

const fn doc(text: &'static CStr) -> Doc {
    Table::new([text.as_ptr(), ptr::null()])
}

const fn row(
    name: &'static CStr,
    function: unsafe extern "C" fn(*const Rpc, *mut c_void),
    doc: &'static Doc,
) -> RpcExport {
    RpcExport { name: name.as_ptr(), function: Some(function), doc_str: doc.first(), flags: 0 }
}

/// One structure with every counter as `name{labels}`. RPC has no 64-bit numbers in old versions, so a larger count is text.
unsafe extern "C" fn stats(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            for Reading { name, labels, value, .. } in service.stats().read() {
                answer.add(&format!("{name}{labels}"), value);
            }
            Ok(())
        })
    };
}

unsafe extern "C" fn latency(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            service.stats().timings().iter().for_each(|(name, value)| answer.add(name, *value));
            Ok(())
        })
    };
}

unsafe extern "C" fn calls(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            match answer.word().as_deref() {
                None => {}
                Some("release") => sender::try_tell(&Note::Release)?,
                Some(_) => return Err(Fault::Usage(c"usage: voip_push.calls [release]")),
            }
            answer.add("parked", service.stats().get(Counter::ParkedNow));
            Ok(())
        })
    };
}

unsafe extern "C" fn quarantine(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            let action = match answer.word().as_deref() {
                Some("release") => QuarantineAction::Release,
                Some("drop") => QuarantineAction::Drop,
                _ => return Err(Fault::Usage(c"usage: voip_push.quarantine release|drop")),
            };
            let tokens = service.stats().get(Counter::InQuarantine);
            service.quarantine(action)?;
            answer.add("tokens", tokens);
            Ok(())
        })
    };
}

/// Why a command was not done.
enum Fault {
    Usage(&'static CStr),
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Failed(error)
    }
}

/// What was asked and what is answered: a structure of names and numbers.
struct Answer {
    rpc: *const Rpc,
    context: *mut c_void,
    structure: *mut c_void,
}

/// # Safety
/// As Kamailio calls an RPC command.
unsafe fn answer(
    rpc: *const Rpc,
    context: *mut c_void,
    command: impl FnOnce(&Service, &mut Answer) -> Result<(), Fault>,
) {
    panic_caught((), || {
        let mut answer = Answer { rpc, context, structure: ptr::null_mut() };
        let not_ready = || Fault::Usage(c"voip_push was not initialised");
        let fault = installed().ok_or_else(not_ready).and_then(|service| command(service, &mut answer)).err();
        let text = match fault {
            None => return,
            Some(Fault::Usage(text)) => text.to_owned(),
            Some(Fault::Failed(error)) => CString::new(error.to_string()).unwrap_or_default(),
        };
        // SAFETY: Kamailio's RPC table and context, valid during this call; one text for the format's one.
        unsafe { ((*rpc).fault)(context, 500, c"%s".as_ptr(), text.as_ptr()) };
    });
}

impl Answer {
    /// The next word of the command, if there is one.
    fn word(&mut self) -> Option<String> {
        let mut word: *const c_char = ptr::null();
        // SAFETY: as in `answer`; "*s" takes the address of a C string's address and leaves it alone where nothing is left.
        unsafe {
            let found: c_int = ((*self.rpc).scan)(self.context, c"*s".as_ptr(), &raw mut word);
            (found > 0 && !word.is_null()).then(|| CStr::from_ptr(word).to_string_lossy().into_owned())
        }
    }

    fn add(&mut self, name: &str, value: u64) {
        let Ok(name) = CString::new(name) else { return };
        // SAFETY: as in `answer`; "{" takes the address of a handle. A name, then an unsigned int or a C string as the format says,
        // both copied by Kamailio.
        unsafe {
            if self.structure.is_null() {
                ((*self.rpc).add)(self.context, c"{".as_ptr(), &raw mut self.structure);
            }
            if self.structure.is_null() {
                return;
            }
            if let Ok(number) = c_uint::try_from(value) {
                ((*self.rpc).struct_add)(self.structure, c"u".as_ptr(), name.as_ptr(), number);
            } else if let Ok(digits) = CString::new(value.to_string()) {
                ((*self.rpc).struct_add)(self.structure, c"s".as_ptr(), name.as_ptr(), digits.as_ptr());
            }
        }
    }
}
