//! The machine under the bench: which CPU runs what, whose CPU time it was, and what the hypervisor took away.
//!
//! It refuses to guess CPU time from wall time.

use std::mem::MaybeUninit;
use std::time::Duration;

/// The CPU of what is measured: client, submitter, sender, Kamailio.
pub const SUBJECT: usize = 0;
/// The CPU of what stands around it: simulator, SIPp. The same one where there is only one.
pub fn surroundings() -> usize {
    usize::from(std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1))
}

/// Runs `start` with this thread, and so every process that it starts, bound to one CPU.
pub fn on_cpu<T>(cpu: usize, start: impl FnOnce() -> T) -> T {
    let before = affinity();
    let mut only = empty_set();
    // SAFETY: CPU_SET writes a bit inside the set; `cpu` is 0 or 1.
    unsafe { libc::CPU_SET(cpu, &mut only) };
    set_affinity(&only);
    let done = start();
    set_affinity(&before);
    done
}

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: all-zero is the empty set.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn affinity() -> libc::cpu_set_t {
    let mut set = empty_set();
    // SAFETY: `set` has the size that is given.
    assert_eq!(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) }, 0);
    set
}

fn set_affinity(set: &libc::cpu_set_t) {
    // SAFETY: `set` has the size that is given.
    assert_eq!(unsafe { libc::sched_setaffinity(0, size_of_val(set), set) }, 0);
}

/// CPU time that a process has used so far, all its threads together.
pub fn cpu_time(pid: libc::pid_t) -> Duration {
    let mut clock = 0;
    // SAFETY: writes a clock id.
    assert_eq!(unsafe { libc::clock_getcpuclockid(pid, &mut clock) }, 0, "process {pid} has gone");
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: clock_gettime writes the time, or fails and the assertion ends the bench.
    let time = unsafe {
        assert_eq!(libc::clock_gettime(clock, time.as_mut_ptr()), 0);
        time.assume_init()
    };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// CPU time of all processes that this one has started and waited for.
pub fn ended_children_cpu_time() -> Duration {
    let mut used = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: getrusage writes what was used, or fails and the assertion ends the bench.
    let used = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_CHILDREN, used.as_mut_ptr()), 0);
        used.assume_init()
    };
    let time = |time: libc::timeval| {
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_usec).unwrap() * 1000)
    };
    time(used.ru_utime) + time(used.ru_stime)
}

/// CPU time of this thread.
pub fn thread_cpu_time() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: clock_gettime writes the time, or fails and the assertion ends the bench.
    let time = unsafe {
        assert_eq!(libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr()), 0);
        time.assume_init()
    };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// CPU time of this process.
pub fn own_cpu_time() -> Duration {
    cpu_time(0)
}

/// A child process of this one; `body` is its whole life.
pub fn fork(body: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the callers fork before they have any thread; the child runs `body` and leaves with _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the child at once, without the parent's own ending.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    pid
}

/// Sends a signal to a process that this bench has started.
pub fn signal(pid: libc::pid_t, number: libc::c_int) {
    // SAFETY: the pid is a child that was not waited for yet.
    unsafe { libc::kill(pid, number) };
}

/// Waits for a child and gives its wait status.
pub fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    unsafe { libc::waitpid(pid, &mut status, 0) };
    status
}

/// Whether a child has ended; it is waited for then.
pub fn has_ended(pid: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: asks for a child of this process.
    unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) == pid }
}

/// Time of all CPUs by the kernel's count: stolen by the hypervisor, and all.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    stolen: u64,
    all: u64,
}

impl Ticks {
    /// As it stands.
    pub fn now() -> Ticks {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let line = stat.lines().next().unwrap();
        let fields: Vec<u64> =
            line.split_whitespace().skip(1).take(8).map(|field| field.parse().unwrap()).collect();
        Ticks { stolen: fields[7], all: fields.iter().sum() }
    }

    /// Percent of the time since then that was stolen.
    pub fn stolen_since(self) -> f64 {
        let now = Ticks::now();
        100.0 * (now.stolen - self.stolen) as f64 / (now.all - self.all).max(1) as f64
    }
}
