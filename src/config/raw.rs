//! The file's shape, key for key as the README documents it, before anything is checked.
//!
//! It refuses unknown keys, so that a slip of the pen is an error and not a setting that is silently ignored.

use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub store: Store,
    pub call: Call,
    pub sender: Sender,
    pub limits: Limits,
    pub quarantine: Quarantine,
    pub apns: Vec<Apns>,
    pub fcm: Vec<Fcm>,
    pub app: Vec<App>,
    pub rest: Option<Rest>,
    pub sip: Sip,
    pub message: Message,
    pub alerts: Alerts,
    pub refresh: Refresh,
    pub reachable: Reachable,
    pub timeline: Timeline,
    pub log: Log,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    pub url: String,
    pub state_directory: Option<PathBuf>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub sentinel_password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub key_prefix: String,
    pub lookup_ms: i64,
    pub write_ms: i64,
    pub wait_replicas: i64,
    pub cache_users: i64,
    pub cache_seconds: i64,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            url: "sqlite:/var/lib/voip-push/tokens.db".to_owned(),
            state_directory: None,
            username: None,
            password_file: None,
            sentinel_password_file: None,
            ca_file: None,
            key_prefix: "voip-push".to_owned(),
            lookup_ms: 50,
            write_ms: 1000,
            wait_replicas: 0,
            cache_users: 20_000,
            cache_seconds: 3600,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Call {
    pub ring_seconds: i64,
    pub wait_ms: i64,
    pub wake_seconds: i64,
    pub late_seconds: i64,
    pub missed_call_alert: bool,
}

impl Default for Call {
    fn default() -> Self {
        Call { ring_seconds: 30, wait_ms: 800, wake_seconds: 15, late_seconds: 60, missed_call_alert: false }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sender {
    pub max_queued: i64,
    pub max_queued_bytes: i64,
    pub stop_ms: i64,
}

impl Default for Sender {
    fn default() -> Self {
        Sender { max_queued: 10_000, max_queued_bytes: 64 << 20, stop_ms: 2000 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub device_per_minute: i64,
    pub caller_per_minute: i64,
    pub calls_per_user: i64,
    pub devices_per_user: i64,
    pub users_per_token: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            device_per_minute: 30,
            caller_per_minute: 300,
            calls_per_user: 8,
            devices_per_user: 20,
            users_per_token: 1,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Quarantine {
    pub dead_tokens: i64,
    pub window_seconds: i64,
    pub pair_seconds: i64,
}

impl Default for Quarantine {
    fn default() -> Self {
        Quarantine { dead_tokens: 50, window_seconds: 60, pair_seconds: 600 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Apns {
    pub team_id: String,
    pub key_id: String,
    pub key_file: PathBuf,
    pub topics: Vec<String>,
    #[serde(default = "production")]
    pub environment: String,
    pub url: Option<String>,
    pub ca_file: Option<PathBuf>,
}

fn production() -> String {
    "production".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fcm {
    pub service_account_file: PathBuf,
    #[serde(default = "alert")]
    pub ios_push_type: String,
    pub url: Option<String>,
    pub ca_file: Option<PathBuf>,
}

fn alert() -> String {
    "alert".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct App {
    pub name: String,
    pub profile: String,
    pub template: Option<String>,
    pub cancel_template: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rest {
    pub api_keys_file: Option<PathBuf>,
    #[serde(default = "ten")]
    pub wrong_keys_per_minute: i64,
}

pub(super) fn ten() -> i64 {
    10
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sip {
    pub min_expires_seconds: i64,
    pub pnsreg_seconds: i64,
    pub brief: String,
    pub unsupported: String,
    pub unstored: String,
    pub keep_tokens: String,
    pub purr: String,
    pub purr_key_file: Option<PathBuf>,
}

impl Default for Sip {
    fn default() -> Self {
        Sip {
            min_expires_seconds: 180,
            pnsreg_seconds: 130,
            brief: "refuse".to_owned(),
            unsupported: "forward".to_owned(),
            unstored: "forward".to_owned(),
            keep_tokens: "until_dead".to_owned(),
            purr: "offer".to_owned(),
            purr_key_file: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Message {
    pub wake_seconds: i64,
    pub ios_push_type: String,
}

impl Default for Message {
    fn default() -> Self {
        Message { wake_seconds: 25, ios_push_type: "alert".to_owned() }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Alerts {
    pub missed_call: Option<String>,
    pub missed_call_loc_key: Option<String>,
    pub message: Option<String>,
    pub message_loc_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Refresh {
    pub seconds_before: i64,
    pub spread_seconds: i64,
    pub retry_seconds: i64,
}

impl Default for Refresh {
    fn default() -> Self {
        Refresh { seconds_before: 150, spread_seconds: 60, retry_seconds: 30 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Reachable {
    pub ios_seconds: i64,
    pub android_seconds: i64,
    pub provisional_ms: i64,
}

impl Default for Reachable {
    fn default() -> Self {
        Reachable { ios_seconds: 60, android_seconds: 3600, provisional_ms: 1500 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Timeline {
    pub file: Option<PathBuf>,
    pub keep_hours: i64,
    pub calls_per_second: i64,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline { file: None, keep_hours: 24, calls_per_second: 100 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Log { level: "info".to_owned() }
    }
}

/// Google's service account file. Google adds fields of its own from time to time, so unknown ones are taken here.
#[derive(Deserialize)]
pub(super) struct ServiceAccount {
    pub project_id: String,
    pub private_key_id: String,
    pub private_key: String,
    pub client_email: String,
    pub token_uri: String,
}
