//! Kamailio under the bench: its configuration, its processes, what they use and what went wrong in them.
//!
//! It refuses to judge what it measures; the sections do.

use crate::machine;
use crate::support::kamailio::{Kamailio, Options, Place};
use crate::support::sip;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

/// A configuration for the bench.
pub struct Script {
    /// `loadmodule` and `modparam` lines besides the common ones.
    pub modules: String,
    /// What happens to an INVITE after `t_newtran()`; falls through to a 480.
    pub invite: String,
    /// What happens when an OPTIONS with the header X-Do asks for it.
    pub asked: String,
    /// The first write, a condition that is true when it was done; empty where nothing is kept. As long as nobody has written since
    /// the file was opened, SQLite asks the system for the file's length in every lookup, and a server that lives has registrations.
    pub write: String,
    /// Kamailio's allocator, `-x`.
    pub allocator: &'static str,
}

/// Debian's Kamailio is built for debugging memory and starts with this one, unless told otherwise.
pub const DEBIANS: &str = "qm";
/// What everything is measured with: the search of qm's free lists would hide the rest.
pub const FAST: &str = "tlsf";

impl Script {
    /// Nothing but the answer.
    pub fn plain() -> Script {
        let nothing = String::new;
        Script { modules: nothing(), invite: nothing(), asked: nothing(), write: nothing(), allocator: FAST }
    }

    /// With our module and this in the INVITE's way.
    pub fn with_module(config: &Path, invite: &str) -> Script {
        let modules = format!(
            "loadmodule \"voip_push.so\"\nmodparam(\"voip_push\", \"config\", \"{}\")\n",
            config.display()
        );
        Script { modules, invite: invite.to_owned(), write: crate::tokens::renewal(), ..Script::plain() }
    }

    fn text(&self) -> String {
        let write = match self.write.as_str() {
            "" => String::new(),
            write => format!("if (!{write}) {{\nsl_send_reply(\"500\", \"Not Written\");\nexit;\n}}"),
        };
        COMMON
            .replace("MODULES", &self.modules)
            .replace("INVITE_SCRIPT", &self.invite)
            .replace("ASKED_SCRIPT", &self.asked)
            .replace("WRITE_SCRIPT", &write)
    }
}

/// A running Kamailio with 4 UDP workers, on the CPU of what is measured.
pub struct Server {
    kamailio: Kamailio,
    has_module: bool,
}

impl Server {
    /// Starts it and has it write once, or says in one line why it does not.
    pub fn start(name: &str, script: &Script) -> Result<Server, String> {
        let server = Self::start_only(name, script)?;
        let asked = sip::request("OPTIONS", "sip:do@127.0.0.1", "X-Write: 1\r\n", b"");
        match server.kamailio.send_sip(asked).status {
            200 => Ok(server),
            status => Err(format!("{status} to the first write")),
        }
    }

    fn start_only(name: &str, script: &Script) -> Result<Server, String> {
        let mut options = Options::text(Place::new(name), script.text());
        // A transaction stays for 5 s after its end, and without a push there are 30,000 a second.
        options.args = ["-x", script.allocator, "-m", "6144"].map(Into::into).into();
        // The harness panics where a test would fail; here that is an answer.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let start = || catch_unwind(AssertUnwindSafe(|| Kamailio::start(options)));
        let started = machine::on_cpu(machine::SUBJECT, start);
        std::panic::set_hook(hook);
        let has_module = script.modules.contains("voip_push.so");
        started.map(|kamailio| Server { kamailio, has_module }).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let tells =
                |line: &&str| line.contains("CRITICAL") || line.contains("ERROR") || line.contains("unknown");
            text.lines().find(tells).unwrap_or("Kamailio did not start").to_owned()
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.kamailio.port()
    }

    /// The server's first process and all that it has forked.
    pub fn pids(&self) -> Vec<libc::pid_t> {
        let first = libc::pid_t::try_from(self.kamailio.pid()).unwrap();
        let mut pids = children_of(first);
        pids.push(first);
        pids
    }

    /// Pids of the processes whose description in `core.psx` has this text.
    pub fn pids_of(&self, what: &str) -> Vec<libc::pid_t> {
        let table = self.kamailio.rpc(&["core.psx"]);
        let mut pid = 0;
        let mut found = Vec::new();
        for line in table.lines().map(str::trim) {
            if let Some(number) = line.strip_prefix("PID:") {
                pid = number.trim().parse().unwrap();
            } else if line.strip_prefix("DSC:").is_some_and(|description| description.contains(what)) {
                found.push(pid);
            }
        }
        found
    }

    /// CPU time of all its processes together.
    pub fn cpu_time(&self) -> Duration {
        self.pids().into_iter().map(machine::cpu_time).sum()
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        self.kamailio.log()
    }

    /// Sends a request and waits for its answer.
    pub fn send(&self, request: &[u8]) {
        self.kamailio.send_sip(request);
    }

    /// What must not be in the log of a good run.
    pub fn is_out_of_memory(&self) -> bool {
        let log = self.log().to_ascii_lowercase();
        ["out of mem", "no more share", "no more pkg", "could not allocate"]
            .iter()
            .any(|bad| log.contains(bad))
    }

    /// Pushes that were refused since the queue was full; none where our module is not loaded.
    pub fn refused(&self) -> u64 {
        if !self.has_module {
            return 0;
        }
        let stats = self.kamailio.rpc(&["voip_push.stats"]);
        let count = stats.lines().find_map(|line| line.trim().strip_prefix("queue_full_total:"));
        count.map_or(0, |count| count.trim().parse().unwrap())
    }

    /// Datagrams that its socket dropped.
    pub fn drops(&self) -> u64 {
        crate::caller::drops_of(self.port())
    }
}

fn children_of(parent: libc::pid_t) -> Vec<libc::pid_t> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: libc::pid_t) -> Option<libc::pid_t> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may have anything in it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// What a process has written into memory that is its own, in KB: Private_Dirty of its private mappings. That of shared ones is left
/// out: the kernel calls a page of Kamailio's shared memory private, too, as long as no other process has looked at it.
pub fn private_kb(pid: libc::pid_t) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut is_own = false;
    let mut sum_kb = 0.0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Private_Dirty:"), Some(kb)) if is_own => sum_kb += kb.parse::<f64>().unwrap(),
            // A mapping's head: `55d0c0a00000-55d0c0a21000 rw-p …`.
            (Some(range), Some(rights)) if range.contains('-') => is_own = rights.ends_with('p'),
            _ => {}
        }
    }
    sum_kb
}

const COMMON: &str = r#"#!KAMAILIO
debug=0
children=4
tcp_children=1
maxbuffer=4194304
max_while_loops=1000000
loadmodule "ctl.so"
loadmodule "cfgutils.so"
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "xlog.so"
modparam("tm", "wt_timer", 5000)
MODULES

request_route {
    if (is_method("OPTIONS")) {
        route(WRITE);
        route(ASKED);
        sl_send_reply("200", "OK");
        exit;
    }
    if (is_method("ACK")) {
        t_check_trans();
        exit;
    }
    t_newtran();
    INVITE_SCRIPT
    route(ANSWER);
}

route[ANSWER] {
    t_reply("480", "Temporarily Unavailable");
    exit;
}

route[WRITE] {
    if (!is_present_hf("X-Write")) return;
    WRITE_SCRIPT
}

route[ASKED] {
    if (!is_present_hf("X-Do")) return;
    ASKED_SCRIPT
}
"#;
