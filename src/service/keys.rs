//! How old our keys are, as numbers beside the counters.
//!
//! It refuses to open a key: their files were dated when they were read.

use super::Service;
use crate::model::Provider;
use crate::stats::Reading;
use std::time::SystemTime;

/// A key and its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAge {
    /// Where it is known.
    pub provider: Provider,
    /// The provider's id of it.
    pub key: String,
    /// How long ago its file was changed last, in seconds.
    pub age_s: u64,
}

impl Service {
    /// The age of every key.
    pub fn key_ages(&self) -> Vec<KeyAge> {
        let settings = self.settings();
        let apns = settings.apns.iter().map(|apns| (Provider::Apns, apns.key_id.as_str(), &apns.key));
        let fcm = settings.fcm.iter().map(|fcm| (Provider::Fcm, fcm.key_id.as_str(), &fcm.key));
        let now = SystemTime::now();
        let aged = apns.chain(fcm).filter_map(|(provider, id, key)| {
            let age = now.duration_since(key.since()?).unwrap_or_default();
            Some(KeyAge { provider, key: id.to_owned(), age_s: age.as_secs() })
        });
        let mut keys: Vec<_> = aged.collect();
        // One key serves production and sandbox.
        keys.sort_by(|a, b| (a.provider.as_str(), &a.key).cmp(&(b.provider.as_str(), &b.key)));
        keys.dedup_by(|a, b| (a.provider, &a.key) == (b.provider, &b.key));
        keys
    }

    /// Every number but the histograms: the counters, and the age of every key.
    pub fn readings(&self) -> Vec<Reading> {
        let ages = self.key_ages().into_iter().map(|KeyAge { provider, key, age_s }| {
            let key: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
            Reading {
                name: "key_age_seconds",
                labels: format!("{{provider=\"{}\",key=\"{key}\"}}", provider.as_str()),
                help: "How long ago the file of a key was last changed",
                value: age_s,
            }
        });
        self.stats().read().into_iter().chain(ages).collect()
    }
}
