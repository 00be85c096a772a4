//! A lock for the processes of a server: a word of shared memory that holds who has it.
//!
//! It refuses to wait for long, and for the dead: a process that ended while it had the lock has it no more. What it left half done is
//! for whoever comes next to find out.

use super::{is_alive, own_pid};
use std::sync::atomic::{AtomicU64, Ordering};

/// The holder is looked for each so many tries; that is a system call.
const LOOK_EACH: u32 = 100;

/// The lock, which is given back with it.
pub struct Held<'a>(&'a AtomicU64);

/// Takes the lock whose word this is, 0 where nobody has it; `None` where it is not to be had although others were let run so many
/// times: they have been stopped, or are many.
pub fn try_hold(word: &AtomicU64, tries: u32) -> Option<Held<'_>> {
    let own = u64::from(own_pid());
    for attempt in 1..=tries {
        let holder = match word.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(Held(word)),
            Err(holder) => holder,
        };
        let is_dead =
            (attempt % LOOK_EACH == 0 || attempt == tries) && holder != own && !is_alive(holder as u32);
        if is_dead && word.compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return Some(Held(word));
        }
        std::thread::yield_now();
    }
    None
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::SharedCounters;
    use super::*;

    #[test]
    fn one_has_it_at_a_time_and_the_dead_have_it_no_more() {
        let words = SharedCounters::new(1).unwrap();
        let word = &words.as_slice()[0];
        let held = try_hold(word, 200).unwrap();
        assert!(try_hold(word, 200).is_none());
        drop(held);
        // SAFETY: the child only touches shared memory and leaves with _exit.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                std::mem::forget(try_hold(word, 200));
                libc::_exit(0);
            }
            let mut status = -1;
            libc::waitpid(child, &mut status, 0);
            status
        };
        assert_eq!(status, 0);
        assert_ne!(word.load(Ordering::Relaxed), 0, "it died with the lock");
        assert!(try_hold(word, 200).is_some());
    }
}
