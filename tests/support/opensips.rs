//! A real OpenSIPS of the test's own: its directory, its ports, its management socket, its log.
//!
//! It refuses to look for one: `OPENSIPS` names the program, `OPENSIPS_MODULES` the directory of its modules.

use super::kamailio::Place;
use super::sip::{self, Answer};
use super::{DEADLINE, built_library, ends_with_us, poll, run};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The OpenSIPS that the environment names.
#[derive(Debug, Clone)]
pub struct Installation {
    program: PathBuf,
    modules: PathBuf,
}

impl Installation {
    /// What the environment names.
    pub fn named() -> Installation {
        let named = |name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set, see the README")))
        };
        Installation { program: named("OPENSIPS"), modules: named("OPENSIPS_MODULES") }
    }

    /// Major and minor of its version.
    pub fn version(&self) -> (u32, u32) {
        let output = run(Command::new(&self.program).arg("-V"), "opensips");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers = text.split_once("opensips ").and_then(|(_, rest)| {
            let mut numbers = rest.split('.');
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        });
        numbers.unwrap_or_else(|| panic!("no version in {text}"))
    }

    /// Whether event routes are a module, and not part of the core.
    pub fn has_event_route_module(&self) -> bool {
        self.version() < (3, 6)
    }
}

/// A running OpenSIPS; it ends with this value.
pub struct Opensips {
    child: Child,
    /// Its directory and ports.
    pub place: Place,
    management: u16,
}

/// Where the module and the management socket are, for a configuration; the rest is in it.
fn complete(place: &mut Place, installation: &Installation, config: &str) -> (String, u16) {
    let management = place.hold_port();
    let module = place.scratch.path().join("voip_push.so");
    // figures are worth something with a release build only
    let library = std::env::var_os("VOIP_PUSH_MODULE").map_or_else(built_library, PathBuf::from);
    std::os::unix::fs::symlink(library, &module).expect("the directory is ours");
    let more = format!(
        "loadmodule \"mi_datagram.so\"\nmodparam(\"mi_datagram\", \"socket_name\", \"udp:127.0.0.1:{management}\")\n"
    );
    let text = config
        .replace("stderror_enabled=no", "stderror_enabled=yes")
        .replace("syslog_enabled=yes", "syslog_enabled=no")
        .replace("127.0.0.1:5060", &format!("127.0.0.1:{}", place.port))
        .replace("sip.example.org:5060", &format!("sip.example.org:{}", place.port))
        .replace("/usr/lib/x86_64-linux-gnu/opensips/modules", &installation.modules.display().to_string())
        .replace("loadmodule \"voip_push.so\"", &format!("loadmodule \"{}\"", module.display()))
        .replace("loadmodule \"mi_fifo.so\"\n", &more)
        .replace("modparam(\"mi_fifo\", \"fifo_name\", \"/run/opensips/opensips_fifo\")\n", "");
    if installation.has_event_route_module() {
        (text.replace("#loadmodule \"event_route.so\"", "loadmodule \"event_route.so\""), management)
    } else {
        (text, management)
    }
}

impl Opensips {
    /// Starts it with a configuration and waits until it answers.
    pub fn start(installation: &Installation, place: Place, config: &str) -> Opensips {
        let mut opensips = Opensips::spawn(installation, place, config);
        if !opensips.answers() {
            let ended = opensips.child.try_wait().expect("it is our child");
            panic!("OpenSIPS did not start ({ended:?}):\n{}", opensips.log());
        }
        opensips
    }

    /// Starts one that is expected to refuse its configuration, and gives how it ended and its log.
    pub fn refused(installation: &Installation, place: Place, config: &str) -> (ExitStatus, String) {
        let mut opensips = Opensips::spawn(installation, place, config);
        let ended = poll(DEADLINE, || opensips.child.try_wait().expect("it is our child"));
        let log = opensips.log();
        (ended.unwrap_or_else(|| panic!("OpenSIPS started, but should not have:\n{log}")), log)
    }

    fn spawn(installation: &Installation, mut place: Place, config: &str) -> Opensips {
        let (text, management) = complete(&mut place, installation, config);
        let file = place.scratch.write("opensips.cfg", text);
        let log = File::create(place.scratch.path().join("opensips.log")).expect("the directory is ours");
        let mut command = Command::new(&installation.program);
        command
            .arg("-F")
            .arg("-f")
            .arg(file)
            .arg("-w")
            .arg(place.scratch.path())
            .args(["-m", "128", "-M", "16"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        // A process group of its own: at its end OpenSIPS may signal its whole group.
        command.process_group(0);
        ends_with_us(&mut command);
        // It binds without sharing.
        place.release();
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Opensips { child, place, management }
    }

    fn answers(&mut self) -> bool {
        let probe = UdpSocket::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        probe.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout above zero is taken");
        let request = sip::request("OPTIONS", &format!("sip:127.0.0.1:{}", self.place.port), "", b"");
        poll(DEADLINE, || {
            if self.child.try_wait().expect("it is our child").is_some() {
                return Some(false);
            }
            let _ = probe.send_to(&request, ("127.0.0.1", self.place.port));
            // workers for UDP answer before the process for TCP listens
            let is_answered = probe.recv(&mut [0; 65_536]).is_ok();
            (is_answered && TcpStream::connect(("127.0.0.1", self.place.port)).is_ok()).then_some(true)
        })
        .unwrap_or(false)
    }

    /// The port of SIP over UDP and TCP.
    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        let file = self.place.scratch.path().join("opensips.log");
        String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
    }

    /// The first line of the log with this text in it, as soon as there is one.
    pub fn wait_for_log(&self, text: &str) -> String {
        let find = || self.log().lines().find(|line| line.contains(text)).map(str::to_owned);
        poll(DEADLINE, find).unwrap_or_else(|| panic!("no log line with {text:?} in:\n{}", self.log()))
    }

    /// A management command with its parameters, which gives its result or its error.
    pub fn manage(&self, method: &str, params: &Value) -> Value {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout above zero is taken");
        let request = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 });
        let sent = socket.send_to(request.to_string().as_bytes(), ("127.0.0.1", self.management));
        sent.expect("loopback takes a datagram");
        let mut buffer = vec![0; 65_536];
        let len =
            socket.recv(&mut buffer).unwrap_or_else(|_| panic!("no answer to {method}:\n{}", self.log()));
        serde_json::from_slice(&buffer[..len]).expect("JSON")
    }

    /// The process whose name begins so.
    pub fn process(&self, name: &str) -> libc::pid_t {
        let list = self.manage("ps", &json!({}));
        let all = list["result"]["Processes"].as_array().cloned().unwrap_or_default();
        let found =
            all.iter().find(|entry| entry["Type"].as_str().is_some_and(|kind| kind.starts_with(name)));
        let pid = found.and_then(|entry| entry["PID"].as_i64());
        pid.and_then(|pid| pid.try_into().ok()).unwrap_or_else(|| panic!("no process {name} in {list}"))
    }

    /// Sends a SIP request over UDP (see [`sip::request`]) and gives the first final answer.
    pub fn send_sip(&self, request: impl AsRef<[u8]>) -> Answer {
        let answer = sip::try_send(self.place.port, request.as_ref());
        answer.unwrap_or_else(|| panic!("no answer; the log:\n{}", self.log()))
    }

    /// True while the server lives.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Ends it with SIGTERM, as an administrator would, and says how it ended.
    pub fn stop(mut self) -> (ExitStatus, String) {
        let status = self.end();
        (status, self.log())
    }

    fn end(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().expect("it is our child") {
            return status;
        }
        self.signal(libc::SIGTERM, false);
        if let Some(status) = poll(DEADLINE, || self.child.try_wait().expect("it is our child")) {
            return status;
        }
        self.signal(libc::SIGKILL, true);
        self.child.wait().expect("it is our child")
    }

    fn signal(&self, signal: libc::c_int, group: bool) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process id fits");
        // SAFETY: the child was not reaped yet, so the id is still its own, and so is the group that it leads.
        unsafe { libc::kill(if group { -pid } else { pid }, signal) };
    }
}

impl Drop for Opensips {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of OpenSIPS, {}\n{}", self.place.scratch.path().display(), self.log());
        }
        self.end();
    }
}
