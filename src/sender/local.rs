//! The sender as a thread of the process that pushes: for C programs, and for hosts that give us no process.
//!
//! It refuses to die of a panic: the loop starts again, and what was under way is lost and said so.

use super::depth::Depth;
use super::engine::{Engine, Job};
use super::graveyard::QuarantineAction;
use super::nodes::Nodes;
use super::stops::Needless;
use super::{Refused, runtime};
use crate::config::InForce;
use crate::model::{Call, Push, Report};
use crate::process::{THREAD_NAME, spawn_quiet};
use crate::stats::{Counter, Stats};
use crate::store::Stores;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;
use tokio::time::Instant;

/// The handle on the thread. It may be used from many threads at once.
pub(super) struct Local {
    messages: UnboundedSender<Message>,
    depth: Arc<Depth>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Job(Job, Box<dyn FnOnce(Report) + Send>),
    GiveUp(Call, Instant),
    Quarantine(QuarantineAction),
    LookAtSettings,
    Stop(Duration),
}

impl Local {
    pub(super) fn start(in_force: &Arc<InForce>, stats: &Arc<Stats>, stores: &Stores) -> io::Result<Local> {
        let depth = Depth::new(&in_force.now(), stats)?;
        let (in_force, stats, stores) = (Arc::clone(in_force), Arc::clone(stats), stores.clone());
        let thread = Thread { in_force, stats, stores, depth };
        let (messages, inbox) = unbounded_channel();
        let depth = Arc::clone(&thread.depth);
        let thread = spawn_quiet(THREAD_NAME, move || thread.run(inbox))?;
        Ok(Local { messages, depth, thread: Mutex::new(Some(thread)) })
    }

    /// Hands pushes over, all or none. `done` runs on the sender's thread and must not block.
    pub(super) fn submit(
        &self,
        pushes: Vec<Push>,
        patience: Option<Duration>,
        done: impl FnOnce(Report) + Send + 'static,
    ) -> Result<(), Refused> {
        let pushes = self.depth.take(pushes).ok_or(Refused::QueueFull)?;
        let job = Job { pushes, patience, handed_over: Instant::now() };
        self.messages.send(Message::Job(job, Box::new(done))).map_err(|_| Refused::Gone)
    }

    pub(super) fn give_up(&self, call: Call) -> Result<(), Refused> {
        self.messages.send(Message::GiveUp(call, Instant::now())).map_err(|_| Refused::Gone)
    }

    pub(super) fn quarantine(&self, action: QuarantineAction) -> Result<(), Refused> {
        self.messages.send(Message::Quarantine(action)).map_err(|_| Refused::Gone)
    }

    pub(super) fn look_at_settings(&self) -> Result<(), Refused> {
        self.messages.send(Message::LookAtSettings).map_err(|_| Refused::Gone)
    }

    pub(super) fn send(&self, pushes: Vec<Push>, patience: Duration) -> Result<Report, Refused> {
        let (answer, answered) = mpsc::channel();
        // Nobody listens any more where the process ends meanwhile.
        self.submit(pushes, Some(patience), move |report| drop(answer.send(report)))?;
        // The report comes within the patience; if the closure was dropped unheard, the sender has ended or panicked.
        answered.recv().map_err(|_| Refused::Gone)
    }

    pub(super) fn stop(&self, grace: Duration) {
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

struct Thread {
    in_force: Arc<InForce>,
    stats: Arc<Stats>,
    stores: Stores,
    depth: Arc<Depth>,
}

impl Thread {
    fn run(&self, mut inbox: UnboundedReceiver<Message>) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.serve(&mut inbox))) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => return log::error!("the sender cannot run: {error}"),
                Err(_) => {
                    self.stats.count(Counter::Panics);
                    log::error!("the sender panicked and starts again");
                }
            }
        }
    }

    fn serve(&self, inbox: &mut UnboundedReceiver<Message>) -> io::Result<()> {
        let nodes = Nodes::start(&self.in_force.now(), &self.stats)?.map(Rc::new);
        let engine = Engine::new(&self.in_force, &self.stats, &self.stores, &self.depth, nodes);
        let engine = engine.map_err(io::Error::other)?;
        let runtime = runtime()?;
        LocalSet::new().block_on(&runtime, async {
            engine.begin();
            while let Some(message) = inbox.recv().await {
                engine.follow();
                match message {
                    Message::Job(job, done) => engine.start(job, done),
                    Message::GiveUp(call, told_at) => {
                        let user = call.callee.as_str();
                        engine.give_up_everywhere(user, &call.call_id, Needless::CallOver, told_at);
                    }
                    Message::Quarantine(action) => engine.decide(action),
                    // Every message makes it look.
                    Message::LookAtSettings => {}
                    Message::Stop(grace) => return engine.drain(grace).await,
                }
            }
        });
        // What still blocks (an OAuth2 exchange) is not waited for.
        runtime.shutdown_background();
        Ok(())
    }
}
