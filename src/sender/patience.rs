//! Who waits for a call's report, and until when.
//!
//! It refuses to keep a timer for each of them: there is one, for the first whose patience is over.

use super::gathering::Gathering;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

/// When somebody's patience is over, in µs since the start; where two are the same, the second is a µs later. Never 0.
pub(super) type Due = u64;

pub(super) struct Patience {
    waiting: RefCell<BTreeMap<Due, Rc<Gathering>>>,
    start: Instant,
    /// When the timer looks next.
    looks_at: Cell<Due>,
    /// Told where it is to look earlier.
    earlier: Notify,
}

impl Patience {
    pub(super) fn new() -> Rc<Patience> {
        let (waiting, looks_at) = (RefCell::default(), Cell::new(Due::MAX));
        Rc::new(Patience { waiting, start: Instant::now(), looks_at, earlier: Notify::new() })
    }

    /// Somebody waits so long from now on, at the most.
    pub(super) fn begin(&self, who: &Rc<Gathering>, patience: Duration) {
        let mut waiting = self.waiting.borrow_mut();
        let mut due = self.now().saturating_add(patience.as_micros() as Due);
        while waiting.contains_key(&due) {
            due += 1;
        }
        waiting.insert(due, Rc::clone(who));
        who.set_due(due);
        if due < self.looks_at.get() {
            self.earlier.notify_one();
        }
    }

    /// Somebody waits no more, where that is so.
    pub(super) fn end(&self, who: &Gathering) {
        if let Some(due) = who.take_due() {
            self.waiting.borrow_mut().remove(&due);
        }
    }

    /// Tells everybody whose patience is over; goes on for as long as the sender does.
    pub(super) async fn keep(self: Rc<Self>) {
        loop {
            while let Some(over) = self.first_over() {
                // On its own, so that a panic of whoever is told ends nothing else.
                spawn_local(async move { over.tell() });
            }
            let first = self.waiting.borrow().first_key_value().map_or(Due::MAX, |(due, _)| *due);
            self.looks_at.set(first);
            match self.start.checked_add(Duration::from_micros(first)).filter(|_| first < Due::MAX) {
                Some(at) => drop(timeout_at(at, self.earlier.notified()).await),
                None => self.earlier.notified().await,
            }
        }
    }

    fn first_over(&self) -> Option<Rc<Gathering>> {
        let mut waiting = self.waiting.borrow_mut();
        let first = waiting.first_entry().filter(|first| *first.key() <= self.now())?;
        let over = first.remove();
        over.take_due();
        Some(over)
    }

    fn now(&self) -> Due {
        self.start.elapsed().as_micros() as Due + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use tokio::task::LocalSet;

    const LONG: Duration = Duration::from_secs(3600);

    fn run(test: impl Future<Output = ()> + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    /// Somebody who writes their number down when told.
    fn who(number: u32, told: &Rc<RefCell<Vec<u32>>>) -> Rc<Gathering> {
        let told = Rc::clone(told);
        Rc::new(Gathering::new(1, Box::new(move |_| told.borrow_mut().push(number))))
    }

    #[test]
    fn each_is_told_when_their_patience_is_over_and_whoever_ends_before_is_forgotten() {
        run(async {
            let (patience, told) = (Patience::new(), Rc::default());
            spawn_local(Rc::clone(&patience).keep());
            let [endless, ends, second, first] = [0, 1, 2, 3].map(|number| who(number, &told));
            patience.begin(&endless, LONG);
            patience.begin(&ends, Duration::ZERO);
            patience.end(&ends);
            // The timer sleeps for the long one by now and has to be told of the short ones.
            tokio::task::yield_now().await;
            patience.begin(&second, Duration::from_millis(20));
            patience.begin(&first, Duration::ZERO);
            while !second.is_told() {
                tokio::task::yield_now().await;
            }
            assert_eq!(*told.borrow(), [3, 2]);
            assert_eq!(patience.waiting.borrow().len(), 1);
            assert!(!endless.is_told() && Rc::strong_count(&first) == 1);
        });
    }

    #[test]
    fn many_at_the_same_moment_are_all_kept() {
        let (patience, told) = (Patience::new(), Rc::default());
        let all: Vec<_> = (0..100).map(|number| who(number, &told)).collect();
        all.iter().for_each(|who| patience.begin(who, LONG));
        assert_eq!(patience.waiting.borrow().len(), 100);
        all.iter().for_each(|who| patience.end(who));
        assert!(patience.waiting.borrow().is_empty());
    }
}
