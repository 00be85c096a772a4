//! Which calls were pushed in the last minutes, from whom, and to which devices: only those are told how a call has ended.
//!
//! It refuses to grow without a bound; the oldest call makes room.

use super::window::Mixed;
use crate::model::{Call, Caller, Push, folded};
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::num::NonZeroU64;
use tokio::time::Instant;
use uuid::Uuid;

/// Longer than a call rings.
const REMEMBERED_S: Age = 300;
/// Most calls that are remembered; about 10 MB.
const MOST: usize = 20_000;

/// The calls, by a hash of user and Call-ID.
pub(super) struct Pushed {
    calls: HashMap<u64, Known, Mixed>,
    in_order: VecDeque<(Age, u64)>,
    start: Instant,
    hasher: RandomState,
}

/// Seconds since the start.
type Age = u32;

/// There are some thousand of them, so an entry is small.
struct Known {
    /// The parts of the caller, one line each, or nothing where that would be a name only.
    caller: Box<str>,
    /// Hashes of its pushes' ids. Most calls have one.
    push: Option<NonZeroU64>,
    #[expect(clippy::box_collection, reason = "rare, and two words more in each of the others' entries")]
    others: Option<Box<Vec<NonZeroU64>>>,
}

impl Known {
    fn new(caller: &Caller) -> Known {
        Known { caller: caller.parts().join("\n").into(), push: None, others: None }
    }

    fn caller(&self) -> Caller {
        let mut parts = self.caller.split('\n');
        let mut next = || parts.next().unwrap_or_default();
        Caller::new(next(), next(), next())
    }

    fn has(&self, push: NonZeroU64) -> bool {
        self.push == Some(push) || self.others.as_ref().is_some_and(|others| others.contains(&push))
    }

    fn add(&mut self, push: NonZeroU64) {
        if self.has(push) {
            return;
        }
        match self.push {
            None => self.push = Some(push),
            Some(_) => self.others.get_or_insert_default().push(push),
        }
    }

    fn remove(&mut self, push: NonZeroU64) {
        self.push = self.push.filter(|known| *known != push);
        if let Some(others) = &mut self.others {
            others.retain(|known| *known != push);
        }
    }
}

impl Default for Pushed {
    fn default() -> Pushed {
        let (calls, in_order) = (HashMap::default(), VecDeque::new());
        Pushed { calls, in_order, start: Instant::now(), hasher: RandomState::new() }
    }
}

impl Pushed {
    /// A device is pushed for a call.
    pub(super) fn note(&mut self, push: &Push) {
        let now = self.start.elapsed().as_secs() as Age;
        while self.in_order.front().is_some_and(|(at, _)| now - at > REMEMBERED_S)
            || self.in_order.len() >= MOST
        {
            self.in_order.pop_front().and_then(|(_, key)| self.calls.remove(&key));
        }
        let (key, push_id) = (self.key(&push.call), self.hash(push.id()));
        let known = self.calls.entry(key).or_insert_with(|| {
            self.in_order.push_back((now, key));
            Known::new(&push.call.caller)
        });
        known.add(push_id);
    }

    /// That push has not reached its device.
    pub(super) fn forget(&mut self, push: &Push) {
        let key = self.key(&push.call);
        let push = self.hash(push.id());
        if let Some(known) = self.calls.get_mut(&key) {
            known.remove(push);
        }
    }

    /// Who called, where the call of this push was pushed; for the word that it is over, to that very device.
    pub(super) fn caller(&self, push: &Push) -> Option<Caller> {
        let known = self.calls.get(&self.key(&push.call))?;
        let for_call = push.call_push_id();
        for_call.is_none_or(|id| known.has(self.hash(id))).then(|| known.caller())
    }

    fn hash(&self, push: Uuid) -> NonZeroU64 {
        NonZeroU64::MIN.saturating_add(self.hasher.hash_one(push) >> 1)
    }

    /// Users are the same in any case of letters, as SIP registrars have them.
    fn key(&self, call: &Call) -> u64 {
        self.hasher.hash_one((folded(call.callee.as_str()), &call.call_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ended, Kind};
    use crate::provider::tests::push_to;

    fn ended(push: &Push) -> Push {
        push.clone().of_kind(Kind::Ended(Ended::Cancelled))
    }

    #[test]
    fn only_a_device_that_was_pushed_is_told_of_the_end() {
        let mut pushed = Pushed::default();
        let call = push_to("ios", &"ab".repeat(32), "Alice");
        let mut other = push_to("ios", &"cd".repeat(32), "");
        other.device.device_id = "other".to_owned();
        assert_eq!(pushed.caller(&ended(&call)), None);
        pushed.note(&call);
        assert_eq!(pushed.caller(&ended(&call)).unwrap().shown(), "Alice");
        assert_eq!(pushed.caller(&ended(&other)), None);
        let missed = other.of_kind(Kind::Missed);
        assert_eq!(pushed.caller(&missed).unwrap().shown(), "Alice", "an alert has a token of its own");
        pushed.forget(&call);
        assert_eq!(pushed.caller(&ended(&call)), None);
    }

    #[test]
    fn many_calls_make_room_for_each_other() {
        let mut pushed = Pushed::default();
        let call = push_to("ios", &"ab".repeat(32), "Alice");
        pushed.note(&call);
        for number in 0..MOST {
            let mut other = call.clone();
            other.call.call_id = number.to_string();
            pushed.note(&other);
        }
        assert_eq!(pushed.caller(&ended(&call)), None);
        assert_eq!((pushed.calls.len(), pushed.in_order.len()), (MOST, MOST));
    }
}
