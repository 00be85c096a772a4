//! `make soak`: two million pushes (or `COUNT=…`) through the sender's process while the provider fails in every way and workers
//! die, and as many of a C program whose workers die with senders of their own. Every push must end once, the counters must add up,
//! memory must be flat, and no good token may be gone.
//!
//! It refuses to pass a run in which the faults did not happen.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is how a soak fails and reports"
)]

mod ledger;
#[path = "../bench/machine.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod machine;
mod program;
mod random;
mod server;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../bench/tokens.rs"]
#[allow(dead_code, reason = "the bench uses the rest")]
mod tokens;

use random::Random;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::Scratch;
use support::simulator::Simulator;

/// One of each hundred requests meets each of these.
fn faults() -> [Value; 6] {
    [
        json!({ "status": 410 }),
        json!({ "status": 429, "retry_after_s": 1 }),
        json!({ "status": 500 }),
        json!({ "goaway": true }),
        json!({ "reset": true }),
        json!({ "stall": true }),
    ]
}

/// Faults per list that the simulator is given, and how often it is given a new one; used up at 80,000 requests a second.
const LIST_LEN: usize = 2400;
const LIST_PAUSE: Duration = Duration::from_millis(500);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [role, config, pushes] = arguments.as_slice()
        && role == "server"
    {
        return server::run(config.as_ref(), pushes.parse().unwrap());
    }
    let pushes = std::env::var("COUNT").ok().filter(|text| !text.is_empty());
    let pushes = pushes.map_or(2_000_000, |text| text.parse().expect("COUNT is a number"));
    let failed = [soak(pushes), program::soak(pushes)].concat();
    if !failed.is_empty() {
        println!("soak: FAILED: {}", failed.join("; "));
        std::process::exit(1);
    }
    println!("soak: passed");
}

/// A provider that fails, a configuration for it, and a store full of tokens. Fields are dropped in their order.
struct World {
    simulator: Simulator,
    config: PathBuf,
    scratch: Scratch,
}

impl World {
    fn new(name: &str, changes: &[(&str, &str)]) -> World {
        let scratch = Scratch::new(name);
        let simulator = Simulator::start(&scratch, &["--fast", "--latency-ms", "5"]);
        // A window and a ring that end soon, so that memory is steady soon; no budgets; deletions that are never held back.
        let mut all = vec![
            ("ring_seconds = 30", "ring_seconds = 15"),
            (
                "level = \"info\"",
                "level = \"error\"\n[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\n\
                 [quarantine]\ndead_tokens = 100000\nwindow_seconds = 1\n",
            ),
        ];
        all.extend_from_slice(changes);
        let config = simulator.change_config(&all);
        tokens::fill(&config, ledger::USERS);
        World { simulator, config, scratch }
    }

    /// Makes faults and watches the memory of a process until `wait` comes back. What that gave, what the simulator says, the memory in
    /// KB, and how long it took.
    fn while_it_runs<T>(&self, pid: libc::pid_t, wait: impl FnOnce() -> T) -> (T, Value, Vec<f64>, Duration) {
        let started = Instant::now();
        let (is_over, memory) = (AtomicBool::new(false), std::sync::Mutex::new(Vec::new()));
        let waited = std::thread::scope(|scope| {
            scope.spawn(|| make_faults(&self.simulator, &is_over));
            scope.spawn(|| watch_memory(pid, &is_over, &memory));
            let waited = wait();
            is_over.store(true, Ordering::SeqCst);
            waited
        });
        (waited, self.simulator.get("/stats"), memory.into_inner().unwrap(), started.elapsed())
    }
}

/// What did not hold.
fn soak(pushes: u64) -> Vec<String> {
    let world = World::new("soak", &[]);
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg("server")
        .arg(&world.config)
        .arg(pushes.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, _) = lines_of(&mut server);
    let sender: libc::pid_t = lines.recv().unwrap().parse().unwrap();
    let (told, requests, memory, took) = world.while_it_runs(sender, || outcome(&lines));
    assert!(server.wait().unwrap().success());
    check(pushes, &told, &requests, &memory, took)
}

/// Lines that begin with an arrow, as they come, and all others when the program has ended.
fn lines_of(program: &mut Child) -> (Receiver<String>, JoinHandle<String>) {
    let (sender, lines) = channel();
    let output = BufReader::new(program.stdout.take().unwrap());
    let others = std::thread::spawn(move || {
        let mut others = String::new();
        for line in output.lines().map_while(Result::ok) {
            if let Some(told) = line.strip_prefix("=> ") {
                // Nobody listens any more when the soak has failed already.
                let _ = sender.send(told.to_owned());
            } else {
                others += &line;
                others.push('\n');
            }
        }
        others
    });
    (lines, others)
}

/// The last line, which is JSON; what comes before are refusals, which there must not be, and the sender's reasons.
fn outcome(lines: &Receiver<String>) -> Value {
    let (mut refusals, mut reasons) = (0, Value::Null);
    loop {
        let line = lines.recv().expect("the server says what came of it");
        match serde_json::from_str::<Value>(&line) {
            Ok(Value::Object(mut told)) if told.contains_key("reasons") => {
                reasons = told.remove("reasons").unwrap();
            }
            Ok(Value::Object(told)) => {
                let mut told = Value::Object(told);
                told["refusals"] = json!(refusals);
                told["reasons"] = reasons;
                return told;
            }
            _ => {
                println!("{line}");
                refusals += u64::from(line.starts_with("refused"));
            }
        }
    }
}

/// Gives the simulator a new list of faults before it has used up the last.
fn make_faults(simulator: &Simulator, is_over: &AtomicBool) {
    let mut random = Random::new(1);
    let faults = faults();
    while !is_over.load(Ordering::SeqCst) {
        let mut list = Vec::with_capacity(LIST_LEN * 2);
        for _ in 0..LIST_LEN {
            // Six faults in a hundred requests: 15 2/3 good ones between two, on average, which is 15 or, twice as often, 16.
            let most = if random.below(3) == 0 { 29 } else { 31 };
            list.push(json!({ "times": 1 + random.below(most) }));
            list.push(faults[random.below(faults.len() as u64) as usize].clone());
        }
        simulator.put("/behaviour/apns", &Value::Array(list));
        std::thread::sleep(LIST_PAUSE);
    }
    simulator.put("/behaviour/apns", &json!([]));
}

/// Every half second, how much memory the sender has of its own.
fn watch_memory(sender: libc::pid_t, is_over: &AtomicBool, samples_kb: &std::sync::Mutex<Vec<f64>>) {
    while !is_over.load(Ordering::SeqCst) {
        if let Some(kb) = own_kb(sender) {
            samples_kb.lock().unwrap().push(kb);
        }
        std::thread::sleep(MEMORY_PAUSE);
    }
}

/// Without the ledger, whose pages it shares with workers that die.
fn own_kb(pid: libc::pid_t) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Both sides' sums.
struct Sums<'a> {
    pushes: u64,
    told: &'a Value,
    requests: &'a Value,
}

impl Sums<'_> {
    /// A number that the server told.
    fn told(&self, name: &str) -> u64 {
        self.told[name].as_u64().unwrap_or_else(|| panic!("{name} is no number in {}", self.told))
    }

    fn ended(&self, outcome: &str) -> u64 {
        self.told["outcomes"][outcome].as_u64().unwrap_or_else(|| panic!("{outcome} in {}", self.told))
    }

    /// Requests that the simulator answered so; "none" are those that it did not answer on purpose.
    fn answered(&self, status: &str) -> u64 {
        self.requests["requests"]["apns"][status].as_u64().unwrap_or(0)
    }

    fn all_answered(&self) -> u64 {
        ["200", "410", "429", "500", "none"].iter().map(|status| self.answered(status)).sum()
    }

    /// How often the simulator did so, or saw it.
    fn fault(&self, name: &str) -> u64 {
        self.requests["faults"]["apns"][name].as_u64().unwrap_or(0)
    }
}

fn check(pushes: u64, told: &Value, requests: &Value, memory_kb: &[f64], took: Duration) -> Vec<String> {
    println!("{} pushes in {:.0} s\n{told:#}", pushes, took.as_secs_f64());
    println!("answers: {}", requests["requests"]["apns"]);
    println!("faults: {}", requests["faults"]["apns"]);
    println!("connections: {}", requests["connections"]["apns"]);
    verdict(|must| {
        let sums = Sums { pushes, told, requests };
        check_ends(&sums, must);
        check_both_sides(&sums, must);
        check_rates(&sums, must);
        must(sums.told("workers_killed") >= pushes / 50_000, "workers were killed");
        check_memory(pushes, memory_kb, must);
    })
}

/// Told whether something holds, and what it is.
type Must<'a> = dyn FnMut(bool, &str) + 'a;

/// What did not hold; all is printed.
fn verdict(look: impl FnOnce(&mut Must<'_>)) -> Vec<String> {
    let mut failed = Vec::new();
    look(&mut |holds, what| {
        println!("{} {what}", if holds { "ok    " } else { "FAILED" });
        if !holds {
            failed.push(what.to_owned());
        }
    });
    failed
}

fn check_ends(sums: &Sums<'_>, must: &mut Must<'_>) {
    let zero = |name: &str| sums.told(name) == 0;
    must(zero("ended_twice"), "no push ended twice");
    must(zero("never_ended"), "every push that was handed over ended");
    must(zero("ended_unasked"), "nothing ended that was not handed over");
    must(zero("refusals"), "no hand-over was refused for good");
    let handed_over = sums.told("taken") + sums.told("unknown_ended");
    must(sums.told("ended") == handed_over, "as many ended as were handed over");
    let unknown = sums.told("unknown") - sums.told("unknown_ended") + sums.told("never_meant");
    must(
        handed_over + unknown == sums.pushes,
        "every push was handed over, or its worker died before it could",
    );
    must(sums.told["outcomes"] == sums.told["counters"], "the counters are those of the ends");
    let all: u64 = ledger::OUTCOMES.iter().map(|outcome| sums.ended(outcome)).sum();
    must(all == sums.told("ended"), "each end had exactly one outcome");
    must(zero("queued"), "no place in the queue was kept");
    must(zero("panics") && zero("sender_status"), "the sender never panicked and ended well");
    must(zero("wrongly_gone"), "no token is gone that was not answered with 410");
    must(zero("wrongly_there"), "every token that was answered with 410 is gone");
    must(
        sums.ended("rejected") + sums.ended("credential_refused") == 0,
        "no push ended in a way that no fault explains",
    );
    let reasons = sums.told["reasons"].as_object().unwrap();
    let early = |reason: &&String| !reason.starts_with("token_gone") && !reason.ends_with(" 2 attempts");
    let early: Vec<_> = reasons.keys().filter(early).collect();
    must(early.is_empty(), &format!("no push was given up before its second attempt {early:?}"));
}

/// What the sender says that it sent and heard is what the simulator says that it got and answered.
fn check_both_sides(sums: &Sums<'_>, must: &mut Must<'_>) {
    let (answered, unread) = (sums.all_answered(), sums.fault("unread"));
    must(
        sums.told("attempts") == answered + unread,
        &format!("every attempt arrived once: {} = {answered} + {unread} unread", sums.told("attempts")),
    );
    let silent = sums.answered("none");
    must(silent == sums.fault("reset") + sums.fault("stall"), "only resets and stalls were not answered");
    // Lost is what was reset or stalled, and what was answered without being heard: the sender had waited its five seconds, or
    // the connection broke with the answer on the way. The sender's own count of it leaves no room for another excuse.
    let late = sums.told("lost").checked_sub(silent + unread);
    must(late.is_some(), &format!("every reset and stall was noticed ({} lost)", sums.told("lost")));
    let late = late.unwrap_or(0);
    let unheard = |status: &str, outcome: &str| sums.answered(status).checked_sub(sums.ended(outcome));
    let (accepted, gone) = (unheard("200", "accepted"), unheard("410", "token_gone"));
    must(
        accepted.zip(gone).is_some_and(|(accepted, gone)| accepted + gone <= late),
        &format!(
            "every 200 is an accepted push and every 410 a dead token, but for {late} answers that the sender counts as lost"
        ),
    );
    println!(
        "       of those lost: {accepted:?} of 200, {gone:?} of 410; the simulator knows of {}",
        sums.fault("unheard")
    );
}

/// One in a hundred each, give or take five standard deviations of so many throws.
fn check_rates(sums: &Sums<'_>, must: &mut Must<'_>) {
    let hundredth = sums.all_answered() as f64 / 100.0;
    let faults = ["410", "429", "500"].map(|status| (status, sums.answered(status)));
    let others = ["goaway", "reset", "stall"].map(|fault| (fault, sums.fault(fault)));
    for (fault, times) in faults.into_iter().chain(others) {
        let is_near = (times as f64 - hundredth).abs() <= 5.0 * hundredth.sqrt();
        must(
            is_near,
            &format!("the fault {fault} met one request in a hundred: {times}, expected {hundredth:.0}"),
        );
    }
}

const MEMORY_PAUSE: Duration = Duration::from_millis(500);
/// Until then the window of remembered pushes still fills: twice the ring time, and some.
const WARM_UP: usize = 80;
/// Flatness is judged by at least so many samples: half a minute.
const ENOUGH: usize = 60;

/// A run of full size must be long enough to tell.
fn check_memory(pushes: u64, samples_kb: &[f64], must: &mut Must<'_>) {
    let curve: Vec<_> = samples_kb.iter().step_by(10).map(|kb| format!("{:.0}", kb / 1024.0)).collect();
    println!("memory of the sender, every 5 s, in MB: {}", curve.join(" "));
    let steady = samples_kb.get(WARM_UP..).unwrap_or_default();
    if steady.len() < ENOUGH {
        // A million are sent within a minute here, and the first forty seconds do not count.
        if pushes >= 2_000_000 {
            must(false, "the run was long enough to tell whether memory is flat");
        }
        return println!(
            "skipped memory is flat: the run was too short to tell ({} samples)",
            samples_kb.len()
        );
    }
    let thirds: Vec<f64> = steady.chunks(steady.len().div_ceil(3)).map(median).collect();
    let most = samples_kb.iter().copied().fold(0.0, f64::max);
    println!(
        "memory: medians of thirds after warm-up {thirds:.0?} KB, at most {most:.0} KB, {} samples",
        steady.len()
    );
    must(thirds[2] <= thirds[0] * 1.05 + 512.0, "memory is flat");
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
