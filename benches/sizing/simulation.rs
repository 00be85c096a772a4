//! Time that passes from event to event, and stations in which work waits for one of some servers.
//!
//! It refuses to know what the work is: it moves numbers.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// Nanoseconds since the run began.
pub type Time = u64;

/// Microseconds as time.
pub fn us(us: f64) -> Time {
    (us * 1e3).max(0.0) as Time
}

/// What happens next, the earliest first; of two at the same time the one that was planned first.
pub struct Agenda<E> {
    heap: BinaryHeap<Planned<E>>,
    planned: u64,
    /// The present.
    pub now: Time,
}

struct Planned<E> {
    at: Time,
    number: u64,
    event: E,
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<E> Eq for Planned<E> {}

impl<E> Agenda<E> {
    /// Nothing planned.
    pub fn new() -> Agenda<E> {
        Agenda { heap: BinaryHeap::new(), planned: 0, now: 0 }
    }

    /// Something happens so much later.
    pub fn after(&mut self, delay: Time, event: E) {
        self.heap.push(Planned { at: self.now + delay, number: self.planned, event });
        self.planned += 1;
    }

    /// Goes on to the next event.
    pub fn next(&mut self) -> Option<E> {
        let Planned { at, event, .. } = self.heap.pop()?;
        self.now = at;
        Some(event)
    }
}

/// Some servers with one queue before them.
pub struct Station<W> {
    servers: usize,
    busy: usize,
    waiting: VecDeque<W>,
    /// Time that its servers have worked: its owner adds to it.
    pub worked: Time,
}

impl<W> Station<W> {
    /// So many servers, all idle.
    pub fn new(servers: usize) -> Station<W> {
        Station { servers, busy: 0, waiting: VecDeque::new(), worked: 0 }
    }

    /// Work comes; it is given back where it can be begun at once, and waits otherwise.
    pub fn enter(&mut self, work: W) -> Option<W> {
        if self.busy < self.servers {
            self.busy += 1;
            return Some(work);
        }
        self.waiting.push_back(work);
        None
    }

    /// A server has finished: the work that it begins now.
    pub fn leave(&mut self) -> Option<W> {
        let next = self.waiting.pop_front();
        self.busy -= usize::from(next.is_none());
        next
    }

    /// The work that is being done and the work that waits.
    pub fn inside(&self) -> usize {
        self.busy + self.waiting.len()
    }

    /// How busy its servers were on average in this time; more than 1 where work was begun that ends later.
    pub fn busy_share(&self, time: Time) -> f64 {
        (self.worked as f64 / (time as f64 * self.servers as f64)).min(1.0)
    }
}

/// The middle or another part of some times, in ms.
pub fn percentile_ms(times: &mut [Time], share: f64) -> f64 {
    times.sort_unstable();
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).map_or(f64::NAN, |time| *time as f64 / 1e6)
}
