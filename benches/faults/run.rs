//! The run itself: everything at the same time, and the faults at their times.
//!
//! It refuses to judge; that is the table's.

use super::callers::{Call, Callers, Load};
use super::clock::{now_s, sleep_until};
use super::phones::Phones;
use super::pushes;
use super::table::{Part, Run};
use super::tokens::{Registered, Rest};
use super::world::World;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;

/// What breaks.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The last node's cable is cut for so many seconds.
    Cut {
        /// How long.
        seconds: f64,
    },
    /// The first node is stopped and started again.
    Restart,
}

impl Fault {
    fn name(self) -> String {
        match self {
            Fault::Cut { seconds } => format!("node b is cut off for {seconds} s"),
            Fault::Restart => "Kamailio a is restarted".to_owned(),
        }
    }

    fn happen(self, world: &mut World) {
        match self {
            Fault::Cut { seconds } => {
                let cable = world.cable.as_ref().expect("a cut needs a cable");
                cable.cut();
                sleep_until(now_s() + seconds);
                cable.heal();
            }
            Fault::Restart => world.restart(0),
        }
    }
}

/// What is done when.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The calls.
    pub load: Load,
    /// Seconds after the first call, and what happens then.
    pub faults: Vec<(f64, Fault)>,
}

/// Runs it.
pub fn run(world: &mut World, plan: &Plan) -> Run {
    let nodes = world.nodes.clone();
    let rest = Rest::new(&nodes, world.simulator.fact("api_key"));
    let registered = Mutex::new(Registered::default());
    rest.prepare(plan.load.users, &registered);
    let is_over = AtomicBool::new(false);
    let (woken, wakes) = channel();
    let phones = Phones::new(&nodes);
    let (calls, parts, pushed, seen) = thread::scope(|scope| {
        let seen = scope.spawn(move || phones.run(&wakes));
        let control = world.simulator.control();
        let is_over = &is_over;
        let pushed = scope.spawn(move || pushes::follow(&control, &woken, is_over));
        scope.spawn(|| rest.keep_registering(&registered, is_over));
        let (calls, parts) = call_and_break(world, plan);
        is_over.store(true, Ordering::SeqCst);
        (calls, parts, pushed.join(), seen.join())
    });
    let registered = registered.into_inner().expect("nobody panics with it");
    let found = rest.check(&registered);
    let (pushed, seen) = (pushed.expect("it does not panic"), seen.expect("they do not panic"));
    Run { parts, calls, seen, pushed, registered, found }
}

/// Makes the calls while the faults happen, until the last call has ended.
fn call_and_break(world: &mut World, plan: &Plan) -> (Vec<Call>, Vec<Part>) {
    let callers = Callers::start(&world.scratch, &world.nodes, plan.load);
    let begin_s = now_s();
    let mut parts = vec![Part { name: "before".to_owned(), from_s: begin_s, to_s: begin_s }];
    for (after_s, fault) in &plan.faults {
        sleep_until(begin_s + after_s);
        let from_s = now_s();
        parts.last_mut().expect("there is one").to_s = from_s;
        eprintln!("faults: {after_s} s: {}", fault.name());
        fault.happen(world);
        parts.push(Part { name: fault.name(), from_s, to_s: now_s() });
    }
    parts.last_mut().expect("there is one").to_s = begin_s + f64::from(plan.load.seconds);
    (callers.wait(), parts)
}
