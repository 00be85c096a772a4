//! Where the tokens live: what a store can do, the one that comes with us, SQLite, and the one that several machines share, Redis.
//!
//! It refuses to know who asks: users and devices come in checked, and what goes wrong is one error.

mod bulk;
mod cached;
mod engine_inspection;
mod inspect;
mod redis;
mod refresh;
mod schema;
mod sqlite;
mod timeline;
mod wal;

pub use self::redis::{LAYOUT, RedisStore};
pub use bulk::{Imported, ToImport};
pub use cached::Stores;
pub use engine_inspection::{EngineInspection, NodeInspection};
pub use inspect::{Inspection, MadeBy, SCHEMA};
pub use refresh::Refresh;
pub use sqlite::SqliteStore;
pub use timeline::TimelineFile;

use crate::config::StoreSettings;
use crate::model::{Device, Environment, NewDevice, Token, User};
use std::fmt;

/// How much a registration may add to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Devices that a user may have.
    pub devices_per_user: u32,
    /// Users who may have one token at a time, such as the accounts of one phone; at least 1.
    pub users_per_token: u32,
}

/// What every token store can do. All of it may block on a disk or a network.
pub trait TokenStore: Send {
    /// Stores a device, or renews the one of the same user and device id: all that was registered is replaced, and its
    /// registration time is `now_ms` (or stays, where the clock was set back meanwhile). A token has as
    /// many owners as `limits` say: of others who had it, those who registered it longest ago lose it, and the user
    /// himself, if he had it under another device id. `None` where the user has all the devices that he may have and this would be a further one; nothing was changed then. Some devices that have expired by now are forgotten on the way.
    ///
    /// # Errors
    /// The store cannot be reached or is full. SQLite has changed nothing then; a store on several machines may have taken the device,
    /// and takes it again without harm.
    fn register(
        &mut self,
        device: &NewDevice,
        now_ms: i64,
        limits: Limits,
    ) -> Result<Option<Registered>, StoreError>;

    /// The user's devices that have not expired by `now_ms`, the one registered last first.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn devices(&mut self, user: &User, now_ms: i64) -> Result<Vec<Device>, StoreError>;

    /// Which part of the store answers for a user, where parts can fail alone: a number from 0 to 65535. SQLite has one part.
    fn part_of(&self, _user: &User) -> u16 {
        0
    }

    /// Whether what [`TokenStore::devices`] says of this user is only remembered at this moment, and nothing can be stored.
    fn is_away(&self, _user: &User) -> bool {
        false
    }

    /// Opens now what else is opened when it is first needed, which may take as long as a change. Where that fails it is tried again when
    /// it is needed.
    fn reach(&mut self) {}

    /// Forgets one device of the user, or all of them, and says how many there were.
    ///
    /// # Errors
    /// The store cannot be reached; nothing was changed then.
    fn delete(&mut self, user: &User, device_id: Option<&str>) -> Result<usize, StoreError>;

    /// Forgets a dead token, whoever has it, unless he has registered it again after `since_ms`. Says how many devices went with
    /// it. (Apple: stop until the device registers a token with a later timestamp.)
    ///
    /// # Errors
    /// The store cannot be reached; nothing was changed then.
    fn retire(&mut self, token: &Token, since_ms: i64) -> Result<usize, StoreError>;

    /// Forgets a device's dead token for alerts, unless the device was registered again after `since_ms`, and leaves the device as it is
    /// otherwise. True where it was forgotten.
    ///
    /// # Errors
    /// The store cannot be reached; nothing was changed then.
    fn retire_alert(
        &mut self,
        user: &User,
        device_id: &str,
        token: &Token,
        since_ms: i64,
    ) -> Result<bool, StoreError>;

    /// Keeps which of Apple's environments a device's token was seen to work in, if it still has that token. It is in force
    /// until another token is registered, whatever the app says about its environment. True where it was kept.
    ///
    /// # Errors
    /// The store cannot be reached; nothing was changed then.
    fn prove_environment(&mut self, device: &Device, environment: Environment) -> Result<bool, StoreError>;

    /// A phone has registered until `ends_at_ms` and is to be asked at `due_at_ms`, both in ms since 1970, unless it registers before.
    ///
    /// # Errors
    /// The store cannot be reached; nothing was changed then.
    fn plan_refresh(
        &mut self,
        user: &User,
        device_id: &str,
        due_at_ms: i64,
        ends_at_ms: i64,
    ) -> Result<(), StoreError>;

    /// Phones that are to be asked by now, at most so many, those that are due longest first. Each is due once more `retry_ms` later, and
    /// then no more.
    ///
    /// # Errors
    /// The store cannot be reached; nothing was changed then.
    fn take_refreshes(&mut self, now_ms: i64, retry_ms: i64, most: u32) -> Result<Vec<Refresh>, StoreError>;

    /// Every device, expired ones too, until `tell` says that it is enough. What others change meanwhile may be told as it was or as
    /// it is.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn each_device(&mut self, tell: &mut dyn FnMut(Device) -> bool) -> Result<(), StoreError>;

    /// How many devices are registered.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn count(&mut self) -> Result<u64, StoreError>;

    /// Stores devices as another store knew them. A token has one owner here, too: who has registered it last. No limit of devices
    /// per user is asked.
    ///
    /// # Errors
    /// The store cannot be reached or is full. SQLite has changed nothing then; a store on several machines may have taken some of
    /// the devices, and takes the same ones again without harm.
    fn import(&mut self, devices: &[ToImport]) -> Result<Imported, StoreError>;

    /// Finishes some of what was left undone by a process that ended, or lost its engine, in the middle of a change. To be called about
    /// once a second, by one process of each server. SQLite leaves nothing undone.
    ///
    /// # Errors
    /// The store cannot be reached.
    fn tidy(&mut self, _now_ms: i64) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Proves that a store can be used, while an operator is looking; to be called before any fork. Makes what is missing.
///
/// # Errors
/// It cannot be used: one line that says why and what to do.
pub fn prepare(settings: &StoreSettings) -> Result<(), StoreError> {
    match settings {
        StoreSettings::Sqlite(path) => SqliteStore::prepare(path),
        StoreSettings::Engine(engine) => {
            RedisStore::prepare(engine).and_then(|()| engine_inspection::prove_usable(engine))
        }
    }
}

/// Opens a store for this process.
///
/// # Errors
/// It cannot be opened; see the stores.
pub fn open(settings: &StoreSettings) -> Result<Box<dyn TokenStore>, StoreError> {
    match settings {
        StoreSettings::Sqlite(path) => Ok(Box::new(SqliteStore::open(path)?)),
        StoreSettings::Engine(engine) => Ok(Box::new(RedisStore::open(engine))),
    }
}

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The device was not known.
    New,
    /// The device was known; what was registered before is replaced.
    Renewed,
}

/// Why a store did not do what it was asked: one line, without tokens or users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    why: String,
    kind: Kind,
    is_told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Away,
    Refused,
    Other,
}

impl StoreError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        StoreError { why: why.into(), kind: Kind::Other, is_told: false }
    }

    /// The engine cannot be reached, does not answer in time, or says that it serves nobody at this moment.
    pub(crate) fn away(why: impl Into<String>) -> Self {
        StoreError { why: why.into(), kind: Kind::Away, is_told: true }
    }

    /// The engine answers and says no: password, permission, memory, a read-only replica.
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        StoreError { why: why.into(), kind: Kind::Refused, is_told: false }
    }

    /// The same, of which the server's log has been told.
    pub(crate) fn told(self) -> Self {
        StoreError { is_told: true, ..self }
    }

    /// It was away when it was asked last, and is asked again in a moment.
    pub(crate) fn is_away_now() -> Self {
        Self::away("the engine is away, and is asked again in a moment")
    }

    /// Whether the engine is away as a whole, or a part of it.
    pub fn is_away(&self) -> bool {
        self.kind == Kind::Away
    }

    /// Whether the engine answers and says no, until somebody changes it there.
    pub(crate) fn is_refused(&self) -> bool {
        self.kind == Kind::Refused
    }

    /// Whether the server's log says so once by itself, and not for each call.
    pub fn is_told(&self) -> bool {
        self.is_told
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for StoreError {}
