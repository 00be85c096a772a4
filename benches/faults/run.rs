//! The run itself: everything at the same time, and the faults at their times.
//!
//! It refuses to judge; that is the table's.

use super::callers::{Call, Callers, Load};
use super::clock::{now_s, sleep_until};
use super::phones::Phones;
use super::pushes;
use super::support::{DEADLINE, poll, sip};
use super::table::{Part, Run};
use super::tokens::{Registered, Rest};
use super::world::World;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// The key in which nodes tell each other whom to wake: the master that has it is the worst to lose.
const WAKES: &str = "voip-push:words";

/// What breaks.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// A master of the engine is killed, and started again after so many seconds, when its replica is the master.
    KillMaster {
        /// How long it is away.
        seconds: f64,
    },
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
            Fault::KillMaster { .. } => "a master is killed, the one with the wakes".to_owned(),
            Fault::Cut { seconds } => format!("node b is cut off for {seconds} s"),
            Fault::Restart => "Kamailio a is restarted".to_owned(),
        }
    }

    /// Lets it happen, and gives what shows that it did, or why it did not.
    fn happen(self, world: &mut World) -> Result<String, String> {
        match self {
            Fault::KillMaster { seconds } => kill_master(world, seconds),
            Fault::Cut { seconds } => cut(world, seconds),
            Fault::Restart => {
                let begin_s = now_s();
                world.restart(0);
                Ok(format!("Kamailio a answered again after {:.1} s", now_s() - begin_s))
            }
        }
    }
}

fn kill_master(world: &mut World, seconds: f64) -> Result<String, String> {
    let begin_s = now_s();
    let victim = world.masters_of(WAKES).first().copied().ok_or("no master has the wakes")?;
    world.engine.nodes[victim].kill();
    let replaced = poll(DEADLINE, || (world.masters().len() == 3).then_some(now_s() - begin_s));
    sleep_until(begin_s + seconds);
    world.engine.nodes[victim].restart();
    let replaced_s = replaced.ok_or("no replica took the killed master's place")?;
    Ok(format!(
        "a replica was master in its place after {replaced_s:.1} s; it came back after {seconds} s as a replica"
    ))
}

fn cut(world: &World, seconds: f64) -> Result<String, String> {
    let cable = world.cable.as_ref().ok_or("there is no cable to cut")?;
    let (begin_s, far) = (now_s(), world.nodes.0.last().ok_or("there is no node")?.sip());
    cable.cut();
    let came_through = answers(far, Duration::from_millis(500));
    sleep_until(begin_s + seconds);
    cable.heal();
    let healed_s = now_s();
    let is_back = poll(DEADLINE, || answers(far, Duration::from_millis(100)).then_some(now_s() - healed_s));
    match (came_through, is_back) {
        (true, _) => Err("node b answered while it was cut off".to_owned()),
        (false, None) => Err("node b did not come back".to_owned()),
        (false, Some(s)) => Ok(format!("node b answered nothing, and {s:.1} s after it was healed it did")),
    }
}

/// Whether a node answers an OPTIONS.
fn answers(server: SocketAddr, patience: Duration) -> bool {
    let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)) else { return false };
    let _ = socket.set_read_timeout(Some(patience));
    let _ = socket.send_to(&sip::request("OPTIONS", &format!("sip:{server}"), "", b""), server);
    socket.recv(&mut [0; 4096]).is_ok()
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
    let mut parts = vec![Part::before(begin_s)];
    for (after_s, fault) in &plan.faults {
        sleep_until(begin_s + after_s);
        let from_s = now_s();
        parts.last_mut().expect("there is one").to_s = from_s;
        eprintln!("faults: {after_s} s: {}", fault.name());
        let happened = fault.happen(world);
        parts.push(Part { name: fault.name(), from_s, to_s: from_s, happened });
    }
    parts.last_mut().expect("there is one").to_s = begin_s + f64::from(plan.load.seconds);
    (callers.wait(), parts)
}
