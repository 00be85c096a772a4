//! What a token takes in the engine, its index included, and how fast tokens are carried into it.
//!
//! It refuses what the kernel counts: pages that the allocator keeps for later say nothing about tokens.

use super::{cpu_us, fill, open, single, used_memory};
use crate::Effort;
use crate::report::Report;
use crate::support::Scratch;
use std::time::Instant;

const KEY: &str = "engine.bytes_per_token";

/// Bytes of used_memory per token.
pub fn measure(effort: Effort, report: &mut Report) {
    let users = if effort.quick { 100_000 } else { 1_000_000 };
    report.title("Engine: tokens in a single Redis, carried in 500 at a time");
    let scratch = Scratch::new("bench-engine-memory");
    let server = single(&scratch);
    let mut store = match open(server.settings()) {
        Ok(store) => store,
        Err(why) => return report.missing(&[KEY], &why),
    };
    let (memory, cpu, start) = (used_memory(&server), cpu_us(&server), Instant::now());
    if let Err(why) = fill(&mut *store, users) {
        return report.missing(&[KEY], &why);
    }
    let took = start.elapsed().as_secs_f64();
    let bytes = (used_memory(&server) - memory) / users as f64;
    let cpu = (cpu_us(&server) - cpu) / users as f64;
    report.columns(&[
        "tokens",
        "keys",
        "bytes per token, index included",
        "tokens/s",
        "engine's CPU us each",
    ]);
    let rate = users as f64 / took;
    let keys = server.ask(&["DBSIZE"]);
    report.row(&[users.to_string(), keys, format!("{bytes:.0}"), format!("{rate:.0}"), format!("{cpu:.1}")]);
    report.key(KEY, bytes);
    report.key("engine.imported_per_s", rate);
}
