//! Registrations a second through the service, by several processes at a time, as the workers of a SIP server do them.
//!
//! It refuses to begin with new users: phones that register again are the rule, so every registration here renews one.

use super::{cpu_us, fill, open, single, with_store};
use crate::Effort;
use crate::machine;
use crate::report::{Report, median};
use crate::sip::without_limits;
use crate::support::Scratch;
use crate::support::engine::{Cluster, Server, Setup};
use crate::support::simulator::Simulator;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use voip_push::config::EngineSettings;
use voip_push::model::Extra;
use voip_push::service::Service;

/// Users that register again and again.
const USERS: usize = 100_000;
const WARM_UP: Duration = Duration::from_millis(300);

/// A store that is measured: its name, for people and in keys, its configuration, and the servers behind it.
struct Way<'a> {
    name: &'static str,
    key: &'static str,
    config: PathBuf,
    servers: Vec<&'a Server>,
}

/// SQLite, a single Redis and a Cluster, with one, four and sixteen writers.
pub fn measure(effort: Effort, report: &mut Report) {
    report.title("Engine: registrations, each of which renews one of 100,000");
    report.note("Writers are processes on one CPU, the engine is on the other; a Cluster has three masters and three replicas.\n");
    let scratch = Scratch::new("bench-engine-writers");
    let simulator = Simulator::start(&scratch, &["--fast"]);
    let sqlite = without_limits(&simulator);
    crate::tokens::fill(&sqlite, USERS);
    let server = single(&scratch);
    let cluster = machine::on_cpu(machine::surroundings(), || Cluster::start(&scratch, &Setup::default()));
    let waiting = EngineSettings { wait_replicas: 1, ..cluster.settings() };
    for settings in [server.settings(), cluster.settings()] {
        if let Err(why) = open(settings).and_then(|mut store| fill(&mut *store, USERS)) {
            return report.missing(&["registrations.single_4_per_s"], &why);
        }
    }
    let masters: Vec<&Server> = cluster.nodes.iter().take(3).collect();
    let engine = |name: &str, settings: &EngineSettings| with_store(&sqlite, name, settings);
    let ways = [
        Way { name: "SQLite", key: "sqlite", config: sqlite.clone(), servers: Vec::new() },
        Way {
            name: "single Redis",
            key: "single",
            config: engine("single.toml", &server.settings()),
            servers: vec![&server],
        },
        Way {
            name: "Cluster",
            key: "cluster",
            config: engine("cluster.toml", &cluster.settings()),
            servers: masters.clone(),
        },
        Way {
            name: "Cluster, `wait_replicas = 1`",
            key: "cluster_wait",
            config: engine("waiting.toml", &waiting),
            servers: masters,
        },
    ];
    report.columns(&["store", "writers", "registrations/s", "p50 us", "p99 us", "masters' CPU us each"]);
    for way in &ways {
        for writers in [1, 4, 16] {
            write_row(report, way, writers, effort);
        }
    }
}

fn write_row(report: &mut Report, way: &Way<'_>, writers: usize, effort: Effort) {
    let window = Duration::from_secs(if effort.quick { 1 } else { 5 });
    let used = || way.servers.iter().map(|server| cpu_us(server)).sum::<f64>();
    let before = used();
    let told = run("writer", &way.config, writers, window);
    let cpu = used() - before;
    let of = |name: &str| told.iter().filter_map(|one| one[name].as_f64()).collect::<Vec<_>>();
    let (rate, all): (f64, f64) = (of("rate").iter().sum(), of("all").iter().sum());
    let shown = if way.servers.is_empty() { String::new() } else { format!("{:.1}", cpu / all) };
    report.row(&[
        way.name.to_owned(),
        writers.to_string(),
        format!("{rate:.0}"),
        format!("{:.0}", median(of("p50_us").into_iter())),
        format!("{:.0}", of("p99_us").into_iter().fold(0.0, f64::max)),
        shown,
    ]);
    report.key(&format!("registrations.{}_{writers}_per_s", way.key), rate);
    let failed: f64 = of("failed").iter().sum();
    if failed > 0.0 {
        report.failure(format!("{failed} registrations of {} were refused", way.name));
    }
}

/// Processes of this program in a role, all at once, and what each has told.
pub fn run(role: &str, config: &Path, many: usize, window: Duration) -> Vec<Value> {
    let spawn = |number: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["role", role]).arg(config).arg(number.to_string()).arg(window.as_millis().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = machine::on_cpu(machine::SUBJECT, || (0..many).map(spawn).collect());
    let told = children.into_iter().map(|child| {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("=> "));
        serde_json::from_str(line.unwrap_or_else(|| panic!("{role}: {text}"))).unwrap()
    });
    told.collect()
}

/// The role of a writer.
pub fn write(words: &[&str]) {
    repeat(words, |service, number| {
        let (user, token) = (format!("user{number}"), crate::tokens::token(number));
        service.register(&user, &token, "ios", &Extra::default()).is_ok()
    });
}

/// Does something for one user after the other, and tells how it went within the window.
fn repeat(words: &[&str], act: impl Fn(&Service, usize) -> bool) {
    let [config, seed, window_ms] = words else { panic!("a role has three words") };
    let window = Duration::from_millis(window_ms.parse().unwrap());
    let service = Service::prepare(Path::new(config)).unwrap_or_else(|error| panic!("{error}"));
    // A multiplier that is prime to the number of users, so that all writers go through all users, in orders of their own.
    let mut at = seed.parse::<usize>().unwrap() * 7919;
    let start = Instant::now();
    let (mut times_us, mut all, mut failed) = (Vec::new(), 0u64, 0u64);
    while start.elapsed() < WARM_UP + window {
        at = (at + 31_337) % USERS;
        let begun = Instant::now();
        failed += u64::from(!act(&service, at));
        all += 1;
        if begun - start >= WARM_UP {
            times_us.push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    let rate = times_us.len() as f64 / window.as_secs_f64();
    times_us.sort_by(f64::total_cmp);
    let part = |share: f64| times_us.get((times_us.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    let told =
        json!({ "rate": rate, "all": all, "failed": failed, "p50_us": part(0.5), "p99_us": part(0.99) });
    println!("=> {told}");
}
