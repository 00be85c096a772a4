//! What each lookup, registration and word between SIP servers costs the engine's own CPU: the figures that docs/sizing.md counts with.
//!
//! It refuses to be quick about it: commands come one after the other, as from workers that wait for them, not in pipes.

use super::{configuration, cpu_us, fill, open, registrations, single};
use crate::Effort;
use crate::machine;
use crate::report::Report;
use crate::support::Scratch;
use crate::support::engine::Server;
use crate::support::simulator::Simulator;
use redis::{Connection, Value, cmd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// SIP servers that read.
const NODES: u64 = 4;
/// As a word is written: who says it, and what.
const BY: &str = "0123456789abcdef0123456789abcdef";
const WORD: &str = "hsip:user123456@example.org;0123456789abcdef0123456789abcdef";

/// CPU of the engine for everything that SIP servers ask of it.
pub fn measure(effort: Effort, report: &mut Report) {
    report.title("Engine: CPU us of a single Redis for one of each");
    report.columns(&["what", "CPU us"]);
    let scratch = Scratch::new("bench-engine-cost");
    let server = single(&scratch);
    if let Err(why) = commands(&scratch, &server, effort, report) {
        report.missing(&["engine.lookup_cpu_us", "engine.register_cpu_us"], &why);
    }
    stream(&server, effort, report);
}

fn tell(report: &mut Report, what: &str, key: &str, value: f64) {
    report.row(&[what.to_owned(), format!("{value:.1}")]);
    report.key(&format!("engine.{key}_cpu_us"), value);
}

fn commands(scratch: &Scratch, server: &Server, effort: Effort, report: &mut Report) -> Result<(), String> {
    let simulator = Simulator::start(scratch, &["--fast"]);
    fill(&mut *open(server.settings())?, 100_000)?;
    let config = configuration(&simulator, "costs.toml", &server.settings());
    let window = Duration::from_secs(if effort.quick { 1 } else { 5 });
    for (role, what, key) in [("reader", "a lookup", "lookup"), ("writer", "a registration", "register")] {
        let before = cpu_us(server);
        let told = registrations::run(role, &config, 4, window);
        let all: f64 = told.iter().filter_map(|one| one["all"].as_f64()).sum();
        tell(report, what, key, (cpu_us(server) - before) / all);
    }
    Ok(())
}

fn stream(server: &Server, effort: Effort, report: &mut Report) {
    let words = if effort.quick { 3_000 } else { 20_000 };
    let mut writer = connect(server);
    let claims = spent(server, || (0..words).for_each(|number| claim(&mut writer, number))) / words as f64;
    tell(report, "asking who pushes for a call", "claim", claims);
    let alone = spent(server, || write(&mut writer, words, Duration::ZERO)) / words as f64;
    tell(report, "a word written to the stream", "write", alone);
    let (is_over, read, read_ns) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (mut with, begun) = (0.0, AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..NODES {
            scope.spawn(|| {
                let mut connection = connect(server);
                begun.fetch_add(1, Ordering::SeqCst);
                let (entries, cpu) = listen(&mut connection, &is_over);
                read.fetch_add(entries, Ordering::SeqCst);
                read_ns.fetch_add(u64::try_from(cpu.as_nanos()).unwrap(), Ordering::SeqCst);
            });
        }
        while begun.load(Ordering::SeqCst) < NODES {
            std::thread::yield_now();
        }
        with = spent(server, || write(&mut writer, words, Duration::from_micros(400))) / words as f64;
        is_over.store(true, Ordering::SeqCst);
        write(&mut writer, 1, Duration::ZERO);
    });
    let (read, read_ns) = (read.into_inner() as f64, read_ns.into_inner() as f64);
    let each = (with - alone) * words as f64 / read;
    tell(report, "a word read by one SIP server", "read", each);
    tell(report, "the same, in that SIP server", "node_read", read_ns / 1e3 / read);
    let more = spent(server, || read_all(&mut writer, words)) / words as f64;
    tell(report, "each word in an answer with 500 of them", "read_more", more);
}

fn connect(server: &Server) -> Connection {
    let url = format!("redis://{}:{}", server.address, server.port);
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

fn spent(server: &Server, work: impl FnOnce()) -> f64 {
    let before = cpu_us(server);
    work();
    cpu_us(server) - before
}

fn claim(connection: &mut Connection, number: usize) {
    let mut set = cmd("SET");
    set.arg(format!("voip-push:c:{number:032x}")).arg(BY).arg("NX").arg("PX").arg(60_000);
    let _: String = set.query(connection).unwrap();
}

fn write(connection: &mut Connection, words: usize, pause: Duration) {
    for _ in 0..words {
        let next = Instant::now() + pause;
        let mut add = cmd("XADD");
        add.arg("s").arg("MAXLEN").arg("~").arg(100_000).arg("*").arg("by").arg(BY).arg("word").arg(WORD);
        let _: String = add.query(connection).unwrap();
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Reads what comes until it is over: how many entries, and this thread's CPU.
fn listen(connection: &mut Connection, is_over: &AtomicBool) -> (u64, Duration) {
    let (mut last, mut entries, cpu) = ("$".to_owned(), 0, machine::thread_cpu_time());
    while !is_over.load(Ordering::SeqCst) {
        for id in ids(connection, &last, 500) {
            entries += 1;
            last = id;
        }
    }
    (entries, machine::thread_cpu_time() - cpu)
}

fn read_all(connection: &mut Connection, words: usize) {
    let (mut last, mut read) = ("0-0".to_owned(), 0);
    while read < words {
        let ids = ids(connection, &last, 500);
        read += ids.len();
        last = ids.last().expect("there are as many as were written").clone();
    }
}

/// The entries after `last`, at most so many; waits for one at most a second.
fn ids(connection: &mut Connection, last: &str, most: usize) -> Vec<String> {
    let mut read = cmd("XREAD");
    read.arg("COUNT").arg(most).arg("BLOCK").arg(1000).arg("STREAMS").arg("s").arg(last);
    let answer: Value = read.query(connection).unwrap();
    // [[key, [[id, [field, value, …]], …]]], or nothing.
    type Answer = Vec<(String, Vec<(String, Vec<String>)>)>;
    let answer: Answer = redis::from_redis_value(answer).unwrap_or_default();
    answer.into_iter().flat_map(|(_, entries)| entries).map(|(id, _)| id).collect()
}
