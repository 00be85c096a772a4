//! Raw sending: our whole sender beside a bare h2 client and one with prepared requests, in turns, against the same simulator.
//!
//! It refuses to compare runs of different hours: all are measured in each repetition, and medians are compared.

pub mod bare;
pub mod ours;
pub mod prepared;

use crate::Effort;
use crate::machine::{self, Ticks};
use crate::report::{Report, median};
use crate::support::Scratch;
use crate::support::simulator::Simulator;
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use voip_push::config::Settings;

/// What one run of a client does.
pub struct Job {
    /// The simulator's voip-push.toml.
    pub config: PathBuf,
    /// Pushes in flight.
    pub in_flight: u64,
    /// Not measured, at the beginning.
    pub warm_up: Duration,
    /// Measured.
    pub window: Duration,
}

/// Different devices, so that nothing is the same push again and again.
pub const DEVICES: usize = 1000;

impl Job {
    /// What [`Job::parse`] takes.
    pub fn words(&self) -> [String; 4] {
        let ms = |time: Duration| time.as_millis().to_string();
        [self.config.display().to_string(), self.in_flight.to_string(), ms(self.warm_up), ms(self.window)]
    }

    /// The reverse of what [`measure`] hands to its roles.
    pub fn parse(words: &[&str]) -> Job {
        let [config, in_flight, warm_up, window] = words else { panic!("a job has four words") };
        let ms = |word: &str| Duration::from_millis(word.parse().unwrap());
        Job {
            config: config.into(),
            in_flight: in_flight.parse().unwrap(),
            warm_up: ms(warm_up),
            window: ms(window),
        }
    }
}

/// Told by a role as one line of JSON.
pub fn tell(pushes: u64, accepted: u64, wall: Duration, cpu: &[(&str, Duration)]) {
    let per_push = |time: Duration| time.as_secs_f64() * 1e6 / pushes.max(1) as f64;
    let total: Duration = cpu.iter().map(|(_, time)| *time).sum();
    let mut told = json!({
        "pushes": pushes, "accepted": accepted, "rate": pushes as f64 / wall.as_secs_f64(),
        "cpu_us": per_push(total),
    });
    for (name, time) in cpu {
        told[*name] = json!(per_push(*time));
    }
    println!("=> {told}");
}

/// Tells what a client that runs in this thread has done in the window.
async fn tell_window(job: &Job, ended: &Cell<u64>) {
    tokio::time::sleep(job.warm_up).await;
    let (start, cpu, before) = (Instant::now(), machine::own_cpu_time(), ended.get());
    tokio::time::sleep(job.window).await;
    let pushes = ended.get() - before;
    tell(pushes, pushes, start.elapsed(), &[("client", machine::own_cpu_time() - cpu)]);
}

/// Their roles; ours is the last.
const WAYS: [&str; 3] = ["bare", "prepared", "ours"];
const IN_FLIGHT: [u64; 3] = [1, 32, 256];

/// Rates and CPU at every concurrency and latency.
pub fn measure(effort: Effort, report: &mut Report) {
    report.title("Raw sending");
    report.note(
        "bare: one connection of h2 and tokio-rustls with TCP_NODELAY, the same headers and body, no queue, no policy; it builds \
         a request for each push. Targets are against it. prepared: a floor beside it; its requests are made before the clock \
         starts, which no program can do that waits for calls, and it writes through our stream that puts many of them into one \
         TLS record. ours: hand-over to the sender's process, queue, policy and outcome included. Ratios: ours to theirs.\n",
    );
    report.columns(&[
        "provider ms",
        "in flight",
        "client",
        "pushes/s",
        "CPU us/push",
        "of it sender",
        "rate to bare",
        "CPU to bare",
        "rate to prepared",
        "CPU to prepared",
        "simulator busy %",
        "steal %",
    ]);
    for latency_ms in [0, 50] {
        let runs = runs(effort, latency_ms);
        for (at, in_flight) in IN_FLIGHT.into_iter().enumerate() {
            write_rows(report, latency_ms, in_flight, &runs[at]);
        }
    }
}

/// For each concurrency, for each way, the runs.
type Runs = Vec<[Vec<Value>; WAYS.len()]>;

fn runs(effort: Effort, latency_ms: u64) -> Runs {
    let scratch = Scratch::new("bench-raw");
    let latency = latency_ms.to_string();
    let start = || Simulator::start(&scratch, &["--fast", "--latency-ms", &latency]);
    let simulator = machine::on_cpu(machine::surroundings(), start);
    let (repetitions, window_ms) = if effort.quick { (3, 700) } else { (7, 2000) };
    let mut runs: Runs = IN_FLIGHT.iter().map(|_| Default::default()).collect();
    for repetition in 0..repetitions {
        for (at, in_flight) in IN_FLIGHT.into_iter().enumerate() {
            let job = Job {
                config: simulator.config(),
                in_flight,
                warm_up: Duration::from_millis(300),
                window: Duration::from_millis(window_ms),
            };
            // Who goes first changes, so that none always has the quieter moment.
            for turn in 0..WAYS.len() {
                let way = (turn + repetition) % WAYS.len();
                runs[at][way].push(run(WAYS[way], &job, simulator.pid()));
            }
        }
    }
    runs
}

fn run(way: &str, job: &Job, simulator: libc::pid_t) -> Value {
    let (ticks, busy) = (Ticks::now(), machine::cpu_time(simulator));
    let started = std::time::Instant::now();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["role", way]).args(job.words());
    let output = machine::on_cpu(machine::SUBJECT, || command.output()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().find_map(|line| line.strip_prefix("=> "));
    let told = told.unwrap_or_else(|| panic!("{way}: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
    let mut run: Value = serde_json::from_str(told).unwrap();
    assert_eq!(run["pushes"], run["accepted"], "{way}: a push was not accepted: {run}");
    run["steal"] = json!(ticks.stolen_since());
    let busy = machine::cpu_time(simulator) - busy;
    run["busy"] = json!(100.0 * busy.as_secs_f64() / started.elapsed().as_secs_f64());
    run
}

fn write_rows(report: &mut Report, latency_ms: u64, in_flight: u64, runs: &[Vec<Value>; WAYS.len()]) {
    let of = |runs: &[Value], name: &str| median(runs.iter().filter_map(|run| run[name].as_f64()));
    let [bare, prepared, ours] = runs;
    let ratios = |theirs: &[Value]| ["rate", "cpu_us"].map(|name| of(ours, name) / of(theirs, name));
    let [[to_bare_rate, to_bare_cpu], [to_prepared_rate, to_prepared_cpu]] = [ratios(bare), ratios(prepared)];
    for (way, runs) in WAYS.iter().zip(runs) {
        let is_ours = *way == "ours";
        let only_ours = |text: String| if is_ours { text } else { String::new() };
        report.row(&[
            latency_ms.to_string(),
            in_flight.to_string(),
            (*way).to_owned(),
            format!("{:.0}", of(runs, "rate")),
            format!("{:.1}", of(runs, "cpu_us")),
            only_ours(format!("{:.1}", of(runs, "sender"))),
            only_ours(format!("{to_bare_rate:.2}")),
            only_ours(format!("{to_bare_cpu:.2}")),
            only_ours(format!("{to_prepared_rate:.2}")),
            only_ours(format!("{to_prepared_cpu:.2}")),
            format!("{:.0}", of(runs, "busy")),
            format!("{:.1}", of(runs, "steal")),
        ]);
    }
    if (latency_ms, in_flight) == (0, 32) {
        report.key("raw.cpu_ratio_vs_bare", to_bare_cpu);
        report.key("raw.rate_ratio_vs_bare", to_bare_rate);
        report.key("raw.cpu_ratio_vs_prepared", to_prepared_cpu);
        report.key("raw.rate_ratio_vs_prepared", to_prepared_rate);
        report.bare_cpu_us = Some(of(bare, "cpu_us"));
        report.prepared_cpu_us = Some(of(prepared, "cpu_us"));
    }
    if (latency_ms, in_flight) == (0, 256) {
        report.key("raw.rate_ratio_vs_bare_256", to_bare_rate);
    }
}

/// The configuration, without the budgets of devices and callers: a bench is the flood that they are there to stop.
pub fn settings(config: &Path) -> Settings {
    let mut settings = Settings::load(config).unwrap_or_else(|error| panic!("{error}"));
    settings.device_per_minute = 0;
    settings.caller_per_minute = 0;
    settings.max_queued = 100_000;
    settings
}
