//! A table that a SIP server reads for as long as it runs.
//!
//! It refuses to look into it: the server does, by its own layouts.

use std::cell::UnsafeCell;

/// A table that the server gets a pointer to and keeps for ever. It lies in writable memory, as the tables of its own modules do.
#[repr(transparent)]
pub(super) struct Table<T>(UnsafeCell<T>);

impl<T> Table<T> {
    pub(super) const fn new(rows: T) -> Self {
        Table(UnsafeCell::new(rows))
    }

    /// Address of the first row.
    pub(super) const fn first<R>(&self) -> *const R {
        self.0.get().cast()
    }
}

// SAFETY: we never look into a table once it is compiled in; the server reads it on its own thread.
unsafe impl<T> Sync for Table<T> {}
