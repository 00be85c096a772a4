//! `[message]`: how phones are woken for a SIP MESSAGE.
//!
//! It refuses a time that outlasts the patience of whoever has sent it.

use super::load::in_range;
use super::{ConfigError, raw};
use crate::model::Show;
use std::path::Path;
use std::time::Duration;

/// Whoever sends a MESSAGE gives up after 32 s (RFC 3261 §17.1.2.2, timer F), and the phone needs some of them to answer.
const MAX_WAKE_S: i64 = 25;

/// The settings, checked.
#[derive(Debug, Clone, Copy)]
pub struct MessageSettings {
    /// `wake_seconds`: how long it waits for the phone to register.
    pub wake: Duration,
    /// `ios_push_type`.
    pub show: Show,
}

impl MessageSettings {
    pub(super) fn from_raw(file: &Path, raw: &raw::Message) -> Result<MessageSettings, ConfigError> {
        let wake_s = in_range(file, "[message] wake_seconds", raw.wake_seconds, 1..=MAX_WAKE_S)?;
        let show = Show::parse(&raw.ios_push_type).ok_or_else(|| {
            ConfigError::new(file, "[message] ios_push_type", "is neither alert nor background")
        })?;
        Ok(MessageSettings { wake: Duration::from_secs(wake_s), show })
    }
}
