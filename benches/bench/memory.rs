//! Memory: what the module adds to a worker, and what a push in flight takes in the sender.
//!
//! It refuses to count shared memory: only what a process has written into mappings of its own (their Private_Dirty) is counted.

use crate::Effort;
use crate::caller::{Caller, Load};
use crate::machine;
use crate::raw::Job;
use crate::report::{Report, median};
use crate::server::{Script, Server, private_kb};
use crate::sip::{USERS, without_limits};
use crate::support::Scratch;
use crate::support::simulator::Simulator;
use std::process::Command;
use std::time::Duration;

/// Both figures.
pub fn measure(_effort: Effort, report: &mut Report) {
    report.title("Memory (Private_Dirty of private mappings)");
    report.columns(&["what", "value"]);
    worker(report);
    in_flight(report);
}

fn worker(report: &mut Report) {
    let key = "memory.worker_private_kb";
    let scratch = Scratch::new("bench-memory");
    let simulator = Simulator::start(&scratch, &["--fast"]);
    let config = without_limits(&simulator);
    crate::tokens::fill(&config, USERS);
    let caller = Caller::new(USERS);
    let queue = Script::with_module(&config, "queue_voip_push(\"$rU\", \"$fU\", \"$ci\");");
    let with = after_calls(&queue, &caller).map(|kb| (kb, "after 2,000 calls"));
    // Without queue_voip_push the module can still be loaded and looked up with.
    let lookup = || {
        let script = Script::with_module(&config, "lookup_token(\"$rU\");");
        after_calls(&script, &caller).map(|kb| (kb, "after 2,000 lookups; queue_voip_push is missing"))
    };
    match (with.or_else(|_| lookup()), after_calls(&Script::plain(), &caller)) {
        (Ok((with, how)), Ok(without)) => {
            let name = format!("a worker with the module, {how}, over one without, KB");
            report.row(&[name, format!("{:.0} ({with:.0} - {without:.0})", with - without)]);
            report.key(key, with - without);
        }
        (Err(why), _) | (_, Err(why)) => report.missing(&[key], &why),
    }
}

/// The median worker's memory after some calls.
fn after_calls(script: &Script, caller: &Caller) -> Result<f64, String> {
    let server = Server::start("bench-memory", script)?;
    caller.call(server.port(), Load { rate: 1000, open: 1000, calls: 2000 });
    let workers = server.pids_of("udp receiver");
    assert_eq!(workers.len(), 4, "4 UDP workers are configured");
    Ok(median(workers.into_iter().map(private_kb)))
}

/// Pushes in flight at once for the sender's figure.
pub const IN_FLIGHT: u64 = 10_000;

fn in_flight(report: &mut Report) {
    let scratch = Scratch::new("bench-in-flight");
    // So slow that all are still under way when memory is read.
    let simulator = Simulator::start(&scratch, &["--fast", "--latency-ms", "3000"]);
    let job = Job {
        config: simulator.config(),
        in_flight: IN_FLIGHT,
        warm_up: Duration::from_secs(4),
        window: Duration::from_secs(2),
    };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["role", "in-flight"]).args(job.words());
    let output = machine::on_cpu(machine::SUBJECT, || command.output()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = text.lines().find_map(|line| line.strip_prefix("=> "));
    let numbers = numbers.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
    let numbers: Vec<f64> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
    let [idle_kb, full_kb, under_way] = numbers[..] else { panic!("{numbers:?}") };
    let bytes = (full_kb - idle_kb) * 1024.0 / under_way;
    let shown = format!("{bytes:.0} ({idle_kb:.0} KB -> {full_kb:.0} KB with {under_way:.0} under way)");
    report.row(&["the sender, bytes per push in flight".to_owned(), shown]);
    report.key("memory.bytes_per_push_in_flight", bytes);
}
