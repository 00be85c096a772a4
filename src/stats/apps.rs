//! How pushes to each app ended: a row of counters for each app that a credential serves.
//!
//! It refuses to let a push go uncounted: apps that have no row share one.

use super::names::OUTCOMES;
use super::rows::{Name, Rows};
use crate::model::Provider;
use std::io;
use std::sync::atomic::AtomicU64;

/// The label of pushes for an app that no credential serves.
pub(super) const OTHER_APP: &str = "other";

pub(super) struct Apps(Rows<{ OUTCOMES.len() }>);

impl Apps {
    pub(super) fn new(apps: impl IntoIterator<Item = Name>) -> io::Result<Apps> {
        let others = Provider::ALL.map(|provider| (provider, OTHER_APP.to_owned()));
        let mut first: Vec<_> = apps.into_iter().chain(others).collect();
        first.sort_by_key(|(provider, app)| (provider.as_str(), app == OTHER_APP, app.clone()));
        first.dedup();
        Ok(Apps(Rows::new(first)?))
    }

    /// As [`Rows::add`].
    pub(super) fn add(&self, apps: impl IntoIterator<Item = Name>) -> Vec<String> {
        self.0.add(apps)
    }

    /// Every row's name, in their order, to which later calls only append.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.names()
    }

    /// The number of pushes of a row that ended so.
    pub(super) fn number(&self, row: usize, outcome: usize) -> &AtomicU64 {
        &self.0.numbers(row)[outcome]
    }

    /// The same for an app, or for all others.
    pub(super) fn number_of(&self, provider: Provider, app: &str, outcome: usize) -> &AtomicU64 {
        let row = self.0.row(provider, app).or_else(|| self.0.row(provider, OTHER_APP));
        self.number(row.expect("every provider has a row for other apps"), outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_new_app_shares_a_row_until_it_has_its_own() {
        let app = |provider, name: &str| (provider, name.to_owned());
        let apps = Apps::new([app(Provider::Apns, "a.voip")]).unwrap();
        let names = |apps: &Apps| apps.names().map(|(_, name)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&apps), ["a.voip", "other", "other"]);
        apps.number_of(Provider::Fcm, "b", 0).store(1, Ordering::Relaxed);
        assert!(apps.add([app(Provider::Apns, "a.voip"), app(Provider::Fcm, "b")]).is_empty());
        assert_eq!(names(&apps), ["a.voip", "other", "other", "b"]);
        apps.number_of(Provider::Fcm, "b", 0).store(2, Ordering::Relaxed);
        apps.number_of(Provider::Apns, "b", 0).store(3, Ordering::Relaxed);
        let numbers: Vec<u64> = (0..4).map(|row| apps.number(row, 0).load(Ordering::Relaxed)).collect();
        assert_eq!(numbers, [0, 3, 1, 2]);
    }
}
