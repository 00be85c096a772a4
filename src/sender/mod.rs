//! The policy: what is sent when, what is tried again, and which token dies.
//!
//! It refuses to know how a provider's request looks. Today it runs as one thread of the process that pushes; the handle
//! below is the seam behind which it can move into a process of its own.

mod deliver;
mod engine;
mod graveyard;
mod lane;
mod policy;

pub use policy::next_attempt;

use crate::config::{ConfigError, Settings};
use crate::model::{Push, PushResult, Report};
use crate::process::spawn_quiet;
use crate::stats::{Counter, Stats};
use engine::Plan;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Why pushes were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many are waiting or under way.
    QueueFull,
    /// The sender has ended.
    Gone,
}

/// The handle that a caller has on the sender. It may be used from many threads at once.
pub struct Sender {
    messages: UnboundedSender<Message>,
    depth: Arc<Depth>,
    stats: Arc<Stats>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Job(Job),
    Stop(Duration),
}

struct Job {
    pushes: Vec<(Push, Queued)>,
    answers: mpsc::Sender<PushResult>,
}

/// A call's pushes under way, and where their results arrive.
pub struct Ticket {
    devices: usize,
    answers: mpsc::Receiver<PushResult>,
}

impl Sender {
    /// Proves that the settings can be sent with: trust roots load, keys sign. Opens nothing and starts nothing.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn check(settings: &Settings) -> Result<(), ConfigError> {
        Plan::new(settings).map(|_| ())
    }

    /// Starts the sending thread of this process. After the fork, never before.
    ///
    /// # Errors
    /// The system refuses another thread, or the settings cannot be sent with.
    pub fn start(settings: Arc<Settings>, stats: Arc<Stats>) -> io::Result<Sender> {
        let plan = Plan::new(&settings).map_err(io::Error::other)?;
        let (messages, inbox) = unbounded_channel();
        let depth = Arc::new(Depth::new(settings.max_queued));
        let (of_thread, counts) = (Arc::clone(&depth), Arc::clone(&stats));
        let thread =
            spawn_quiet("voip-push", move || engine::run(&plan, &settings, &counts, &of_thread, inbox))?;
        Ok(Sender { messages, depth, stats, thread: Mutex::new(Some(thread)) })
    }

    /// Hands pushes over, all or none, without waiting for anything.
    ///
    /// # Errors
    /// The queue is full, or the sender has ended.
    pub fn submit(&self, pushes: Vec<Push>) -> Result<Ticket, Refused> {
        let devices = pushes.len();
        let Some(places) = self.depth.take(devices) else {
            self.stats.add(Counter::QueueFull, devices as u64);
            return Err(Refused::QueueFull);
        };
        let (answers, receiver) = mpsc::channel();
        let job = Job { pushes: pushes.into_iter().zip(places).collect(), answers };
        self.messages.send(Message::Job(job)).map_err(|_| Refused::Gone)?;
        Ok(Ticket { devices, answers: receiver })
    }

    /// Takes no more pushes, gives those under way `grace` to be answered, and ends the thread.
    pub fn stop(&self, grace: Duration) {
        // An error means that it has ended already.
        let _ = self.messages.send(Message::Stop(grace));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the sender's thread ended in a panic");
        }
    }
}

impl Ticket {
    /// Waits for the results, at most for `patience`. Pushes that are not answered by then go on without us.
    pub fn wait(self, patience: Duration) -> Report {
        let until = Instant::now() + patience;
        let mut report = Report { devices: self.devices, results: Vec::with_capacity(self.devices) };
        while report.results.len() < report.devices {
            // An error: the time is over, or the sender has dropped what is missing.
            let Ok(result) = self.answers.recv_timeout(until.saturating_duration_since(Instant::now()))
            else {
                break;
            };
            report.results.push(result);
        }
        report
    }
}

/// How many pushes wait or are under way, and how many may.
struct Depth {
    now: AtomicUsize,
    most: usize,
    emptied: Notify,
}

/// One push's place; given back when the push has ended, however it ends.
struct Queued(Arc<Depth>);

impl Depth {
    fn new(most: usize) -> Self {
        Depth { now: AtomicUsize::new(0), most, emptied: Notify::new() }
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::Acquire)
    }

    fn take(self: &Arc<Self>, how_many: usize) -> Option<Vec<Queued>> {
        let room = |now: usize| Some(now + how_many).filter(|then| *then <= self.most);
        self.now.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        Some((0..how_many).map(|_| Queued(Arc::clone(self))).collect())
    }

    async fn until_empty(&self) {
        while self.now() > 0 {
            let emptied = self.emptied.notified();
            if self.now() > 0 {
                emptied.await;
            }
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if self.0.now.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}
