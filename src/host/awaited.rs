//! Which calls wait for phones that were pushed and have not come yet, and for how many: a table of numbers that all processes share,
//! so that a worker knows without asking whether a call that was declined may still find a phone.
//!
//! It refuses to grow: a call that finds no room in it is one that waits for nobody.

use super::note::CallId;
use super::waiting::Moment;
use crate::process::SharedCounters;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls that it has room for, about; 512 kB of memory that stays untouched as long as nobody is called.
const ROWS: usize = 1 << 15;
/// A call is in one of so many rows.
const PLACES: usize = 8;
const COUNT_BITS: u32 = 16;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// In the place of a count: the worker that has the call is about to push.
const UNDECIDED: u64 = COUNT;

/// The table; made before the fork.
pub(super) struct Awaited {
    /// The call's name and how many phones it waits for, 0 where there is no call; then until when.
    rows: SharedCounters,
}

impl Awaited {
    /// An empty table.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new() -> io::Result<Awaited> {
        Ok(Awaited { rows: SharedCounters::new(2 * ROWS)? })
    }

    /// Phones may be pushed for this call in a moment: until then it counts as one that waits.
    pub fn decide(&self, id: CallId, now: Moment, until: Moment) {
        self.set(id, UNDECIDED, now, until);
    }

    /// Nothing was pushed for this call after all.
    pub fn decided(&self, id: CallId) {
        self.change(id, |count| if count == UNDECIDED { 0 } else { count });
    }

    /// So many phones that the call did not go to are pushed to.
    pub fn expect(&self, id: CallId, phones: usize, now: Moment, until: Moment) {
        self.set(id, u64::try_from(phones).unwrap_or(u64::MAX).min(UNDECIDED - 1), now, until);
    }

    /// So many of them have come, or will not.
    pub fn less(&self, id: CallId, phones: usize) {
        let phones = u64::try_from(phones).unwrap_or(u64::MAX);
        self.change(id, |count| if count == UNDECIDED { count } else { count.saturating_sub(phones) });
    }

    /// The call is over.
    pub fn forget(&self, id: CallId) {
        self.change(id, |_| 0);
    }

    /// How long the call waits for a phone still, in µs; `None` where it waits for none.
    pub fn left(&self, id: CallId, now: Moment) -> Option<Moment> {
        let row = self.find(id)?;
        let until = self.until(row).load(Ordering::SeqCst);
        until.checked_sub(now).filter(|left| *left > 0)
    }

    fn set(&self, id: CallId, count: u64, now: Moment, until: Moment) {
        let Some(row) =
            self.find(id).or_else(|| if count > 0 { self.take_row(id, now, until) } else { None })
        else {
            return;
        };
        self.until(row).store(until, Ordering::SeqCst);
        self.change(id, |_| count);
    }

    /// An empty row, or one of a call whose time is over, is this call's from here on.
    fn take_row(&self, id: CallId, now: Moment, until: Moment) -> Option<usize> {
        places(id).find(|row| {
            let before = self.calls(*row).load(Ordering::SeqCst);
            let is_free = before == 0 || self.until(*row).load(Ordering::SeqCst) < now;
            let mine = name(id) << COUNT_BITS | UNDECIDED;
            let all = Ordering::SeqCst;
            let is_mine = is_free && self.calls(*row).compare_exchange(before, mine, all, all).is_ok();
            if is_mine {
                self.until(*row).store(until, Ordering::SeqCst);
            }
            is_mine
        })
    }

    fn change(&self, id: CallId, change: impl Fn(u64) -> u64) {
        let Some(row) = self.find(id) else { return };
        let changed = |call: u64| {
            let is_it = call >> COUNT_BITS == name(id);
            is_it.then(|| match change(call & COUNT) {
                0 => 0,
                count => call & !COUNT | count,
            })
        };
        // An error is that the call has left the row meanwhile.
        let _ = self.calls(row).fetch_update(Ordering::SeqCst, Ordering::SeqCst, changed);
    }

    fn find(&self, id: CallId) -> Option<usize> {
        places(id).find(|row| {
            let call = self.calls(*row).load(Ordering::SeqCst);
            call != 0 && call >> COUNT_BITS == name(id)
        })
    }

    fn calls(&self, row: usize) -> &AtomicU64 {
        &self.rows.as_slice()[row]
    }

    fn until(&self, row: usize) -> &AtomicU64 {
        &self.rows.as_slice()[ROWS + row]
    }
}

/// A call's name: a transaction's row has 16 bits (h_table.h), its number 32.
fn name(id: CallId) -> u64 {
    u64::from(id.index & 0xFFFF) << 32 | u64::from(id.label)
}

fn places(id: CallId) -> impl Iterator<Item = usize> {
    // tm spreads calls over its own rows; numbers that follow each other go to rows that do.
    let first = (id.index as usize).wrapping_mul(PLACES) ^ id.label as usize;
    (0..PLACES).map(move |at| first.wrapping_add(at) % ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: CallId = CallId { index: 7, label: u32::MAX };

    #[test]
    fn a_call_waits_until_its_phones_have_come_or_its_time_is_over() {
        let awaited = Awaited::new().unwrap();
        assert_eq!(awaited.left(ID, 1), None);
        awaited.expect(ID, 2, 1, 10);
        awaited.less(ID, 1);
        assert_eq!((awaited.left(ID, 4), awaited.left(ID, 10)), (Some(6), None));
        awaited.less(ID, 1);
        assert_eq!(awaited.left(ID, 4), None);
        awaited.expect(ID, 1, 1, 10);
        awaited.forget(ID);
        assert_eq!(awaited.left(ID, 4), None);
        awaited.expect(ID, 0, 1, 10);
        assert_eq!(awaited.left(ID, 4), None);
    }

    #[test]
    fn a_call_that_is_about_to_be_pushed_for_waits() {
        let awaited = Awaited::new().unwrap();
        awaited.decide(ID, 1, 10);
        awaited.less(ID, 5);
        assert_eq!(awaited.left(ID, 1), Some(9));
        awaited.expect(ID, 1, 1, 10);
        awaited.decided(ID);
        assert_eq!(awaited.left(ID, 1), Some(9), "one phone was pushed to");
        awaited.decide(ID, 1, 10);
        awaited.decided(ID);
        assert_eq!(awaited.left(ID, 1), None);
        awaited.decide(ID, 1, 10);
        awaited.expect(ID, 0, 1, 10);
        assert_eq!(awaited.left(ID, 1), None, "no phone was left to be pushed to");
    }

    #[test]
    fn calls_in_the_same_row_are_told_apart_and_the_old_make_room() {
        let awaited = Awaited::new().unwrap();
        let id = |number: u32| CallId { index: 7, label: number * ROWS as u32 };
        let most = PLACES as u32;
        (0..=most).for_each(|number| awaited.expect(id(number), 1, 1, 10));
        assert!((0..most).all(|number| awaited.left(id(number), 1) == Some(9)));
        assert_eq!(awaited.left(id(most), 1), None, "no room");
        awaited.expect(id(most), 1, 11, 20);
        assert_eq!(awaited.left(id(most), 11), Some(9));
    }
}
