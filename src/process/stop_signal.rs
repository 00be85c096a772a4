//! Being told to stop, in a process of our own: as something that can be waited for, not as a handler.
//!
//! It refuses to leave the host's handlers in charge of that process: Kamailio's ends it at once, with pushes under way.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// Readable once this process has been told to stop (SIGTERM or SIGINT), or its parent has died.
pub struct StopSignal {
    fd: OwnedFd,
}

impl StopSignal {
    /// Takes SIGTERM and SIGINT away from whoever handled them in this process, which must be ours alone.
    ///
    /// # Errors
    /// The system refuses, or the parent has died already.
    pub fn take_over() -> io::Result<StopSignal> {
        let mut stops = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set that the other calls then read; the fd is new and ours.
        let fd = unsafe {
            libc::sigemptyset(stops.as_mut_ptr());
            libc::sigaddset(stops.as_mut_ptr(), libc::SIGTERM);
            libc::sigaddset(stops.as_mut_ptr(), libc::SIGINT);
            libc::pthread_sigmask(libc::SIG_BLOCK, stops.as_ptr(), std::ptr::null_mut());
            libc::signalfd(-1, stops.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: asks for SIGTERM when the parent dies; no memory is involved.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
        // SAFETY: getppid has no preconditions; the fd above is open and owned by nobody else.
        let (parent, fd) = unsafe { (libc::getppid(), OwnedFd::from_raw_fd(fd)) };
        if parent == 1 {
            return Err(io::Error::other("the server has died"));
        }
        Ok(StopSignal { fd })
    }
}

impl AsFd for StopSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
