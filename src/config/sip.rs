//! `[sip]`: how REGISTER requests with push parameters are dealt with (RFC 8599 §5.6.1).
//!
//! It refuses numbers with which no push could come before a registration ends.

use super::credential::beside;
use super::load::in_range;
use super::{ConfigError, raw};
use std::path::{Path, PathBuf};

/// Which phones get a PURR, with which they can be woken for requests within dialogs (RFC 8599 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurrOffer {
    /// All that can be woken without a call, as RFC 8599 has it.
    All,
    /// Those of them whose Contact has `+sip.pnspurr`.
    Asked,
    /// None.
    Nobody,
}

/// `[sip]`
#[derive(Debug, Clone)]
pub struct SipSettings {
    /// `min_expires_seconds`: a shorter registration is too brief for push.
    pub min_expires_s: u32,
    /// `pnsreg_seconds`: how long before its end a phone that can wake up by itself renews its registration.
    pub pnsreg_s: u32,
    /// `brief = "refuse"`: 423 to a registration that is too brief; else it goes on without push.
    pub refuses_brief: bool,
    /// `unsupported = "refuse"`: 555 where nobody here serves the push service; else the registration goes on without push.
    pub refuses_unsupported: bool,
    /// `unstored = "refuse"`: 500 with Retry-After where the token cannot be stored at this moment; else the registration goes on without
    /// push.
    pub refuses_unstored: bool,
    /// `keep_tokens = "while_registered"`: a token is good as long as its registration, and not until it is dead.
    pub forgets_with_registration: bool,
    /// `purr`
    pub purr: PurrOffer,
    /// `purr_key_file`: what makes PURRs and reads them; made where it is missing.
    pub purr_key_file: PathBuf,
}

impl SipSettings {
    pub(super) fn from_raw(
        file: &Path,
        raw: &raw::Sip,
        state_directory: &Path,
    ) -> Result<SipSettings, ConfigError> {
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
            refuses_unstored: is_second(file, "[sip] unstored", &raw.unstored, ["forward", "refuse"])?,
            forgets_with_registration: is_second(
                file,
                "[sip] keep_tokens",
                &raw.keep_tokens,
                ["until_dead", "while_registered"],
            )?,
            purr: purr_offer(file, &raw.purr)?,
            purr_key_file: match &raw.purr_key_file {
                Some(named) => beside(file, named),
                None => state_directory.join("purr.key"),
            },
        })
    }
}

fn purr_offer(file: &Path, text: &str) -> Result<PurrOffer, ConfigError> {
    match text {
        "offer" => Ok(PurrOffer::All),
        "asked" => Ok(PurrOffer::Asked),
        "off" => Ok(PurrOffer::Nobody),
        _ => Err(ConfigError::new(file, "[sip] purr", "is none of offer, asked and off")),
    }
}

fn is_second(file: &Path, key: &str, text: &str, words: [&str; 2]) -> Result<bool, ConfigError> {
    match words.iter().position(|word| *word == text) {
        Some(at) => Ok(at == 1),
        None => Err(ConfigError::new(file, key, format!("is neither {} nor {}", words[0], words[1]))),
    }
}
