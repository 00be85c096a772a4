//! `[sip]`: how REGISTER requests with push parameters are dealt with (RFC 8599 §5.6.1).
//!
//! It refuses numbers with which no push could come before a registration ends.

use super::load::in_range;
use super::{ConfigError, raw};
use std::path::Path;

/// `[sip]`
#[derive(Debug, Clone, Copy)]
pub struct SipSettings {
    /// `min_expires_seconds`: a shorter registration is too brief for push.
    pub min_expires_s: u32,
    /// `pnsreg_seconds`: how long before its end a phone that can wake up by itself renews its registration.
    pub pnsreg_s: u32,
    /// `brief = "refuse"`: 423 to a registration that is too brief; else it goes on without push.
    pub refuses_brief: bool,
    /// `unsupported = "refuse"`: 555 where nobody here serves the push service; else the registration goes on without push.
    pub refuses_unsupported: bool,
    /// `keep_tokens = "while_registered"`: a token is good as long as its registration, and not until it is dead.
    pub forgets_with_registration: bool,
}

impl SipSettings {
    pub(super) fn from_raw(file: &Path, raw: &raw::Sip) -> Result<SipSettings, ConfigError> {
        // RFC 8599 §5.6.1.1: above 120
        let pnsreg_s = in_range(file, "[sip] pnsreg_seconds", raw.pnsreg_seconds, 121..=86_400)?;
        let lowest = raw.pnsreg_seconds + 1;
        let min_s = in_range(file, "[sip] min_expires_seconds", raw.min_expires_seconds, lowest..=604_800)?;
        Ok(SipSettings {
            min_expires_s: min_s as u32,
            pnsreg_s: pnsreg_s as u32,
            refuses_brief: is_second(file, "[sip] brief", &raw.brief, ["forward", "refuse"])?,
            refuses_unsupported: is_second(
                file,
                "[sip] unsupported",
                &raw.unsupported,
                ["forward", "refuse"],
            )?,
            forgets_with_registration: is_second(
                file,
                "[sip] keep_tokens",
                &raw.keep_tokens,
                ["until_dead", "while_registered"],
            )?,
        })
    }
}

fn is_second(file: &Path, key: &str, text: &str, words: [&str; 2]) -> Result<bool, ConfigError> {
    match words.iter().position(|word| *word == text) {
        Some(at) => Ok(at == 1),
        None => Err(ConfigError::new(file, key, format!("is neither {} nor {}", words[0], words[1]))),
    }
}
