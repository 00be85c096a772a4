//! The policy: what is sent when, what is tried again, and which token dies.
//!
//! It refuses to know how a provider's request looks. The same engine runs as a thread of a C program and as a process
//! of its own in a SIP server; callers have the same handle on both.

mod astray;
mod authorizer;
mod budget;
mod deliver;
mod depth;
mod engine;
mod events;
mod gathering;
mod graveyard;
mod lane;
mod local;
mod nodes;
mod pairs;
mod patience;
mod pending;
mod plan;
mod policy;
mod probe;
mod pushed;
mod records;
mod remote;
mod server;
mod stops;
mod window;
mod wire;

pub use crate::http2::{Reached, Unreached, certificate_ends_at_s};
pub use crate::provider::{Authorization, Blame};
pub use graveyard::QuarantineAction;
pub use pending::Pending;
pub use policy::next_attempt;
pub use probe::{Next, Probe, Probed};
pub use server::{Host, Pushes};
pub use stops::Needless;

use crate::config::{ConfigError, InForce, Settings};
use crate::model::{Call, Push, Report};
use crate::process::THREAD_NAME;
use crate::process::seqpacket::{Address, Listener};
use crate::stats::{Counter, Stats};
use crate::store::Stores;
use depth::Depth;
use local::Local;
use remote::Remote;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Why pushes were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many are waiting or under way.
    QueueFull,
    /// The sender has ended.
    Gone,
}

/// Where the processes of a SIP server find the sender's process; made before the fork.
pub struct Hub {
    /// Taken by the sender's process, and closed by every other: while anybody holds it, connecting succeeds.
    listener: Mutex<Option<Listener>>,
    address: Address,
    depth: Arc<Depth>,
    stores: Stores,
    /// The process that has made it, which is the server's first or one that it came from.
    made_by: u32,
}

impl Hub {
    /// Makes the socket that workers will connect to.
    ///
    /// # Errors
    /// The system refuses a socket or memory.
    pub fn new(settings: &Settings, stats: &Arc<Stats>, stores: &Stores) -> io::Result<Hub> {
        let listener = Listener::new()?;
        let address = listener.address();
        let depth = Depth::new(settings, stats)?;
        let (listener, made_by) = (Mutex::new(Some(listener)), std::process::id());
        Ok(Hub { listener, address, depth, stores: stores.clone(), made_by })
    }

    /// Closes this process' copy of the listening socket; for every process but the sender's. Otherwise workers would still
    /// get a connection when the sender has gone, and wait for nobody.
    pub fn close_listener(&self) {
        drop(self.take_listener());
    }

    fn take_listener(&self) -> Option<Listener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs the sender in this process until the server stops it; see [`Host`] for what happens to reports.
    ///
    /// # Errors
    /// The sender cannot run here.
    pub fn serve(&self, in_force: &Arc<InForce>, stats: &Arc<Stats>, host: Rc<dyn Host>) -> io::Result<()> {
        server::serve(self, in_force, stats, host)
    }
}

/// The handle that a caller has on the sender. It may be used from many threads at once.
pub struct Sender {
    place: Place,
    stats: Arc<Stats>,
}

enum Place {
    Thread(Local),
    Process(Remote),
}

impl Sender {
    /// Proves that the settings can be sent with: trust roots load, keys sign. Opens nothing and starts nothing.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn check(settings: &Settings) -> Result<(), ConfigError> {
        plan::Plan::new(settings).map(|_| ())
    }

    /// Starts the sending thread of this process. After the fork, never before.
    ///
    /// # Errors
    /// The system refuses another thread, or the settings cannot be sent with.
    pub fn start(in_force: &Arc<InForce>, stats: &Arc<Stats>, stores: &Stores) -> io::Result<Sender> {
        let place = Place::Thread(Local::start(in_force, stats, stores)?);
        Ok(Sender { place, stats: Arc::clone(stats) })
    }

    /// A worker's handle on the sender's process. It connects when it is first used.
    pub fn in_process(hub: &Hub, stats: &Arc<Stats>) -> Sender {
        hub.close_listener();
        Sender { place: Place::Process(Remote::new(hub)), stats: Arc::clone(stats) }
    }

    /// Hands pushes over, all or none, and waits for their report, at most for `patience`. Pushes that are not answered by
    /// then go on without us.
    ///
    /// # Errors
    /// The queue is full, or the sender has ended.
    pub fn send(&self, pushes: Vec<Push>, patience: Duration) -> Result<Report, Refused> {
        let (devices, counter) = (pushes.len(), depth::refused(&pushes));
        let done = match &self.place {
            Place::Thread(local) => local.send(pushes, patience),
            Place::Process(remote) => remote.send(pushes, patience),
        };
        self.counted((devices, counter), done)
    }

    /// Hands pushes over, all or none, and leaves. `done` is told the report on the sender's thread, when every push has
    /// ended, at the latest after `patience`; it must not block.
    ///
    /// # Errors
    /// The queue is full, or the sender has ended, or it is a process of its own, where no closure can go.
    pub fn start_with(
        &self,
        pushes: Vec<Push>,
        patience: Duration,
        done: impl FnOnce(Report) + Send + 'static,
    ) -> Result<(), Refused> {
        let (devices, counter) = (pushes.len(), depth::refused(&pushes));
        match &self.place {
            Place::Thread(local) => {
                self.counted((devices, counter), local.submit(pushes, Some(patience), done))
            }
            Place::Process(_) => Err(Refused::Gone),
        }
    }

    /// Hands pushes over, all or none, and leaves. The report can be fetched when every push has ended, at the latest after
    /// `patience`.
    ///
    /// # Errors
    /// The queue is full, or the sender has ended, or it is a thread, which [`Sender::start_with`] is for.
    pub fn begin(&self, pushes: Vec<Push>, patience: Duration) -> Result<Pending, Refused> {
        let devices = (pushes.len(), depth::refused(&pushes));
        match &self.place {
            Place::Thread(_) => Err(Refused::Gone),
            Place::Process(remote) => self.counted(devices, remote.begin(pushes, patience)),
        }
    }

    /// Hands pushes over, all or none, and leaves. With a note, and where the sender is a process, the host is told note and
    /// report there: when every push has ended, at the latest after `patience`.
    ///
    /// # Errors
    /// The queue is full, or the sender has ended.
    pub fn queue(&self, pushes: Vec<Push>, patience: Option<Duration>, note: Vec<u8>) -> Result<(), Refused> {
        let (devices, counter) = (pushes.len(), depth::refused(&pushes));
        let done = match &self.place {
            Place::Thread(local) => local.submit(pushes, patience, drop),
            Place::Process(remote) => remote.queue(pushes, patience, note),
        };
        self.counted((devices, counter), done)
    }

    /// Gives up what was not sent yet of a call's pushes.
    ///
    /// # Errors
    /// The queue is full, or the sender has ended.
    pub fn give_up(&self, call: Call) -> Result<(), Refused> {
        match &self.place {
            Place::Thread(local) => local.give_up(call),
            Place::Process(remote) => remote.give_up(call),
        }
    }

    /// Does with the tokens in quarantine what an administrator says.
    ///
    /// # Errors
    /// The sender has ended.
    pub fn quarantine(&self, action: QuarantineAction) -> Result<(), Refused> {
        match &self.place {
            Place::Thread(local) => local.quarantine(action),
            Place::Process(remote) => remote.quarantine(action),
        }
    }

    /// Lets the sender look whether other settings are in force, which it else does when it is next given something to do.
    ///
    /// # Errors
    /// The queue is full, or the sender has ended.
    pub fn look_at_settings(&self) -> Result<(), Refused> {
        match &self.place {
            Place::Thread(local) => local.look_at_settings(),
            Place::Process(remote) => remote.look_at_settings(),
        }
    }

    /// Takes no more pushes, gives those under way `grace` to be answered, and ends the thread. A process of its own is
    /// ended by its server.
    pub fn stop(&self, grace: Duration) {
        if let Place::Thread(local) = &self.place {
            local.stop(grace);
        }
    }

    fn counted<T>(
        &self,
        (devices, counter): (usize, Counter),
        done: Result<T, Refused>,
    ) -> Result<T, Refused> {
        if matches!(done, Err(Refused::QueueFull)) {
            self.stats.add(counter, devices as u64);
        }
        done
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .thread_name(THREAD_NAME)
        .enable_all()
        .max_blocking_threads(4)
        .build()
}
