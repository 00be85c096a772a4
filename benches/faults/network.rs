//! Two machines on one: the second node in a network of its own, and a cable between them that can be cut.
//!
//! It refuses to touch the machine's own network: all of it is in network namespaces that end with the run.
//!
//! Loopback addresses are routed over the cable (`route_localnet`), so that nothing else needs to know of it.

use super::support::{DEADLINE, ends_with_us, poll, run};
use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

/// The cable: two pairs of virtual interfaces with a bridge between them, in a namespace of its own. A port that leaves the bridge
/// drops what comes, and neither end is told.
pub struct Cable {
    middle: Namespace,
    far: Namespace,
}

impl Cable {
    /// Moves this process, which must have one thread only, into a network of its own where `near` addresses are, and puts `far`
    /// behind the cable.
    pub fn lay(near: &[Ipv4Addr], far: Ipv4Addr) -> Cable {
        // SAFETY: changes this process alone; its only thread is this one.
        let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(left, 0, "a network namespace needs root: {}", std::io::Error::last_os_error());
        ip(&["link", "set", "lo", "up"]);
        let cable = Cable { middle: Namespace::new(), far: Namespace::new() };
        cable.connect();
        // 127.0.0.0/8 as a whole would keep the far address here.
        near.iter().for_each(|near| ip(&["addr", "add", &format!("{near}/32"), "dev", "lo"]));
        ip(&["addr", "del", "127.0.0.1/8", "dev", "lo"]);
        route_localnet("near");
        ip(&["route", "add", &format!("{far}/32"), "dev", "near", "src", &near[0].to_string()]);
        cable.set_up_far(near, far);
        cable
    }

    fn connect(&self) {
        let (middle, far) = (self.middle.pid(), self.far.pid());
        ip(&["link", "add", "near", "type", "veth", "peer", "name", "to-near", "netns", &middle]);
        self.middle.ip(&["link", "add", "to-far", "type", "veth", "peer", "name", "far", "netns", &far]);
        self.middle.ip(&["link", "add", "bridge", "type", "bridge"]);
        for port in ["to-near", "to-far"] {
            self.middle.ip(&["link", "set", port, "master", "bridge"]);
            self.middle.ip(&["link", "set", port, "up"]);
        }
        self.middle.ip(&["link", "set", "bridge", "up"]);
        ip(&["link", "set", "near", "up"]);
    }

    fn set_up_far(&self, near: &[Ipv4Addr], far: Ipv4Addr) {
        for up in ["lo", "far"] {
            self.far.ip(&["link", "set", up, "up"]);
        }
        let far = far.to_string();
        self.far.ip(&["addr", "add", &format!("{far}/32"), "dev", "lo"]);
        self.far.ip(&["addr", "del", "127.0.0.1/8", "dev", "lo"]);
        self.far.run(Command::new("sh").args(["-c", "echo 1 >/proc/sys/net/ipv4/conf/far/route_localnet"]));
        for near in near {
            self.far.ip(&["route", "add", &format!("{near}/32"), "dev", "far", "src", &far]);
        }
    }

    /// What must stand before a program that is to run at the far end.
    pub fn far_command(&self) -> Vec<String> {
        self.far.command()
    }

    /// From now on nothing comes through, in either direction.
    pub fn cut(&self) {
        self.middle.ip(&["link", "set", "to-far", "nomaster"]);
    }

    /// Everything comes through again.
    pub fn heal(&self) {
        self.middle.ip(&["link", "set", "to-far", "master", "bridge"]);
    }
}

/// A network namespace, which is there as long as the process that was started in it.
struct Namespace {
    holder: Child,
}

impl Namespace {
    fn new() -> Namespace {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "86400"]).stdin(Stdio::null());
        let holder = ends_with_us(&mut command).spawn().expect("util-linux is on every Debian");
        let own = fs::read_link("/proc/self/ns/net").expect("a process has a network");
        let link = format!("/proc/{}/ns/net", holder.id());
        let is_apart = || fs::read_link(&link).ok().filter(|its| *its != own);
        poll(DEADLINE, is_apart).expect("unshare makes a network namespace");
        Namespace { holder }
    }

    fn pid(&self) -> String {
        self.holder.id().to_string()
    }

    fn command(&self) -> Vec<String> {
        ["nsenter", &format!("--net=/proc/{}/ns/net", self.pid()), "--"].map(str::to_owned).into()
    }

    fn run(&self, command: &Command) {
        let mut inside = Command::new("nsenter");
        inside.args(&self.command()[1..]).arg(command.get_program()).args(command.get_args());
        run(&mut inside, "util-linux");
    }

    fn ip(&self, args: &[&str]) {
        self.run(Command::new("ip").args(args));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args), "iproute2");
}

fn route_localnet(interface: &str) {
    let switch = format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
    fs::write(&switch, "1").unwrap_or_else(|error| panic!("{switch}: {error}"));
}
