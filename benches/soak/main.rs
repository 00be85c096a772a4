//! `make soak`: a million pushes (or `COUNT=…`) through the sender's process while the provider fails in every way and workers
//! die. Every push must end once, the counters must add up, memory must be flat, and no good token may be gone.
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
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
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

/// Faults per list that the simulator is given, and how often it is given a new one; used up at 40,000 requests a second.
const LIST_LEN: usize = 1200;
const LIST_PAUSE: Duration = Duration::from_millis(500);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [role, config, pushes] = arguments.as_slice()
        && role == "server"
    {
        return server::run(config.as_ref(), pushes.parse().unwrap());
    }
    let pushes = std::env::var("COUNT").ok().filter(|text| !text.is_empty());
    let failed = soak(pushes.map_or(1_000_000, |text| text.parse().expect("COUNT is a number")));
    if !failed.is_empty() {
        println!("soak: FAILED: {}", failed.join("; "));
        std::process::exit(1);
    }
    println!("soak: passed");
}

/// What did not hold.
fn soak(pushes: u64) -> Vec<String> {
    let scratch = Scratch::new("soak");
    let simulator = Simulator::start(&scratch, &["--fast", "--latency-ms", "5"]);
    // A window and a ring that end soon, so that memory is steady soon; no budgets; deletions that are never held back.
    let config = simulator.change_config(&[
        ("ring_seconds = 30", "ring_seconds = 15"),
        (
            "level = \"info\"",
            "level = \"error\"\n[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\n\
             [quarantine]\ndead_tokens = 100000\nwindow_seconds = 1\n",
        ),
    ]);
    tokens::fill(&config, ledger::USERS);
    let started = Instant::now();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg("server")
        .arg(&config)
        .arg(pushes.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines_of(&mut server);
    let sender: libc::pid_t = lines.recv().unwrap().parse().unwrap();
    let (is_over, memory) = (AtomicBool::new(false), std::sync::Mutex::new(Vec::new()));
    let told = std::thread::scope(|scope| {
        scope.spawn(|| make_faults(&simulator, &is_over));
        scope.spawn(|| watch_memory(sender, &is_over, &memory));
        let told = outcome(&lines);
        is_over.store(true, Ordering::SeqCst);
        told
    });
    assert!(server.wait().unwrap().success());
    let requests = simulator.get("/stats");
    check(pushes, &told, &requests, &memory.into_inner().unwrap(), started.elapsed())
}

fn lines_of(server: &mut Child) -> Receiver<String> {
    let (sender, lines) = channel();
    let output = BufReader::new(server.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some(told) = line.strip_prefix("=> ") {
                // Nobody listens any more when the soak has failed already.
                let _ = sender.send(told.to_owned());
            }
        }
    });
    lines
}

/// The last line, which is JSON; what comes before are refusals, which there must not be.
fn outcome(lines: &Receiver<String>) -> Value {
    let mut refusals = 0;
    loop {
        let line = lines.recv().expect("the server says what came of it");
        match serde_json::from_str::<Value>(&line) {
            Ok(Value::Object(told)) => {
                let mut told = Value::Object(told);
                told["refusals"] = json!(refusals);
                return told;
            }
            _ => {
                println!("{line}");
                refusals += 1;
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
            // Six faults in a hundred requests: 15.7 good ones between two, on average.
            list.push(json!({ "times": 1 + random.below(31) }));
            list.push(faults[random.below(faults.len() as u64) as usize].clone());
        }
        simulator.put("/behaviour/apns", &Value::Array(list));
        std::thread::sleep(LIST_PAUSE);
    }
    simulator.put("/behaviour/apns", &json!([]));
}

fn watch_memory(sender: libc::pid_t, is_over: &AtomicBool, samples_kb: &std::sync::Mutex<Vec<f64>>) {
    while !is_over.load(Ordering::SeqCst) {
        if let Some(kb) = private_kb(sender) {
            samples_kb.lock().unwrap().push(kb);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn private_kb(pid: libc::pid_t) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

fn check(pushes: u64, told: &Value, requests: &Value, memory_kb: &[f64], took: Duration) -> Vec<String> {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{told}"));
    let answers = &requests["requests"]["apns"];
    let answered = |status: &str| answers[status].as_u64().unwrap_or(0);
    println!("{} pushes in {:.0} s\n{told:#}\nanswers: {answers}", pushes, took.as_secs_f64());
    println!("connections: {}", requests["connections"]["apns"]);
    let mut failed = Vec::new();
    let mut must = |holds: bool, what: &str| {
        println!("{} {what}", if holds { "ok    " } else { "FAILED" });
        if !holds {
            failed.push(what.to_owned());
        }
    };
    let zero = |name: &str| told[name].as_u64() == Some(0);
    must(zero("ended_twice"), "no push ended twice");
    must(zero("never_ended"), "every push that was handed over ended");
    must(zero("ended_unasked"), "nothing ended that was not handed over");
    must(zero("refusals"), "no hand-over was refused for good");
    must(told["outcomes"] == told["counters"], "the counters are those of the ends");
    let all: u64 = told["outcomes"].as_object().unwrap().values().map(number).sum();
    must(all == number(&told["ended"]), "each end had exactly one outcome");
    must(zero("queued"), "no place in the queue was kept");
    must(zero("panics") && zero("sender_status"), "the sender never panicked and ended well");
    must(zero("wrongly_gone"), "no token is gone that was not answered with 410");
    must(zero("wrongly_there"), "every token that was answered with 410 is gone");
    let gone = number(&told["outcomes"]["token_gone"]);
    must(answered("410") == gone, "every 410 became one dead token's outcome");
    // An answer that came after we had given up waiting for it is the only way to more.
    let accepted = number(&told["outcomes"]["accepted"]);
    must(answered("200") >= accepted, "nothing was accepted that the provider did not accept");
    let hundredth = pushes / 100;
    // In a short run chance may leave one of them out.
    if hundredth >= 100 {
        for status in ["410", "429", "500", "none"] {
            must(answered(status) >= hundredth * 6 / 10, &format!("the fault {status} happened"));
        }
        let opened = number(&requests["connections"]["apns"]["opened"]);
        must(opened > 3, &format!("GOAWAY happened ({opened} connections)"));
        must(number(&told["workers_killed"]) > 0, "workers were killed");
    }
    check_memory(memory_kb, &mut must);
    failed
}

/// Samples of the first minute count for nothing: until then the window of remembered pushes still fills.
fn check_memory(samples_kb: &[f64], must: &mut impl FnMut(bool, &str)) {
    const MINUTE: usize = 120;
    let steady = samples_kb.get(MINUTE..).unwrap_or_default();
    if steady.len() < MINUTE {
        println!("skipped memory is flat: the run was too short to tell ({} samples)", samples_kb.len());
        return;
    }
    let most = |samples: &[f64]| samples.iter().copied().fold(0.0, f64::max);
    let (early, late) = steady.split_at(steady.len() / 2);
    let (early, late) = (most(early), most(late));
    must(late < early * 1.1 + 2048.0, &format!("memory is flat: at most {early:.0} KB, later {late:.0} KB"));
}
