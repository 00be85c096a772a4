//! Being told to stop, or to read the configuration again, in a process of our own: as something that can be waited for, not as a
//! handler.
//!
//! It refuses to leave the host's handlers in charge of that process: Kamailio's ends it at once, with pushes under way.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Readable once this process has been told to stop (SIGTERM or SIGINT).
pub struct StopSignal {
    fd: OwnedFd,
}

impl StopSignal {
    /// Takes SIGTERM and SIGINT away from whoever handled them in this process, which must be ours alone. Before other threads are
    /// started, which inherit it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn take_over() -> io::Result<StopSignal> {
        Ok(StopSignal { fd: take_over(&[libc::SIGTERM, libc::SIGINT])? })
    }
}

impl AsFd for StopSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Readable once this process has been told to read its configuration again (SIGHUP).
pub struct HangUpSignal {
    fd: OwnedFd,
}

impl HangUpSignal {
    /// Takes SIGHUP away from whoever handled it, as [`StopSignal::take_over`] does its signals.
    ///
    /// # Errors
    /// The system refuses.
    pub fn take_over() -> io::Result<HangUpSignal> {
        Ok(HangUpSignal { fd: take_over(&[libc::SIGHUP])? })
    }

    /// Whether it came since this was last asked, however often.
    pub fn came(&self) -> bool {
        let mut what = [0_u8; size_of::<libc::signalfd_siginfo>()];
        // SAFETY: the descriptor is open, and as many bytes are read as there is room for.
        unsafe { libc::read(self.fd.as_raw_fd(), what.as_mut_ptr().cast(), what.len()) > 0 }
    }
}

impl AsFd for HangUpSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn take_over(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that the other calls then use; the fd is new and ours.
    let fd = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets this process be told to stop (SIGTERM) when the process that forked it dies. `server` is the server's first process, or one
/// that it came from: process 1 takes over whoever loses its parent, and is the server itself in many a container.
///
/// # Errors
/// It has died already.
pub fn end_with_parent(server: u32) -> io::Result<()> {
    // SAFETY: neither call touches memory, and neither can fail with these arguments.
    let parent = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        libc::getppid()
    };
    if parent == 1 && server != 1 { Err(io::Error::other("the server has died")) } else { Ok(()) }
}

/// Ends this process after `limit` if it has not ended by itself: a route of the host's may wait for a lock that a process held
/// which was killed, and the host would wait for us.
pub fn end_within(limit: Duration) {
    let end = move || {
        std::thread::sleep(limit);
        // SAFETY: ends the process at once; nothing is cleaned up, as nothing can be relied on.
        unsafe { libc::_exit(1) }
    };
    if let Err(error) = super::spawn_quiet("voip-push-end", end) {
        log::warn!("the sender's end has no limit: {error}");
    }
}
