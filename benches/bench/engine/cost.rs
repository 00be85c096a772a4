//! What each lookup, registration and word between SIP servers costs the engine's own CPU: the figures that docs/sizing.md counts with.
//!
//! It refuses to be quick about it: commands come one after the other, as from workers that wait for them, not in pipes.

use super::{cpu_us, fill, open, single};
use crate::Effort;
use crate::machine;
use crate::report::Report;
use crate::support::Scratch;
use crate::support::engine::Server;
use redis::{Connection, Value, cmd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use voip_push::model::{Extra, NewDevice, User};
use voip_push::service::Limits;

/// Users in the store.
const USERS: usize = 100_000;
/// SIP servers that read.
const NODES: u64 = 4;
/// As a word is written: who says it, and what.
const BY: &str = "0123456789abcdef0123456789abcdef";
const WORD: &str = "hsip:user123456@example.org;0123456789abcdef0123456789abcdef";

/// Each figure is the least of so many short runs: whatever else runs on the machine only adds to it.
const RUNS: usize = 20;
/// Commands in one of them.
const COMMANDS: usize = 500;

/// CPU of the engine for one command of a kind, where `run` does so many of them from a number on.
fn least(server: &Server, mut run: impl FnMut(std::ops::Range<usize>)) -> f64 {
    let each = (0..RUNS).map(|at| spent(server, || run(at * COMMANDS..(at + 1) * COMMANDS)));
    each.fold(f64::INFINITY, f64::min) / COMMANDS as f64
}

/// CPU of the engine for everything that SIP servers ask of it.
pub fn measure(effort: Effort, report: &mut Report) {
    report.title("Engine: CPU us of a single Redis for one of each");
    report.columns(&["what", "CPU us"]);
    let scratch = Scratch::new("bench-engine-cost");
    let server = single(&scratch);
    if let Err(why) = commands(&server, report) {
        report.missing(&["engine.lookup_cpu_us", "engine.register_cpu_us"], &why);
    }
    stream(&server, effort, report);
}

fn tell(report: &mut Report, what: &str, key: &str, value: f64) {
    report.row(&[what.to_owned(), format!("{value:.1}")]);
    report.key(&format!("engine.{key}_cpu_us"), value);
}

/// One of 100,000 users after the other, through the store as a worker has it.
fn commands(server: &Server, report: &mut Report) -> Result<(), String> {
    let mut store = open(server.settings())?;
    fill(&mut *store, USERS)?;
    let limits = Limits { devices_per_user: 20, users_per_token: 1 };
    let (mut failed, user_of) = (0, |number: usize| format!("user{}", number * 7919 % USERS));
    let lookup = least(server, |numbers| {
        for number in numbers {
            let found = store.devices(&User::parse(&user_of(number)).unwrap(), 2);
            failed += usize::from(found.is_ok_and(|devices| devices.len() != 1));
        }
    });
    let register = least(server, |numbers| {
        for number in numbers {
            let token = crate::tokens::token(number * 7919 % USERS);
            let device = NewDevice::parse(&user_of(number), &token, "ios", &Extra::default()).unwrap();
            failed += usize::from(store.register(&device, 2, limits).is_err());
        }
    });
    if failed > 0 {
        return Err(format!("{failed} were not answered"));
    }
    tell(report, "a lookup", "lookup", lookup);
    tell(report, "a registration that renews", "register", register);
    Ok(())
}

fn stream(server: &Server, effort: Effort, report: &mut Report) {
    let mut writer = connect(server);
    let claims = least(server, |numbers| numbers.for_each(|number| claim(&mut writer, number)));
    tell(report, "asking who pushes for a call", "claim", claims);
    let alone = least(server, |numbers| write(&mut writer, numbers.len(), Duration::ZERO));
    tell(report, "a word written to the stream", "write", alone);
    let (runs, words) = if effort.quick { (5, COMMANDS) } else { (20, 2 * COMMANDS) };
    let both: Vec<[f64; 2]> = (0..runs).map(|_| heard(server, &mut writer, words, alone)).collect();
    let of = |which: usize| both.iter().map(|one| one[which]).fold(f64::INFINITY, f64::min);
    tell(report, "a word read by one SIP server", "read", of(0));
    tell(report, "the same, in that SIP server", "node_read", of(1));
    let more = least(server, |numbers| read_all(&mut writer, numbers.len()));
    tell(report, "each word in an answer with 500 of them", "read_more", more);
}

/// Words that four SIP servers wait for: what reading one costs the engine, and the one who reads it.
fn heard(server: &Server, writer: &mut Connection, words: usize, alone: f64) -> [f64; 2] {
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
        with = spent(server, || write(writer, words, Duration::from_micros(400)));
        is_over.store(true, Ordering::SeqCst);
        write(writer, 1, Duration::ZERO);
    });
    let (read, read_ns) = (read.into_inner() as f64, read_ns.into_inner() as f64);
    [(with - alone * words as f64) / read, read_ns / 1e3 / read]
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
