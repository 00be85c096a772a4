//! The verbs: register, lookup, delete, send. Every face of the library calls these and nothing else.
//!
//! It refuses unchecked text: whatever comes in is turned into the model's nouns first, and a refusal says what and why.

mod contacts;
mod dialogs;
mod ends;
mod error;
mod installed;
mod keys;
mod known;
mod messages;
mod named;
mod purr;
mod push;
mod refreshes;
mod reload;
mod trial;

pub use crate::config::LogLevel;
pub use crate::sender::{
    Authorization, Blame, Next, Probe, Probed, Reached, Unreached, certificate_ends_at_s,
};
pub use crate::sender::{Host, Needless, Pending, Pushes, QuarantineAction};
pub use crate::store::{
    EngineInspection, Imported, Inspection, LAYOUT, Limits, MadeBy, NodeInspection, Registered, SCHEMA,
    SqliteStore, StoreError, TimelineFile, ToImport, TokenStore, open as open_store,
    prepare as prepare_store,
};
pub use crate::timeline::verdict;
pub use contacts::{Offer, SipRegister, Stored};
pub use error::Error;
pub use installed::{install, installed, uninstall};
pub use keys::KeyAge;
pub use named::Wake;
pub use push::{Ready, Target};
pub use reload::Reloaded;

use crate::clock::now_ms;
use crate::config::{InForce, Settings};
use crate::model::{Call, Device, Extra, NewDevice, User};
use crate::process::{Guesses, PerProcess, own_pid};
use crate::sender::{Hub, Sender};
use crate::stats::{Counted, Counter, Stats};
use crate::store::Stores;
use once_cell::sync::OnceCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One voip_push: the settings and counters that all processes of a server share, and what each process opens for itself
/// on first use.
pub struct Service {
    in_force: Arc<InForce>,
    stats: Arc<Stats>,
    /// Who has shown wrong API keys, in all processes.
    guesses: Guesses,
    stores: Stores,
    /// Each process' own handle on them.
    store: PerProcess<Mutex<Box<dyn TokenStore>>>,
    /// Each process' own way to the sender, once something is pushed.
    sender: PerProcess<Sender>,
    /// Set where the sender is a process of its own.
    hub: OnceCell<Hub>,
    /// That process' pid, in that process; 0 elsewhere.
    sender_pid: AtomicU32,
    /// Set where phones are woken for requests within dialogs.
    purrs: OnceCell<purr::Purrs>,
}

/// When somebody may come again who could not be stored, in seconds: an engine that was away is asked each two seconds.
pub const RETRY_AFTER_S: u32 = 5;

impl Service {
    /// Reads the configuration and prepares everything that all processes share; to be called before any fork. No thread, no
    /// socket and no open database is left behind.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub fn prepare(file: &Path) -> Result<Service, Error> {
        Service::prepare_logging(file, |log| log::set_max_level(log.level))
    }

    /// The same; `apply_level` is called in each process when how much is logged changes while it runs.
    ///
    /// # Errors
    /// As above.
    pub fn prepare_logging(file: &Path, apply_level: fn(LogLevel)) -> Result<Service, Error> {
        let settings = Settings::load(file).map_err(Error::Config)?;
        let no_memory = |error| Error::Internal(format!("no shared memory: {error}"));
        let stats = Arc::new(Stats::new(counted(&settings)).map_err(no_memory)?);
        let stores = Stores::prepare(&settings.store, &stats)
            .map_err(|error| Error::Config(settings.error("[store] url", error.to_string())))?;
        Sender::check(&settings).map_err(Error::Config)?;
        let guesses = Guesses::new(settings.wrong_keys_per_minute).map_err(no_memory)?;
        for warning in &settings.warnings {
            log::warn!("{warning}");
        }
        Ok(Service {
            in_force: Arc::new(InForce::new(settings, apply_level).map_err(no_memory)?),
            stats,
            guesses,
            stores,
            store: PerProcess::new(),
            sender: PerProcess::new(),
            hub: OnceCell::new(),
            sender_pid: AtomicU32::new(0),
            purrs: OnceCell::new(),
        })
    }

    /// Makes the sender a process of its own, which the host then forks and which calls [`Service::run_sender`]; to be called
    /// before any fork. Without it, each process that pushes has a sender's thread.
    ///
    /// # Errors
    /// The system refuses a socket.
    pub fn plan_sender_process(&self) -> Result<(), Error> {
        let hub = || {
            Hub::new(&self.settings(), &self.stats, &self.stores)
                .map_err(|error| Error::Internal(format!("no socket: {error}")))
        };
        self.hub.get_or_try_init(hub).map(|_| ())
    }

    /// Is the sender, in the process that the host has forked for it, until the server stops. `host` is told every note that
    /// came with a call, and the call's report.
    ///
    /// # Errors
    /// The sender cannot run.
    pub fn run_sender(&self, host: Rc<dyn Host>) -> Result<(), Error> {
        self.sender_pid.store(std::process::id(), Ordering::Relaxed);
        let hub =
            self.hub.get().ok_or_else(|| Error::Internal("no sender's process was planned".to_owned()))?;
        let failed = |error| Error::Internal(format!("the sender cannot run: {error}"));
        hub.serve(&self.in_force, &self.stats, host).map_err(failed)
    }

    /// To be called in every process of the server but the sender's, once it is forked; see [`Hub::close_listener`].
    pub fn is_no_sender(&self) {
        if let Some(hub) = self.hub.get() {
            hub.close_listener();
        }
    }

    /// The settings in force at this moment.
    pub fn settings(&self) -> Arc<Settings> {
        self.in_force.now()
    }

    /// The counters of all processes.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Who has shown wrong API keys of late.
    pub fn guesses(&self) -> &Guesses {
        &self.guesses
    }

    /// Stores a device or renews it; see [`TokenStore::register`] for whom it takes the token from.
    ///
    /// # Errors
    /// `Argument`, `TooManyDevices` or `Store`.
    pub fn register(
        &self,
        user: &str,
        token: &str,
        platform: &str,
        extra: &Extra<'_>,
    ) -> Result<Registered, Error> {
        self.counted(|| {
            let device = NewDevice::parse(user, token, platform, extra)?;
            self.store(&device)
        })
    }

    fn store(&self, device: &NewDevice) -> Result<Registered, Error> {
        let settings = self.settings();
        let limit = settings.devices_per_user;
        let devices_per_user = if limit == 0 { u32::MAX } else { limit };
        let limits = Limits { devices_per_user, users_per_token: settings.users_per_token };
        let registered = self.with_store(|store| store.register(device, now_ms(), limits))?;
        let registered = registered.ok_or(Error::TooManyDevices { limit })?;
        self.stats.count(Counter::Registered);
        log::info!("registered user={} token={:?} {registered:?}", device.user.shortened(), device.token);
        Ok(registered)
    }

    /// The user's devices, the one registered last first; never an empty list.
    ///
    /// # Errors
    /// `Argument`, `Store` or `NoDevice`.
    pub fn lookup(&self, user: &str) -> Result<Vec<Device>, Error> {
        self.counted(|| self.devices_of(&User::parse(user)?))
    }

    /// Forgets one device of the user, or all, and says how many there were; never 0.
    ///
    /// # Errors
    /// `Argument`, `Store` or `NoDevice`.
    pub fn delete(&self, user: &str, device_id: Option<&str>) -> Result<usize, Error> {
        self.counted(|| {
            let user = User::parse(user)?;
            let deleted = self.with_store(|store| store.delete(&user, device_id))?;
            self.stats.add(Counter::Deleted, deleted as u64);
            if deleted == 0 { Err(Error::NoDevice) } else { Ok(deleted) }
        })
    }

    /// Whether the sender is a process of its own, which notes can be told to.
    pub fn has_sender_process(&self) -> bool {
        self.hub.get().is_some()
    }

    /// Whether this process is the sender.
    pub fn is_sender(&self) -> bool {
        self.sender_pid.load(Ordering::Relaxed) == own_pid()
    }

    /// Tells the host in the sender's process a note, in the order in which this process handed things over.
    ///
    /// # Errors
    /// `QueueFull` or `SenderGone`.
    pub fn tell_sender(&self, note: Vec<u8>) -> Result<(), Error> {
        self.with_sender(|sender| Ok(sender.queue(Vec::new(), None, note)?))
    }

    /// A call is over: gives up what was not sent yet of its pushes, retries too. What a provider may have already is waited for.
    /// In this process' sender, or in the server's.
    ///
    /// # Errors
    /// `Argument`, `QueueFull` or `SenderGone`.
    pub fn give_up(&self, user: &str, call_id: &str) -> Result<(), Error> {
        let call = self.counted(|| Ok(Call::parse(user, "", call_id)?))?;
        self.with_sender(|sender| Ok(sender.give_up(call)?))
    }

    /// Does with the tokens in quarantine what an administrator says; in this process' sender, or in the server's.
    ///
    /// # Errors
    /// `QueueFull` or `SenderGone`.
    pub fn quarantine(&self, action: QuarantineAction) -> Result<(), Error> {
        self.with_sender(|sender| Ok(sender.quarantine(action)?))
    }

    /// Ends what this process started: pushes under way get `grace` to be answered, the database is closed. The next call
    /// starts it all again.
    pub fn stop(&self, grace: Duration) {
        if let Some(sender) = self.sender.replace(None) {
            sender.stop(grace);
        }
        self.store.replace(None);
    }

    fn devices_of(&self, user: &User) -> Result<Vec<Device>, Error> {
        let devices = self.with_store(|store| store.devices(user, now_ms()))?;
        let found = if devices.is_empty() { Counter::LookupEmpty } else { Counter::LookupFound };
        self.stats.count(found);
        if devices.is_empty() { Err(Error::NoDevice) } else { Ok(devices) }
    }

    fn with_sender<T>(&self, work: impl FnOnce(&Sender) -> Result<T, Error>) -> Result<T, Error> {
        work(&*self.sender.get_or_try_make(|| self.start_sender())?)
    }

    fn start_sender(&self) -> Result<Sender, Error> {
        match self.hub.get() {
            Some(hub) => Ok(Sender::in_process(hub, &self.stats)),
            None => Sender::start(&self.in_force, &self.stats, &self.stores)
                .map_err(|error| Error::Internal(format!("the sender cannot be started: {error}"))),
        }
    }

    /// Opens the way to a shared store, which takes longer than a lookup may. To be called in a worker before its first call.
    pub fn reach_store(&self) {
        if self.settings().store.engine().is_some()
            && let Err(error) = self.with_store(|store| {
                store.reach();
                Ok(())
            })
        {
            log::debug!("the token store is not reached yet: {error}");
        }
    }

    fn with_store<T>(
        &self,
        work: impl FnOnce(&mut dyn TokenStore) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        known::forget();
        let store = self.store.get_or_try_make(|| self.stores.open().map(Mutex::new))?;
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(work(&mut **store)?)
    }

    fn counted<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let done = work();
        match &done {
            Err(Error::Argument(_)) => self.stats.count(Counter::BadArgument),
            Err(Error::TooManyDevices { .. }) => self.stats.count(Counter::TooManyDevices),
            Err(Error::Store(_)) => self.stats.count(Counter::StoreFailed),
            _ => {}
        }
        done
    }
}

/// What there are numbers of with these settings.
fn counted(settings: &Settings) -> Counted {
    Counted { apps: settings.apps(), credentials: settings.credentials(), endpoints: settings.endpoints() }
}
