//! Until when the certificates of the providers' servers are good, as they were last seen.
//!
//! It refuses to judge: rustls has refused what is no good, and an alert says what soon will be none.

use super::Reading;
use super::rows::{Name, Rows};
use crate::model::Provider;
use std::io;
use std::sync::atomic::Ordering;

pub(super) struct Endpoints(Rows<1>);

impl Endpoints {
    pub(super) fn new(mut endpoints: Vec<Name>) -> io::Result<Endpoints> {
        endpoints.sort_by(|one, other| (one.0.as_str(), &one.1).cmp(&(other.0.as_str(), &other.1)));
        // Several credentials may go to one server.
        endpoints.dedup();
        Ok(Endpoints(Rows::new(endpoints)?))
    }

    /// As [`Rows::add`].
    pub(super) fn add(&self, endpoints: Vec<Name>) -> Vec<String> {
        self.0.add(endpoints)
    }

    /// A server has shown a certificate that ends at this time, in seconds since 1970.
    pub(super) fn seen(&self, provider: Provider, endpoint: &str, ends_at_s: u64) {
        if let Some(row) = self.0.row(provider, endpoint) {
            self.0.numbers(row)[0].store(ends_at_s, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> impl Iterator<Item = Reading> {
        self.0.names().enumerate().map(|(row, (provider, endpoint))| Reading {
            name: "provider_certificate_expiry_timestamp_seconds",
            labels: format!("{{provider=\"{}\",endpoint=\"{endpoint}\"}}", provider.as_str()),
            help: "When the certificate ends that the provider's server showed last; 0 where none was seen",
            value: self.0.numbers(row)[0].load(Ordering::Relaxed),
        })
    }
}
