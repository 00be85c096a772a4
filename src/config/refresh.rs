//! `[refresh]`: pushes that let phones renew their registrations before these end (RFC 8599 §5.5).
//!
//! It refuses to come so late that a phone could not answer.

use super::load::in_range;
use super::{ConfigError, raw};
use std::path::Path;
use std::time::Duration;

/// `[refresh]`
#[derive(Debug, Clone, Copy)]
pub struct RefreshSettings {
    /// `seconds_before`: how long before a registration ends its phone is pushed to; `None` is never.
    pub before: Option<Duration>,
    /// `spread_seconds`: up to so much earlier, by chance, so that phones that registered together do not come together.
    pub spread: Duration,
    /// `retry_seconds`: so much later the phone that did not register is pushed to once more.
    pub retry: Duration,
}

impl RefreshSettings {
    pub(super) fn from_raw(file: &Path, raw: &raw::Refresh) -> Result<RefreshSettings, ConfigError> {
        let seconds = |key, value, range| in_range(file, key, value, range).map(Duration::from_secs);
        // RFC 8599 §5.5: 120 seconds or more
        let least = if raw.seconds_before == 0 { 0 } else { 120 };
        let before = seconds("[refresh] seconds_before", raw.seconds_before, least..=86_400)?;
        Ok(RefreshSettings {
            before: Some(before).filter(|before| !before.is_zero()),
            spread: seconds("[refresh] spread_seconds", raw.spread_seconds, 0..=86_400)?,
            retry: seconds("[refresh] retry_seconds", raw.retry_seconds, 1..=3_600)?,
        })
    }

    /// How long after a registration for `granted_s` its phone is to be pushed to; `by_chance` is from 0 to 1. A phone that can wake by
    /// itself gets the time to do so.
    pub fn due_in(&self, granted_s: u32, wakes_itself: bool, by_chance: f64) -> Option<Duration> {
        const LATEST: Duration = Duration::from_secs(120);
        let granted = Duration::from_secs(granted_s.into());
        let before = if wakes_itself { self.before?.min(LATEST) } else { self.before? };
        let Some(latest) = granted.checked_sub(before).filter(|latest| !latest.is_zero()) else {
            return Some(granted / 2);
        };
        // A registration that is hardly longer than that is not pushed for all the time.
        let spread = if wakes_itself { Duration::ZERO } else { self.spread.min(latest / 2) };
        Some(latest - spread.mul_f64(by_chance.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_pushed_to_in_time_and_not_all_at_once() {
        let second = Duration::from_secs;
        let settings = RefreshSettings { before: Some(second(150)), spread: second(60), retry: second(30) };
        assert_eq!(settings.due_in(3600, false, 0.0), Some(second(3450)));
        assert_eq!(settings.due_in(3600, false, 1.0), Some(second(3390)));
        assert_eq!(settings.due_in(3600, true, 1.0), Some(second(3480)), "it was told to register before");
        assert_eq!(settings.due_in(180, false, 1.0), Some(second(15)));
        assert_eq!(settings.due_in(150, false, 1.0), Some(second(75)));
        assert_eq!(RefreshSettings { before: None, ..settings }.due_in(3600, false, 0.5), None);
    }
}
