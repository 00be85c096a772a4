//! The server of the soak: a main process that has forked a sender and workers, kills workers at random and replaces them.
//!
//! It refuses to be gentle: workers die of SIGKILL, wherever they are.

use super::ledger::{Expected, Faults, Ledger, OUTCOMES, Slip, Total, USERS};
use crate::machine;
use crate::random::Random;
use crate::tokens::token;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use voip_push::model::{Extra, Outcome, Report};
use voip_push::service::{Error, Service};

const WORKERS: usize = 4;
/// More pushes than this are not kept under way; less than the sender's own limit.
const UNDER_WAY: u64 = 3000;
/// Pauses between two kills, at most.
const KILL_PAUSE_MS: u64 = 500;
/// How long the last pushes may take: two attempts that stall, and their pause.
const LAST: Duration = Duration::from_secs(60);

/// Runs the server for so many pushes and says on standard output what came of it.
pub fn run(config: &Path, pushes: u64) {
    let service: &Service =
        Box::leak(Box::new(Service::prepare(config).unwrap_or_else(|why| panic!("{why}"))));
    service.plan_sender_process().unwrap();
    let ledger: &Ledger = Box::leak(Box::new(Ledger::new(pushes)));
    let sender = machine::fork(|| {
        let reasons = Rc::new(RefCell::new(BTreeMap::new()));
        let seen = Rc::clone(&reasons);
        let host = move |note: &[u8], report: Report| {
            count_reasons(&mut seen.borrow_mut(), &report);
            ledger.end(Slip::decode(note), &report);
        };
        service.run_sender(Rc::new(host)).unwrap_or_else(|why| panic!("{why}"));
        println!("=> {}", json!({ "reasons": &*reasons.borrow() }));
    });
    println!("=> {sender}");
    let killed = drive(service, ledger, pushes);
    let end = Instant::now() + LAST;
    while ledger.under_way() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
    }
    // A worker that died between hand-over and its note counts as not taken; its push may still be on the way.
    std::thread::sleep(Duration::from_secs(1));
    machine::signal(sender, libc::SIGTERM);
    let sender_status = machine::wait_for(sender);
    tell(service, ledger, killed, sender_status);
}

/// Why pushes were not accepted, with how many attempts; read by people when a soak looks odd.
fn count_reasons(seen: &mut BTreeMap<String, u64>, report: &Report) {
    for result in report.results.iter().filter(|result| result.outcome != Outcome::Accepted) {
        let reason =
            format!("{} ({}), {} attempts", result.outcome.name(), result.outcome.reason(), result.attempts);
        *seen.entry(reason).or_default() += 1;
    }
}

/// Keeps the workers running, and dying, until every push was handed over.
fn drive(service: &'static Service, ledger: &'static Ledger, pushes: u64) -> u64 {
    let mut random = Random::new(7);
    let mut workers: Vec<Option<libc::pid_t>> =
        (0..WORKERS).map(|slot| Some(start_worker(service, ledger, slot, pushes))).collect();
    let mut killed = 0;
    while workers.iter().any(Option::is_some) {
        std::thread::sleep(Duration::from_millis(50 + random.below(KILL_PAUSE_MS)));
        for slot in workers.iter_mut() {
            if slot.is_some_and(machine::has_ended) {
                *slot = None; // Nothing was left for it to do.
            }
        }
        let slot = random.below(WORKERS as u64) as usize;
        if let Some(victim) = workers[slot] {
            machine::signal(victim, libc::SIGKILL);
            machine::wait_for(victim);
            killed += 1;
            workers[slot] = Some(start_worker(service, ledger, slot, pushes));
        }
    }
    killed
}

fn start_worker(service: &'static Service, ledger: &'static Ledger, slot: usize, pushes: u64) -> libc::pid_t {
    machine::fork(|| {
        let mut random = Random::new(u64::from(std::process::id()));
        loop {
            while ledger.under_way() >= UNDER_WAY {
                std::thread::sleep(Duration::from_millis(1));
            }
            let push = ledger.total(Total::Next).fetch_add(1, SeqCst);
            if push >= pushes {
                return;
            }
            // Users belong to one worker each, so that only one registers for them.
            let user = random.below((USERS / WORKERS) as u64) as usize * WORKERS + slot;
            hand_over(service, ledger, push, user);
        }
    })
}

/// Hands a push over, again and again while the queue is full; a phone whose token is gone registers a new one, as an app does.
fn hand_over(service: &Service, ledger: &Ledger, push: u64, user: usize) {
    let (name, call_id) = (format!("user{user}"), format!("soak-{push}"));
    ledger.mean(push);
    loop {
        let slip = Slip { push, user, generation: ledger.generation(user) };
        match service.queue(&name, "Soak", &call_id, Some(Duration::from_secs(60)), slip.encode()) {
            Ok(_) => return ledger.take(push),
            Err(Error::QueueFull) => std::thread::sleep(Duration::from_millis(2)),
            Err(Error::NoDevice) => register(service, ledger, user),
            Err(why) => {
                println!("=> refused: {why}");
                return ledger.give_up(push);
            }
        }
    }
}

fn register(service: &Service, ledger: &Ledger, user: usize) {
    let generation = ledger.begin_generation(user);
    let name = format!("user{user}");
    let done = service.register(&name, &token_of(user, generation), "ios", &Extra::default());
    done.unwrap_or_else(|why| panic!("{why}"));
    ledger.finish_generation(user, generation);
}

fn token_of(user: usize, generation: u64) -> String {
    if generation == 0 { token(user) } else { format!("{user:08x}{generation:08x}").repeat(4) }
}

/// One line of JSON: what was handed over, how it ended, and what does not add up.
fn tell(service: &Service, ledger: &Ledger, killed: u64, sender_status: i32) {
    let total = |total| ledger.total(total).load(SeqCst);
    let Faults { taken, ended_twice, never_ended, ended_unasked, unknown, unknown_ended, never_meant } =
        ledger.faults();
    let outcomes: Vec<_> = (0..OUTCOMES.len()).map(|at| ledger.outcome(at).load(SeqCst)).collect();
    let counted = |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        let readings = service.stats().read();
        readings
            .iter()
            .filter(|reading| reading.labels.contains(&label))
            .map(|reading| reading.value)
            .sum::<u64>()
    };
    let (wrongly_gone, wrongly_there, unsure) = compare_store(service, ledger);
    let plain = |name: &str| service.stats().read().iter().find(|one| one.name == name).map(|one| one.value);
    let told = json!({
        "taken": taken, "ended": total(Total::Ended), "attempts": total(Total::Attempts),
        "ended_twice": ended_twice, "never_ended": never_ended, "ended_unasked": ended_unasked, "unknown": unknown,
        "unknown_ended": unknown_ended, "never_meant": never_meant,
        "outcomes": OUTCOMES.iter().zip(&outcomes).map(|(name, n)| (*name, *n)).collect::<BTreeMap<_, _>>(),
        "counters": OUTCOMES.map(|name| (name, counted(name))).into_iter().collect::<BTreeMap<_, _>>(),
        "retries": plain("retries_total"), "lost": plain("lost_total"), "retired": plain("retired_total"), "queued": plain("queued"),
        "duplicates": plain("duplicates_total"), "quarantined": plain("quarantined_total"), "panics": plain("panics_total"),
        "wrongly_gone": wrongly_gone, "wrongly_there": wrongly_there, "unsure": unsure,
        "workers_killed": killed, "sender_status": sender_status,
    });
    println!("=> {told}");
}

/// Users whose token is missing although it was never answered with "gone"; who have one that was; and who are unsure.
fn compare_store(service: &Service, ledger: &Ledger) -> (u64, u64, u64) {
    let (mut wrongly_gone, mut wrongly_there, mut unsure) = (0, 0, 0);
    for user in 0..USERS {
        let found = match service.lookup(&format!("user{user}")) {
            Ok(devices) => Some(devices[0].token.expose().to_owned()),
            Err(Error::NoDevice) => None,
            Err(why) => panic!("{why}"),
        };
        match (ledger.expected(user), found) {
            (Expected::There(generation), found) => {
                wrongly_gone += u64::from(found != Some(token_of(user, generation)));
            }
            (Expected::Gone, Some(_)) => wrongly_there += 1,
            (Expected::Gone, None) => {}
            (Expected::Either, _) => unsure += 1,
        }
    }
    (wrongly_gone, wrongly_there, unsure)
}
