//! Waiting in the sender's loop until something of ours is readable.
//!
//! It refuses things that do not own what they watch: tokio must be able to rely on the descriptor staying open.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// Something with a descriptor, watched for being readable.
pub struct Watched<T: AsFd>(AsyncFd<Held<T>>);

/// What is watched, as tokio wants to see it.
pub struct Held<T>(T);

impl<T: AsFd> AsRawFd for Held<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> Watched<T> {
    /// Starts watching; inside a tokio runtime.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new(what: T) -> io::Result<Self> {
        // SAFETY: `Held` owns or borrows what holds the descriptor open, for as long as it is watched; the types that are
        // watched (listener, link, stop signal) give the same descriptor each time.
        let watched = unsafe { AsyncFd::register_with_interest(Held(what), Interest::READABLE) };
        Ok(Watched(watched?))
    }

    /// Waits until it is readable; `clear_ready` on the guard says that a read would have blocked.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, Held<T>>> {
        self.0.readable().await
    }
}
