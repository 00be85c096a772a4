//! `[timeline]`: how much of what happens to calls is kept, and where.
//!
//! It refuses to keep everything of a flood: so many calls a second tell enough.

use super::load::in_range;
use super::{ConfigError, raw};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[timeline]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineSettings {
    /// `file`: the SQLite file; `timeline.db` in the state directory where it is not named.
    pub file: PathBuf,
    /// `keep_hours`: how long it is kept.
    pub keep: Duration,
    /// `calls_per_second`: calls that may begin in one second; what happens to further ones is not kept.
    pub calls_per_second: u32,
}

impl TimelineSettings {
    /// `None` where nothing is to be kept.
    pub(super) fn from_raw(
        file: &Path,
        raw: raw::Timeline,
        state_directory: &Path,
    ) -> Result<Option<TimelineSettings>, ConfigError> {
        let hours = in_range(file, "[timeline] keep_hours", raw.keep_hours, 0..=8_760)?;
        let per_second = in_range(file, "[timeline] calls_per_second", raw.calls_per_second, 1..=10_000)?;
        let own = || state_directory.join("timeline.db");
        let named = |named: PathBuf| super::credential::beside(file, &named);
        let settings = TimelineSettings {
            file: raw.file.map_or_else(own, named),
            keep: Duration::from_secs(hours * 3600),
            calls_per_second: per_second as u32,
        };
        Ok((hours > 0).then_some(settings))
    }
}
