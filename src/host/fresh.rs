//! When each contact was last registered, over what, and by which phone: a table of numbers that all processes share.
//!
//! It refuses to be sure: contacts share rows, and one whose row another one has taken is not known, so that its phone is pushed to.

use crate::process::SharedCounters;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// 2 MB of memory that stays untouched as long as nobody registers.
const ROWS: usize = 1 << 18;
/// From the highest bit: 32 for the second, one for a transport with connections, 15 for the contact, 16 for the phone.
const SECOND_SHIFT: u32 = 32;
const CONNECTED: u64 = 1 << 31;
const CONTACT_SHIFT: u32 = 16;
const CONTACT: u64 = 0x7FFF;
const PHONE: u64 = 0xFFFF;

/// The table; made before the fork.
pub(super) struct Fresh {
    rows: SharedCounters,
    hasher: RandomState,
    start: Instant,
}

/// What is known of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// How long ago it was registered.
    pub age: Duration,
    /// Over TCP, TLS or a WebSocket.
    pub is_connected: bool,
    /// The phone that has registered it, by [`Fresh::phone`].
    pub phone: u16,
}

impl Fresh {
    /// An empty table.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new() -> io::Result<Fresh> {
        Ok(Fresh { rows: SharedCounters::new(ROWS)?, hasher: RandomState::new(), start: Instant::now() })
    }

    /// A phone has registered a contact just now.
    pub fn note(&self, contact: &str, is_connected: bool, phone: &str) {
        let hash = self.hasher.hash_one(contact);
        let connected = if is_connected { CONNECTED } else { 0 };
        let value = self.now_s() << SECOND_SHIFT
            | connected
            | tag(hash) << CONTACT_SHIFT
            | u64::from(self.phone(phone));
        self.row(hash).store(value, Ordering::Relaxed);
    }

    /// What is known of a contact, unless another one has taken its row.
    pub fn look(&self, contact: &str) -> Option<Known> {
        let hash = self.hasher.hash_one(contact);
        let row = self.row(hash).load(Ordering::Relaxed);
        let is_it = row != 0 && row >> CONTACT_SHIFT & CONTACT == tag(hash);
        is_it.then(|| Known {
            age: Duration::from_secs(self.now_s().saturating_sub(row >> SECOND_SHIFT)),
            is_connected: row & CONNECTED != 0,
            phone: (row & PHONE) as u16,
        })
    }

    /// A number for a phone, by its instance or token, in any case of letters.
    pub fn phone(&self, name: &str) -> u16 {
        (self.hasher.hash_one(name.to_lowercase()) & PHONE) as u16
    }

    /// Seconds since the server started, and never 0.
    fn now_s(&self) -> u64 {
        self.start.elapsed().as_secs() + 1
    }

    fn row(&self, hash: u64) -> &AtomicU64 {
        &self.rows.as_slice()[usize::try_from(hash % ROWS as u64).unwrap_or(0)]
    }
}

fn tag(hash: u64) -> u64 {
    hash >> 40 & CONTACT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_known_by_what_was_noted_last() {
        let fresh = Fresh::new().unwrap();
        assert_eq!(fresh.look("uloc-1"), None);
        fresh.note("uloc-1", false, "");
        fresh.note("uloc-1", true, "urn:uuid:A");
        fresh.note("uloc-2", false, "other");
        let known = fresh.look("uloc-1").unwrap();
        assert!(known.is_connected && known.age < Duration::from_secs(5));
        assert_eq!(known.phone, fresh.phone("URN:uuid:a"));
        assert!(!fresh.look("uloc-2").unwrap().is_connected);
    }

    #[test]
    fn who_has_lost_its_row_is_mostly_not_known_and_never_another() {
        let fresh = Fresh::new().unwrap();
        for number in 0..ROWS {
            fresh.note(&format!("other-{number}"), true, "x");
        }
        let taken = (0..1000).filter(|number| fresh.look(&format!("mine-{number}")).is_some()).count();
        assert!(taken < 20, "{taken}");
    }
}
