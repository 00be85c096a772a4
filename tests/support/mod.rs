//! What the tests that start real servers share: a directory each, waiting for facts, the freshly built library.
//!
//! It refuses to sleep for luck: every wait is for a fact, with a deadline, and says what was missing.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stderr, reason = "this is how a test fails")]

pub mod browser;
pub mod debian;
pub mod engine;
pub mod kamailio;
pub mod nodes;
pub mod opensips;
pub mod phone;
pub mod ports;
pub mod rest;
pub mod rig;
pub mod settings;
pub mod shipped;
pub mod simulator;
pub mod sip;
pub mod sipp;
mod tls;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; no test waits this long unless it fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A directory of one test: removed at its end, kept and named when the test fails.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a directory with a short path (Unix sockets in it must fit into 108 bytes).
    pub fn new(name: &str) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("voip-push-{name}-{}-{next}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Scratch { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file into it and says where.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Asks again and again until there is an answer; `None` when the deadline is over first.
pub fn poll<T>(deadline: Duration, mut fact: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = fact() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        // The pause between two looks; no result depends on its length.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets a server that is started for a test end when the test program does, even if that is ended by a signal.
pub fn ends_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    }
}

/// Runs a program to its end; one that is missing or fails is a failure of the test that says what to install.
pub fn run(command: &mut Command, package: &str) -> Output {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| {
        panic!("{shown}: {error}; it needs Debian's package {package}; run make test, which installs it")
    });
    assert!(output.status.success(), "{shown} failed: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The `libvoip_push.so` that cargo has built for this very test run. It is the one beside the test program: the copy in
/// `target/<profile>/` is only renewed by `cargo build`.
pub fn built_library() -> PathBuf {
    let program = std::env::current_exe().expect("a test program knows where it is");
    let deps = program.parent().expect("a test program is in target/<profile>/deps");
    let found = deps.join("libvoip_push.so");
    assert!(found.is_file(), "{} is missing; cargo test builds it beside the tests", found.display());
    found
}

/// Where build products of this package are kept.
pub fn target_dir() -> PathBuf {
    let library = built_library();
    library.ancestors().nth(3).expect("the library is in target/<profile>/deps").to_owned()
}

/// Waits until a process of ours waits for events. One that is stopped elsewhere may hold a lock that all of Kamailio needs.
pub fn wait_until_idle(pid: libc::pid_t) {
    let waits = || {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap();
        let number = call.split(' ').next().unwrap().parse::<libc::c_long>().ok()?;
        [libc::SYS_epoll_wait, libc::SYS_epoll_pwait].contains(&number).then_some(())
    };
    poll(DEADLINE, waits).expect("it comes to rest");
}
