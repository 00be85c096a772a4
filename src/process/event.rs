//! Something that happens once and that an event loop can wait for: a descriptor that becomes readable.
//!
//! It refuses to carry data; what happened is kept elsewhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// An eventfd (eventfd(2)): readable from the moment it was set.
pub struct Event {
    fd: OwnedFd,
}

impl Event {
    /// One that has not happened yet.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Event> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened just now and belongs to nobody else.
        Ok(Event { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Makes it happen. Cannot fail: the counter is far from its limit, and the descriptor is open while `self` lives.
    pub fn set(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes from a valid buffer, as eventfd(2) wants them.
        unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_readable_once_it_was_set() {
        let event = Event::new().unwrap();
        let is_readable = || {
            let mut wanted = libc::pollfd { fd: event.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd.
            unsafe { libc::poll(&mut wanted, 1, 0) == 1 }
        };
        assert!(!is_readable());
        event.set();
        assert!(is_readable());
    }
}
