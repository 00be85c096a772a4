//! One value per process: made on first use, never used by a child that came into being later.
//!
//! It refuses to touch or drop what another process made: threads, sockets and database handles do not survive a
//! fork (SQLite, "How To Corrupt", §2.6; tokio: "fork() is not supported once the runtime has started").

use super::own_pid;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A place for one `T` per process.
///
/// Each process that uses it adds an entry with its pid to a chain that is never freed (some bytes per fork generation).
/// A lock that another thread held at the moment of the fork is therefore never waited for in the child: the child sees a
/// foreign pid before it looks at the lock.
pub struct PerProcess<T> {
    newest: AtomicPtr<Entry<T>>,
}

struct Entry<T> {
    pid: u32,
    value: Mutex<Option<Arc<T>>>,
    /// Keeps the older entry reachable, so that a leak checker sees what is kept on purpose.
    _older: *mut Entry<T>,
}

impl<T> PerProcess<T> {
    /// An empty place.
    pub const fn new() -> Self {
        PerProcess { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// This process' value, made by `make` if there is none yet.
    ///
    /// # Errors
    /// What `make` returned; the place stays empty then, and the next call tries again.
    pub fn get_or_try_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut value = self.lock();
        if let Some(found) = value.as_ref() {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(make()?);
        *value = Some(Arc::clone(&made));
        Ok(made)
    }

    /// This process' value, if it was made.
    pub fn get(&self) -> Option<Arc<T>> {
        self.lock().clone()
    }

    /// Puts a value in the place of this process' old one, which is returned.
    pub fn replace(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        std::mem::replace(&mut *self.lock(), value)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<T>>> {
        self.own_entry().value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_entry(&self) -> &Entry<T> {
        let pid = own_pid();
        let mut newest = self.newest.load(Ordering::Acquire);
        loop {
            // SAFETY: the pointer is null or comes from Box::into_raw below, and entries are never freed.
            if let Some(entry) = unsafe { newest.as_ref() }
                && entry.pid == pid
            {
                return entry;
            }
            let fresh = Box::into_raw(Box::new(Entry { pid, value: Mutex::new(None), _older: newest }));
            match self.newest.compare_exchange(newest, fresh, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: `fresh` was made just now and is never freed from here on.
                Ok(_) => return unsafe { &*fresh },
                Err(other) => {
                    // SAFETY: the exchange failed, so nobody else has seen `fresh`.
                    drop(unsafe { Box::from_raw(fresh) });
                    newest = other;
                }
            }
        }
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the chain is only read and appended to atomically, `T` itself is behind a mutex and an Arc.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}
// SAFETY: as above; nothing in it is tied to a thread.
unsafe impl<T: Send + Sync> Send for PerProcess<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn a_process_makes_its_value_once() {
        let place = PerProcess::new();
        let first = place.get_or_try_make(|| Ok::<_, Infallible>(7)).unwrap();
        assert_eq!(*place.get_or_try_make(|| Err("made twice")).unwrap(), *first);
        assert_eq!(place.replace(None).as_deref(), Some(&7));
        assert_eq!(place.get(), None);
        assert_eq!(place.get_or_try_make(|| Err("tried again")), Err("tried again"));
    }

    #[test]
    fn a_child_never_sees_its_parents_value_even_when_the_lock_was_held() {
        let place = PerProcess::new();
        place.get_or_try_make(|| Ok::<_, Infallible>(1)).unwrap();
        let held = place.lock();
        // SAFETY: the child only makes its own entry (memory and atomics) and leaves with _exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let fresh = place.get().is_none();
            // SAFETY: ends the child at once, without running the test harness' exit handlers.
            unsafe { libc::_exit(if fresh { 0 } else { 1 }) };
        }
        let mut status = -1;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert_eq!(status, 0);
        drop(held);
        assert_eq!(place.get().as_deref(), Some(&1));
    }
}
