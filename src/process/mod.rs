//! What a forking host makes necessary: things that belong to one process, memory that all processes share, and
//! threads that leave the host's signals alone. Besides the porches this is the only room with `unsafe`.
//!
//! It refuses to fork, to install signal handlers and to call the host.

mod event;
mod guesses;
mod handover;
mod library;
mod per_process;
mod pid;
pub mod seqpacket;
mod shared;
mod shared_lock;
mod shelf;
mod sockets;
mod stop_signal;
mod watch;

pub use event::Event;
pub use guesses::Guesses;
pub use handover::{Handover, MOST_LEN as MOST_HANDED_OVER, Stamp, Turn};
pub use library::{libc_version, try_open};
pub use per_process::PerProcess;
pub use pid::own_pid;
pub use shared::SharedCounters;
pub use shared_lock::{Held, try_hold};
pub use shelf::Shelf;
pub use sockets::bound_udp_sockets;
pub use stop_signal::{HangUpSignal, StopSignal, end_with_parent, end_within};
pub use watch::Watched;

use std::io;
use std::thread::JoinHandle;

/// Starts a thread that no signal is ever delivered to: the host's handlers must run on the host's own thread, and
/// Kamailio's SIGTERM handler ends the process from wherever it runs.
///
/// # Errors
/// The system refuses another thread.
pub fn spawn_quiet<T, F>(name: &str, body: F) -> io::Result<JoinHandle<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let before = block_all_signals();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    restore_signals(&before);
    thread
}

/// What the names of the library's own threads begin with.
pub const THREAD_NAME: &str = "voip-push";

/// True on a thread of the library's own.
pub fn is_quiet_thread() -> bool {
    std::thread::current().name().is_some_and(|name| name.starts_with(THREAD_NAME))
}

fn block_all_signals() -> libc::sigset_t {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises `all`, and pthread_sigmask writes the old mask to `before`; neither can fail with valid
    // pointers and SIG_SETMASK.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        before.assume_init()
    }
}

fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: `before` is a mask that pthread_sigmask gave; no old mask is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

/// Lets this process have as many descriptors as the administrator allows at most; for a process that is ours alone. A worker whose
/// event loop waits for a call has a connection for it.
pub fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid rlimit, which the second call only reads.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Lets others go first where this thread has to share a CPU with them (SCHED_BATCH of sched(7)): when it is woken it does not take the
/// CPU away from whoever runs. For a process that is ours alone: else a worker that hands something over is stopped in the middle of
/// it, and everybody's calls wait for a push.
pub fn let_others_go_first() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: a valid sched_param, which is only read. Should the system refuse, nothing is lost but the favour.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &priority) };
}

/// Lets glibc give large pieces of memory back to the system as soon as they are freed (M_MMAP_THRESHOLD of mallopt(3) at its first
/// value, which otherwise grows with each of them); for a process that is ours alone. HTTP/2 keeps some hundred KB for each connection,
/// and after an hour in which a provider closed many of them the process would stay as large as it ever was.
pub fn give_freed_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number in the allocator, under the allocator's own lock. Should it refuse, nothing is lost but the memory.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_LEN);
    }
}

/// What is large for [`give_freed_memory_back`]: glibc's own DEFAULT_MMAP_THRESHOLD.
#[cfg(target_env = "gnu")]
const LARGE_LEN: libc::c_int = 128 << 10;

/// Whether there is a process of this number.
fn is_alive(pid: u32) -> bool {
    // SAFETY: signal 0 is none; it is only asked whether one could be sent.
    let asked = unsafe { libc::kill(pid.cast_signed(), 0) };
    asked == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// True where this process has root's rights, and so makes files that the SIP server's user cannot write later.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_lets_others_go_first_says_so_to_the_kernel() {
        let policy = std::thread::spawn(|| {
            let_others_go_first();
            // SAFETY: asks for this thread's own policy.
            unsafe { libc::sched_getscheduler(0) }
        });
        assert_eq!(policy.join().unwrap(), libc::SCHED_BATCH);
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn large_memory_that_was_freed_goes_back_to_the_system() {
        give_freed_memory_back();
        // What has pages of its own begins two words behind the start of one.
        let is_mapped = || {
            let large = std::hint::black_box(vec![1_u8; 8 << 20]);
            large.as_ptr() as usize % 4096 == 16
        };
        // The second time glibc would have learned to keep so much.
        assert!(is_mapped() && is_mapped());
    }

    #[test]
    fn a_quiet_thread_has_signals_blocked_and_the_caller_keeps_its_mask() {
        let mask = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("SigBlk")).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        let before = mask();
        let inside = spawn_quiet("quiet", mask).unwrap().join().unwrap();
        let sigterm = 1 << (libc::SIGTERM - 1);
        assert_ne!(inside & sigterm, 0);
        assert_eq!(mask(), before);
    }
}
