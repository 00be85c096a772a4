//! Phones that a call went to and that are taken to be awake: one that says nothing for a while is pushed to after all.
//!
//! It refuses to push: it says for which devices of which call it is time.

use super::note::{CallId, Doubt};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// What came before its call is kept for so long: each process has its own way to us.
const EARLY: Duration = Duration::from_secs(3);
/// Most of it that is kept.
const MOST_EARLY: usize = 10_000;

/// All calls with phones that have said nothing yet.
#[derive(Default)]
pub(super) struct Doubts {
    calls: HashMap<CallId, (Instant, Doubt)>,
    times: BTreeSet<(Instant, CallId)>,
    /// Branches that have answered, and calls that are over, before they were told of.
    early: VecDeque<(Instant, CallId, Option<u32>)>,
}

impl Doubts {
    /// A call went to phones that may be awake.
    pub fn doubt(&mut self, mut doubt: Doubt, now: Instant) {
        let id = doubt.id;
        let told: HashSet<Option<u32>> =
            self.early.iter().filter(|(_, its, _)| *its == id).map(|(_, _, branch)| *branch).collect();
        doubt.phones.retain(|phone| !phone.branches.iter().any(|branch| told.contains(&Some(*branch))));
        if doubt.phones.is_empty() || told.contains(&None) {
            return;
        }
        let at = now + doubt.within;
        self.forget(id);
        self.times.insert((at, id));
        self.calls.insert(id, (at, doubt));
    }

    /// The phone at the end of this branch has answered, in whatever way.
    pub fn answered(&mut self, id: CallId, branch: u32, now: Instant) {
        let Some((_, doubt)) = self.calls.get_mut(&id) else {
            return self.keep_early(id, Some(branch), now);
        };
        doubt.phones.retain(|phone| !phone.branches.contains(&branch));
        if doubt.phones.is_empty() {
            self.forget(id);
        }
    }

    /// The call is over.
    pub fn over(&mut self, id: CallId, now: Instant) {
        if !self.forget(id) {
            self.keep_early(id, None, now);
        }
    }

    /// When something is due.
    pub fn due(&self) -> Option<Instant> {
        self.times.first().map(|(at, _)| *at)
    }

    /// The next call with phones that are to be pushed to.
    pub fn next_due(&mut self, now: Instant) -> Option<Doubt> {
        let (_, id) = self.times.first().copied().filter(|(at, _)| *at <= now)?;
        self.times.pop_first();
        self.calls.remove(&id).map(|(_, doubt)| doubt)
    }

    fn forget(&mut self, id: CallId) -> bool {
        let Some((at, _)) = self.calls.remove(&id) else { return false };
        self.times.remove(&(at, id))
    }

    fn keep_early(&mut self, id: CallId, branch: Option<u32>, now: Instant) {
        while self.early.len() >= MOST_EARLY || self.early.front().is_some_and(|(at, ..)| *at + EARLY < now) {
            self.early.pop_front();
        }
        self.early.push_back((now, id, branch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::note::{Doubted, What};

    const ID: CallId = CallId { index: 1, label: 2 };

    fn doubt(phones: &[(&str, &[u32])]) -> Doubt {
        let doubted = |(device, branches): &(&str, &[u32])| Doubted {
            device_id: (*device).to_owned(),
            branches: branches.to_vec(),
        };
        Doubt {
            user: "bob".to_owned(),
            sip_call_id: "c1".to_owned(),
            id: ID,
            caller: "Alice".to_owned(),
            what: What::Audio,
            within: Duration::from_secs(1),
            phones: phones.iter().map(doubted).collect(),
        }
    }

    fn due(doubts: &mut Doubts, at: Instant) -> Vec<String> {
        let due = doubts.next_due(at).map(|doubt| doubt.phones).unwrap_or_default();
        due.into_iter().map(|phone| phone.device_id).collect()
    }

    #[test]
    fn a_phone_that_says_nothing_is_due_and_one_that_answers_is_not() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        doubts.doubt(doubt(&[("a", &[0]), ("b", &[1, 2]), ("c", &[3])]), now);
        doubts.answered(ID, 2, now);
        assert_eq!(doubts.due(), Some(now + Duration::from_secs(1)));
        assert!(due(&mut doubts, now).is_empty());
        assert_eq!(due(&mut doubts, now + Duration::from_secs(1)), ["a", "c"]);
        assert_eq!(doubts.due(), None);
    }

    #[test]
    fn nothing_is_due_when_all_have_answered_or_the_call_is_over() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        doubts.doubt(doubt(&[("a", &[0])]), now);
        doubts.answered(ID, 0, now);
        assert_eq!(doubts.due(), None);
        doubts.doubt(doubt(&[("a", &[1])]), now);
        doubts.over(ID, now);
        assert_eq!((doubts.due(), doubts.calls.len()), (None, 0));
    }

    #[test]
    fn an_answer_that_overtakes_its_call_is_kept_for_it_for_a_while() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        doubts.answered(ID, 0, now);
        doubts.doubt(doubt(&[("a", &[0]), ("b", &[1])]), now);
        assert_eq!(due(&mut doubts, now + Duration::from_secs(1)), ["b"]);
        doubts.over(ID, now);
        doubts.doubt(doubt(&[("a", &[5])]), now);
        assert_eq!(doubts.due(), None);
        doubts.answered(CallId { index: 9, label: 9 }, 0, now + 2 * EARLY);
        assert_eq!(doubts.early.len(), 1);
    }
}
