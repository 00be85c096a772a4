//! What each credential's quarantine holds, so that every process can show what only the sender knows.
//!
//! It refuses to decide anything: the sender closes and opens a quarantine, and says so here.

use super::Reading;
use super::rows::{Name, Rows};
use crate::model::Provider;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// A credential's numbers: dead tokens held back, senders whose quarantine is closed, and since when one is.
const HELD: usize = 0;
const CLOSED: usize = 1;
const SINCE_MS: usize = 2;

/// One credential's quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ward {
    /// Whose tokens.
    pub provider: Provider,
    /// The credential's name, as in the log.
    pub credential: String,
    /// Dead tokens that wait for an administrator's word.
    pub held: u64,
    /// Since when nothing is deleted, in ms since 1970; `None` where the quarantine is open and dead tokens are deleted.
    pub closed_since_ms: Option<u64>,
}

pub(super) struct Wards(Rows<3>);

impl Wards {
    pub(super) fn new(mut credentials: Vec<Name>) -> io::Result<Wards> {
        credentials.sort_by(|one, other| (one.0.as_str(), &one.1).cmp(&(other.0.as_str(), &other.1)));
        // A key with other topics is the same credential.
        credentials.dedup();
        Ok(Wards(Rows::new(credentials)?))
    }

    /// As [`Rows::add`].
    pub(super) fn add(&self, credentials: Vec<Name>) -> Vec<String> {
        self.0.add(credentials)
    }

    /// From now on nothing is deleted.
    pub(super) fn close(&self, provider: Provider, credential: &str, now_ms: u64) {
        self.change(provider, credential, |row| {
            if row[CLOSED].fetch_add(1, Ordering::Relaxed) == 0 {
                row[SINCE_MS].store(now_ms, Ordering::Relaxed);
            }
        });
    }

    /// One more dead token is held back.
    pub(super) fn hold(&self, provider: Provider, credential: &str) {
        self.change(provider, credential, |row| {
            row[HELD].fetch_add(1, Ordering::Relaxed);
        });
    }

    /// What one sender has closed is open again, and those that it held are held no more.
    pub(super) fn open(&self, provider: Provider, credential: &str, held: u64) {
        self.change(provider, credential, |row| {
            row[HELD].fetch_sub(held, Ordering::Relaxed);
            row[CLOSED].fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// One without a row, since there was no room, is not shown.
    fn change(&self, provider: Provider, credential: &str, change: impl Fn(&[AtomicU64])) {
        if let Some(row) = self.0.row(provider, credential) {
            change(self.0.numbers(row));
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Ward> {
        self.0.names().enumerate().map(|(row, (provider, credential))| {
            let value = |column: usize| self.0.numbers(row)[column].load(Ordering::Relaxed);
            Ward {
                provider: *provider,
                credential: credential.clone(),
                held: value(HELD),
                closed_since_ms: (value(CLOSED) > 0).then(|| value(SINCE_MS)),
            }
        })
    }

    pub(super) fn read(&self) -> impl Iterator<Item = Reading> {
        self.all().map(|ward| Reading {
            name: "credential_quarantine",
            labels: format!(
                "{{provider=\"{}\",credential=\"{}\"}}",
                ward.provider.as_str(),
                super::label_value(&ward.credential)
            ),
            help: "Dead tokens of a credential that wait for an administrator's word",
            value: ward.held,
        })
    }
}
