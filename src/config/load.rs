//! From the file's text to checked settings.
//!
//! It refuses values out of range instead of bending them.

use super::AlertWords;
use super::files::Files;
use super::{
    ApiKeys, ApnsCredential, ConfigError, FcmCredential, IosPushType, MessageSettings, Quarantine,
    ReachableSettings, RefreshSettings, Settings, SipSettings, StoreSettings, TimelineSettings, raw,
};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn load(files: &Files) -> Result<Settings, ConfigError> {
    let (settings, faults) = examine(files)?;
    faults.into_iter().next().map_or(Ok(settings), Err)
}

pub(super) fn examine(files: &Files) -> Result<(Settings, Vec<ConfigError>), ConfigError> {
    let file = files.main();
    let mut faults = Vec::new();
    let text = files.main_text().map_err(|why| ConfigError::new(file, "config", why))?;
    let raw: raw::File =
        toml::from_str(&text).map_err(|error| ConfigError::from_toml(file, &text, &error))?;
    let api_keys_file = raw.rest.as_ref().and_then(|rest| rest.api_keys_file.as_ref());
    let api_keys = api_keys_file.and_then(|named| noted(ApiKeys::load(files, named), &mut faults));
    let number = |key, value, range| in_range(file, key, value, range);
    let store = StoreSettings::from_raw(files, &raw.store)?;
    let state_directory = store.state_directory(file, &raw.store);
    let sip = SipSettings::from_raw(file, &raw.sip, &state_directory)?;
    let mut settings = Settings {
        file: file.to_owned(),
        store,
        state_directory,
        ring: Duration::from_secs(number("[call] ring_seconds", raw.call.ring_seconds, 5..=180)?),
        wait: Duration::from_millis(number("[call] wait_ms", raw.call.wait_ms, 10..=10_000)?),
        wake: Duration::from_secs(number("[call] wake_seconds", raw.call.wake_seconds, 1..=120)?),
        late: Duration::from_secs(number("[call] late_seconds", raw.call.late_seconds, 0..=600)?),
        missed_call_alert: raw.call.missed_call_alert,
        max_queued: number("[sender] max_queued", raw.sender.max_queued, 1..=1_000_000)? as usize,
        max_queued_bytes: number("[sender] max_queued_bytes", raw.sender.max_queued_bytes, 65_536..=1 << 40)?,
        device_per_minute: number("[limits] device_per_minute", raw.limits.device_per_minute, 0..=1_000_000)?
            as u32,
        caller_per_minute: number("[limits] caller_per_minute", raw.limits.caller_per_minute, 0..=1_000_000)?
            as u32,
        calls_per_user: number("[limits] calls_per_user", raw.limits.calls_per_user, 0..=10_000)? as u32,
        users_per_token: number("[limits] users_per_token", raw.limits.users_per_token, 1..=8)? as u32,
        devices_per_user: number("[limits] devices_per_user", raw.limits.devices_per_user, 0..=1_000)? as u32,
        quarantine: Quarantine {
            dead_tokens: number("[quarantine] dead_tokens", raw.quarantine.dead_tokens, 1..=100_000)?
                as usize,
            window: Duration::from_secs(number(
                "[quarantine] window_seconds",
                raw.quarantine.window_seconds,
                1..=86_400,
            )?),
            pair: Duration::from_secs(number(
                "[quarantine] pair_seconds",
                raw.quarantine.pair_seconds,
                1..=86_400,
            )?),
        },
        stop: Duration::from_millis(number("[sender] stop_ms", raw.sender.stop_ms, 0..=10_000)?),
        apns: kept(raw.apns, &mut faults, |apns| ApnsCredential::from_raw(files, apns)),
        fcm: kept(raw.fcm, &mut faults, |fcm| FcmCredential::from_raw(files, fcm)),
        api_keys,
        wrong_keys_per_minute: number(
            "[rest] wrong_keys_per_minute",
            raw.rest.as_ref().map_or_else(raw::ten, |rest| rest.wrong_keys_per_minute),
            0..=10_000,
        )? as u32,
        sip,
        reachable: ReachableSettings::from_raw(file, &raw.reachable)?,
        refresh: RefreshSettings::from_raw(file, &raw.refresh)?,
        message: MessageSettings::from_raw(file, &raw.message)?,
        timeline: None,
        log_level: log_level(file, &raw.log.level)?,
        warnings: Vec::new(),
    };
    match super::profile::apply(file, &raw.app, &mut settings) {
        // Without the section at fault nobody can say whether an app has one.
        Err(_) if !faults.is_empty() => {}
        applied => applied?,
    }
    let alerts = Arc::new(AlertWords::from_raw(file, raw.alerts)?);
    settings.apns.iter_mut().for_each(|apns| apns.alerts = Arc::clone(&alerts));
    settings.fcm.iter_mut().for_each(|fcm| fcm.alerts = Arc::clone(&alerts));
    settings.timeline = TimelineSettings::from_raw(file, raw.timeline, &settings.state_directory)?;
    settings.warnings = warnings(&settings);
    Ok((settings, faults))
}

fn noted<T>(read: Result<T, ConfigError>, faults: &mut Vec<ConfigError>) -> Option<T> {
    read.map_err(|fault| faults.push(fault)).ok()
}

/// The sections that are in order.
fn kept<R, T>(
    sections: Vec<R>,
    faults: &mut Vec<ConfigError>,
    read: impl Fn(R) -> Result<T, ConfigError>,
) -> Vec<T> {
    sections.into_iter().filter_map(|section| noted(read(section), faults)).collect()
}

pub(super) fn in_range(
    file: &Path,
    key: &str,
    value: i64,
    range: RangeInclusive<i64>,
) -> Result<u64, ConfigError> {
    match u64::try_from(value) {
        Ok(number) if range.contains(&value) => Ok(number),
        _ => {
            let why = format!("is {value}; give a number from {} to {}", range.start(), range.end());
            Err(ConfigError::new(file, key, why))
        }
    }
}

fn log_level(file: &Path, level: &str) -> Result<log::LevelFilter, ConfigError> {
    log::LevelFilter::from_str(level)
        .map_err(|_| ConfigError::new(file, "[log] level", "is none of off, error, warn, info, debug, trace"))
}

fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(settings.api_keys.iter().flat_map(|keys| keys.warnings(&settings.file)));
    let file = settings.file.display();
    if settings.apns.is_empty() && settings.fcm.is_empty() {
        warnings
            .push(format!("{file}: there is no [[apns]] and no [[fcm]] section, so nothing can be pushed"));
    }
    if settings.fcm.iter().any(|fcm| fcm.ios_push_type == IosPushType::Voip) {
        warnings.push(format!(
            "{file}: [[fcm]] ios_push_type is voip, but FCM cannot reach PushKit: iPhones with an FCM token will not ring"
        ));
    }
    warnings
}
