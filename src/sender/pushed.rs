//! Which calls were pushed in the last minutes, from whom, and to which devices: only those are told how a call has ended.
//!
//! It refuses to grow without a bound; the oldest call makes room.

use crate::model::{Call, Caller, Push};
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Longer than a call rings.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Most calls that are remembered; about 10 MB.
const MOST: usize = 20_000;

/// The calls, by a hash of user and Call-ID.
#[derive(Default)]
pub(super) struct Pushed {
    calls: HashMap<u64, Known>,
    in_order: VecDeque<(Instant, u64)>,
    hasher: RandomState,
}

struct Known {
    caller: Caller,
    pushes: HashSet<Uuid>,
}

impl Pushed {
    /// A device is pushed for a call.
    pub(super) fn note(&mut self, push: &Push) {
        while self.in_order.front().is_some_and(|(at, _)| at.elapsed() > REMEMBERED)
            || self.in_order.len() >= MOST
        {
            self.in_order.pop_front().and_then(|(_, key)| self.calls.remove(&key));
        }
        let key = self.key(&push.call);
        let known = self.calls.entry(key).or_insert_with(|| {
            self.in_order.push_back((Instant::now(), key));
            Known { caller: push.call.caller.clone(), pushes: HashSet::new() }
        });
        known.pushes.insert(push.id());
    }

    /// That push has not reached its device.
    pub(super) fn forget(&mut self, push: &Push) {
        let key = self.key(&push.call);
        if let Some(known) = self.calls.get_mut(&key) {
            known.pushes.remove(&push.id());
        }
    }

    /// Who called, where the call of this push was pushed; for the word that it is over, to that very device.
    pub(super) fn caller(&self, push: &Push) -> Option<Caller> {
        let known = self.calls.get(&self.key(&push.call))?;
        let for_call = push.call_push_id();
        for_call.is_none_or(|id| known.pushes.contains(&id)).then(|| known.caller.clone())
    }

    /// Users are the same in any case of letters, as SIP registrars have them.
    fn key(&self, call: &Call) -> u64 {
        self.hasher.hash_one((call.callee.as_str().to_lowercase(), &call.call_id))
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
