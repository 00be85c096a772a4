//! Phones that register, here or at another machine, and what machines tell each other of them.
//!
//! It refuses to take a registration elsewhere for a contact that is here: its calls look for that, and once more a little later.

use super::calls;
use super::host::SenderHost;
use crate::host::elsewhere::Word;
use crate::host::kamailio::awaits;
use crate::host::note::Wake;
use crate::host::parked::Told;
use crate::host::waiting::Moment;
use crate::service::Pushes;
use crate::stats::Counter;
use std::time::{Duration, Instant};

/// So long after word of a registration elsewhere its contact has come to us, or is given up.
const CONTACT_COMES: Duration = Duration::from_millis(250);

impl SenderHost {
    /// A phone has registered.
    pub(super) fn wake(&self, wake: &Wake, told: Told, now: Instant) {
        let travels = if told == Told::Here { Duration::ZERO } else { CONTACT_COMES };
        self.act_all(calls::with(|parked| parked.wake(wake, told, now)));
        let had_it = self.remembered.borrow_mut().wake(&wake.without_places(), travels, now);
        for id in had_it {
            awaits::less(id, 1);
            self.see_who_is_awaited(id, now);
        }
        self.tell_late();
    }

    pub(super) fn wake_from_elsewhere(&self, wake: Wake) {
        let now = Instant::now();
        self.service.stats().count(Counter::NodeWakesHeard);
        let of_interest = self.elsewhere.borrow_mut().heard(wake, now);
        if let Some(wake) = of_interest {
            self.wake(&wake, Told::Elsewhere, now);
        }
    }

    /// Calls that have not found a phone which has registered elsewhere look for it again.
    pub(super) fn wake_again(&self) {
        let next = || self.elsewhere.borrow_mut().next_due(Instant::now());
        while let Some(wake) = next() {
            let acts = calls::with(|parked| parked.wake_again(&wake, Instant::now()));
            self.act_all(acts);
            self.obey_itself();
        }
    }

    /// A phone of this user may register at another machine.
    pub(super) fn tell_others_of_a_call(&self, user: &str, missed_since: Moment) {
        if self.pushes.borrow().as_ref().is_some_and(Pushes::has_others) {
            let word = self.elsewhere.borrow_mut().came(user, missed_since, Instant::now());
            self.say(word);
        }
    }

    pub(super) fn say(&self, word: Option<Word>) {
        if let (Some(word), Some(pushes)) = (word, self.pushes.borrow().as_ref()) {
            if matches!(word, Word::Wake(_)) {
                self.service.stats().count(Counter::NodeWakesSaid);
            }
            pushes.say(word.encode());
        }
    }
}
