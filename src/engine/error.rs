//! What an engine did not do, and why, in one line that names the engine and says what to do.
//!
//! It refuses to pass on what the engine has quoted of a command: that may be a user or a token.

use super::opening::LATE;
use crate::config::{EngineSettings, EngineShape};
use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::fmt;

/// What kind of trouble it is; callers decide by this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineTrouble {
    /// Nobody who could have done it answered in time: it may well work a little later.
    Away,
    /// The engine has said no and will say so again until somebody changes it: password, permission, memory, a read-only replica.
    Refused,
    /// What is there under our name is not ours: another type, another program's key, a newer version's layout.
    Foreign,
}

/// Why an engine did not do what it was asked: one line without users, tokens, keys and passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineError {
    /// What kind it is.
    pub trouble: EngineTrouble,
    line: String,
}

impl EngineError {
    /// A line that begins with the engine's address.
    pub fn new(trouble: EngineTrouble, settings: &EngineSettings, why: &str) -> Self {
        EngineError { trouble, line: format!("{settings}: {why}") }
    }

    /// True where it may work a little later.
    pub fn is_away(&self) -> bool {
        self.trouble == EngineTrouble::Away
    }

    pub(super) fn of(settings: &EngineSettings, error: &RedisError) -> Self {
        let (trouble, why) = explain(settings, error);
        EngineError::new(trouble, settings, &why)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for EngineError {}

/// What a node that we do not ask for a while is said to be.
pub(super) const PAUSED: &str = "has not answered lately; it is asked again in a moment";

fn explain(settings: &EngineSettings, error: &RedisError) -> (EngineTrouble, String) {
    use EngineTrouble::{Away, Foreign, Refused};
    let refused = |why: &str| (Refused, why.to_owned());
    match error.kind() {
        ErrorKind::Server(kind) => by_kind(kind, error),
        ErrorKind::AuthenticationFailed => (Refused, wrong_password(settings)),
        ErrorKind::Extension => by_code(settings, error),
        ErrorKind::MasterNameNotFoundBySentinel => (Away, unknown_master(settings)),
        ErrorKind::InvalidClientConfig => refused("its address or its CA file cannot be used"),
        ErrorKind::UnexpectedReturnType => {
            (Foreign, "has answered what nobody asked; is it a Redis or Valkey?".to_owned())
        }
        _ => (Away, unreachable(settings, error)),
    }
}

fn by_kind(kind: ServerErrorKind, error: &RedisError) -> (EngineTrouble, String) {
    use EngineTrouble::{Away, Refused};
    let (trouble, why) = match kind {
        ServerErrorKind::ClusterDown => {
            (Away, "CLUSTERDOWN: the Cluster serves not all slots; look at CLUSTER INFO and CLUSTER NODES")
        }
        ServerErrorKind::BusyLoading => (Away, "LOADING: it still reads its data from the disk"),
        ServerErrorKind::MasterDown => (Away, "MASTERDOWN: a replica that has lost its master"),
        ServerErrorKind::TryAgain | ServerErrorKind::Moved | ServerErrorKind::Ask => {
            (Away, "slots are being moved to another node; can it be reached from here?")
        }
        ServerErrorKind::ReadOnly => {
            (Refused, "READONLY: this is a replica that takes no writes; give the master's address")
        }
        ServerErrorKind::NoPerm => return (Refused, no_permission(error)),
        ServerErrorKind::NotBusy | ServerErrorKind::NoScript | ServerErrorKind::CrossSlot => {
            (Refused, "does not run our scripts")
        }
        _ if is_script_without_permission(error) => return (Refused, no_permission(error)),
        _ => return (Refused, quoted(error)),
    };
    (trouble, why.to_owned())
}

/// Redis 7.0 names no command then; later ones and Valkey do.
fn is_script_without_permission(error: &RedisError) -> bool {
    let said = error.detail().unwrap_or_default();
    said.contains("executing the script can't") || said.contains("ACL failure in script")
}

fn by_code(settings: &EngineSettings, error: &RedisError) -> (EngineTrouble, String) {
    use EngineTrouble::{Away, Foreign, Refused};
    let (trouble, why) = match error.code().unwrap_or_default() {
        "NOAUTH" => (Refused, "NOAUTH: it wants a password; set username and password_file"),
        "WRONGPASS" => return (Refused, wrong_password(settings)),
        "OOM" => (Refused, "OOM: its memory is full (maxmemory); give it more"),
        "WRONGTYPE" => (Foreign, "WRONGTYPE: a key under our key_prefix has another type; whose is it?"),
        "MISCONF" => (Refused, "MISCONF: it cannot save to its disk and takes no writes; look at its log"),
        "NOREPLICAS" => (Refused, "NOREPLICAS: it has fewer replicas than its min-replicas-to-write"),
        "BUSY" => (Away, "BUSY: a script of somebody else keeps it busy"),
        "NOGOODSLAVE" | "UNBLOCKED" => (Away, "is changing its master just now"),
        _ => return (Refused, quoted(error)),
    };
    (trouble, why.to_owned())
}

fn wrong_password(settings: &EngineSettings) -> String {
    let whose = if settings.username.is_some() { "username and password_file" } else { "password_file" };
    format!("WRONGPASS: it does not take our password; look at {whose} and at its ACL")
}

fn unknown_master(settings: &EngineSettings) -> String {
    match &settings.shape {
        EngineShape::Sentinel { master } => {
            format!("no Sentinel names a master {master:?} that is one; look at SENTINEL MASTERS")
        }
        EngineShape::Single | EngineShape::Cluster => "has no master".to_owned(),
    }
}

/// The engine names the command between quotes.
fn no_permission(error: &RedisError) -> String {
    let said = error.detail().unwrap_or_default();
    let command = said.split(" the '").nth(1).and_then(|rest| rest.split('\'').next());
    let command = command.filter(|name| is_plain(name));
    let what = match command {
        Some(name) => format!("our user may not run {name}"),
        None if said.contains("key") => "our user may not use keys under our key_prefix".to_owned(),
        None => "our user may not run a command of ours".to_owned(),
    };
    format!("NOPERM: {what}; docs/store-layout.md has the ACL line")
}

fn is_plain(name: &str) -> bool {
    name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"|-_".contains(&b))
}

/// What else an engine says. An unknown command is told with its arguments; those stay out.
fn quoted(error: &RedisError) -> String {
    let said = error.detail().unwrap_or_default();
    let said = said.split(", with args").next().unwrap_or_default();
    let said: String = said.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("it says {} {said}", error.code().unwrap_or("ERR"))
}

fn unreachable(settings: &EngineSettings, error: &RedisError) -> String {
    if error.is_timeout() && error.to_string().contains(LATE) {
        return LATE.to_owned();
    }
    if error.is_timeout() {
        return "has not answered in time".to_owned();
    }
    if error.is_connection_refusal() {
        return "refuses connections; is it running?".to_owned();
    }
    // What the system says of a connection names no key.
    let said: String =
        error.to_string().chars().take(160).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if said.contains(PAUSED) {
        return PAUSED.to_owned();
    }
    let hint = tls_hint(settings, error, &said).map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("cannot be reached: {said}{hint}")
}

/// What to do where the two sides do not agree about TLS; rustls and the system say only what they have seen.
fn tls_hint(settings: &EngineSettings, error: &RedisError, said: &str) -> Option<&'static str> {
    if said.contains("invalid peer certificate") {
        return Some(
            "its certificate must be signed by a CA in [store] ca_file, for the name or address in url, and not expired",
        );
    }
    // The alert that says so may be lost with the connection; without TLS it cannot be read.
    let is_closed = error.is_connection_dropped() || said.contains("CertificateRequired");
    let is_odd = is_closed || error.kind() == ErrorKind::Parse;
    is_odd.then_some(match settings.tls {
        true => "if it asks for a certificate of ours, set tls-auth-clients no there",
        false => "if it speaks TLS only, its URL begins with rediss",
    })
}
