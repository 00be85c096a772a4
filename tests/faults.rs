//! The fault run of `make faults`, small: ten seconds of calls at two nodes, of which one is restarted while a master of the engine
//! is away; and that its table fails a run that has lost something.
//!
//! It refuses to cut a node off, which needs root.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "this is how a test fails")]

#[path = "../benches/faults/callers.rs"]
mod callers;
#[path = "../benches/faults/clock.rs"]
mod clock;
#[path = "../benches/faults/line.rs"]
mod line;
#[path = "../benches/faults/network.rs"]
#[allow(dead_code, reason = "no cable is laid here")]
mod network;
#[path = "../benches/faults/nodes.rs"]
mod nodes;
#[path = "../benches/faults/phones.rs"]
mod phones;
#[path = "../benches/faults/pushes.rs"]
mod pushes;
#[path = "../benches/faults/run.rs"]
#[allow(dead_code, reason = "nothing is cut here")]
mod run;
mod support;
#[path = "../benches/faults/table.rs"]
mod table;
#[path = "../benches/faults/tokens.rs"]
mod tokens;
#[path = "../benches/faults/world.rs"]
mod world;

use callers::{Call, Load};
use nodes::Nodes;
use phones::{Ring, Seen};
use run::{Fault, Plan};
use table::{Part, Run};
use tokens::{Found, Registered};
use world::World;

#[test]
fn nothing_is_lost_while_a_master_is_killed_and_a_kamailio_restarted() {
    let mut world = World::start(None);
    let plan = Plan {
        load: Load { rate: 20, seconds: 12, users: 200, patience_s: 16 },
        faults: vec![(2.0, Fault::KillMaster { seconds: 5.0 }), (9.0, Fault::Restart)],
    };
    let done = run::run(&mut world, &plan);
    let (table, broken) = done.report(&world.nodes);
    assert!(broken.is_empty(), "{broken:#?}\n{table}\n{}\n{}", world.log(0), world.log(1));
}

/// A run of one call that was answered, and one ring.
fn good() -> Run {
    let part = Part { to_s: 10.0, ..Part::before(0.0) };
    Run {
        parts: vec![part],
        calls: vec![Call { start: String::new(), node: 0, at_s: 1.0, end: Some((200, 2.0)) }],
        seen: Seen { rings: vec![ring("one")], ..Seen::default() },
        pushed: Vec::new(),
        registered: Registered::default(),
        found: Found::default(),
    }
}

fn ring(via: &str) -> Ring {
    Ring {
        at_s: 1.0,
        home: (0, false),
        user: "bob".to_owned(),
        call_id: "a-1".to_owned(),
        via: via.to_owned(),
    }
}

fn broken(run: &Run) -> Vec<String> {
    run.report(&Nodes(Vec::new())).1
}

#[test]
fn the_table_fails_a_run_that_has_lost_a_token_or_rung_twice() {
    assert_eq!(broken(&good()), Vec::<String>::new());
    let mut lost = good();
    lost.found.lost.push("bob at b: 404".to_owned());
    assert!(broken(&lost)[0].starts_with("1 tokens lost: bob at b"), "{:?}", broken(&lost));
    let mut doubled = good();
    doubled.seen.rings.push(ring("two"));
    assert!(broken(&doubled)[0].starts_with("1 double rings: bob, a-1"), "{:?}", broken(&doubled));
    let mut again = good();
    again.seen.rings.push(ring("one"));
    assert_eq!(broken(&again), Vec::<String>::new());
    let mut unanswered = good();
    unanswered.calls[0].end = Some((480, 2.0));
    assert_eq!(broken(&unanswered).len(), 1);
    let mut harmless = good();
    harmless.parts[0].happened = Err("no master died".to_owned());
    assert_eq!(broken(&harmless), ["before: no master died"]);
}
