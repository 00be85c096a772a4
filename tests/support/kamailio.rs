//! A real Kamailio of the test's own: its directory, its ports, its control socket, its log.
//!
//! It refuses to touch any other Kamailio on the machine: it ends what it has started, by process id.

use super::ports::free_port;
use super::sip::{self, Answer};
use super::{DEADLINE, Scratch, built_library, ends_with_us, poll, run};
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// A Kamailio that can be run: the machine's own, or one that was unpacked (see [`super::debian`]).
#[derive(Debug, Clone)]
pub struct Installation {
    /// The program, with what must stand before it.
    pub command: Vec<OsString>,
    /// Where its modules are.
    pub modules: PathBuf,
}

impl Installation {
    /// What Debian's package kamailio has installed on this machine.
    pub fn of_this_machine() -> Installation {
        let found = ["/usr/sbin/kamailio", "/usr/bin/kamailio"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.is_file());
        let program = found.expect("needs Debian's package kamailio; run make test, which installs it");
        let modules = PathBuf::from("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
        Installation { command: vec![program.into()], modules: modules.join("kamailio/modules") }
    }

    /// `kamailio 5.6.3 (x86_64/linux)` or the like.
    pub fn version(&self) -> String {
        let output = run(self.command().arg("-v"), "kamailio");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("version: "));
        line.unwrap_or_else(|| panic!("no version in {text}")).trim().to_owned()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command
    }
}

/// What is fixed before a configuration is written: the directory and the ports. Ports are held until the server has them, so
/// that nobody else on the machine is given the same.
pub struct Place {
    /// Everything of this server is in here.
    pub scratch: Scratch,
    /// Where it serves: 127.0.0.1, unless it is one of several.
    pub ip: Ipv4Addr,
    /// SIP over UDP and TCP (and HTTP) on that address.
    pub port: u16,
    held: Vec<OwnedFd>,
}

impl Place {
    /// A fresh directory and a port.
    pub fn new(name: &str) -> Place {
        Place::at(name, Ipv4Addr::LOCALHOST)
    }

    /// The same on another address of loopback.
    pub fn at(name: &str, ip: Ipv4Addr) -> Place {
        let mut place = Place { scratch: Scratch::new(name), ip, port: 0, held: Vec::new() };
        place.port = place.hold_port();
        place
    }

    /// One more port that is free for UDP and TCP on its address.
    pub fn hold_port(&mut self) -> u16 {
        loop {
            let port = free_port(self.ip.into());
            let hold = |kind| bind_shared(kind, self.ip, port);
            // A program that another thread has just begun to start may have the sockets of the look at the port for a moment.
            if let (Some(udp), Some(tcp)) = (hold(libc::SOCK_DGRAM), hold(libc::SOCK_STREAM)) {
                self.held.extend([udp, tcp]);
                return port;
            }
        }
    }

    /// Lets the ports go, for a server that does not share them.
    pub fn release(&mut self) {
        self.held.clear();
    }

    /// The control socket that `ctl.so` makes, given no other `binrpc`.
    pub fn control_socket(&self) -> PathBuf {
        self.scratch.path().join("kamailio_ctl")
    }
}

/// Binds with SO_REUSEADDR: Kamailio sets it too, so it can bind the same port while we hold it, and `bind(0)` of others
/// cannot get it.
fn bind_shared(kind: libc::c_int, ip: Ipv4Addr, port: u16) -> Option<OwnedFd> {
    let address = SocketAddrV4::new(ip, port);
    let raw = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    };
    let on: libc::c_int = 1;
    // SAFETY: the pointers are to locals of the sizes given; the descriptor is owned from the moment that it is known to be
    // valid.
    unsafe {
        let fd = libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "the system gives a socket");
        let owned = OwnedFd::from_raw_fd(fd);
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            (&raw const on).cast(),
            size_of_val(&on) as u32,
        );
        let bound = libc::bind(fd, (&raw const raw).cast(), size_of_val(&raw) as u32);
        (bound == 0).then_some(owned)
    }
}

/// The configuration to run.
pub enum Config {
    /// Its text. `mpath` and `listen` are given on the command line and need not be in it.
    Text(String),
    /// A file, such as one that we ship.
    File(PathBuf),
}

/// How the harness knows that the server answers.
pub enum Ready {
    /// Any answer to an OPTIONS over UDP; `request_route` must not drop it.
    Options,
    /// A line of the log has this text.
    Log(String),
}

/// What to start.
pub struct Options {
    /// Directory and ports.
    pub place: Place,
    /// Which Kamailio.
    pub installation: Installation,
    /// Its configuration.
    pub config: Config,
    /// `-A NAME=VALUE`; a value that is text needs its own quotes, as in `"x"`.
    pub defines: Vec<(String, String)>,
    /// More arguments, as they are.
    pub args: Vec<OsString>,
    /// Whether `-l udp:… -l tcp:…` for the place's port is given on the command line.
    pub listen: bool,
    /// Whether it forks at all; without, the first process is the only worker.
    pub forks: bool,
    /// When it counts as started.
    pub ready: Ready,
}

impl Options {
    /// The machine's own Kamailio with a configuration text.
    pub fn text(place: Place, text: impl Into<String>) -> Options {
        Options::with(place, Config::Text(text.into()))
    }

    /// The machine's own Kamailio with a configuration file.
    pub fn file(place: Place, file: impl Into<PathBuf>) -> Options {
        Options::with(place, Config::File(file.into()))
    }

    fn with(place: Place, config: Config) -> Options {
        Options {
            place,
            installation: Installation::of_this_machine(),
            config,
            defines: Vec::new(),
            args: Vec::new(),
            listen: true,
            forks: true,
            ready: Ready::Options,
        }
    }

    /// Adds `-A name` or `-A name=value`.
    pub fn define(mut self, name: &str, value: &str) -> Options {
        self.defines.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs another Kamailio than the machine's own.
    pub fn on(mut self, installation: &Installation) -> Options {
        self.installation = installation.clone();
        self
    }

    fn spawn(&self) -> Child {
        let scratch = &self.place.scratch;
        let log = File::create(log_file(scratch)).expect("the directory is ours");
        let config = match &self.config {
            Config::Text(text) => scratch.write("kamailio.cfg", text),
            Config::File(file) => file.clone(),
        };
        let mut command = self.installation.command();
        command
            .arg("-f")
            .arg(config)
            .args([if self.forks { "-DD" } else { "-D" }, "-E", "-Y"])
            .arg(scratch.path());
        command.arg("-L").arg(module_path(scratch, &self.installation.modules));
        if self.listen {
            let Place { ip, port, .. } = self.place;
            command.args(["-l", &format!("udp:{ip}:{port}"), "-l", &format!("tcp:{ip}:{port}")]);
        }
        for (name, value) in &self.defines {
            let define = if value.is_empty() { name.clone() } else { format!("{name}={value}") };
            command.arg("-A").arg(define);
        }
        command.args(&self.args).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        // A process group of its own: at its end Kamailio signals its whole group.
        command.process_group(0);
        ends_with_us(&mut command);
        command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }
}

/// A directory with the freshly built module under the name that Kamailio looks for, before the host's own modules.
fn module_path(scratch: &Scratch, modules: &Path) -> OsString {
    let ours = scratch.path().join("modules");
    if !ours.is_dir() {
        fs::create_dir(&ours).expect("the directory is ours");
        std::os::unix::fs::symlink(built_library(), ours.join("voip_push.so"))
            .expect("the directory is ours");
    }
    let mut path = ours.into_os_string();
    path.push(":");
    path.push(modules);
    path
}

fn log_file(scratch: &Scratch) -> PathBuf {
    scratch.path().join("kamailio.log")
}

/// Where a log goes when its Kamailio is restarted.
fn former(log: &Path) -> PathBuf {
    log.with_extension("former.log")
}

/// A running Kamailio; it ends with this value.
pub struct Kamailio {
    child: Child,
    /// Its directory and ports.
    pub place: Place,
}

impl Kamailio {
    /// Starts it and waits until it answers.
    pub fn start(options: Options) -> Kamailio {
        let child = options.spawn();
        let mut kamailio = Kamailio { child, place: options.place };
        if !kamailio.is_ready_in_time(&options.ready) {
            let ended = kamailio.child.try_wait().expect("it is our child");
            panic!("Kamailio did not start ({ended:?}):\n{}", kamailio.log());
        }
        kamailio.place.held.clear();
        kamailio
    }

    /// Starts one that is expected to refuse its configuration, and gives how it ended and its log.
    pub fn refused(options: Options) -> (ExitStatus, String) {
        let mut kamailio = Kamailio { child: options.spawn(), place: options.place };
        let ended = poll(DEADLINE, || kamailio.child.try_wait().expect("it is our child"));
        let log = kamailio.log();
        (ended.unwrap_or_else(|| panic!("Kamailio started, but should not have:\n{log}")), log)
    }

    fn is_ready_in_time(&mut self, ready: &Ready) -> bool {
        let Place { ip, port, .. } = self.place;
        // not on the server's own address, which may be one of another network namespace
        let probe = UdpSocket::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        probe.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout above zero is taken");
        poll(DEADLINE, || {
            if self.child.try_wait().expect("it is our child").is_some() {
                return Some(false);
            }
            let answered = match ready {
                Ready::Log(text) => self.log().contains(text),
                Ready::Options => {
                    let uri = format!("sip:ready@{ip}:{port}");
                    let _ = probe.send_to(&sip::request("OPTIONS", &uri, "", b""), (ip, port));
                    probe.recv(&mut [0; 65_536]).is_ok()
                }
            };
            answered.then_some(true)
        })
        .unwrap_or(false)
    }

    /// The process id of its first process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port of SIP over UDP and TCP, and of HTTP.
    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// Where it serves SIP.
    pub fn address(&self) -> SocketAddr {
        (self.place.ip, self.place.port).into()
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(log_file(&self.place.scratch)).unwrap_or_default()).into_owned()
    }

    /// The same, behind what the one in whose place it was started had logged.
    pub fn whole_log(&self) -> String {
        let former = fs::read(former(&log_file(&self.place.scratch))).unwrap_or_default();
        String::from_utf8_lossy(&former).into_owned() + &self.log()
    }

    /// The first line of the log with this text in it, as soon as there is one.
    pub fn wait_for_log(&self, text: &str, deadline: Duration) -> String {
        let find = || self.log().lines().find(|line| line.contains(text)).map(str::to_owned);
        poll(deadline, find).unwrap_or_else(|| panic!("no log line with {text:?} in:\n{}", self.log()))
    }

    /// Runs a command through `kamcmd`: its words, such as `["core.psx"]`. The configuration must load `ctl.so`. Workers answer
    /// before the control process has its socket, so that is waited for.
    pub fn rpc(&self, words: &[&str]) -> String {
        let ask = || {
            let output = self.kamcmd(words);
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        poll(DEADLINE, ask).unwrap_or_else(|| panic!("kamcmd {words:?} failed; the log:\n{}", self.log()))
    }

    /// The same once; the error is what Kamailio says why not.
    pub fn try_rpc(&self, words: &[&str]) -> Result<String, String> {
        let output = self.kamcmd(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // kamcmd itself has done its work when it has printed an error.
        let is_done = output.status.success() && !said.starts_with("error: ");
        if is_done { Ok(said) } else { Err(said + &String::from_utf8_lossy(&output.stderr)) }
    }

    /// One of the counters and levels, by its name in `voip_push.stats`.
    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.rpc(&["voip_push.stats"]);
        let line = stats.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {stats}"))
    }

    /// The pid of the first process whose name begins so, as soon as Kamailio has forked it.
    pub fn process(&self, name: &str) -> libc::pid_t {
        let find = || {
            let list = self.rpc(&["core.psx"]);
            let at = list.find(&format!("DSC: {name}"))?;
            list[..at].rsplit("PID: ").next()?.lines().next()?.trim().parse().ok()
        };
        poll(DEADLINE, find).unwrap_or_else(|| panic!("no process {name}:\n{}", self.log()))
    }

    fn kamcmd(&self, words: &[&str]) -> Output {
        let socket = self.place.control_socket();
        let is_there = poll(DEADLINE, || socket.exists().then_some(()));
        assert!(is_there.is_some(), "no control socket:\n{}", self.log());
        let mut kamcmd = Command::new("kamcmd");
        kamcmd.arg("-s").arg(format!("unix:{}", socket.display())).args(words);
        kamcmd.output().expect("needs Debian's package kamailio; run make test, which installs it")
    }

    /// Sends a SIP request over UDP (see [`sip::request`]) and gives the first final answer.
    pub fn send_sip(&self, request: impl AsRef<[u8]>) -> Answer {
        let answer = sip::try_send(self.place.port, request.as_ref());
        answer.unwrap_or_else(|| panic!("no answer; the log:\n{}", self.log()))
    }

    /// True while the server lives; one child's death ends it.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Ends it with SIGTERM, as an administrator would, and says how it ended.
    pub fn stop(mut self) -> (ExitStatus, String) {
        let status = self.end();
        (status, self.log())
    }

    /// Ends it like [`Kamailio::stop`] and starts one in its place, with the same directory and ports.
    pub fn restart(mut self, options: impl FnOnce(Place) -> Options) -> Kamailio {
        self.end();
        let nowhere = Place { scratch: Scratch::new("gone"), ip: self.place.ip, port: 0, held: Vec::new() };
        let mut place = std::mem::replace(&mut self.place, nowhere);
        let log = log_file(&place.scratch);
        fs::rename(&log, former(&log)).expect("the directory is ours");
        place.held.clear();
        Kamailio::start(options(place))
    }

    fn end(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().expect("it is our child") {
            return status;
        }
        self.signal(libc::SIGTERM, false);
        // A child that is only just being forked misses the SIGTERM that Kamailio passes on to it (seen with 5.6.3 and no module of
        // ours), and Kamailio then waits a minute for it; so the whole group is asked again.
        for _ in 0..DEADLINE.as_secs() {
            if let Some(status) =
                poll(Duration::from_secs(1), || self.child.try_wait().expect("it is our child"))
            {
                return status;
            }
            self.signal(libc::SIGTERM, true);
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

impl Drop for Kamailio {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of Kamailio, {}\n{}", self.place.scratch.path().display(), self.log());
        }
        self.end();
    }
}

/// Whether a TCP port of 127.0.0.1 can be bound, for tests that look whether a server has left.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
