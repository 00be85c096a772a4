//! How pushes to each app ended: rows of counters whose names are in shared memory too, since a reload may bring new apps.
//!
//! It refuses to grow without a bound: there is room for so many more apps, and the others share one row.

use super::names::OUTCOMES;
use crate::model::Provider;
use crate::process::SharedCounters;
use once_cell::race::OnceBox;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The label of pushes for an app that no credential serves.
pub(super) const OTHER_APP: &str = "other";
/// Apps that may be new since the start.
const SPARE: usize = 64;
/// Numbers of a name: its length, and the provider; then its bytes.
const NAME_LEN: usize = 32;
const MOST_BYTES: usize = (NAME_LEN - 1) * size_of::<u64>();

/// A row's provider and app.
type Name = (Provider, String);

/// The rows, those of the start first; then what reloads have added.
pub(super) struct Apps {
    first: Vec<Name>,
    /// What this process has read of the others' names, which never change.
    more: [OnceBox<Name>; SPARE],
    /// How many others there are, and their names.
    names: SharedCounters,
    numbers: SharedCounters,
}

impl Apps {
    pub(super) fn new(apps: impl IntoIterator<Item = Name>) -> io::Result<Apps> {
        let others = Provider::ALL.map(|provider| (provider, OTHER_APP.to_owned()));
        let mut first: Vec<_> = apps.into_iter().chain(others).collect();
        first.sort_by_key(|(provider, app)| (provider.as_str(), app == OTHER_APP, app.clone()));
        first.dedup();
        let numbers = SharedCounters::new((first.len() + SPARE) * OUTCOMES.len())?;
        let names = SharedCounters::new(1 + SPARE * NAME_LEN)?;
        Ok(Apps { first, more: std::array::from_fn(|_| OnceBox::new()), names, numbers })
    }

    /// Makes rows for those that have none; gives back those that there is no room for. By one process, and one thread, at a time.
    pub(super) fn add(&self, apps: impl IntoIterator<Item = Name>) -> Vec<String> {
        let mut left_out = Vec::new();
        for (provider, app) in apps {
            if self.row(provider, &app).is_none() && !self.add_one(provider, &app) {
                left_out.push(app);
            }
        }
        left_out
    }

    fn add_one(&self, provider: Provider, app: &str) -> bool {
        let (count, at) = (self.count(), self.added());
        if at >= SPARE || app.len() > MOST_BYTES {
            return false;
        }
        let code = Provider::ALL.iter().position(|known| *known == provider).unwrap_or(0);
        let name = self.name_at(at);
        name[0].store((app.len() << 8 | code) as u64, Ordering::Relaxed);
        for (word, bytes) in name[1..].iter().zip(app.as_bytes().chunks(size_of::<u64>())) {
            let mut whole = [0; size_of::<u64>()];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
        count.store(at as u64 + 1, Ordering::Release);
        true
    }

    /// Every row's name, in their order, to which later calls only append.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.first
            .iter()
            .chain((0..self.added()).map(|at| self.more[at].get_or_init(|| Box::new(self.read(at)))))
    }

    /// The number of pushes of a row that ended so.
    pub(super) fn number(&self, row: usize, outcome: usize) -> &AtomicU64 {
        &self.numbers.as_slice()[row * OUTCOMES.len() + outcome]
    }

    /// The same for an app, or for all others.
    pub(super) fn number_of(&self, provider: Provider, app: &str, outcome: usize) -> &AtomicU64 {
        let row = self.row(provider, app).or_else(|| self.row(provider, OTHER_APP));
        self.number(row.expect("every provider has a row for other apps"), outcome)
    }

    fn row(&self, provider: Provider, app: &str) -> Option<usize> {
        self.names().position(|known| known.0 == provider && known.1 == app)
    }

    fn read(&self, at: usize) -> Name {
        let name = self.name_at(at);
        let head = name[0].load(Ordering::Relaxed) as usize;
        let mut bytes: Vec<u8> =
            name[1..].iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        bytes.truncate(head >> 8);
        let provider = Provider::ALL[(head & 0xff) % Provider::ALL.len()];
        (provider, String::from_utf8_lossy(&bytes).into_owned())
    }

    fn name_at(&self, at: usize) -> &[AtomicU64] {
        let start = 1 + at * NAME_LEN;
        &self.names.as_slice()[start..start + NAME_LEN]
    }

    fn count(&self) -> &AtomicU64 {
        &self.names.as_slice()[0]
    }

    fn added(&self) -> usize {
        (self.count().load(Ordering::Acquire) as usize).min(SPARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_app_gets_a_row_behind_the_others_until_there_is_no_more_room() {
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
        let many = (0..SPARE).map(|number| app(Provider::Fcm, &format!("project-{number}")));
        assert_eq!(apps.add(many), [format!("project-{}", SPARE - 1)]);
        assert_eq!(apps.add([app(Provider::Fcm, &"x".repeat(MOST_BYTES + 1))]).len(), 1);
        assert_eq!(names(&apps).len(), 3 + SPARE);
    }
}
