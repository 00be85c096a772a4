//! SIP: calls a second that a Kamailio sustains with a push for each, beside no push at all, beside
//! Kamailio's own way to suspend a call, and beside http_client.
//!
//! It refuses runs that lost something: a call without its answer, a dropped datagram, or shared memory that ran out fails it.

mod way;

use crate::Effort;
use crate::caller::{Caller, Calls, Load};
use crate::machine::{self, Ticks};
use crate::report::{Report, median};
use crate::server::Server;
use crate::support::simulator::Simulator;
use crate::support::{DEADLINE, Scratch, poll};
use std::path::PathBuf;
use std::time::Duration;
use way::Way;

/// Users with a token.
pub const USERS: usize = 100_000;
const LATENCIES_MS: [u64; 3] = [0, 50, 100];
/// Calls a second that every way but the blocking one is asked for, so that delay and cost are compared under the same load.
const SAME_RATE: u32 = 8000;

/// One way at one latency, measured.
struct Measured {
    closed: Calls,
    open: Calls,
    cost: Cost,
    /// Under the load that is the same for all, and the cost of a call there.
    same: Option<(Calls, Cost)>,
    pushes: u64,
    /// Datagrams dropped at Kamailio's socket; the closed loop may push it that far, and SIPp repeats the INVITE.
    server_drops: u64,
    /// Pushes that were not taken since the queue was full; the closed loop asks for as many as it can.
    refused: u64,
    steal: f64,
    is_verified: bool,
    problem: Option<String>,
}

/// CPU microseconds that an answered call took.
#[derive(Clone, Copy)]
struct Cost {
    /// Of all the server's processes.
    server_us: f64,
    /// Of SIPp and the simulator, which share the other CPU: where that is full, the server is not the limit.
    around_us: f64,
}

impl Measured {
    fn lost(&self) -> u64 {
        let same = self.same.as_ref().map(|(calls, _)| calls);
        [&self.closed, &self.open].into_iter().chain(same).map(|run| run.made - run.answered).sum()
    }
}

/// Calls a second, their delay and their cost, for every way and latency.
pub fn measure(effort: Effort, report: &mut Report) {
    report.title("SIP: an INVITE, a push, a 480");
    report.note("4 UDP workers, `-x tlsf -m 6144`, 100,000 tokens; verified: the fastest open loop in which no call was lost, no push refused, and fewer than 1 % took over 500 ms. async_task: Kamailio's own module `async`, whose one process resumes the call and sends nothing: the least that an asynchronous call costs there. At 8,000/s: the same load for all, as the median's and the 99th percentile's bucket in ms, and CPU us/call. SIPp's and simulator's: the CPU us/call that these two take of the other CPU; 1,000,000 divided by it is the most that the load can be.\n");
    report.columns(&[
        "way",
        "provider ms",
        "closed loop /s",
        "verified /s",
        "p50 ms <",
        "p99 ms <",
        "CPU us/call",
        "SIPp's and simulator's",
        "at 8,000/s",
        "lost",
        "INVITEs repeated",
        "dropped at Kamailio",
        "pushes refused",
        "steal %",
        "remarks",
    ]);
    let caller = Caller::new(USERS);
    let mut results = Results::default();
    for latency_ms in LATENCIES_MS {
        let rig = Rig::new(latency_ms);
        for way in Way::ALL {
            if !way.is_measured_at(latency_ms, effort) {
                continue;
            }
            let repetitions = if effort.quick || way == Way::HttpClient { 1 } else { 3 };
            for _ in 0..repetitions {
                eprintln!("bench: sip {} {latency_ms} ms", way.name());
                let measured = rig.measure(way, effort, &caller);
                if let Ok(measured) = &measured {
                    write_row(report, way, latency_ms, measured);
                    if let Some(problem) = measured.problem.as_ref().filter(|_| way != Way::AsyncTask) {
                        report.failure(format!("{} at {latency_ms} ms: {problem}", way.name()));
                    }
                }
                results.add(way, latency_ms, measured);
            }
        }
    }
    results.write(report);
}

/// A simulator with a latency and a filled store.
struct Rig {
    simulator: Simulator,
    config: PathBuf,
    latency_ms: u64,
    _scratch: Scratch,
}

impl Rig {
    fn new(latency_ms: u64) -> Rig {
        let scratch = Scratch::new("bench-sip");
        let latency = latency_ms.to_string();
        let simulator = Simulator::start(&scratch, &["--fast", "--latency-ms", &latency]);
        let config = without_limits(&simulator);
        crate::tokens::fill(&config, USERS);
        Rig { simulator, config, latency_ms, _scratch: scratch }
    }

    fn measure(&self, way: Way, effort: Effort, caller: &Caller) -> Result<Measured, String> {
        let server =
            Server::start(&format!("bench-{}", way.name()), &way.script(&self.config, &self.simulator))?;
        let (open, calls) = (way.open(self.latency_ms), way.calls(effort, self.latency_ms));
        let before = accepted(&self.simulator);
        let warm_up = caller.call(server.port(), Load { rate: 2000, open, calls: (calls / 10).max(8) });
        let ticks = Ticks::now();
        let closed = caller.call(server.port(), Load { rate: 100_000, open, calls });
        let bed = Bed { server: &server, caller, simulator: self.simulator.pid(), effort };
        let (open, cost, is_verified) = bed.verify(&closed);
        let same = (way != Way::HttpClient).then(|| bed.same_load());
        let runs = [&warm_up, &closed, &open].into_iter().chain(same.iter().map(|(calls, _)| calls));
        let answered: u64 = runs.clone().map(|run| run.answered).sum();
        let refused = server.refused();
        let pushes = if way.sends() { self.pushes_since(before, answered - refused) } else { 0 };
        let mut problem = problem(&server, runs);
        if way.sends() && pushes + refused < answered {
            problem = Some(format!(
                "{pushes} pushes accepted and {refused} refused for {answered} calls; {}",
                problem.unwrap_or_default()
            ));
        }
        if !is_verified {
            let so_far = problem.map(|problem| format!("; {problem}")).unwrap_or_default();
            problem = Some(format!("no open loop was good{so_far}"));
        }
        Ok(Measured {
            closed,
            open,
            cost,
            same,
            pushes,
            server_drops: server.drops(),
            refused,
            steal: ticks.stolen_since(),
            is_verified,
            problem,
        })
    }

    /// Pushes that the simulator accepted, as soon as all are there.
    fn pushes_since(&self, before: u64, wanted: u64) -> u64 {
        let arrived = || (accepted(&self.simulator) - before >= wanted).then_some(());
        poll(DEADLINE / 4, arrived);
        accepted(&self.simulator) - before
    }
}

/// The simulator's configuration without budgets, since a bench is the flood that they are there to stop, and without a log line
/// for each push.
pub fn without_limits(simulator: &Simulator) -> PathBuf {
    let limits = "level = \"warn\"\n[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\n[sender]\nmax_queued = 50000";
    simulator.change_config(&[("level = \"info\"", limits)])
}

fn accepted(simulator: &Simulator) -> u64 {
    simulator.get("/stats")["requests"]["apns"]["200"].as_u64().unwrap_or(0)
}

/// What the calls are made with, and who takes CPU time for them.
struct Bed<'a> {
    server: &'a Server,
    caller: &'a Caller,
    simulator: libc::pid_t,
    effort: Effort,
}

impl Bed<'_> {
    /// An open loop just below what the closed one did, slower until it is good, or not at all, which the third value says; then
    /// faster as long as it stays good. A closed loop with a slow provider moves in lumps: all its calls are handed over, all wait,
    /// all are answered, so it says less than the server can do.
    fn verify(&self, closed: &Calls) -> (Calls, Cost, bool) {
        let at = |share: f64| self.open_loop((closed.rate * share).max(1.0) as u32);
        let mut last = at(0.95);
        for share in [0.9, 0.85, 0.75] {
            if last.2 {
                break;
            }
            last = at(share);
        }
        let mut share = 0.95;
        while last.2 && share < MOST_SHARE {
            share *= FASTER;
            let faster = at(share);
            if !faster.2 || faster.0.rate < last.0.rate {
                break;
            }
            last = faster;
        }
        last
    }

    /// Calls at a rate, long enough that a server which is slower than that shows it; what a call cost; and whether all was good: nothing
    /// was dropped, at Kamailio's socket either (a repeated INVITE would hide that), no push was refused, and the rate was kept.
    fn open_loop(&self, rate: u32) -> (Calls, Cost, bool) {
        let (drops, refused) = (self.server.drops(), self.server.refused());
        let (open, cost) = self.calls(rate);
        let nothing_lost = open.answered == open.made && open.dropped == 0 && self.server.drops() == drops;
        let is_kept = open.rate >= f64::from(rate) * 0.9 && open.late * 100 < open.made;
        let good = nothing_lost && self.server.refused() == refused && is_kept;
        (open, cost, good)
    }

    /// Calls at the rate that is the same for all, and what one cost.
    fn same_load(&self) -> (Calls, Cost) {
        self.calls(SAME_RATE)
    }

    /// Calls at a rate, and what each answered one cost.
    fn calls(&self, rate: u32) -> (Calls, Cost) {
        let seconds = if self.effort.quick { 2 } else { 5 };
        let load = Load { rate, open: rate * 10, calls: rate * seconds };
        let around = || machine::cpu_time(self.simulator) + machine::ended_children_cpu_time();
        let before = (self.server.cpu_time(), around());
        let calls = self.caller.call(self.server.port(), load);
        let each = |used: Duration| used.as_secs_f64() * 1e6 / calls.answered.max(1) as f64;
        let server_us = each(self.server.cpu_time() - before.0);
        let around_us = each(around() - before.1);
        (calls, Cost { server_us, around_us })
    }
}

/// How much faster the next open loop is than one that was good.
const FASTER: f64 = 1.1;
/// No open loop is so many times as fast as the closed one.
const MOST_SHARE: f64 = 3.0;

fn problem<'a>(server: &Server, runs: impl Iterator<Item = &'a Calls> + Clone) -> Option<String> {
    let lost: u64 = runs.clone().map(|run| run.made - run.answered).sum();
    let dropped: u64 = runs.map(|run| run.dropped).sum();
    let mut problems = Vec::new();
    if lost > 0 {
        problems.push(format!("{lost} calls lost"));
    }
    if dropped > 0 {
        problems.push(format!("{dropped} datagrams dropped at SIPp"));
    }
    if server.is_out_of_memory() {
        problems.push("out of memory".to_owned());
    }
    (!problems.is_empty()).then(|| problems.join(", "))
}

fn write_row(report: &mut Report, way: Way, latency_ms: u64, measured: &Measured) {
    let same = measured.same.as_ref().map(|(calls, cost)| {
        let Calls { p50_ms, p99_ms, .. } = calls;
        format!("{p50_ms:.0}, {p99_ms:.0}; {:.1}", cost.server_us)
    });
    let Measured { closed, open, cost, server_drops, refused, steal, problem, .. } = measured;
    report.row(&[
        way.name().to_owned(),
        latency_ms.to_string(),
        format!("{:.0}", closed.rate),
        format!("{:.0}", open.rate),
        format!("{:.0}", open.p50_ms),
        format!("{:.0}", open.p99_ms),
        format!("{:.1}", cost.server_us),
        format!("{:.1}", cost.around_us),
        same.unwrap_or_default(),
        measured.lost().to_string(),
        (closed.repeated + open.repeated).to_string(),
        server_drops.to_string(),
        refused.to_string(),
        format!("{steal:.1}"),
        problem.clone().unwrap_or_default(),
    ]);
}

/// Everything measured, by way and latency, and why something was not.
#[derive(Default)]
struct Results {
    measured: Vec<(Way, u64, Measured)>,
    refused: Vec<(Way, String)>,
}

impl Results {
    fn add(&mut self, way: Way, latency_ms: u64, result: Result<Measured, String>) {
        match result {
            // What Kamailio loses by itself is no failure of ours, and nothing to be compared with either.
            Ok(Measured { is_verified: false, problem, .. }) if way == Way::AsyncTask => {
                self.refused.push((way, problem.unwrap_or_default()));
            }
            Ok(measured) => self.measured.push((way, latency_ms, measured)),
            Err(why) => self.refused.push((way, why)),
        }
    }

    fn of(&self, way: Way, latency_ms: Option<u64>, what: impl Fn(&Measured) -> f64) -> Option<f64> {
        let meant = self.measured.iter().filter(|(known, latency, _)| {
            *known == way && latency_ms.is_none_or(|wanted| *latency == wanted)
        });
        Some(median(meant.map(|(_, _, measured)| what(measured)))).filter(|value| value.is_finite())
    }

    fn write(&self, report: &mut Report) {
        let rate = |measured: &Measured| measured.open.rate;
        for (way, name) in [(Way::Queue, "queue"), (Way::Async, "async")] {
            for latency_ms in LATENCIES_MS {
                let key = format!("sip.{name}_ratio_vs_none_{latency_ms}ms");
                let none = (Way::None, self.of(Way::None, Some(latency_ms), rate));
                self.ratio(report, &key, (way, self.of(way, Some(latency_ms), rate)), none);
            }
            let cpu = |way| self.of(way, None, |measured| measured.cost.server_us);
            let over = cpu(way).zip(cpu(Way::None)).map(|(with, without)| with - without);
            for (client, its_cpu_us) in [("bare", report.bare_cpu_us), ("prepared", report.prepared_cpu_us)] {
                let key = format!("sip.{name}_cpu_over_none_vs_{client}");
                match its_cpu_us {
                    Some(its) => self.ratio(report, &key, (way, over), (Way::None, Some(its))),
                    None => report.missing(
                        &[&key],
                        "the raw section did not run, so there is no such client to compare with",
                    ),
                }
            }
        }
        let beside = [
            ("sip.async_ratio_vs_async_task_0ms", Way::Async, Way::AsyncTask, 0),
            ("sip.queue_ratio_vs_http_client_100ms", Way::Queue, Way::HttpClient, 100),
        ];
        for (key, ours, theirs, latency_ms) in beside {
            let at = |way| self.of(way, Some(latency_ms), rate);
            self.ratio(report, key, (ours, at(ours)), (theirs, at(theirs)));
        }
        let gated = self.measured.iter().filter(|(way, ..)| *way != Way::AsyncTask);
        let lost: u64 = gated.map(|(_, _, measured)| measured.lost()).sum();
        report.key("sip.calls_lost", lost as f64);
        let pushes: u64 = self.measured.iter().map(|(_, _, measured)| measured.pushes).sum();
        report.note(&format!("{pushes} pushes were accepted in these runs."));
    }

    fn ratio(
        &self,
        report: &mut Report,
        key: &str,
        (way, one): (Way, Option<f64>),
        (beside, other): (Way, Option<f64>),
    ) {
        match one.zip(other) {
            Some((one, other)) => report.key(key, one / other),
            None => {
                let refused = |wanted: Way| self.refused.iter().find(|(known, _)| *known == wanted);
                let why = refused(way).or_else(|| refused(beside)).map(|(_, why)| why.as_str());
                report.missing(&[key], why.unwrap_or("nothing was measured"));
            }
        }
    }
}
