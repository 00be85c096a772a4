//! Which master of a Cluster has which slots, for work that goes over all keys or over many at once.
//!
//! It refuses to be right for long: a slot may move at any time, and the Cluster says so then.

use super::link::Place;
use redis::Value;
use redis::cluster_routing::Slot;
use std::collections::HashMap;

/// The masters of an engine; one, where it is no Cluster.
#[derive(Debug)]
pub(super) struct Masters {
    pub(super) places: Vec<Place>,
    /// Empty where there is one.
    of_slot: HashMap<Slot, usize>,
}

impl Masters {
    /// The only server there is.
    pub(super) fn one() -> Masters {
        Masters { places: vec![Place::OfKey(Vec::new())], of_slot: HashMap::new() }
    }

    /// From the answer to CLUSTER SLOTS. A node without a name is the one that answered, `asked`.
    pub(super) fn of_slots(answer: &Value, asked: &str) -> Masters {
        let mut masters = Masters { places: Vec::new(), of_slot: HashMap::new() };
        let Value::Array(ranges) = answer else { return masters };
        for range in ranges {
            if let Some((first, last, place)) = range_of(range, asked) {
                masters.add(first, last, place);
            }
        }
        masters
    }

    fn add(&mut self, first: u16, last: u16, place: Place) {
        let at = self.places.iter().position(|known| *known == place).unwrap_or_else(|| {
            self.places.push(place);
            self.places.len() - 1
        });
        self.of_slot.extend((first..=last).filter_map(Slot::new).map(|slot| (slot, at)));
    }

    /// Which of the places has a key.
    pub(super) fn of_key(&self, key: &[u8]) -> usize {
        self.of_slot.get(&Slot::for_key(key)).copied().unwrap_or_default()
    }
}

fn range_of(range: &Value, asked: &str) -> Option<(u16, u16, Place)> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
        return None;
    };
    let (host, Value::Int(port)) = (master.first()?, master.get(1)?) else { return None };
    let host = match host {
        Value::BulkString(name) if !name.is_empty() => String::from_utf8(name.clone()).ok()?,
        _ => asked.to_owned(),
    };
    let place = Place::Server(host, u16::try_from(*port).ok()?);
    Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, place))
}

/// The slot of a key, from 0 to 16383 (Redis Cluster specification, "Key distribution model"); the crate knows it and does not tell.
pub fn slot_of(key: &[u8]) -> u16 {
    let start = key.iter().position(|byte| *byte == b'{').map(|at| at + 1);
    let tag = start.and_then(|start| {
        key[start..]
            .split(|byte| *byte == b'}')
            .next()
            .filter(|tag| !tag.is_empty() && start + tag.len() < key.len())
    });
    let shift = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    let crc =
        tag.unwrap_or(key).iter().fold(0u16, |crc, byte| (0..8).fold(crc ^ u16::from(*byte) << 8, shift));
    crc % 16384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_crate() {
        for key in ["voip-push:{345}:u:{alice}@example.org", "voip-push:t:abc", "{}a", "a{b", "", "{x}"] {
            assert_eq!(Slot::new(slot_of(key.as_bytes())), Some(Slot::for_key(key)), "{key}");
        }
    }
}
