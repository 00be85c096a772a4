//! Rows of numbers whose names are in shared memory too, since a reload may bring new ones: apps, credentials, endpoints.
//!
//! It refuses to grow without a bound: there is room for so many more rows, and it says which have none.

use crate::model::Provider;
use crate::process::SharedCounters;
use once_cell::race::OnceBox;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows that may be new since the start.
const SPARE: usize = 64;
/// Numbers of a name: its length, and the provider; then its bytes.
const NAME_LEN: usize = 32;
const MOST_BYTES: usize = (NAME_LEN - 1) * size_of::<u64>();

/// A row's provider, and the app, credential or endpoint.
pub(super) type Name = (Provider, String);

/// The rows, those of the start first; then what reloads have added. Each has `WIDTH` numbers.
pub(super) struct Rows<const WIDTH: usize> {
    first: Vec<Name>,
    /// What this process has read of the others' names, which never change.
    more: [OnceBox<Name>; SPARE],
    /// How many others there are, and their names.
    names: SharedCounters,
    numbers: SharedCounters,
}

impl<const WIDTH: usize> Rows<WIDTH> {
    /// Makes room for these and for [`SPARE`] more. Before the fork.
    pub(super) fn new(first: Vec<Name>) -> io::Result<Self> {
        let numbers = SharedCounters::new((first.len() + SPARE) * WIDTH)?;
        let names = SharedCounters::new(1 + SPARE * NAME_LEN)?;
        Ok(Rows { first, more: std::array::from_fn(|_| OnceBox::new()), names, numbers })
    }

    /// Makes rows for those that have none; gives back those that there is no room for. By one process, and one thread, at a time.
    pub(super) fn add(&self, names: impl IntoIterator<Item = Name>) -> Vec<String> {
        let mut left_out = Vec::new();
        for (provider, name) in names {
            if self.row(provider, &name).is_none() && !self.add_one(provider, &name) {
                left_out.push(name);
            }
        }
        left_out
    }

    fn add_one(&self, provider: Provider, text: &str) -> bool {
        let (count, at) = (self.count(), self.added());
        if at >= SPARE || text.len() > MOST_BYTES {
            return false;
        }
        let code = Provider::ALL.iter().position(|known| *known == provider).unwrap_or(0);
        let name = self.name_at(at);
        name[0].store((text.len() << 8 | code) as u64, Ordering::Relaxed);
        for (word, bytes) in name[1..].iter().zip(text.as_bytes().chunks(size_of::<u64>())) {
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

    /// The numbers of a row.
    pub(super) fn numbers(&self, row: usize) -> &[AtomicU64] {
        &self.numbers.as_slice()[row * WIDTH..][..WIDTH]
    }

    /// Where the row of this name is.
    pub(super) fn row(&self, provider: Provider, name: &str) -> Option<usize> {
        self.names().position(|known| known.0 == provider && known.1 == name)
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
    fn a_new_name_gets_a_row_behind_the_others_until_there_is_no_more_room() {
        let name = |provider, name: &str| (provider, name.to_owned());
        let rows = Rows::<2>::new(vec![name(Provider::Apns, "a.voip")]).unwrap();
        let names = |rows: &Rows<2>| rows.names().map(|(_, name)| name.clone()).collect::<Vec<_>>();
        assert!(rows.add([name(Provider::Apns, "a.voip"), name(Provider::Fcm, "b")]).is_empty());
        assert_eq!(names(&rows), ["a.voip", "b"]);
        assert_eq!((rows.row(Provider::Fcm, "b"), rows.row(Provider::Apns, "b")), (Some(1), None));
        rows.numbers(1)[0].store(2, Ordering::Relaxed);
        rows.numbers(0)[1].store(3, Ordering::Relaxed);
        let numbers: Vec<u64> =
            (0..4).map(|at| rows.numbers(at / 2)[at % 2].load(Ordering::Relaxed)).collect();
        assert_eq!(numbers, [0, 3, 2, 0]);
        let many = (0..SPARE).map(|number| name(Provider::Fcm, &format!("project-{number}")));
        assert_eq!(rows.add(many), [format!("project-{}", SPARE - 1)]);
        assert_eq!(rows.add([name(Provider::Fcm, &"x".repeat(MOST_BYTES + 1))]).len(), 1);
        assert_eq!(names(&rows).len(), 1 + SPARE);
    }
}
