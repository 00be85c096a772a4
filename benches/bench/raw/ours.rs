//! Our whole sender: a submitter hands pushes over to a sender's process and keeps so many in flight.
//!
//! It refuses shortcuts: every push goes through the socket, the queue, the engine and the outcome handling, and its end is told
//! to the host's closure as in a SIP server.

use super::{DEVICES, Job, bare, settings, tell};
use crate::machine;
use crate::server::private_kb;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use voip_push::config::{InForce, Settings};
use voip_push::model::{Push, Report};
use voip_push::process::SharedCounters;
use voip_push::sender::{Hub, Refused, Sender};
use voip_push::stats::{Counted, Stats};
use voip_push::store::Stores;

/// What submitter and sender share.
struct Ends {
    cells: SharedCounters,
    /// Written by the sender's process when the submitter waits.
    bell: File,
}

impl Ends {
    fn new() -> Ends {
        // SAFETY: a new descriptor that nobody else owns.
        let bell = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
            assert!(fd >= 0);
            File::from_raw_fd(fd)
        };
        let ends = Ends { cells: SharedCounters::new(3).unwrap(), bell };
        ends.awaited().store(u64::MAX, Ordering::SeqCst);
        ends
    }

    fn ended(&self) -> &AtomicU64 {
        &self.cells.as_slice()[0]
    }

    fn accepted(&self) -> &AtomicU64 {
        &self.cells.as_slice()[1]
    }

    /// The number of ends that the submitter waits for; the greatest number when it does not wait.
    fn awaited(&self) -> &AtomicU64 {
        &self.cells.as_slice()[2]
    }

    /// In the sender's process.
    fn push_ended(&self, report: &Report) {
        self.accepted().fetch_add(report.accepted() as u64, Ordering::Relaxed);
        let ended = self.ended().fetch_add(1, Ordering::SeqCst) + 1;
        if ended >= self.awaited().load(Ordering::SeqCst) {
            self.awaited().store(u64::MAX, Ordering::SeqCst);
            (&self.bell).write_all(&1u64.to_ne_bytes()).unwrap();
        }
    }

    /// In the submitter: returns once so many have ended.
    fn wait_for(&self, how_many: u64) {
        while self.ended().load(Ordering::SeqCst) < how_many {
            self.awaited().store(how_many, Ordering::SeqCst);
            // Who reaches the number after this sees that it is awaited; who reached it before is seen here.
            if self.ended().load(Ordering::SeqCst) < how_many {
                (&self.bell).read_exact(&mut [0; 8]).unwrap();
            }
        }
    }
}

/// A submitter and the sender's process that it hands over to.
struct Pair {
    ends: Rc<Ends>,
    sender: libc::pid_t,
    submitter: Submitter,
}

impl Pair {
    fn start(job: &Job) -> Pair {
        let settings = settings(&job.config);
        let stats = Arc::new(Stats::new(Counted { apps: settings.apps(), ..Counted::default() }).unwrap());
        let hub = Hub::new(&settings, &stats, &Stores::unshared(&settings.store)).unwrap();
        let in_force = Arc::new(InForce::new(settings, |_| ()).unwrap());
        let ends = Rc::new(Ends::new());
        let sender = machine::fork(|| {
            let ends = Rc::clone(&ends);
            hub.serve(&in_force, &stats, Rc::new(move |_: &[u8], report| ends.push_ended(&report))).unwrap();
        });
        let submitter =
            Submitter { sender: Sender::in_process(&hub, &stats), pushes: pushes(&in_force.now()), sent: 0 };
        Pair { ends, sender, submitter }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        machine::signal(self.sender, libc::SIGTERM);
        machine::wait_for(self.sender);
    }
}

/// Runs submitter and sender and tells what they did.
pub fn run(job: &Job) {
    let mut pair = Pair::start(job);
    let Pair { ends, sender, submitter } = &mut pair;
    submitter.keep_in_flight(ends, job.in_flight, job.warm_up);
    let cpu = || [("submitter", machine::own_cpu_time()), ("sender", machine::cpu_time(*sender))];
    let count = || [ends.ended(), ends.accepted()].map(|cell| cell.load(Ordering::SeqCst));
    let (start, cpu_before, before) = (Instant::now(), cpu(), count());
    submitter.keep_in_flight(ends, job.in_flight, job.window);
    let (wall, cpu_after, after) = (start.elapsed(), cpu(), count());
    let used = [0, 1].map(|at| (cpu_after[at].0, cpu_after[at].1 - cpu_before[at].1));
    tell(after[0] - before[0], after[1] - before[1], wall, &used);
}

/// Tells the sender's memory in KB after its first push and with many under way, and how many those are.
pub fn tell_memory(job: &Job) {
    let mut pair = Pair::start(job);
    let Pair { ends, sender, submitter } = &mut pair;
    submitter.submit();
    ends.wait_for(1);
    let idle_kb = private_kb(*sender);
    for _ in 0..job.in_flight {
        // The socket between the two holds some thousands.
        while submitter.try_to_submit().is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // Time to open the connections and to write everything; no answer is due yet.
    std::thread::sleep(job.window);
    let under_way = submitter.sent - ends.ended().load(Ordering::SeqCst);
    println!("=> {idle_kb} {} {under_way}", private_kb(*sender));
}

fn pushes(settings: &Settings) -> Vec<Push> {
    (0..DEVICES).map(|number| bare::push(number, 0, settings.ring)).collect()
}

struct Submitter {
    sender: Sender,
    pushes: Vec<Push>,
    sent: u64,
}

impl Submitter {
    fn keep_in_flight(&mut self, ends: &Ends, in_flight: u64, how_long: Duration) {
        let end = Instant::now() + how_long;
        // A quarter at a time: woken for every single end, the submitter would take the CPU away from the sender each time.
        let refill = (in_flight / 4).max(1);
        while Instant::now() < end {
            ends.wait_for((self.sent + refill).saturating_sub(in_flight));
            while self.sent - ends.ended().load(Ordering::SeqCst) < in_flight {
                self.submit();
            }
        }
    }

    fn submit(&mut self) {
        self.try_to_submit().unwrap_or_else(|why| panic!("not taken: {why:?}"));
    }

    fn try_to_submit(&mut self) -> Result<(), Refused> {
        let mut push = self.pushes[self.sent as usize % DEVICES].clone();
        // Each push is a call of its own.
        push.call.call_id = format!("{:016x}@bench.example.org", self.sent);
        // Longer than any attempt, so that the end of the push is what is told.
        let patience = Some(push.ring);
        let note = self.sent.to_le_bytes().to_vec();
        self.sender.queue(vec![push], patience, note)?;
        self.sent += 1;
        Ok(())
    }
}
