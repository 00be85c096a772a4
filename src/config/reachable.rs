//! `[reachable]`: which phones need no push for a call that goes to them anyway.
//!
//! It refuses to wait for a silent phone longer than a caller would.

use super::load::in_range;
use super::{ConfigError, raw};
use crate::model::Platform;
use std::path::Path;
use std::time::Duration;

/// `[reachable]`
#[derive(Debug, Clone, Copy)]
pub struct ReachableSettings {
    /// `ios_seconds`: so long after its registration an iPhone is taken to be awake; zero is never.
    pub ios: Duration,
    /// `android_seconds`: the same for an Android phone.
    pub android: Duration,
    /// `provisional_ms`: such a phone is pushed to all the same when it says nothing for so long.
    pub provisional: Duration,
}

impl ReachableSettings {
    pub(super) fn from_raw(file: &Path, raw: &raw::Reachable) -> Result<ReachableSettings, ConfigError> {
        let seconds = |key, value| in_range(file, key, value, 0..=604_800).map(Duration::from_secs);
        let provisional_ms = in_range(file, "[reachable] provisional_ms", raw.provisional_ms, 100..=10_000)?;
        Ok(ReachableSettings {
            ios: seconds("[reachable] ios_seconds", raw.ios_seconds)?,
            android: seconds("[reachable] android_seconds", raw.android_seconds)?,
            provisional: Duration::from_millis(provisional_ms),
        })
    }

    /// How long after its registration a phone of this platform is taken to be awake.
    pub fn interval(&self, platform: Platform) -> Duration {
        match platform {
            Platform::Ios => self.ios,
            Platform::Android => self.android,
        }
    }
}
