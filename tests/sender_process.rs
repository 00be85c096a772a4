//! The sender as a process of its own: workers that were forked hand over, the sender pushes, and the end of any of
//! them is the end of nothing else. The test program starts itself again as the server, so that it forks with one thread.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use support::simulator::Simulator;
use support::{DEADLINE, Scratch, poll};
use voip_push::model::Extra;
use voip_push::service::{Error, Service};
use voip_push::stats::Counter;

/// A server: a main process that has forked a sender and a worker. The worker does what it is told on its standard input, a
/// line at a time, and answers with a line.
struct Server {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(config: &Path) -> Server {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_the_server", "--ignored", "--nocapture"])
            .env("SENDER_TEST_CONFIG", config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Server { child, orders, answers }
    }

    fn order(&mut self, order: &str) -> String {
        self.send(order);
        self.answer()
    }

    fn send(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "the server has ended");
            if let Some(answer) = line.trim_end().split_once("=> ") {
                return answer.1.to_owned();
            }
        }
    }

    /// The pid of the sender's process.
    fn sender(&mut self) -> libc::pid_t {
        self.order("sender").parse().unwrap()
    }

    fn has_ended(&mut self) -> bool {
        poll(DEADLINE, || self.child.try_wait().unwrap()).is_some()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: libc::pid_t, number: libc::c_int) {
    // SAFETY: sends a signal to a process that this test's server has started.
    assert_eq!(unsafe { libc::kill(pid, number) }, 0);
}

fn is_alive(pid: libc::pid_t) -> bool {
    // SAFETY: signal 0 only asks whether the process is there.
    unsafe { libc::kill(pid, 0) == 0 }
}

/// Not a test: the server's processes, when the program is started as one.
#[test]
#[ignore = "it is the other end of the tests here"]
fn as_the_server() {
    let Some(config) = std::env::var_os("SENDER_TEST_CONFIG") else { return };
    let service: &'static Service = Box::leak(Box::new(Service::prepare(Path::new(&config)).unwrap()));
    service.plan_sender_process().unwrap();
    // SAFETY: forks; the child runs the sender on this one thread and leaves with _exit.
    let sender = unsafe { libc::fork() };
    if sender == 0 {
        let told = |note: &[u8], report: voip_push::model::Report| {
            say(&format!("{} {}/{}", String::from_utf8_lossy(note), report.accepted(), report.devices));
        };
        let ended = service.run_sender(Rc::new(told));
        // SAFETY: ends the child at once, without the test program's own ending.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    for line in std::io::stdin().lines() {
        obey(service, sender, &line.unwrap());
    }
    signal(sender, libc::SIGTERM);
}

fn obey(service: &'static Service, sender: libc::pid_t, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["sender"] => say(&sender.to_string()),
        ["send", user, call] => {
            say(&verdict(service.send(user, "Alice", call).map(|report| report.accepted())))
        }
        ["queue", user, call] => {
            let note = format!("noted {call}").into_bytes();
            let queued = service.queue(user, "Alice", call, Some(Duration::from_secs(5)), note);
            say(&verdict(queued));
        }
        ["quietly", user, call] => say(&verdict(service.queue(user, "Alice", call, None, Vec::new()))),
        ["tell", what] => say(&verdict(service.tell_sender(what.as_bytes().to_vec()).map(|()| 1))),
        ["give-up", user, call] => say(&verdict(service.give_up(user, call).map(|()| 1))),
        ["stopped"] => say(&service.stats().get(Counter::Stopped).to_string()),
        ["queued"] => say(&service.stats().get(Counter::Queued).to_string()),
        ["worker", user, call] => another_worker(service, user, call),
        other => panic!("{other:?}"),
    }
}

/// A worker that hands over and dies before the answer.
fn another_worker(service: &'static Service, user: &str, call: &str) {
    // SAFETY: forks; the child only uses the service, which knows about forks, and leaves with _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let queued = service.queue(user, "Alice", call, Some(Duration::from_secs(5)), Vec::new());
        say(&verdict(queued));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

fn verdict(done: Result<usize, Error>) -> String {
    match done {
        Ok(count) => count.to_string(),
        Err(error) => format!("error: {error}"),
    }
}

fn say(text: &str) {
    // One write per line, since several processes share the pipe.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("=> {text}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

struct Rig {
    server: Server,
    simulator: Simulator,
    _scratch: Scratch,
}

fn token(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// A simulator and a server, and `bob` with one iPhone.
fn rig(name: &str, changes: &[(&str, &str)]) -> Rig {
    let scratch = Scratch::new(name);
    let simulator = Simulator::start(&scratch, &[]);
    let config = simulator.change_config(changes);
    let service = Service::prepare(&config).unwrap();
    service.register("bob", &token(1), "ios", &Extra::default()).unwrap();
    service.stop(Duration::ZERO);
    Rig { server: Server::start(&config), simulator, _scratch: scratch }
}

#[test]
fn workers_hand_over_and_wait_or_leave_and_the_host_is_told() {
    let mut rig = rig("process-ways", &[]);
    assert_eq!(rig.server.order("send bob c1"), "1");
    assert!(rig.server.order("send nobody c2").starts_with("error: no device"));
    rig.server.send("queue bob c3");
    let mut said = [rig.server.answer(), rig.server.answer()];
    said.sort();
    assert_eq!(said, ["1", "noted c3 1/1"]);
    assert_eq!(rig.server.order("quietly bob c4"), "1");
    rig.server.send("tell hello");
    let mut said = [rig.server.answer(), rig.server.answer()];
    said.sort();
    assert_eq!(said, ["1", "hello 0/0"]);
    assert_eq!(rig.simulator.wait_for_pushes(0, 3).len(), 3);
    assert_eq!(rig.simulator.get("/stats")["connections"]["apns"]["opened"], 1);
}

#[test]
fn a_worker_that_dies_in_the_middle_of_a_call_harms_nobody() {
    let mut rig = rig("process-worker", &[]);
    rig.simulator.behave(&token(1), json!([{ "delay_ms": 200 }]));
    assert_eq!(rig.server.order("worker bob c1"), "1");
    assert_eq!(rig.server.order("send bob c2"), "1");
    assert_eq!(rig.simulator.wait_for_pushes(0, 2).len(), 2);
    let emptied = poll(DEADLINE, || (rig.server.order("queued") == "0").then_some(()));
    assert!(emptied.is_some(), "a place in the queue was not given back");
}

#[test]
fn a_sender_that_was_stopped_for_a_while_costs_a_call_its_patience_and_no_more() {
    let mut rig = rig("process-stopped", &[("wait_ms = 800", "wait_ms = 2000")]);
    let sender = rig.server.sender();
    assert_eq!(rig.server.order("send bob c1"), "1");
    signal(sender, libc::SIGSTOP);
    assert!(rig.server.order("send bob c2").starts_with("error: no provider accepted in time"));
    signal(sender, libc::SIGCONT);
    assert_eq!(rig.simulator.wait_for_pushes(0, 2).len(), 2);
    // The late report of c2 is not taken for that of c3.
    assert_eq!(rig.server.order("send bob c3"), "1");
}

#[test]
fn a_sender_that_is_gone_is_said_at_once() {
    let mut rig = rig("process-gone", &[]);
    let sender = rig.server.sender();
    assert_eq!(rig.server.order("send bob c1"), "1");
    signal(sender, libc::SIGKILL);
    let gone = poll(DEADLINE, || {
        rig.server.order("send bob c2").starts_with("error: the sender is not there").then_some(())
    });
    assert!(gone.is_some());
}

#[test]
fn a_full_queue_is_seen_by_the_worker() {
    let mut rig = rig("process-full", &[("[call]", "[sender]\nmax_queued = 2\n[call]")]);
    rig.simulator.put("/behaviour/apns", &json!([{ "times": 0, "stall": true }]));
    assert_eq!(rig.server.order("quietly bob c1"), "1");
    assert_eq!(rig.server.order("quietly bob c2"), "1");
    let full = poll(DEADLINE, || (rig.server.order("queued") == "2").then_some(()));
    assert!(full.is_some());
    assert_eq!(rig.server.order("quietly bob c3"), "error: too many pushes are waiting");
}

#[test]
fn a_stop_gives_pushes_under_way_their_time() {
    let mut rig = rig("process-drain", &[]);
    let sender = rig.server.sender();
    assert_eq!(rig.server.order("send bob c1"), "1");
    rig.simulator.behave(&token(1), json!([{ "delay_ms": 300 }]));
    rig.server.send("queue bob c2");
    assert_eq!(rig.server.answer(), "1");
    let under_way = poll(DEADLINE, || (rig.server.order("queued") == "1").then_some(()));
    assert!(under_way.is_some());
    signal(sender, libc::SIGTERM);
    assert_eq!(rig.server.answer(), "noted c2 1/1");
    assert_eq!(rig.simulator.wait_for_pushes(0, 2).len(), 2);
}

#[test]
fn a_call_that_is_over_is_tried_no_more() {
    let mut rig = rig("process-over", &[]);
    rig.simulator
        .behave(&token(1), json!([{ "status": 429, "reason": "TooManyRequests", "retry_after_s": 2 }]));
    assert_eq!(rig.server.order("quietly bob c1"), "1");
    rig.simulator.wait_for_pushes(0, 1);
    assert_eq!(rig.server.order("give-up bob c1"), "1");
    let emptied = poll(DEADLINE, || (rig.server.order("queued") == "0").then_some(()));
    assert!(emptied.is_some());
    assert_eq!((rig.server.order("stopped").as_str(), rig.simulator.pushes().len()), ("1", 1));
}

#[test]
fn the_sender_does_not_outlive_its_server() {
    let mut rig = rig("process-orphan", &[]);
    let sender = rig.server.sender();
    rig.server.child.kill().unwrap();
    assert!(rig.server.has_ended());
    assert!(poll(DEADLINE, || (!is_alive(sender)).then_some(())).is_some(), "the sender is still there");
}
