//! The verbs: register, lookup, delete, send. Every face of the library calls these and nothing else.
//!
//! It refuses unchecked text: whatever comes in is turned into the model's nouns first, and a refusal says what and why.

use crate::config::{ConfigError, Settings};
use crate::model::{
    Call, Device, Extra, Invalid, NewDevice, Outcome, Platform, Provider, Push, Report, Token, User,
};
use crate::process::PerProcess;
use crate::sender::{Refused, Sender};
use crate::stats::{Counter, Stats};
pub use crate::store::Registered;
use crate::store::{SqliteStore, StoreError, TokenStore};
use once_cell::sync::OnceCell;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One voip_push: the settings and counters that all processes of a server share, and what each process opens for itself
/// on first use.
pub struct Service {
    settings: Arc<Settings>,
    stats: Arc<Stats>,
    process: PerProcess<Process>,
}

/// What belongs to one process: a database handle, and the sender's thread once something is pushed.
struct Process {
    store: Mutex<SqliteStore>,
    sender: OnceCell<Sender>,
}

/// Where `send_to` pushes to: a device that the caller knows and no store is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// `apns` or `fcm`.
    pub provider: &'a str,
    /// The provider's token.
    pub token: &'a str,
    /// Topic or project; empty means the configuration's first.
    pub app: &'a str,
}

impl Service {
    /// Reads the configuration and prepares everything that all processes share; to be called before any fork. No thread, no
    /// socket and no open database is left behind.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub fn prepare(file: &Path) -> Result<Service, Error> {
        let settings = Settings::load(file).map_err(Error::Config)?;
        SqliteStore::prepare(&settings.store_path)
            .map_err(|error| Error::Config(settings.error("[store] url", error.to_string())))?;
        Sender::check(&settings).map_err(Error::Config)?;
        let stats = Stats::new().map_err(|error| Error::Internal(format!("no shared memory: {error}")))?;
        for warning in &settings.warnings {
            log::warn!("{warning}");
        }
        Ok(Service { settings: Arc::new(settings), stats: Arc::new(stats), process: PerProcess::new() })
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The counters of all processes.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Stores a device or renews it.
    ///
    /// # Errors
    /// `Argument` or `Store`.
    pub fn register(
        &self,
        user: &str,
        token: &str,
        platform: &str,
        extra: &Extra<'_>,
    ) -> Result<Registered, Error> {
        self.counted(|| {
            let device = NewDevice::parse(user, token, platform, extra)?;
            let registered = self.with_store(|store| store.register(&device, now_ms()))?;
            self.stats.count(Counter::Registered);
            log::info!("registered user={} token={:?} {registered:?}", device.user.shortened(), device.token);
            Ok(registered)
        })
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

    /// Pushes a call to every device of the user and waits for the answers, at most `call.wait_ms`. The report says how many
    /// providers accepted, at least one.
    ///
    /// # Errors
    /// Why no phone will ring; see [`Error`].
    pub fn send(&self, user: &str, caller: &str, call_id: &str) -> Result<Report, Error> {
        self.counted(|| {
            let call = Call::parse(user, caller, call_id)?;
            let devices = self.devices_of(&call.callee)?;
            self.push(&call, devices, true)
        })
    }

    /// The same for one device that the caller names; no store is asked, and none is changed.
    ///
    /// # Errors
    /// Why the phone will not ring; see [`Error`].
    pub fn send_to(
        &self,
        target: &Target<'_>,
        user: &str,
        caller: &str,
        call_id: &str,
    ) -> Result<Report, Error> {
        self.counted(|| {
            let call = Call::parse(user, caller, call_id)?;
            let device = target.device(&call.callee)?;
            self.push(&call, vec![device], false)
        })
    }

    /// Ends what this process started: pushes under way get `grace` to be answered, the database is closed. The next call
    /// starts it all again.
    pub fn stop(&self, grace: Duration) {
        if let Some(process) = self.process.replace(None)
            && let Some(sender) = process.sender.get()
        {
            sender.stop(grace);
        }
    }

    fn devices_of(&self, user: &User) -> Result<Vec<Device>, Error> {
        let devices = self.with_store(|store| store.devices(user))?;
        let found = if devices.is_empty() { Counter::LookupEmpty } else { Counter::LookupFound };
        self.stats.count(found);
        if devices.is_empty() { Err(Error::NoDevice) } else { Ok(devices) }
    }

    fn push(&self, call: &Call, devices: Vec<Device>, is_stored: bool) -> Result<Report, Error> {
        let process = self.process()?;
        let sender = process.sender.get_or_try_init(|| self.start_sender())?;
        let ring = self.settings.ring;
        let expires_at_s = now_ms() / 1000 + ring.as_secs() as i64;
        let push = |device| Push { call: call.clone(), device, expires_at_s, ring, is_stored };
        self.stats.count(Counter::Calls);
        let report = sender.submit(devices.into_iter().map(push).collect())?.wait(self.settings.wait);
        let judged = judge(report);
        if judged.is_err() {
            self.stats.count(Counter::CallsFailed);
        }
        judged
    }

    fn start_sender(&self) -> Result<Sender, Error> {
        Sender::start(Arc::clone(&self.settings), Arc::clone(&self.stats))
            .map_err(|error| Error::Internal(format!("the sender cannot be started: {error}")))
    }

    fn process(&self) -> Result<Arc<Process>, Error> {
        self.process.get_or_try_make(|| {
            let store = SqliteStore::open(&self.settings.store_path)?;
            Ok(Process { store: Mutex::new(store), sender: OnceCell::new() })
        })
    }

    fn with_store<T>(
        &self,
        work: impl FnOnce(&mut SqliteStore) -> Result<T, StoreError>,
    ) -> Result<T, Error> {
        let process = self.process()?;
        let mut store = process.store.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(work(&mut store)?)
    }

    fn counted<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let done = work();
        match &done {
            Err(Error::Argument(_)) => self.stats.count(Counter::BadArgument),
            Err(Error::Store(_)) => self.stats.count(Counter::StoreFailed),
            _ => {}
        }
        done
    }
}

impl Target<'_> {
    fn device(&self, user: &User) -> Result<Device, Invalid> {
        let provider = Provider::parse(self.provider)?;
        Ok(Device {
            user: user.clone(),
            device_id: String::new(),
            platform: if provider == Provider::Apns { Platform::Ios } else { Platform::Android },
            token: Token::parse(provider, self.token)?,
            app: Some(self.app.to_owned()).filter(|app| !app.is_empty()),
            environment: None,
            registered_at_ms: now_ms(),
        })
    }
}

/// Turns the answers into success or the one reason why no phone will ring: a credential problem is named first, since
/// somebody must act on it; "rejected" only when every device was.
fn judge(report: Report) -> Result<Report, Error> {
    if report.accepted() > 0 {
        return Ok(report);
    }
    let is_final =
        |outcome: &Outcome| matches!(outcome, Outcome::TokenGone { .. } | Outcome::Rejected { .. });
    if report.results.iter().any(|result| matches!(result.outcome, Outcome::CredentialRefused { .. })) {
        return Err(Error::CredentialRefused(report));
    }
    if report.results.len() == report.devices && report.results.iter().all(|result| is_final(&result.outcome))
    {
        return Err(Error::AllRejected(report));
    }
    Err(Error::NoAnswer(report))
}

/// Why a verb did not do its work. `Display` is one line without tokens, keys or numbers.
#[derive(Debug)]
pub enum Error {
    /// What came in is not usable.
    Argument(Invalid),
    /// The configuration is wrong.
    Config(ConfigError),
    /// The token store cannot be reached.
    Store(StoreError),
    /// The user has no device.
    NoDevice,
    /// Every provider rejected the push, or every token is dead.
    AllRejected(Report),
    /// No provider answered in time.
    NoAnswer(Report),
    /// Our credential was refused, is paused, or there is none for this app.
    CredentialRefused(Report),
    /// Too many pushes are waiting.
    QueueFull,
    /// The sender is not there.
    SenderGone,
    /// A bug, or the system refuses its resources.
    Internal(String),
}

impl Error {
    /// The answers of the providers, where there were any.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Error::AllRejected(report) | Error::NoAnswer(report) | Error::CredentialRefused(report) => {
                Some(report)
            }
            Error::Argument(_)
            | Error::Config(_)
            | Error::Store(_)
            | Error::NoDevice
            | Error::QueueFull
            | Error::SenderGone
            | Error::Internal(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Argument(invalid) => write!(f, "{invalid}"),
            Error::Config(error) => write!(f, "{error}"),
            Error::Store(error) => write!(f, "the token store cannot be reached: {error}"),
            Error::NoDevice => write!(f, "no device for this user"),
            Error::AllRejected(report) => write!(f, "every push was rejected: {}", reasons(report)),
            Error::NoAnswer(report) => write!(f, "no provider accepted in time: {}", reasons(report)),
            Error::CredentialRefused(report) => write!(f, "our credential was refused: {}", reasons(report)),
            Error::QueueFull => write!(f, "too many pushes are waiting"),
            Error::SenderGone => write!(f, "the sender is not there"),
            Error::Internal(why) => write!(f, "internal error: {why}"),
        }
    }
}

impl std::error::Error for Error {}

fn reasons(report: &Report) -> String {
    let silent = report.devices - report.results.len();
    let mut parts: Vec<String> = report
        .results
        .iter()
        .map(|result| match result.outcome.reason() {
            "" => format!("{} {}", result.provider.as_str(), result.outcome.name()),
            reason => format!("{} {} ({reason})", result.provider.as_str(), result.outcome.name()),
        })
        .collect();
    if silent > 0 {
        parts.push(format!("{silent} not answered yet"));
    }
    parts.join(", ")
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Error::Argument(invalid)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::Store(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::QueueFull => Error::QueueFull,
            Refused::Gone => Error::SenderGone,
        }
    }
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
