//! `make faults`: two nodes, callers and phones, and what is broken meanwhile: a master of the engine is killed, a node is cut
//! off, a Kamailio is restarted. No token that was accepted may be lost, and no phone may ring twice for one call.
//!
//! It refuses to hide what was lost: the table has every call.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is how a run fails and reports"
)]

mod callers;
mod clock;
mod line;
mod network;
mod nodes;
mod phones;
mod pushes;
mod run;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod tokens;
mod world;

use callers::Load;
use network::Cable;
use run::{Fault, Plan};
use std::fs;
use std::path::Path;
use table::Run;
use world::{ADDRESSES, World};

fn main() {
    let is_quick = std::env::var("QUICK").is_ok_and(|text| !text.is_empty());
    let plan = if is_quick { quick() } else { full() };
    // Before any thread: a thread that has begun stays in the machine's own network.
    let cable = Cable::lay(&["127.0.0.1".parse().unwrap(), ADDRESSES[0]], ADDRESSES[1]);
    let mut world = World::start(Some(cable));
    let done = run::run(&mut world, &plan);
    let (table, broken) = done.report(&world.nodes);
    println!("{table}\n");
    keep(&world, &done);
    if !broken.is_empty() {
        println!("faults: FAILED: {}", broken.join("\n        "));
        drop(world);
        std::process::exit(1);
    }
    println!("faults: passed");
}

/// Keeps what explains a run that was not as it should be: a line for each call, what its caller has sent and got, what phones did and
/// heard, and what the nodes have logged.
fn keep(world: &World, done: &Run) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults");
    fs::create_dir_all(&directory).unwrap();
    let begin_s = done.parts[0].from_s;
    let calls: String = done.calls.iter().map(|call| call.line(begin_s)).collect();
    fs::write(directory.join("calls"), calls).unwrap();
    let phones =
        done.seen.log.iter().map(|(at_s, user, what)| format!("{:.3} {user} {what}\n", at_s - begin_s));
    fs::write(directory.join("phones"), phones.collect::<String>()).unwrap();
    for (at, node) in world.nodes.0.iter().enumerate() {
        fs::write(directory.join(format!("node-{}.log", node.letter)), world.log(at)).unwrap();
        let trace = format!("callers-{}.trace", node.letter);
        fs::copy(world.scratch.path().join(&trace), directory.join(&trace)).unwrap();
    }
    println!("calls and logs: {}\n", directory.display());
}

fn full() -> Plan {
    Plan {
        load: Load { rate: 50, seconds: 120, users: 2000, patience_s: 40 },
        faults: vec![
            (20.0, Fault::KillMaster { seconds: 15.0 }),
            (55.0, Fault::Cut { seconds: 10.0 }),
            (90.0, Fault::Restart),
        ],
    }
}

fn quick() -> Plan {
    Plan {
        load: Load { rate: 50, seconds: 30, users: 500, patience_s: 40 },
        faults: vec![
            (5.0, Fault::KillMaster { seconds: 9.0 }),
            (16.0, Fault::Cut { seconds: 4.0 }),
            (24.0, Fault::Restart),
        ],
    }
}
