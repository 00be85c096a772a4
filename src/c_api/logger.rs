//! Where log lines go in a program that has no log of its own: to standard error, and only when something is wrong.
//!
//! It refuses to take over: where somebody has set a logger already, as the SIP server modules do, nothing happens.

use crate::service::LogLevel;
use log::LevelFilter;
use std::str::FromStr;
use std::sync::OnceLock;

/// A library does not chat: this much is logged at most unless the environment asks for more.
const QUIET: LevelFilter = LevelFilter::Warn;

/// Names the level in place of the configuration.
const VARIABLE: &str = "VOIP_PUSH_LOG";

/// True once the logger is ours.
static OURS: OnceLock<bool> = OnceLock::new();

/// Sets up our logger, if there is none, before the configuration is read: reading it may have something to say.
pub(super) fn start() {
    // Only our own lines: what other crates log at high levels may hold credentials.
    let build =
        || env_logger::Builder::new().filter_module("voip_push", LevelFilter::Trace).try_init().is_ok();
    if *OURS.get_or_init(build) {
        log::set_max_level(from_environment().unwrap_or(QUIET));
    }
}

/// Applies the configuration's level once it is known, or what the program asks for.
pub(super) fn apply(log: LogLevel) {
    if OURS.get() == Some(&true) {
        let of_file = || from_environment().unwrap_or(log.level.min(QUIET));
        log::set_max_level(if log.is_asked { log.level } else { of_file() });
    }
}

fn from_environment() -> Option<LevelFilter> {
    LevelFilter::from_str(&std::env::var(VARIABLE).ok()?).ok()
}
