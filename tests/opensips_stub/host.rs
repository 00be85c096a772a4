//! The stub host of tests/c/opensips_stub.c, built and run: commands in, answers out.
//!
//! It refuses to wait for ever: each answer has a deadline, and the log is shown with a failure.

use crate::support::simulator::Simulator;
use crate::support::{DEADLINE, Scratch, built_library, ends_with_us, poll, run};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// One user may be called as often as a test wants.
const NO_LIMITS: (&str, &str) = ("[call]", "[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\n[call]");

/// How it is to be run.
pub struct Setup<'a> {
    pub version: &'a str,
    /// More arguments for the compiler.
    pub compile: &'a [&'a str],
    pub environment: &'a [(&'a str, &'a str)],
    /// All its processes under valgrind, which makes them fail where it finds something.
    pub under_valgrind: bool,
    /// Changes of the configuration.
    pub config: &'a [(&'a str, &'a str)],
}

impl<'a> Setup<'a> {
    pub fn of(version: &'a str) -> Setup<'a> {
        Setup { version, compile: &[], environment: &[], under_valgrind: false, config: &[] }
    }
}

/// A running host; it ends with this value.
pub struct Host {
    child: Child,
    pub simulator: Simulator,
    /// How many lines of its output were looked at.
    seen: Cell<usize>,
    scratch: Scratch,
}

impl Host {
    /// Starts one that takes the module.
    pub fn start(setup: &Setup<'_>) -> Host {
        let host = Host::spawn(setup);
        host.next("> ready");
        host
    }

    /// Starts one that ends by itself, and gives its output and its log.
    pub fn refused(setup: &Setup<'_>) -> (ExitStatus, String, String) {
        let mut host = Host::spawn(setup);
        let ended = poll(DEADLINE, || host.child.try_wait().unwrap());
        (ended.expect("it ends by itself"), host.output(), host.log())
    }

    fn spawn(setup: &Setup<'_>) -> Host {
        let scratch = Scratch::new("stub");
        let program = build(&scratch, setup.compile);
        let simulator = Simulator::start(&scratch, &[]);
        let config = simulator.change_config(&[&[NO_LIMITS], setup.config].concat());
        let file = |name| File::create(scratch.path().join(name)).unwrap();
        let mut command = if setup.under_valgrind { valgrind(&program) } else { Command::new(program) };
        command.arg(setup.version).arg(built_library()).arg(config).stdin(Stdio::piped());
        command.envs(setup.environment.iter().copied()).stdout(file("out")).stderr(file("log"));
        let child = ends_with_us(&mut command).spawn().unwrap();
        Host { child, simulator, seen: Cell::new(0), scratch }
    }

    /// Gives a command and gets its answer, without the mark of answers.
    pub fn ask(&self, command: &str) -> String {
        self.tell(command);
        self.next("> ").trim_start_matches("> ").to_owned()
    }

    /// Gives a command whose answers are asked for later.
    pub fn tell(&self, command: &str) {
        let mut stdin = self.child.stdin.as_ref().expect("it is a pipe");
        stdin.write_all(format!("{command}\n").as_bytes()).expect("it reads");
    }

    /// The next line that begins so; others are left out for good.
    pub fn next(&self, start: &str) -> String {
        let found = poll(DEADLINE, || {
            let output = self.output();
            // the last one may be written in part
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            for (at, line) in whole.lines().enumerate().skip(self.seen.get()) {
                self.seen.set(at + 1);
                if line.starts_with(start) {
                    return Some(line.to_owned());
                }
            }
            None
        });
        found.unwrap_or_else(|| panic!("no {start:?} in:\n{}\n{}", self.output(), self.log()))
    }

    /// The first line anywhere that begins so.
    pub fn anywhere(&self, start: &str) -> String {
        let find = || self.output().lines().find(|line| line.starts_with(start)).map(str::to_owned);
        poll(DEADLINE, find).unwrap_or_else(|| panic!("no {start:?} in:\n{}", self.output()))
    }

    /// The sender's process.
    pub fn sender(&self) -> libc::pid_t {
        self.anywhere("sender ").trim_start_matches("sender ").parse().unwrap()
    }

    /// A signal for the sender's process.
    pub fn signal_sender(&self, signal: libc::c_int) {
        // SAFETY: a child of the host that this test has started, which has not reaped it yet.
        assert_eq!(unsafe { libc::kill(self.sender(), signal) }, 0);
    }

    /// Ends it, and gives its log.
    pub fn stop(mut self) -> String {
        drop(self.child.stdin.take());
        let ended = poll(DEADLINE, || self.child.try_wait().unwrap());
        let ended = ended.unwrap_or_else(|| panic!("it does not end:\n{}\n{}", self.output(), self.log()));
        assert!(ended.success(), "{ended:?}\n{}\n{}", self.output(), self.log());
        self.log()
    }

    pub fn output(&self) -> String {
        self.read("out")
    }

    pub fn log(&self) -> String {
        self.read("log")
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.scratch.path().join(name)).unwrap_or_default()).into_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if poll(DEADLINE, || self.child.try_wait().ok().flatten()).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What the library keeps on purpose stays reachable and does not count.
fn valgrind(program: &Path) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--quiet",
        "--error-exitcode=99",
        "--trace-children=yes",
        "--fair-sched=yes",
        "--leak-check=full",
    ]);
    valgrind.args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", "--num-callers=40"]);
    valgrind.arg(program);
    valgrind
}

fn build(scratch: &Scratch, more: &[&str]) -> PathBuf {
    let program = scratch.path().join("host");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/opensips_stub.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-g", "-rdynamic"]).args(more);
    run(gcc.arg(source).arg("-o").arg(&program).arg("-ldl"), "gcc");
    program
}
