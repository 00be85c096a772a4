//! A script that the engine runs as one step, known there by its digest.
//!
//! It refuses to be put together at run time: what changes is an argument.

use redis::{Cmd, ToRedisArgs, cmd};
use std::sync::OnceLock;

/// A script in Lua and the digest by which the engine knows it, once it has seen it.
pub struct Script {
    text: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    /// A script of this text.
    pub const fn new(text: &'static str) -> Script {
        Script { text, digest: OnceLock::new() }
    }

    /// Its call, which more arguments can be added to. All `keys` must lie in one slot.
    pub fn call(&self, keys: &[&[u8]]) -> Cmd {
        let digest = self.digest.get_or_init(|| redis::Script::new(self.text).get_hash().to_owned());
        start("EVALSHA", digest, keys)
    }

    pub(super) fn is_called_by(&self, call: &Cmd) -> bool {
        let digest = self.digest.get().map(String::as_bytes);
        matches!(call.args_iter().nth(1), Some(redis::Arg::Simple(name)) if Some(name) == digest)
    }

    /// The same call for an engine that has not seen the script yet, or has forgotten it (a restart, a new master).
    pub(super) fn in_full(&self, call: &Cmd) -> Cmd {
        let mut full = cmd("EVAL");
        full.arg(self.text);
        for argument in call.args_iter().skip(2) {
            match argument {
                redis::Arg::Simple(bytes) => full.arg(bytes),
                _ => &mut full,
            };
        }
        full
    }
}

fn start(command: &str, script: impl ToRedisArgs, keys: &[&[u8]]) -> Cmd {
    let mut call = cmd(command);
    call.arg(script).arg(keys.len());
    for key in keys {
        call.arg(*key);
    }
    call
}
