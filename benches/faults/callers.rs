//! SIPp as callers, so many a second at each node, and what became of every call.
//!
//! It refuses to call a call lost that has any final answer.

use super::nodes::{Node, Nodes};
use super::support::sipp::{self, free_ports};
use super::support::{Scratch, ends_with_us};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A call, as its caller saw it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The INVITE's first line, which names the user.
    pub start: String,
    /// The place of the node that it was made to.
    pub node: usize,
    /// When the INVITE was sent, in seconds since 1970.
    pub at_s: f64,
    /// The first final answer and when it came; `None` is a lost call.
    pub end: Option<(u16, f64)>,
}

impl Call {
    /// For a look at all of them: when, node, first line, status and after how long.
    #[allow(dead_code, reason = "the test prints none")]
    pub fn line(&self, begin_s: f64) -> String {
        let (status, after_s) = self.end.map_or((0, 0.0), |(status, at_s)| (status, at_s - self.at_s));
        format!("{:.2} {} {status} {after_s:.2} {}\n", self.at_s - begin_s, self.node, self.start)
    }
}

/// What is to be called.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Calls a second, over all nodes.
    pub rate: u32,
    /// For so long.
    pub seconds: u32,
    /// Users, called in turn.
    pub users: usize,
    /// How long a caller waits for the next answer before he gives up.
    pub patience_s: u32,
}

/// One SIPp for each node.
pub struct Callers {
    sipps: Vec<(usize, Child, PathBuf)>,
}

impl Callers {
    /// Begins to call.
    pub fn start(scratch: &Scratch, nodes: &Nodes, load: Load) -> Callers {
        let count = nodes.0.len();
        let patient = fs::read_to_string(sipp::scenario("any_end.xml")).expect("it is in the tree");
        let patience = format!("timeout=\"{}000\"", load.patience_s);
        let scenario = scratch.write("callers.xml", patient.replace("timeout=\"40000\"", &patience));
        let start = |(at, node): (usize, &Node)| {
            let first = load.users * at / count;
            let users: String =
                (0..load.users).map(|number| format!("user{}\n", (first + number) % load.users)).collect();
            let users = scratch.write(&format!("users-{}.csv", node.letter), format!("SEQUENTIAL\n{users}"));
            let trace = scratch.path().join(format!("callers-{}.trace", node.letter));
            let rate = load.rate / count as u32;
            let mut command = Command::new("sipp");
            command.arg(node.sip().to_string()).arg("-sf").arg(&scenario);
            command.arg("-inf").arg(users).arg("-shortmessage_file").arg(&trace);
            command.args([
                "-i",
                "127.0.0.1",
                "-p",
                &free_ports(1)[0].to_string(),
                "-nostdin",
                "-trace_shortmsg",
            ]);
            command.args(["-key", "domain", super::support::phone::DOMAIN, "-buff_size", "4194304"]);
            command.args(["-cid_str", &format!("{}-%u-%p@%s", node.letter)]);
            // An answer that is not expected, such as a 200 that comes again, is no reason to give a call up.
            command.args(["-default_behaviors", "all,-abortunexp"]);
            command.args(["-r", &rate.to_string(), "-l", "100000", "-m", &(rate * load.seconds).to_string()]);
            let screen = File::create(trace.with_extension("screen")).expect("the directory is ours");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(screen);
            let child = ends_with_us(&mut command).spawn().expect("needs Debian's package sip-tester");
            (at, child, trace)
        };
        Callers { sipps: nodes.0.iter().enumerate().map(start).collect() }
    }

    /// Waits until the last call has ended, one way or the other, and gives all of them in their order.
    pub fn wait(mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        for (node, child, trace) in &mut self.sipps {
            // SIPp says by its status whether all calls went as the scenario has it; what each came to is in the trace.
            child.wait().expect("it is our child");
            calls.extend(read(*node, &fs::read_to_string(trace).expect("SIPp writes its trace")));
        }
        calls.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
        calls
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        for (_, child, _) in &mut self.sipps {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Lines of date, time, seconds since 1970, `S` or `R`, Call-ID, `CSeq:1 INVITE`, first line, each after a tab.
fn read(node: usize, trace: &str) -> Vec<Call> {
    let mut calls: BTreeMap<&str, Call> = BTreeMap::new();
    for line in trace.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, _, at_s, direction, call_id, cseq, start] = fields[..] else { continue };
        let (Ok(at_s), true) = (at_s.parse(), cseq.ends_with(" INVITE")) else { continue };
        if direction == "S" && start.starts_with("INVITE ") {
            let new = || Call { start: start.to_owned(), node, at_s, end: None };
            calls.entry(call_id).or_insert_with(new);
        } else if let Some(call) = calls.get_mut(call_id).filter(|call| call.end.is_none()) {
            call.end = final_status(start).map(|status| (status, at_s));
        }
    }
    calls.into_values().collect()
}

fn final_status(start: &str) -> Option<u16> {
    let status: u16 = start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    (status >= 200).then_some(status)
}
