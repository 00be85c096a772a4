//! What an administrator asks the module with OpenSIPS' management interface: `voip_push:stats` and its companions.
//!
//! It refuses to show a token whole, and to guess what an argument was meant to be.

use super::layout::Abi;
use super::symbols::core;
use crate::host::facts::{self, Fact, Facts};
use crate::host::panic_caught;
use crate::model::Invalid;
use crate::service::{Error, LogLevel, QuarantineAction, Service, installed};
use crate::stats::{Counter, Reading};
use std::ffi::{CStr, c_char, c_double, c_int, c_void};
use std::ptr;

/// `mi_cmd_f`.
type Command = unsafe extern "C" fn(*const c_void, *mut c_void) -> *mut c_void;

/// A command: its name, its help, what it does, and its parameters, the first `needed` of which must be given.
struct Row {
    name: &'static CStr,
    help: &'static CStr,
    command: Command,
    parameters: &'static [&'static CStr],
    needed: usize,
}

const ROWS: [Row; 7] = [
    Row {
        name: c"voip_push:stats",
        help: c"All counters of voip_push, of all processes together.",
        command: stats,
        parameters: &[],
        needed: 0,
    },
    Row {
        name: c"voip_push:latency",
        help: c"How long pushes took: buckets of Prometheus' histograms.",
        command: latency,
        parameters: &[],
        needed: 0,
    },
    Row {
        name: c"voip_push:tokens",
        help: c"The devices of a user, without their whole tokens. Params: user",
        command: tokens,
        parameters: &[c"user"],
        needed: 1,
    },
    Row {
        name: c"voip_push:send",
        help: c"Pushes a call to the devices of a user, waits and shows the answers. Params: user [call_id [caller]]",
        command: send,
        parameters: &[c"user", c"call_id", c"caller"],
        needed: 1,
    },
    Row {
        name: c"voip_push:quarantine",
        help: c"Dead tokens in quarantine. Params: action (list shows them by credential, release deletes them, drop keeps them)",
        command: quarantine,
        parameters: &[c"action"],
        needed: 1,
    },
    Row {
        name: c"voip_push:reload",
        help: c"Reads the configuration and the keys again and puts them in force; where something is wrong, all stays as it was.",
        command: reload,
        parameters: &[],
        needed: 0,
    },
    Row {
        name: c"voip_push:log_level",
        help: c"How much is logged. Params: [level] (off, error, warn, info, debug or trace, until the next reload)",
        command: log_level,
        parameters: &[c"level"],
        needed: 0,
    },
];

/// `mi_export_t[]` of this version, and a row of zeros. OpenSIPS keeps it for ever, so it is never freed; 4.0 finds no commands of
/// a module that are not in its table.
pub fn table(abi: &Abi) -> *const c_void {
    let mut words: Vec<usize> = ROWS.iter().flat_map(|row| export(abi, row)).collect();
    words.resize(words.len() + abi.mi_export_len / WORD, 0);
    words.leak().as_ptr().cast()
}

/// What the names of all commands begin with.
const PREFIX: &str = "voip_push:";
const WORD: usize = size_of::<usize>();
/// Where `mi_export_t.recipes` begins: after name, help, flags and a function for each process.
const RECIPES_AT: usize = 32;

/// `mi_export_t`: for each number of parameters that may be given, a recipe of the command and their names.
fn export(abi: &Abi, row: &Row) -> Vec<usize> {
    let mut words = vec![0; abi.mi_export_len / WORD];
    let prefix_len = if abi.names_mi_commands { PREFIX.len() } else { 0 };
    words[0] = row.name.as_ptr().wrapping_add(prefix_len).expose_provenance();
    words[1] = row.help.as_ptr().expose_provenance();
    let recipes = words[RECIPES_AT / WORD..].chunks_exact_mut(abi.mi_recipe_len / WORD);
    for (given, recipe) in (row.needed..=row.parameters.len()).zip(recipes) {
        recipe[0] = (row.command as *const ()).expose_provenance();
        for (place, name) in recipe[1..].iter_mut().zip(&row.parameters[..given]) {
            *place = name.as_ptr().expose_provenance();
        }
    }
    words
}

unsafe extern "C" fn stats(params: *const c_void, _: *mut c_void) -> *mut c_void {
    // SAFETY: as OpenSIPS calls an MI command.
    unsafe {
        answer(params, |service, _, item| {
            for Reading { name, labels, value, .. } in service.readings() {
                item.number(&format!("{name}{labels}"), value);
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn latency(params: *const c_void, _: *mut c_void) -> *mut c_void {
    // SAFETY: as OpenSIPS calls an MI command.
    unsafe {
        answer(params, |service, _, item| {
            service.stats().timings().iter().for_each(|(name, value)| item.number(name, *value));
            Ok(())
        })
    }
}

unsafe extern "C" fn tokens(params: *const c_void, _: *mut c_void) -> *mut c_void {
    // SAFETY: as OpenSIPS calls an MI command.
    unsafe {
        answer(params, |service, asked, item| {
            item.each("devices", facts::devices(service, &asked.text(c"user")?)?);
            Ok(())
        })
    }
}

unsafe extern "C" fn send(params: *const c_void, _: *mut c_void) -> *mut c_void {
    // SAFETY: as OpenSIPS calls an MI command.
    unsafe {
        answer(params, |service, asked, item| {
            let (user, call_id) = (asked.text(c"user")?, asked.text(c"call_id")?);
            let tried = facts::send(service, &user, &asked.text(c"caller")?, &call_id)?;
            item.facts(tried.call);
            item.each("answers", tried.answers);
            Ok(())
        })
    }
}

unsafe extern "C" fn quarantine(params: *const c_void, _: *mut c_void) -> *mut c_void {
    // SAFETY: as OpenSIPS calls an MI command.
    unsafe {
        answer(params, |service, asked, item| {
            let action = match asked.text(c"action")?.as_str() {
                "list" => {
                    item.each("credentials", facts::wards(service));
                    return Ok(());
                }
                "release" => QuarantineAction::Release,
                "drop" => QuarantineAction::Drop,
                _ => return Err(Invalid::new("action", "is none of list, release and drop").into()),
            };
            let tokens = service.stats().get(Counter::InQuarantine);
            service.quarantine(action)?;
            item.number("tokens", tokens);
            Ok(())
        })
    }
}

unsafe extern "C" fn reload(params: *const c_void, _: *mut c_void) -> *mut c_void {
    // SAFETY: as OpenSIPS calls an MI command.
    unsafe {
        answer(params, |service, _, item| {
            let done = service.reload(None)?;
            item.number("generation", done.generation);
            for (name, texts) in
                [("after_restart", done.after_restart.join(", ")), ("warnings", done.warnings.join("; "))]
            {
                if !texts.is_empty() {
                    item.text(name, &texts);
                }
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn log_level(params: *const c_void, _: *mut c_void) -> *mut c_void {
    // SAFETY: as OpenSIPS calls an MI command.
    unsafe {
        answer(params, |service, asked, item| {
            let level = asked.text(c"level")?;
            if !level.is_empty() {
                service.set_log_level(&level)?;
            }
            let LogLevel { level, is_asked } = service.log_level();
            item.text("level", &level.as_str().to_ascii_lowercase());
            item.text("from", if is_asked { "command" } else { "file" });
            if !super::log::is_shown(level) {
                item.text("hidden", "OpenSIPS' own log level shows less; raise it too");
            }
            Ok(())
        })
    }
}

/// # Safety
/// As OpenSIPS calls an MI command.
unsafe fn answer(
    params: *const c_void,
    command: impl FnOnce(&Service, &Asked, &Item) -> Result<(), Error>,
) -> *mut c_void {
    panic_caught(ptr::null_mut(), || {
        let mut object = ptr::null_mut();
        // SAFETY: a new answer, whose object is ours until it is returned.
        let response = unsafe { (core().init_mi_result_object)(&raw mut object) };
        if response.is_null() || object.is_null() {
            return ptr::null_mut();
        }
        let not_ready = || Error::Internal("voip_push was not initialised".to_owned());
        let done = installed()
            .ok_or_else(not_ready)
            .and_then(|service| command(service, &Asked(params), &Item(object)));
        match done {
            Ok(()) => response,
            Err(error) => failed(response, &error),
        }
    })
}

/// An error in the place of the answer.
fn failed(response: *mut c_void, error: &Error) -> *mut c_void {
    // As HTTP has it for "not found", "bad request" and all else.
    let code = match error {
        Error::NoDevice => 404,
        Error::Argument(_) => 400,
        _ => 500,
    };
    let text = error.to_string();
    // SAFETY: the answer that was begun is given back, and the text is copied.
    unsafe {
        (core().free_mi_response)(response);
        (core().init_mi_error_extra)(code, text.as_ptr().cast(), len(&text), ptr::null(), 0)
    }
}

/// What was asked.
struct Asked(*const c_void);

impl Asked {
    /// A parameter; empty where it is not given.
    fn text(&self, name: &CStr) -> Result<String, Invalid> {
        let (mut start, mut len): (*const c_char, c_int) = (ptr::null(), 0);
        // SAFETY: the parameters of the command that is being run, and where to put the text that they have.
        let found =
            unsafe { (core().try_get_mi_string_param)(self.0, name.as_ptr(), &raw mut start, &raw mut len) };
        let len = usize::try_from(len).unwrap_or(0);
        if found != 0 || start.is_null() {
            return Ok(String::new());
        }
        // SAFETY: OpenSIPS says that this text is so long; it stays while the command is run.
        let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) };
        String::from_utf8(bytes.to_vec()).map_err(|_| Invalid::new("parameter", "is not valid UTF-8"))
    }
}

/// An object or a list of the answer.
struct Item(*mut c_void);

impl Item {
    fn number(&self, name: &str, value: u64) {
        // SAFETY: an item of the answer that is being made; the name is copied.
        unsafe { (core().add_mi_number)(self.0, name.as_ptr().cast(), len(name), value as c_double) };
    }

    fn text(&self, name: &str, value: &str) {
        let (name_start, value_start) = (name.as_ptr().cast(), value.as_ptr().cast());
        // SAFETY: as above; the value is copied as well.
        unsafe { (core().add_mi_string)(self.0, name_start, len(name), value_start, len(value)) };
    }

    fn facts(&self, facts: Facts) {
        for (name, fact) in facts {
            match fact {
                Fact::Number(number) => self.number(name, number),
                Fact::Text(text) => self.text(name, &text),
            }
        }
    }

    /// A list with an object for each.
    fn each(&self, name: &str, each: Vec<Facts>) {
        let Some(list) = self.list(name) else { return };
        for facts in each {
            let Some(entry) = list.entry() else { return };
            entry.facts(facts);
        }
    }

    fn list(&self, name: &str) -> Option<Item> {
        // SAFETY: as above.
        let list = unsafe { (core().add_mi_array)(self.0, name.as_ptr().cast(), len(name)) };
        (!list.is_null()).then_some(Item(list))
    }

    /// One more object of a list.
    fn entry(&self) -> Option<Item> {
        // SAFETY: as above; entries of a list have no name.
        let entry = unsafe { (core().add_mi_object)(self.0, ptr::null(), 0) };
        (!entry.is_null()).then_some(Item(entry))
    }
}

fn len(text: &str) -> c_int {
    c_int::try_from(text.len()).unwrap_or(c_int::MAX)
}
