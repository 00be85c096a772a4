//! The sender as a process of its own: the loop that the process runs from its fork to its end.
//!
//! It refuses to outlive its server, and to be ended in the middle of a push without saying what was lost.

use super::engine::{Engine, Job};
use super::nodes::{Heard, Nodes, Word};
use super::remote::wall_clock_us;
use super::stops::Needless;
use super::wire::{Message, Order, Reply};
use super::{Hub, depth, runtime};
use crate::config::InForce;
use crate::model::{Ended, Event, Report};
use crate::process::seqpacket::{BATCH, Batch, Link, Listener};
use crate::process::{
    StopSignal, Watched, end_with_parent, end_within, give_freed_memory_back, let_others_go_first,
    raise_descriptor_limit,
};
use crate::stats::{Counter, Stats};
use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// How long the host may take for what it does when the server stops.
const HOST_STOPS_WITHIN: Duration = Duration::from_secs(3);

/// How long no connection is taken after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An order that was longer under way than this was not: the wall clock was set.
const MOST_UNDER_WAY: Duration = Duration::from_secs(5);

/// So many of a worker's orders are read before the first are written to a provider, and twice as many each time that more wait: the
/// provider works on the first while we make the others. With whole batches from the start one of the two was idle a third of the
/// time where 32 pushes are under way.
const FIRST_ORDERS: usize = 8;

/// What the host does in the sender's process: resume a call, run an event route. All of it runs on the process' main thread,
/// between two pushes.
pub trait Host {
    /// Before anything else, and again where the sender has to start anew.
    fn begins(&self, _pushes: Pushes) {}

    /// A report is there; `note` came with the order.
    fn told(&self, note: &[u8], report: Report);

    /// When the host next wants to be woken; asked after each of the other calls.
    fn due(&self) -> Option<std::time::Instant> {
        None
    }

    /// Other settings are in force.
    fn settings_changed(&self) {}

    /// The time has come that the host wanted to be woken at.
    fn woken(&self) {}

    /// The host of another machine has told all others something, so long ago; see [`Pushes::say`].
    fn heard(&self, _word: &[u8], _age: Duration) {}

    /// A call for which this machine may have pushed has ended at another one.
    fn ended_elsewhere(&self, _user: &str, _call_id: &str, _ended: Ended) {}

    /// The server stops: the last chance to do something for whoever still waits.
    fn stopping(&self) {}
}

/// What a host may say about pushes in the sender's own process.
pub struct Pushes(Rc<Engine>);

impl Pushes {
    /// Gives up what was not sent yet of a call's pushes.
    pub fn give_up(&self, user: &str, call_id: &str, why: Needless) {
        self.0.give_up_everywhere(user, call_id, why, Instant::now());
    }

    /// Whether there may be other machines, with which this one shares its token store.
    pub fn has_others(&self) -> bool {
        self.0.nodes().is_some()
    }

    /// Tells the hosts of all other machines, whose [`Host::heard`] gets it, once or, where the engine is in trouble, twice or never.
    pub fn say(&self, word: Vec<u8>) {
        if let Some(nodes) = self.0.nodes() {
            nodes.say(&Word::Host(word));
        }
    }

    /// Something happened to a call; see [`Timeline::note`](crate::timeline::Timeline::note).
    pub fn note(&self, user: &str, call_id: &str, event: Event, detail: impl FnOnce() -> String) {
        self.0.timeline().note(call_id, user, event, detail);
    }
}

impl<F: Fn(&[u8], Report)> Host for F {
    fn told(&self, note: &[u8], report: Report) {
        self(note, report);
    }
}

/// Serves until the server stops this process (SIGTERM, SIGINT, or the server's own death). Pushes under way then get
/// the configured time to be answered.
///
/// # Errors
/// The system refuses a socket or a timer, or the settings cannot be sent with.
pub(super) fn serve(
    hub: &Hub,
    in_force: &Arc<InForce>,
    stats: &Arc<Stats>,
    host: Rc<dyn Host>,
) -> io::Result<()> {
    let stop = StopSignal::take_over()?;
    end_with_parent(hub.made_by)?;
    raise_descriptor_limit();
    let_others_go_first();
    give_freed_memory_back();
    let listener = hub.take_listener().ok_or_else(|| io::Error::other("another process is the sender"))?;
    let runtime = runtime()?;
    let nodes = Nodes::start(&in_force.now(), stats)?.map(Rc::new);
    loop {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let engine = Engine::new(in_force, stats, &hub.stores, &hub.depth, nodes.clone());
            let engine = engine.map_err(io::Error::other)?;
            let server = Rc::new(Server {
                engine,
                hub_depth: Arc::clone(&hub.depth),
                stats: Arc::clone(stats),
                batch: RefCell::new(Batch::new()),
                ear: Rc::new(Ear { host: Rc::clone(&host), told: Notify::new() }),
            });
            server.ear.host.begins(Pushes(Rc::clone(&server.engine)));
            LocalSet::new().block_on(&runtime, server.until_stopped(&listener, &stop, in_force))
        }));
        match done {
            Ok(ended) => {
                // What still blocks (an OAuth2 exchange) is not waited for.
                runtime.shutdown_background();
                return ended;
            }
            Err(_) => {
                stats.count(Counter::Panics);
                log::error!("the sender panicked and starts again");
            }
        }
    }
}

struct Server {
    engine: Rc<Engine>,
    hub_depth: Arc<super::depth::Depth>,
    stats: Arc<Stats>,
    batch: RefCell<Batch>,
    ear: Rc<Ear>,
}

/// The host's, of which every push under way that it wants to hear of holds one.
struct Ear {
    host: Rc<dyn Host>,
    /// The host was told something, so that it may want to be woken at another time.
    told: Notify,
}

impl Server {
    async fn until_stopped(
        self: Rc<Self>,
        listener: &Listener,
        stop: &StopSignal,
        in_force: &InForce,
    ) -> io::Result<()> {
        let readable = Watched::new(listener)?;
        let stopped = Watched::new(stop)?;
        self.engine.begin();
        tokio::select! {
            failed = Rc::clone(&self).accept(listener, &readable) => failed?,
            () = self.keep_time() => {}
            failed = self.hear() => failed?,
            signal = stopped.readable() => drop(signal?),
        }
        let grace = in_force.now().stop;
        end_within(grace + HOST_STOPS_WITHIN);
        self.ear.host.stopping();
        log::info!("the sender stops; {} pushes are under way", self.hub_depth.now());
        self.engine.drain(grace).await;
        Ok(())
    }

    /// Wakes the host whenever it wants to be woken.
    async fn keep_time(&self) {
        loop {
            match self.ear.host.due() {
                None => self.ear.told.notified().await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => self.ear.host.woken(),
                    () = self.ear.told.notified() => {}
                },
            }
        }
    }

    /// Does what the senders of other machines say.
    async fn hear(&self) -> io::Result<()> {
        let Some(nodes) = self.engine.nodes() else { return std::future::pending().await };
        nodes.listen()?;
        loop {
            self.take_word(&nodes.hear().await);
        }
    }

    fn take_word(&self, heard: &Heard) {
        match heard.word() {
            Some(Word::Host(word)) => {
                self.ear.host.heard(&word, heard.age);
                self.ear.told.notify_one();
            }
            Some(Word::GiveUp { user, call_id, why }) => {
                let said_at = Instant::now().checked_sub(heard.age).unwrap_or_else(Instant::now);
                self.engine.give_up(&user, &call_id, why, said_at);
            }
            Some(Word::Ended { user, call_id, ended }) => {
                self.ear.host.ended_elsewhere(&user, &call_id, ended)
            }
            None => log::debug!("another machine says what this version does not understand"),
        }
    }

    async fn accept(self: Rc<Self>, listener: &Listener, readable: &Watched<&Listener>) -> io::Result<()> {
        loop {
            let mut ready = readable.readable().await?;
            match listener.accept() {
                Ok(link) => {
                    let server = Rc::clone(&self);
                    tokio::task::spawn_local(async move { server.talk_to(link).await });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => {
                    log::warn!("a worker's connection was not taken: {error}");
                    // Too many are open, most likely; who waits is still there when some have ended.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Reads a worker's orders until it goes.
    async fn talk_to(&self, link: Link) {
        let link = Rc::new(link);
        let readable = match Watched::new(Rc::clone(&link)) {
            Ok(readable) => readable,
            Err(error) => return log::error!("a worker's connection cannot be watched: {error}"),
        };
        let mut most = FIRST_ORDERS;
        loop {
            let Ok(mut ready) = readable.readable().await else { return };
            let read = self.batch.borrow_mut().read(&link, most, |message| self.take(message, &link));
            match read {
                Ok(0) => return,
                // Fewer than asked for were all that there were; what comes now wakes us again.
                Ok(count) if count < most => {
                    most = FIRST_ORDERS;
                    ready.clear_ready();
                }
                // Its pushes and their connection first: otherwise thousands of requests would be made, and kept, before the
                // first is written.
                Ok(_) => {
                    most = (2 * most).min(BATCH);
                    tokio::task::yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(_) => return,
            }
        }
    }

    fn take(&self, message: &[u8], link: &Rc<Link>) {
        if self.engine.follow() {
            self.ear.host.settings_changed();
            self.ear.told.notify_one();
        }
        match Message::decode(message) {
            Ok(Message::Order(order)) => self.obey(order, link),
            Ok(Message::GiveUp(call, told_at_us)) => {
                let (user, told_at) = (call.callee.as_str(), at(told_at_us));
                self.engine.give_up_everywhere(user, &call.call_id, Needless::CallOver, told_at);
            }
            Ok(Message::Quarantine(action)) => self.engine.decide(action),
            // Every message makes it look.
            Ok(Message::LookAtSettings) => {}
            Err(_) => log::error!("an order cannot be understood"),
        }
    }

    fn obey(&self, order: Order, link: &Rc<Link>) {
        let Order { id, answer_within, note, handed_over_us, pushes } = order;
        let (how_many, counter) = (pushes.len() as u64, depth::refused(&pushes));
        let Some(pushes) = self.hub_depth.take(pushes) else {
            self.stats.add(counter, how_many);
            return reply(link, &Reply { id, report: None });
        };
        let job = Job { pushes, patience: answer_within, handed_over: at(handed_over_us) };
        if note.is_empty() && answer_within.is_none() {
            self.engine.start(job, drop);
        } else if note.is_empty() {
            let link = Rc::clone(link);
            self.engine.start(job, move |report| reply(&link, &Reply { id, report: Some(report) }));
        } else {
            let (ear, note) = (Rc::clone(&self.ear), note.into_boxed_slice());
            self.engine.start(job, move |report| {
                ear.host.told(&note, report);
                ear.told.notify_one();
            });
        }
    }
}

/// When something was sent that has just come, as a worker's wall clock has it. One that was set meanwhile gives no time at all
/// rather than a wrong one.
fn at(sent_us: u64) -> Instant {
    let under_way = Duration::from_micros(wall_clock_us().saturating_sub(sent_us)).min(MOST_UNDER_WAY);
    Instant::now().checked_sub(under_way).unwrap_or_else(Instant::now)
}

fn reply(link: &Link, reply: &Reply) {
    // A worker that has gone, or that does not read, has no use for it.
    if let Err(error) = link.send(&reply.encode()) {
        log::debug!("a report was not taken: {error}");
    }
}
