//! What an administrator asks the module with `kamcmd`: the counters, a user's devices, a test push, the calls that wait, the tokens
//! in quarantine, and to read its configuration again.
//!
//! It refuses to touch calls and pushes in the process that is asked: the sender does, and is told. And it shows no token whole.

use super::layout::{Rpc, RpcExport};
use super::sender;
use crate::host::facts::{self, Fact, Facts};
use crate::host::note::Note;
use crate::host::panic_caught;
use crate::host::table::Table;
use crate::model::cut_to;
use crate::service::{Error, LogLevel, QuarantineAction, Service, installed};
use crate::stats::{Counter, Reading};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;

/// The RPC commands, and a row of zeros.
pub static RPC: Table<[RpcExport; 9]> = Table::new([
    row(c"voip_push.stats", stats, &STATS_DOC),
    row(c"voip_push.latency", latency, &LATENCY_DOC),
    row(c"voip_push.calls", calls, &CALLS_DOC),
    list(c"voip_push.tokens", tokens, &TOKENS_DOC),
    list(c"voip_push.send", send, &SEND_DOC),
    list(c"voip_push.quarantine", quarantine, &QUARANTINE_DOC),
    row(c"voip_push.reload", reload, &RELOAD_DOC),
    row(c"voip_push.log_level", log_level, &LOG_LEVEL_DOC),
    RpcExport { name: ptr::null(), function: None, doc_str: ptr::null(), flags: 0 },
]);

type Doc = Table<[*const c_char; 2]>;

static STATS_DOC: Doc = doc(c"All counters of voip_push, of all processes together.");
static LATENCY_DOC: Doc = doc(c"How long pushes took: buckets of Prometheus' histograms.");
static CALLS_DOC: Doc = doc(
    c"How many calls wait for a phone; with 'release', all go on in their routes, as when the server stops.",
);
static QUARANTINE_DOC: Doc = doc(
    c"Dead tokens in quarantine: 'list' shows them by credential, 'release' deletes them, 'drop' keeps them.",
);
static TOKENS_DOC: Doc = doc(c"The devices of a user, without their whole tokens.");
static SEND_DOC: Doc = doc(
    c"Pushes a call to the devices of a user, waits as long as call.wait_ms says, and shows what the providers answered.",
);
static RELOAD_DOC: Doc = doc(
    c"Reads the configuration and the keys again and puts them in force; where something is wrong, all stays as it was.",
);
static LOG_LEVEL_DOC: Doc =
    doc(c"How much is logged; with off, error, warn, info, debug or trace, that much until the next reload.");

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

/// One that answers with several structures (`RPC_RET_ARRAY`, which JSON-RPC wants to know).
const fn list(
    name: &'static CStr,
    function: unsafe extern "C" fn(*const Rpc, *mut c_void),
    doc: &'static Doc,
) -> RpcExport {
    RpcExport { flags: 1, ..row(name, function, doc) }
}

/// One structure with every counter as `name{labels}`. RPC has no 64-bit numbers in old versions, so a larger count is text.
unsafe extern "C" fn stats(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            for Reading { name, labels, value, .. } in service.readings() {
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

/// One structure for each device.
unsafe extern "C" fn tokens(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            let Some(user) = answer.word() else { return Err(Fault::Usage(c"usage: voip_push.tokens USER")) };
            answer.add_each(facts::devices(service, &user)?);
            Ok(())
        })
    };
}

/// One structure about the call, and one for each answer.
unsafe extern "C" fn send(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            let Some(user) = answer.word() else {
                return Err(Fault::Usage(c"usage: voip_push.send USER [CALLER [CALL-ID]]"));
            };
            let (caller, call_id) = (answer.word().unwrap_or_default(), answer.word().unwrap_or_default());
            let tried = facts::send(service, &user, &caller, &call_id)?;
            answer.add_each([tried.call]);
            answer.add_each(tried.answers);
            Ok(())
        })
    };
}

unsafe extern "C" fn quarantine(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            let action = match answer.word().as_deref() {
                Some("list") => {
                    answer.add_each(facts::wards(service));
                    return Ok(());
                }
                Some("release") => QuarantineAction::Release,
                Some("drop") => QuarantineAction::Drop,
                _ => return Err(Fault::Usage(c"usage: voip_push.quarantine list|release|drop")),
            };
            let tokens = service.stats().get(Counter::InQuarantine);
            service.quarantine(action)?;
            answer.add("tokens", tokens);
            Ok(())
        })
    };
}

unsafe extern "C" fn reload(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            let done = service.reload(None)?;
            answer.add("generation", done.generation);
            for (name, texts) in
                [("after_restart", done.after_restart.join(", ")), ("warnings", done.warnings.join("; "))]
            {
                if !texts.is_empty() {
                    answer.add_text(name, &texts);
                }
            }
            Ok(())
        })
    };
}

unsafe extern "C" fn log_level(rpc: *const Rpc, context: *mut c_void) {
    // SAFETY: as Kamailio calls an RPC command.
    unsafe {
        answer(rpc, context, |service, answer| {
            if let Some(level) = answer.word() {
                service.set_log_level(&level)?;
            }
            let LogLevel { level, is_asked } = service.log_level();
            answer.add_text("level", &level.as_str().to_ascii_lowercase());
            answer.add_text("from", if is_asked { "command" } else { "file" });
            if !super::log::is_shown(level) {
                answer.add_text("hidden", "Kamailio's own debug level shows less; raise it too");
            }
            Ok(())
        })
    };
}

/// ctl.so sends nothing at all where the text of a fault has 256 bytes or more (MAX_FAULT_LEN); the log has it whole.
const MAX_FAULT_LEN: usize = 250;

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

/// What was asked and what is answered: a structure of names with numbers or texts.
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
            Some(Fault::Failed(error)) => {
                CString::new(cut_to(&error.to_string(), MAX_FAULT_LEN)).unwrap_or_default()
            }
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
        let Ok(number) = c_uint::try_from(value) else { return self.add_text(name, &value.to_string()) };
        let (Ok(name), Some(structure)) = (CString::new(name), self.structure()) else { return };
        // SAFETY: as in `answer`: a name, then an unsigned int as the format says, both copied by Kamailio.
        unsafe { ((*self.rpc).struct_add)(structure, c"u".as_ptr(), name.as_ptr(), number) };
    }

    fn add_text(&mut self, name: &str, value: &str) {
        let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) else { return };
        let Some(structure) = self.structure() else { return };
        // SAFETY: as above, with a C string.
        unsafe { ((*self.rpc).struct_add)(structure, c"s".as_ptr(), name.as_ptr(), value.as_ptr()) };
    }

    /// A structure of its own for each.
    fn add_each(&mut self, each: impl IntoIterator<Item = Facts>) {
        for facts in each {
            self.structure = ptr::null_mut();
            for (name, fact) in facts {
                match fact {
                    Fact::Number(number) => self.add(name, number),
                    Fact::Text(text) => self.add_text(name, &text),
                }
            }
        }
    }

    /// The structure of the answer, begun now where it was not.
    fn structure(&mut self) -> Option<*mut c_void> {
        if self.structure.is_null() {
            // SAFETY: as in `answer`; "{" takes the address of a handle.
            unsafe { ((*self.rpc).add)(self.context, c"{".as_ptr(), &raw mut self.structure) };
        }
        (!self.structure.is_null()).then_some(self.structure)
    }
}
