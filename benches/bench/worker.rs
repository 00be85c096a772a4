//! Inside a Kamailio worker: the time in `queue_voip_push` while calls run, and a lookup beside sqlops and ndb_redis.
//!
//! It refuses averages: Kamailio's own benchmark module writes every single time, in whole microseconds.

use crate::Effort;
use crate::caller::{Caller, Load};
use crate::engine;
use crate::report::{Report, median_of_whole};
use crate::server::{DEBIANS, FAST, Script, Server};
use crate::sip::{USERS, without_limits};
use crate::support::engine::{Server as Redis, Setup};
use crate::support::simulator::Simulator;
use crate::support::{Scratch, sip};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TIMER: &str = "loadmodule \"benchmark.so\"\nmodparam(\"benchmark\", \"enable\", 1)\n\
    modparam(\"benchmark\", \"granularity\", 1)\nmodparam(\"benchmark\", \"loglevel\", -1)\n";

/// Time in `queue_voip_push`, lookup included, at 4,000 calls a second.
pub fn hand_over(effort: Effort, report: &mut Report) {
    const KEYS: [&str; 2] = ["handover.p50_us", "handover.p99_us"];
    report.title("Hand-over: time in queue_voip_push, lookup included, at 4,000 calls/s");
    let scratch = Scratch::new("bench-handover");
    let simulator = Simulator::start(&scratch, &["--fast", "--latency-ms", "50"]);
    let config = without_limits(&simulator);
    crate::tokens::fill(&config, USERS);
    let invite = "bm_start_timer(\"handover\");\nqueue_voip_push(\"$rU\", \"$fU\", \"$ci\");\nbm_log_timer(\"handover\");";
    let mut script = Script::with_module(&config, invite);
    script.modules.push_str(TIMER);
    let server = match Server::start("bench-handover", &script) {
        Ok(server) => server,
        Err(why) => return report.missing(&KEYS, &why),
    };
    let caller = Caller::new(USERS);
    let seconds = if effort.quick { 3 } else { 10 };
    caller.call(server.port(), Load { rate: 4000, open: 4000, calls: 4000 });
    let warm_up = times(&server.log(), "handover").len();
    let calls = caller.call(server.port(), Load { rate: 4000, open: 4000, calls: 4000 * seconds });
    let mut times = times(&server.log(), "handover").split_off(warm_up);
    let (p50, p99) = (median_of_whole(&times), percentile(&mut times, 0.99));
    report.columns(&["calls/s", "calls", "lost", "p50 us", "p99 us"]);
    let lost = calls.made - calls.answered;
    report.row(&[
        format!("{:.0}", calls.rate),
        calls.made.to_string(),
        lost.to_string(),
        format!("{p50:.1}"),
        p99.to_string(),
    ]);
    if lost + calls.dropped + server.drops() > 0 || server.is_out_of_memory() {
        let (caller, kamailio) = (calls.dropped, server.drops());
        report.failure(format!(
            "hand-over: {lost} calls lost, {caller} datagrams dropped at SIPp, {kamailio} at Kamailio"
        ));
    }
    report.key(KEYS[0], p50);
    report.key(KEYS[1], p99);
}

/// The times that a timer has logged, in order: `benchmark (timer NAME [ID]): 12 [ msgs/…`.
fn times(log: &str, name: &str) -> Vec<f64> {
    let start = format!("(timer {name} [");
    let after = log.lines().filter_map(|line| line.split_once(&start)?.1.split_once("]): "));
    after.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok()).collect()
}

fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// One way to look a token up.
struct Lookup {
    name: &'static str,
    modules: String,
    /// Looks up the user in `$var(user)`.
    script: &'static str,
    /// See [`Script::write`]; each way writes once, so that none has an advantage.
    write: String,
}

impl Lookup {
    fn asks_redis(&self) -> bool {
        [ENGINE, NDB_REDIS].contains(&self.name)
    }
}

/// Lookups among 100,000 and 1,000,000 tokens.
pub fn lookup(effort: Effort, report: &mut Report) {
    report.title("Lookup of a user's token in a worker, median of single calls in us");
    report.columns(&[
        "way",
        "100,000, tlsf",
        "100,000, Debian's qm",
        "1,000,000, tlsf",
        "1,000,000, Debian's qm",
    ]);
    let scratch = Scratch::new("bench-lookup");
    let simulator = Simulator::start(&scratch, &["--fast"]);
    let config = without_limits(&simulator);
    let mut rows: Vec<(&str, Vec<Result<f64, String>>)> = Vec::new();
    for users in [100_000, 1_000_000] {
        let store = crate::tokens::fill(&config, users);
        // A copy, since two SQLites in one process would break each other's locks; and one with a name of its own, since a server
        // that is killed leaves a log behind, which belongs to no other file.
        let copy = scratch.path().join(format!("copy-{users}.db"));
        fs::copy(&store, &copy).unwrap();
        let redis = Redis::start(&scratch, &Setup::default());
        let engine = match effort.quick && users > QUICK_USERS {
            true => Err(format!("a quick run fills an engine with {QUICK_USERS} tokens, not more")),
            false => fill_redis(&redis, &config, users),
        };
        for way in ways(&config, &copy, redis.port, engine.as_ref().map(PathBuf::as_path)) {
            let taken = [FAST, DEBIANS].map(|allocator| match &engine {
                Err(why) if way.asks_redis() => Err(why.clone()),
                _ => measure_one(&way, users, allocator, effort),
            });
            match rows.iter_mut().find(|(name, _)| *name == way.name) {
                Some((_, row)) => row.extend(taken),
                None => rows.push((way.name, taken.into())),
            }
        }
    }
    for (name, row) in &rows {
        let cell =
            |taken: &Result<f64, String>| taken.as_ref().map_or_else(Clone::clone, |us| format!("{us:.1}"));
        let cells = row.iter().map(cell);
        report.row(&std::iter::once((*name).to_owned()).chain(cells).collect::<Vec<_>>());
    }
    write_keys(report, &rows);
}

fn write_keys(report: &mut Report, rows: &[(&str, Vec<Result<f64, String>>)]) {
    let of =
        |name: &str, at: usize| rows.iter().find(|(known, _)| *known == name).map(|(_, row)| row[at].clone());
    // Of the four columns: 100,000 and 1,000,000 with tlsf.
    let ours = [0, 2].map(|at| of("lookup_token", at).expect("it is in the list"));
    for (name, taken) in ["lookup.p50_us_100k", "lookup.p50_us_1m"].into_iter().zip(&ours) {
        match taken {
            Ok(us) => report.key(name, *us),
            Err(why) => report.missing(&[name], why),
        }
    }
    for (name, at) in [("100k", 0), ("1m", 2)] {
        let key = format!("lookup.ratio_engine_vs_ndb_redis_{name}");
        match (of(ENGINE, at).expect("it is in the list"), of(NDB_REDIS, at).expect("it is in the list")) {
            (Ok(ours), Ok(redis)) => {
                report.key(&format!("lookup.p50_us_engine_{name}"), ours);
                report.key(&key, ours / redis);
            }
            (Err(why), _) | (_, Err(why)) => report.missing(&[&key], &why),
        }
    }
    report.note(&format!("{ENGINE} is to take at most 1.2 times what ndb_redis takes for its GET."));
    // As people run it, both with Debian's allocator; the table has the other too, where sqlops is much quicker.
    let with_debians = |name| of(name, 1).expect("it is in the list");
    match (with_debians("lookup_token"), with_debians("sqlops, SQLite")) {
        (Ok(ours), Ok(sqlops)) => report.key("lookup.ratio_vs_sqlops", sqlops / ours),
        (Err(why), _) | (_, Err(why)) => report.missing(&["lookup.ratio_vs_sqlops"], &why),
    }
}

/// `lookup_token` through the same Redis that ndb_redis asks.
const ENGINE: &str = "lookup_token, Redis";
const NDB_REDIS: &str = "ndb_redis";

/// What a quick run fills an engine with; ten times as many take it a minute.
const QUICK_USERS: usize = 100_000;

fn ways(config: &Path, copy: &Path, redis_port: u16, engine: Result<&Path, &String>) -> [Lookup; 4] {
    let sqlops = format!(
        "loadmodule \"db_sqlite.so\"\nloadmodule \"sqlops.so\"\nmodparam(\"sqlops\", \"sqlcon\", \"db=>sqlite://{}\")\n",
        copy.display()
    );
    let redis = format!(
        "loadmodule \"ndb_redis.so\"\nmodparam(\"ndb_redis\", \"server\", \"name=r;addr=127.0.0.1;port={redis_port};db=0\")\n"
    );
    [
        Lookup {
            name: "lookup_token",
            modules: Script::with_module(config, "").modules,
            script: "lookup_token(\"$var(user)\");",
            write: crate::tokens::renewal(),
        },
        Lookup {
            name: ENGINE,
            modules: Script::with_module(engine.unwrap_or(config), "").modules,
            script: "lookup_token(\"$var(user)\");",
            write: crate::tokens::renewal(),
        },
        Lookup {
            name: "sqlops, SQLite",
            modules: sqlops,
            script: "sql_query(\"db\", \"SELECT token, platform FROM push_tokens WHERE user_id = '$var(user)'\", \"r\");\n\
                     $var(token) = $dbr(r=>[0,0]);\nsql_result_free(\"r\");",
            write:
                "sql_query(\"db\", \"UPDATE push_tokens SET registered_at_ms = 2 WHERE user_id = 'user0'\")"
                    .to_owned(),
        },
        Lookup {
            name: NDB_REDIS,
            modules: redis,
            script: "redis_cmd(\"r\", \"GET $var(user)\", \"g\");\n$var(token) = $redis(g=>value);\nredis_free(\"g\");",
            write: format!("redis_cmd(\"r\", \"SET user0 {}\", \"w\")", crate::tokens::token(0)),
        },
    ]
}

fn measure_one(way: &Lookup, users: usize, allocator: &'static str, effort: Effort) -> Result<f64, String> {
    let (warm_up, rounds) = if effort.quick { (1000, 5000) } else { (5000, 50_000) };
    let asked = format!(
        "$var(i) = 0;\nwhile ($var(i) < {}) {{\n$var(user) = \"user\" + ($RANDOM mod {users});\n\
         bm_start_timer(\"lookup\");\n{}\nbm_log_timer(\"lookup\");\n$var(i) = $var(i) + 1;\n}}",
        warm_up + rounds,
        way.script
    );
    let modules = format!("{}{TIMER}", way.modules);
    let script = Script { modules, asked, write: way.write.clone(), allocator, ..Script::plain() };
    let server = Server::start("bench-lookup", &script)?;
    server.send(&sip::request("OPTIONS", "sip:do@127.0.0.1", "X-Do: lookup\r\n", b""));
    let mut all = times(&server.log(), "lookup");
    if all.len() < warm_up + rounds {
        return Err(format!("{} of {} lookups were timed", all.len(), warm_up + rounds));
    }
    Ok(median_of_whole(&all.split_off(warm_up)))
}

/// Fills a Redis with the same users twice: as texts for ndb_redis, and as our store, whose configuration it gives.
fn fill_redis(redis: &Redis, config: &Path, users: usize) -> Result<PathBuf, String> {
    let mut pipe = Command::new("redis-cli");
    pipe.args(["-p", &redis.port.to_string(), "--pipe"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut pipe = pipe.spawn().unwrap();
    let mut input = std::io::BufWriter::new(pipe.stdin.take().unwrap());
    for number in 0..users {
        write!(input, "SET user{number} {}\r\n", crate::tokens::token(number)).unwrap();
    }
    drop(input.into_inner().unwrap());
    assert!(pipe.wait().unwrap().success());
    let mut store = engine::open(redis.settings())?;
    engine::fill(&mut *store, users)?;
    Ok(engine::with_store(config, "engine.toml", &redis.settings()))
}
