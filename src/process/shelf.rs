//! One value for the whole process that can be put in place, found without a lock, and taken away again.
//!
//! It refuses to free what it once showed: somebody may still be using it. What is replaced stays on a chain.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A place for one `&'static T`. Finding it takes no lock, so a fork at any moment leaves it usable in the child.
pub struct Shelf<T> {
    current: AtomicPtr<Kept<T>>,
    newest: AtomicPtr<Kept<T>>,
}

struct Kept<T> {
    value: T,
    /// Keeps the older value reachable, so that a leak checker sees what is kept on purpose.
    _older: *mut Kept<T>,
}

impl<T> Shelf<T> {
    /// An empty place.
    pub const fn new() -> Self {
        Shelf { current: AtomicPtr::new(ptr::null_mut()), newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The value in place.
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: the pointer is null or comes from Box::into_raw in `put`, and nothing put here is ever freed.
        unsafe { self.current.load(Ordering::Acquire).as_ref() }.map(|kept| &kept.value)
    }

    /// Puts a value in place of the one before.
    pub fn put(&self, value: T) -> &'static T {
        let kept = Box::into_raw(Box::new(Kept { value, _older: self.newest.load(Ordering::Acquire) }));
        self.newest.store(kept, Ordering::Release);
        self.current.store(kept, Ordering::Release);
        // SAFETY: made just now and never freed.
        unsafe { &(*kept).value }
    }

    /// Takes the value away, so that `get` finds nothing; who holds it may go on using it.
    pub fn clear(&self) -> Option<&'static T> {
        // SAFETY: as in `get`.
        unsafe { self.current.swap(ptr::null_mut(), Ordering::AcqRel).as_ref() }.map(|kept| &kept.value)
    }
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: values are only handed out as shared references.
unsafe impl<T: Send + Sync> Sync for Shelf<T> {}
// SAFETY: as above; nothing in it is tied to a thread.
unsafe impl<T: Send + Sync> Send for Shelf<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_stays_usable_after_it_was_replaced() {
        let shelf = Shelf::new();
        assert!(shelf.get().is_none());
        let first = shelf.put(String::from("first"));
        shelf.put(String::from("second"));
        assert_eq!((first.as_str(), shelf.get().map(String::as_str)), ("first", Some("second")));
        assert_eq!(shelf.clear().map(String::as_str), Some("second"));
        assert!(shelf.get().is_none());
    }
}
