//! How many devices there are and what they add up to, so that two stores, or a store and a file, can be compared at a glance.
//!
//! It refuses to depend on an order: stores tell their devices in orders of their own.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use super::record::{COLUMNS, Record};

/// The number of devices, and the sum (modulo 2^128) of the first 16 bytes of the SHA-256 of each: its columns in the order of
/// [`COLUMNS`], each ended by a line feed, which no field can hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Devices so far.
    pub count: u64,
    sum: u128,
}

impl Checksum {
    /// One device more, with whole tokens.
    pub fn add(&mut self, record: &Record) {
        let mut text = String::with_capacity(256);
        for place in 0..COLUMNS.len() {
            text.push_str(&record.get(place));
            text.push('\n');
        }
        let hashed = digest(&SHA256, text.as_bytes());
        let first = hashed.as_ref().first_chunk().copied().expect("SHA-256 has 32 bytes");
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(first));
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} devices, checksum {:032x}", self.count, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(user: &str, device_id: Option<&str>) -> Record {
        let device_id = device_id.map(str::to_owned);
        Record {
            user: user.to_owned(),
            token: "t".to_owned(),
            platform: "ios".to_owned(),
            device_id,
            ..Record::default()
        }
    }

    fn of(records: &[Record]) -> Checksum {
        let mut sum = Checksum::default();
        records.iter().for_each(|record| sum.add(record));
        sum
    }

    #[test]
    fn the_order_does_not_count_and_everything_else_does() {
        let (alice, bob) = (record("alice", None), record("bob", Some("x")));
        let both = of(&[alice.clone(), bob.clone()]);
        assert_eq!(both, of(&[bob.clone(), alice.clone()]));
        assert_ne!(both, of(std::slice::from_ref(&alice)));
        // Twice the same is not nothing, as it would be with XOR.
        assert_ne!(of(&[alice.clone(), alice.clone(), bob.clone()]), of(std::slice::from_ref(&bob)));
        // What moves from one field to the next is another device.
        assert_ne!(of(&[record("alicex", None)]), of(&[record("alice", Some("x"))]));
        assert_eq!(
            of(std::slice::from_ref(&alice)),
            of(&[Record { device_id: Some(String::new()), ..alice }])
        );
        assert_eq!(Checksum::default().to_string(), format!("0 devices, checksum {:032x}", 0));
    }
}
