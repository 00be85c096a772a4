//! The one TOML file, read before any fork, and again when an administrator says so, and turned into checked, typed settings.
//!
//! It refuses to go on with half a configuration: whatever is wrong is one line that names the file, the key and what to
//! do. Secrets are read from files of their own and are never shown.

mod alerts;
mod api_keys;
mod credential;
mod error;
mod files;
mod in_force;
mod load;
mod message;
mod profile;
mod raw;
mod reachable;
mod refresh;
mod secret;
mod sip;
mod store;
mod template;
mod timeline;

pub use alerts::{AlertWords, Words};
pub use api_keys::{ApiKey, ApiKeys};
pub use credential::{ApnsCredential, FcmCredential, IosPushType, Origin, SigningKey, alert_topic};
pub use error::ConfigError;
pub use files::read_secret;
pub use in_force::{Change, InForce, LogLevel};
pub use message::MessageSettings;
pub use profile::{MAX_APNS_LEN, MAX_FCM_LEN, Profile};
pub use reachable::ReachableSettings;
pub use refresh::RefreshSettings;
pub use secret::Secret;
pub use sip::{PurrOffer, SipSettings};
pub use store::{EngineSettings, EngineShape, StoreSettings};
pub use template::{Field, Piece, Template};
pub use timeline::TimelineSettings;

use crate::model::Provider;
use files::Files;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that can be set, checked. Durations and defaults are those of the README's table of keys.
#[derive(Debug)]
pub struct Settings {
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[store]`: where the tokens live.
    pub store: StoreSettings,
    /// `[store] state_directory`: where this machine keeps what is its own, such as the timeline; beside an SQLite file of tokens
    /// where it is not named.
    pub state_directory: PathBuf,
    /// `[call] ring_seconds`: how long a phone may ring.
    pub ring: Duration,
    /// `[call] wait_ms`: how long `send_voip_push` waits for the answers.
    pub wait: Duration,
    /// `[call] wake_seconds`: how long a parked call waits for the phone to register.
    pub wake: Duration,
    /// `[call] late_seconds`: how long after a call's end a phone that wakes is told of it; zero is never.
    pub late: Duration,
    /// `[call] missed_call_alert`: whether iPhones that gave a token for alerts show calls that were missed.
    pub missed_call_alert: bool,
    /// `[sender] max_queued`: how many pushes may wait or be under way in one process.
    pub max_queued: usize,
    /// `[sender] max_queued_bytes`: how much memory they may take.
    pub max_queued_bytes: u64,
    /// `[limits] device_per_minute`: pushes that one device may get; 0 is no limit.
    pub device_per_minute: u32,
    /// `[limits] caller_per_minute`: pushes that one caller may cause; 0 is no limit.
    pub caller_per_minute: u32,
    /// `[limits] calls_per_user`: calls to one user that may wait for a phone or ring; 0 is no limit.
    pub calls_per_user: u32,
    /// `[limits] devices_per_user`: devices that one user may have; 0 is no limit.
    pub devices_per_user: u32,
    /// `[limits] users_per_token`: users who may have one token at a time.
    pub users_per_token: u32,
    /// `[quarantine]`.
    pub quarantine: Quarantine,
    /// `[sender] stop_ms`: how long pushes under way may still be answered when the server stops.
    pub stop: Duration,
    /// The `[[apns]]` sections, in their order.
    pub apns: Vec<ApnsCredential>,
    /// The `[[fcm]]` sections, in their order.
    pub fcm: Vec<FcmCredential>,
    /// `[rest] api_keys_file`: the keys; `None` where none is named: then only users whom the host has authenticated are served.
    pub api_keys: Option<ApiKeys>,
    /// `[rest] wrong_keys_per_minute`: wrong keys and passwords that one address may show; 0 is no limit.
    pub wrong_keys_per_minute: u32,
    /// `[sip]`.
    pub sip: SipSettings,
    /// `[reachable]`.
    pub reachable: ReachableSettings,
    /// `[refresh]`.
    pub refresh: RefreshSettings,
    /// `[timeline]`; `None` where nothing is kept.
    pub timeline: Option<TimelineSettings>,
    /// `[message]`.
    pub message: MessageSettings,
    /// `[log] level`.
    pub log_level: log::LevelFilter,
    /// What is odd but no reason to stop; for the log.
    pub warnings: Vec<String>,
}

/// `[quarantine]`: when so many tokens of one credential die within so long, none is deleted any more; and how long a pair
/// that a provider has refused is left alone.
#[derive(Debug, Clone, Copy)]
pub struct Quarantine {
    /// How many may die.
    pub dead_tokens: usize,
    /// Within how long.
    pub window: Duration,
    /// `pair_seconds`: how long a credential is not used for an app, or a device not pushed to, after the provider has said
    /// that the two do not belong together.
    pub pair: Duration,
}

impl Settings {
    /// Provider and app (topic or project) of every credential, for the counters.
    pub fn apps(&self) -> Vec<(Provider, String)> {
        let topics =
            self.apns.iter().flat_map(|apns| apns.topics.iter().map(|topic| (Provider::Apns, topic.clone())));
        let alerts = self.missed_call_alert.then(|| topics.clone()).into_iter().flatten();
        let alerts: Vec<_> = alerts.map(|(apns, topic)| (apns, alert_topic(&topic).to_owned())).collect();
        topics
            .chain(alerts)
            .chain(self.fcm.iter().map(|fcm| (Provider::Fcm, fcm.project_id.clone())))
            .collect()
    }

    /// Provider and name of every credential, for the counters.
    pub fn credentials(&self) -> Vec<(Provider, String)> {
        let apns = self.apns.iter().map(|apns| (Provider::Apns, apns.name()));
        apns.chain(self.fcm.iter().map(|fcm| (Provider::Fcm, fcm.name()))).collect()
    }

    /// Provider and `host:port` of every credential, for the counters.
    pub fn endpoints(&self) -> Vec<(Provider, String)> {
        let apns = self.apns.iter().map(|apns| (Provider::Apns, apns.origin.endpoint()));
        apns.chain(self.fcm.iter().map(|fcm| (Provider::Fcm, fcm.origin.endpoint()))).collect()
    }

    /// Reads and checks the file and everything that it names.
    ///
    /// # Errors
    /// The first thing that is wrong, as one line.
    pub fn load(file: &Path) -> Result<Settings, ConfigError> {
        load::load(&Files::on_disk(file))
    }

    /// Reads as [`Settings::load`] does and goes on where one section is wrong: what is right, without those sections, and what is
    /// wrong with them. For whoever wants to hear of everything at once.
    ///
    /// # Errors
    /// What leaves nothing to look at: the file cannot be read, is no TOML, or a number is out of range.
    pub fn examine(file: &Path) -> Result<(Settings, Vec<ConfigError>), ConfigError> {
        load::examine(&Files::on_disk(file))
    }

    /// An error about one of these settings that was found by whoever uses it.
    pub fn error(&self, key: &str, why: impl Into<String>) -> ConfigError {
        ConfigError::new(&self.file, key, why)
    }
}
