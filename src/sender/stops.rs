//! Which calls need their pushes no more, so that what was not sent yet is given up.
//!
//! It refuses to call back what a provider may have already: its answer is waited for as always.

use super::window::Mixed;
use crate::model::{Call, folded};
use std::cell::{Cell, RefCell};
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// A word about a call is kept for so long, for pushes that were handed over before it and come after it: each worker has a socket
/// of its own.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Why a call needs its pushes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needless {
    /// It has its final answer, or its caller has hung up.
    CallOver,
    /// One of its phones rings. Where it was pushed to several devices, the others are still to come.
    PhoneCame,
}

/// The calls with pushes under way, by a hash of user and Call-ID.
#[derive(Default)]
pub(super) struct Stops {
    calls: RefCell<HashMap<u64, Rc<Whistle>, Mixed>>,
    told: RefCell<Told>,
    hasher: RandomState,
}

/// The last words about calls.
#[derive(Default)]
struct Told {
    words: HashMap<u64, (Instant, Needless), Mixed>,
    in_order: VecDeque<(Instant, u64)>,
}

/// What all pushes of a call listen to. Each push under way holds one, so it is small.
struct Whistle {
    key: u64,
    /// How many tickets of the call there are.
    tickets: Cell<u32>,
    has_several_devices: bool,
    is_blown: Cell<bool>,
    listeners: Cell<Listeners>,
}

/// Who is woken by a whistle. Most calls have one push, which needs no list.
#[derive(Default)]
enum Listeners {
    #[default]
    Nobody,
    One(Waker),
    Many(Vec<Waker>),
}

/// A push's part in its call.
pub(super) struct Ticket {
    stops: Rc<Stops>,
    whistle: Rc<Whistle>,
}

impl Stops {
    /// A call is to be pushed to so many devices.
    pub(super) fn enter(self: &Rc<Self>, call: &Call, devices: usize, handed_over: Instant) -> Ticket {
        let key = self.key(call.callee.as_str(), &call.call_id);
        let mut calls = self.calls.borrow_mut();
        let whistle = calls.entry(key).or_insert_with(|| Whistle::new(key, devices));
        if whistle.is_blown.get() {
            // What was said before is not about a call that comes again.
            *whistle = Whistle::new(key, devices);
        }
        if let Some((at, why)) = self.told.borrow().words.get(&key)
            && *at >= handed_over
        {
            whistle.blow(*why);
        }
        Ticket::new(self, whistle)
    }

    /// For a push that is needed when its call is over.
    pub(super) fn ticket_for_the_end(self: &Rc<Self>) -> Ticket {
        Ticket::new(self, &Whistle::new(0, 1))
    }

    /// A call needs its pushes no more, those that were handed over until `told_at`.
    pub(super) fn stop(&self, user: &str, call_id: &str, why: Needless, told_at: Instant) {
        let key = self.key(user, call_id);
        if let Some(whistle) = self.calls.borrow().get(&key) {
            whistle.blow(why);
        }
        self.told.borrow_mut().note(key, told_at, why);
    }

    /// Users are the same in any case of letters, as SIP registrars have them.
    fn key(&self, user: &str, call_id: &str) -> u64 {
        self.hasher.hash_one((folded(user), call_id))
    }
}

impl Told {
    fn note(&mut self, key: u64, at: Instant, why: Needless) {
        while let Some((at, key)) = self.in_order.front().copied().filter(|(at, _)| at.elapsed() > REMEMBERED)
        {
            self.in_order.pop_front();
            if self.words.get(&key).is_some_and(|(last, _)| *last <= at) {
                self.words.remove(&key);
            }
        }
        self.words.insert(key, (at, why));
        self.in_order.push_back((at, key));
    }
}

impl Ticket {
    fn new(stops: &Rc<Stops>, whistle: &Rc<Whistle>) -> Ticket {
        whistle.tickets.set(whistle.tickets.get() + 1);
        Ticket { stops: Rc::clone(stops), whistle: Rc::clone(whistle) }
    }

    /// Whether the call needs this push no more.
    pub(super) fn is_needless(&self) -> bool {
        self.whistle.is_blown.get()
    }

    /// Does a piece of a push's work, unless the call needs it no more while it may be given up.
    pub(super) fn while_needed<'a, F: Future>(
        &'a self,
        mut work: Pin<&'a mut F>,
        may_be_given_up: impl Fn() -> bool + Unpin + 'a,
    ) -> impl Future<Output = Option<F::Output>> + 'a {
        let mut listens = false;
        poll_fn(move |context| {
            if self.is_needless() && may_be_given_up() {
                return Poll::Ready(None);
            }
            if !listens {
                self.whistle.listen(context.waker());
                listens = true;
            }
            work.as_mut().poll(context).map(Some)
        })
    }
}

impl Clone for Ticket {
    fn clone(&self) -> Ticket {
        Ticket::new(&self.stops, &self.whistle)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Whistle { key, tickets, .. } = &*self.whistle;
        tickets.set(tickets.get() - 1);
        let mut calls = self.stops.calls.borrow_mut();
        if tickets.get() == 0 && calls.get(key).is_some_and(|known| Rc::ptr_eq(known, &self.whistle)) {
            calls.remove(key);
        }
    }
}

impl Whistle {
    fn new(key: u64, devices: usize) -> Rc<Whistle> {
        let (tickets, is_blown, listeners) = (Cell::new(0), Cell::new(false), Cell::default());
        Rc::new(Whistle { key, tickets, has_several_devices: devices > 1, is_blown, listeners })
    }

    /// Once for each push of a job, however many attempts it makes.
    fn listen(&self, waker: &Waker) {
        let listeners = match self.listeners.take() {
            Listeners::Nobody => Listeners::One(waker.clone()),
            Listeners::One(first) if !first.will_wake(waker) => Listeners::Many(vec![first, waker.clone()]),
            Listeners::Many(mut all) if !all.iter().any(|known| known.will_wake(waker)) => {
                all.push(waker.clone());
                Listeners::Many(all)
            }
            known => known,
        };
        self.listeners.set(listeners);
    }

    fn blow(&self, why: Needless) {
        if why == Needless::PhoneCame && self.has_several_devices {
            return;
        }
        self.is_blown.set(true);
        match self.listeners.take() {
            Listeners::Nobody => {}
            Listeners::One(waker) => waker.wake(),
            Listeners::Many(wakers) => wakers.into_iter().for_each(Waker::wake),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call::parse("Bob", "Alice", "c1").unwrap()
    }

    fn another_call() -> Call {
        let Call { callee, caller, media, .. } = call();
        Call::new(callee.as_str(), caller, "c2", media).unwrap()
    }

    #[test]
    fn a_word_ends_the_pushes_of_its_call_and_no_others() {
        let (stops, now) = (Rc::new(Stops::default()), Instant::now());
        let (ours, other) = (stops.enter(&call(), 1, now), another_call());
        let others = stops.enter(&other, 1, now);
        stops.stop("bob", "c1", Needless::CallOver, now);
        assert!(ours.is_needless() && !others.is_needless());
        drop((ours, others));
        assert!(stops.calls.borrow().is_empty());
    }

    #[test]
    fn one_phone_of_several_does_not_end_the_pushes_to_the_others() {
        let (stops, now) = (Rc::new(Stops::default()), Instant::now());
        let (several, one) = (stops.enter(&call(), 2, now), another_call());
        stops.stop("bob", "c1", Needless::PhoneCame, now);
        assert!(!several.is_needless());
        let one = stops.enter(&one, 1, now);
        stops.stop("bob", "c2", Needless::PhoneCame, now);
        assert!(one.is_needless());
    }

    #[test]
    fn a_word_that_overtakes_its_pushes_is_kept_for_them_and_not_for_a_later_call() {
        let (stops, now) = (Rc::new(Stops::default()), Instant::now());
        stops.stop("bob", "c1", Needless::CallOver, now);
        let before = stops.enter(&call(), 1, now - Duration::from_millis(1));
        assert!(before.is_needless());
        let after = stops.enter(&call(), 1, now + Duration::from_millis(1));
        assert!(!after.is_needless());
        drop(before);
        stops.stop("bob", "c1", Needless::CallOver, now + Duration::from_millis(2));
        assert!(after.is_needless(), "the earlier one has taken nothing with it");
    }

    #[tokio::test]
    async fn work_goes_on_where_it_may_not_be_given_up() {
        let stops = Rc::new(Stops::default());
        let ticket = stops.enter(&call(), 1, Instant::now());
        let sleep = || tokio::time::sleep(Duration::from_millis(20));
        let end = async { stops.stop("bob", "c1", Needless::CallOver, Instant::now()) };
        let endless = std::pin::pin!(std::future::pending::<()>());
        let (given_up, ()) = tokio::join!(ticket.while_needed(endless, || true), end);
        assert_eq!(given_up, None);
        assert_eq!(ticket.while_needed(std::pin::pin!(sleep()), || false).await, Some(()));
    }
}
