//! SIPp: real SIP traffic from scenarios under tests/sipp, and the trace of what went over the wire.
//!
//! It refuses SIPp's own choice of port, which is 5060 when that is free.

use super::ports::free_port;
use super::{DEADLINE, Scratch, ends_with_us, poll};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// A scenario of tests/sipp.
pub fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sipp").join(name)
}

/// Different UDP ports of 127.0.0.1 that are free now.
pub fn free_ports(how_many: usize) -> Vec<u16> {
    (0..how_many).map(|_| free_port(Ipv4Addr::LOCALHOST.into())).collect()
}

/// The command line of SIPp for a scenario, on this port, tracing to a file.
pub fn command(scenario: &Path, port: u16, trace: &Path) -> Command {
    let mut command = Command::new("sipp");
    command.arg("-sf").arg(scenario).args(["-i", "127.0.0.1", "-nostdin", "-p", &port.to_string()]);
    command.args(["-key", "domain", super::phone::DOMAIN]);
    command.arg("-trace_msg").arg("-message_file").arg(trace);
    // the times in the trace are compared with those of others
    command.env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// A running SIPp; it ends with this value.
pub struct Sipp {
    child: Child,
    /// The port that it uses.
    pub port: u16,
    trace: PathBuf,
    screen: PathBuf,
}

impl Sipp {
    /// Starts one and waits until it has its port. `name` is that of its files in the directory.
    pub fn start(scratch: &Scratch, name: &str, scenario: &Path, args: &[&str]) -> Sipp {
        let mut sipp = Sipp::spawn(scratch, name, scenario, args);
        sipp.wait_until("listens", |sipp| is_bound(sipp.port));
        sipp
    }

    /// Starts a phone that registers over TCP, keeps the connection and answers the calls that come over it; waits until it is
    /// registered.
    pub fn start_connected_phone(scratch: &Scratch, name: &str, user: &str, server: &str) -> Sipp {
        let called = scenario("phone.xml");
        let called = called.to_str().expect("the tree has a path in UTF-8");
        let args = ["-t", "t1", "-m", "1", "-s", user, "-oocsf", called, server];
        let is_registered = |sipp: &Sipp| {
            sipp.traced().iter().any(|heard| !heard.sent && heard.start.starts_with("SIP/2.0 200"))
        };
        let mut sipp = Sipp::spawn(scratch, name, &scenario("stay.xml"), &args);
        sipp.wait_until("registers", is_registered);
        assert!(!sipp.has_ended(), "it does not stay: {}", sipp.screen());
        sipp
    }

    fn spawn(scratch: &Scratch, name: &str, scenario: &Path, args: &[&str]) -> Sipp {
        let (trace, screen) =
            (scratch.path().join(format!("{name}.trace")), scratch.path().join(format!("{name}.screen")));
        let port = free_ports(1)[0];
        let output = File::create(&screen).expect("the directory is ours");
        let mut command = command(scenario, port, &trace);
        command.args(args).stdout(output.try_clone().expect("a file can be shared")).stderr(output);
        let child = ends_with_us(&mut command)
            .spawn()
            .expect("needs Debian's package sip-tester; run make test, which installs it");
        Sipp { child, port, trace, screen }
    }

    /// Waits until it is as it should be, or has ended: a caller may be quicker than we look.
    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Sipp) -> bool) {
        let found = poll(DEADLINE, || (self.has_ended() || is_so(self)).then_some(()));
        found.unwrap_or_else(|| panic!("SIPp never {what}: {}", self.screen()));
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// How it ended; success means that all calls went as the scenario says.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = poll(DEADLINE * 3, || self.child.try_wait().expect("it is our child"));
        ended.unwrap_or_else(|| panic!("SIPp does not end: {}", self.screen()))
    }

    /// What it has shown, for a failure's message.
    pub fn screen(&self) -> String {
        fs::read_to_string(&self.screen).unwrap_or_default()
    }

    /// What went over the wire so far, in its order.
    pub fn traced(&self) -> Vec<Traced> {
        read_trace(&self.trace)
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        // It is our own child: where it was not reaped, the id is still its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True once some process has bound this UDP port. /proc tells it without a try, which could take the port away.
fn is_bound(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    table.contains(&format!(":{port:04X} "))
}

/// A message in a trace.
#[derive(Debug, Clone)]
pub struct Traced {
    /// Milliseconds since midnight UTC.
    pub at_ms: f64,
    /// Sent by this SIPp, else received.
    pub sent: bool,
    /// Its first line.
    pub start: String,
    /// The method in its CSeq.
    pub method: String,
    /// Its topmost Via: the same in a retransmission.
    pub via: String,
}

/// Reads a file that SIPp has written for `-trace_msg`.
pub fn read_trace(trace: &Path) -> Vec<Traced> {
    let text = String::from_utf8_lossy(&fs::read(trace).unwrap_or_default()).into_owned();
    text.split("----------------------------------------------- ").filter_map(parse_traced).collect()
}

/// `2026-11-22 16:41:24.782366`, `UDP message sent (455 bytes):`, an empty line, the message.
fn parse_traced(part: &str) -> Option<Traced> {
    let mut lines = part.lines();
    let (_date, time) = lines.next()?.split_once(' ')?;
    let sent = lines.next()?.contains(" sent ");
    let start = lines.by_ref().find(|line| !line.trim().is_empty())?.trim().to_owned();
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let header = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim());
    let method = header("CSeq")?.split_whitespace().nth(1)?.to_owned();
    Some(Traced { at_ms: ms_since_midnight(time)?, sent, start, method, via: header("Via")?.to_owned() })
}

fn ms_since_midnight(time: &str) -> Option<f64> {
    let seconds =
        time.trim().split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?));
    seconds.map(|seconds: f64| seconds * 1000.0)
}
