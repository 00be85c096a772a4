//! What goes on while the engine of a shared store is away or refuses us: lookups are answered with what this machine has seen lately.
//!
//! It refuses to stand before an engine that answers, and to accept a registration that nobody has stored.

mod breaker;
mod codec;
mod refusal;
mod table;
#[cfg(test)]
mod tests;

use super::bulk::{Imported, ToImport};
use super::{Limits, Refresh, Registered, StoreError, TokenStore};
use crate::config::{EngineSettings, EngineShape, StoreSettings};
use crate::model::{Device, Environment, NewDevice, Token, User};
use crate::stats::{Counter, Stats};
use breaker::{Breaker, Turn};
use refusal::{Asked, Refusal};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use table::Table;

/// What all processes of a server share of their token store: where it is, and for an engine what is remembered of it. Made before the
/// fork, opened by each process for itself.
#[derive(Clone)]
pub struct Stores {
    settings: StoreSettings,
    shared: Option<Arc<Shared>>,
}

impl Stores {
    /// Proves that the store can be used, as [`prepare`](super::prepare) does, and makes what processes share. An engine that is
    /// away is no reason against it: SIP goes on without, and it is used when it is there.
    ///
    /// # Errors
    /// It cannot be used, or the system has no memory to give: one line that says why and what to do.
    pub fn prepare(settings: &StoreSettings, stats: &Arc<Stats>) -> Result<Stores, StoreError> {
        let no_memory = |error: io::Error| StoreError::new(format!("no shared memory: {error}"));
        let shared = settings.engine().map(|engine| Shared::new(engine, stats)).transpose();
        let shared = shared.map_err(no_memory)?.map(Arc::new);
        match (super::prepare(settings), &shared) {
            (Err(error), Some(shared)) if error.is_away() => shared.breaker.failed(0, Turn::Ask, &error),
            (prepared, _) => prepared?,
        }
        Ok(Stores { settings: settings.clone(), shared })
    }

    /// A store of which nothing is remembered, and that nobody has looked at yet.
    pub fn unshared(settings: &StoreSettings) -> Stores {
        Stores { settings: settings.clone(), shared: None }
    }

    /// Opens the store for this process. An engine is reached when it is first needed.
    ///
    /// # Errors
    /// It cannot be opened; see the stores.
    pub fn open(&self) -> Result<Box<dyn TokenStore>, StoreError> {
        let Some(shared) = &self.shared else { return super::open(&self.settings) };
        let settings = self.settings.clone();
        let open = Box::new(move || super::open(&settings));
        Ok(Box::new(CachedStore::new(Arc::clone(shared), open)))
    }
}

/// The masters of a Cluster fail alone. Which users are whose changes, so ranges of slots stand for them; few, since each is asked on
/// its own while all are away.
const CLUSTER_PARTS: usize = 16;

/// Shared by all processes of a server.
struct Shared {
    breaker: Breaker,
    no_lookups: Refusal,
    no_registrations: Refusal,
    /// `None` where nothing is to be remembered.
    table: Option<Table>,
    stats: Arc<Stats>,
    lookup: Duration,
    write: Duration,
}

impl Shared {
    fn new(engine: &EngineSettings, stats: &Arc<Stats>) -> io::Result<Shared> {
        let parts = if engine.shape == EngineShape::Cluster { CLUSTER_PARTS } else { 1 };
        let has_table = engine.cache_users > 0;
        Ok(Shared {
            breaker: Breaker::new(engine.to_string(), parts, stats)?,
            no_lookups: Refusal::new(Asked::Lookup, stats)?,
            no_registrations: Refusal::new(Asked::Registration, stats)?,
            table: has_table.then(|| Table::new(engine.cache_users, engine.cache)).transpose()?,
            stats: Arc::clone(stats),
            lookup: engine.lookup,
            write: engine.write,
        })
    }

    /// What is remembered of a user, in place of the engine's answer.
    fn remembered(&self, user: &User, now_ms: i64, why: StoreError) -> Result<Vec<Device>, StoreError> {
        let found = self.table.as_ref().and_then(|table| table.find(user, table.now()));
        let counter = if found.is_some() { Counter::LookupRemembered } else { Counter::LookupUnanswered };
        self.stats.count(counter);
        let mut devices = found.ok_or(why)?;
        devices.retain(|device| device.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms));
        Ok(devices)
    }

    /// Lets a user's remembered devices change as they have in the engine.
    fn change(&self, user: &User, work: impl FnOnce(&mut Vec<Device>)) {
        if let Some(table) = &self.table {
            table.change(user, table.now(), work);
        }
    }

    fn change_owners(&self, token: &Token, but: Option<&User>, work: impl FnMut(&mut Vec<Device>)) {
        if let Some(table) = &self.table {
            table.change_owners(token, but, table.now(), work);
        }
    }
}

type Open = dyn FnMut() -> Result<Box<dyn TokenStore>, StoreError> + Send;

/// A store that is asked while it answers, and remembered while it does not.
struct CachedStore {
    shared: Arc<Shared>,
    open: Box<Open>,
    inner: Option<Box<dyn TokenStore>>,
}

/// What became of a write that the engine did not confirm.
enum Unwritten {
    /// It was not tried.
    NotSent(StoreError),
    /// It may have been done, or may still be.
    InDoubt(StoreError),
    /// The engine has refused it.
    Refused(StoreError),
}

impl CachedStore {
    fn new(shared: Arc<Shared>, open: Box<Open>) -> CachedStore {
        CachedStore { shared, open, inner: None }
    }

    fn inner(&mut self) -> Result<&mut dyn TokenStore, StoreError> {
        match &mut self.inner {
            Some(inner) => Ok(&mut **inner),
            none => Ok(&mut **none.insert((self.open)()?)),
        }
    }

    fn part(&self, user: &User) -> usize {
        if self.shared.breaker.parts() == 1 {
            return 0;
        }
        (usize::from(self.part_of(user)) * self.shared.breaker.parts()) >> 16
    }

    /// Asks the engine, where it is to be asked now.
    fn ask<T>(
        &mut self,
        user: Option<&User>,
        deadline: Duration,
        work: impl FnOnce(&mut dyn TokenStore) -> Result<T, StoreError>,
    ) -> Result<T, Unwritten> {
        let part = user.map_or(0, |user| self.part(user));
        // What is for all users says nothing about one part.
        let is_told = user.is_some() || self.shared.breaker.parts() == 1;
        let turn = if is_told { self.shared.breaker.turn(part, deadline) } else { Some(Turn::Ask) };
        let Some(turn) = turn else {
            return Err(Unwritten::NotSent(StoreError::is_away_now()));
        };
        let asked = self.inner().map_err(Unwritten::NotSent).and_then(|inner| {
            work(inner).map_err(|error| {
                if error.is_away() { Unwritten::InDoubt(error) } else { Unwritten::Refused(error) }
            })
        });
        match &asked {
            Err(Unwritten::NotSent(error) | Unwritten::InDoubt(error)) if error.is_away() && is_told => {
                self.shared.breaker.failed(part, turn, error);
            }
            _ => self.shared.breaker.answered(part, turn),
        }
        asked
    }

    /// A write, and what it changes of what is remembered once it is done, or may have been.
    fn write<T>(
        &mut self,
        user: Option<&User>,
        work: impl FnOnce(&mut dyn TokenStore) -> Result<T, StoreError>,
        forget: impl FnOnce(&Shared),
    ) -> Result<T, StoreError> {
        let written = self.ask(user, self.shared.write, work);
        if matches!(written, Ok(_) | Err(Unwritten::InDoubt(_))) {
            forget(&self.shared);
        }
        Ok(written?)
    }

    /// Remembers what the engine now has of a user who has registered something new.
    fn look_again(&mut self, user: &User, now_ms: i64) {
        // What cannot be looked up now is looked up by the next call.
        let _ = self.devices(user, now_ms);
    }
}

impl TokenStore for CachedStore {
    fn reach(&mut self) {
        if let Ok(inner) = self.inner() {
            inner.reach();
        }
    }

    fn register(
        &mut self,
        device: &NewDevice,
        now_ms: i64,
        limits: Limits,
    ) -> Result<Option<Registered>, StoreError> {
        let written = self.ask(Some(&device.user), self.shared.write, |s| s.register(device, now_ms, limits));
        let (shared, user) = (Arc::clone(&self.shared), &device.user);
        let gone = |devices: &mut Vec<Device>| devices.retain(|known| known.token != device.token);
        match &written {
            Ok(Some(Registered::Renewed)) => {
                let mut is_renewed = false;
                shared.change(user, |devices| is_renewed = renew(devices, device, now_ms));
                // Several users of one phone do not lose it to each other when they renew it.
                if !is_renewed || limits.users_per_token == 1 {
                    shared.change_owners(&device.token, Some(user), gone);
                }
                if !is_renewed {
                    self.look_again(user, now_ms);
                }
            }
            Ok(Some(Registered::New)) => {
                shared.change(user, Vec::clear);
                shared.change_owners(&device.token, Some(user), gone);
                self.look_again(user, now_ms);
            }
            Err(Unwritten::InDoubt(_)) => shared.change_owners(&device.token, Some(user), gone),
            Ok(None) | Err(Unwritten::NotSent(_) | Unwritten::Refused(_)) => {}
        }
        match written {
            Ok(done) => {
                shared.no_registrations.answered();
                Ok(done)
            }
            Err(Unwritten::Refused(why)) if why.is_refused() => {
                shared.no_registrations.began(&why);
                Err(why.told())
            }
            Err(other) => Err(other.into()),
        }
    }

    fn devices(&mut self, user: &User, now_ms: i64) -> Result<Vec<Device>, StoreError> {
        let began = self.shared.table.as_ref().map(Table::now);
        match self.ask(Some(user), self.shared.lookup, |store| store.devices(user, now_ms)) {
            Ok(devices) => {
                self.shared.no_lookups.answered();
                if let (Some(table), Some(began)) = (&self.shared.table, began) {
                    table.keep(user, &devices, began);
                }
                Ok(devices)
            }
            Err(Unwritten::NotSent(why) | Unwritten::InDoubt(why)) if why.is_away() => {
                self.shared.remembered(user, now_ms, why)
            }
            Err(Unwritten::Refused(why)) if why.is_refused() => {
                self.shared.no_lookups.began(&why);
                self.shared.remembered(user, now_ms, why.told())
            }
            Err(other) => Err(other.into()),
        }
    }

    fn part_of(&self, user: &User) -> u16 {
        self.inner.as_ref().map_or(0, |inner| inner.part_of(user))
    }

    fn is_away(&self, user: &User) -> bool {
        let Shared { breaker, no_lookups, no_registrations, .. } = &*self.shared;
        breaker.is_away(self.part(user)) || no_lookups.is_on() || no_registrations.is_on()
    }

    fn delete(&mut self, user: &User, device_id: Option<&str>) -> Result<usize, StoreError> {
        let is_other = |device: &Device| device_id.is_some_and(|id| id != device.device_id);
        self.write(
            Some(user),
            |store| store.delete(user, device_id),
            |shared| shared.change(user, |devices| devices.retain(is_other)),
        )
    }

    fn retire(&mut self, token: &Token, since_ms: i64) -> Result<usize, StoreError> {
        // Its provider has said so, whatever the engine says.
        let is_alive = |device: &Device| device.token != *token || device.registered_at_ms > since_ms;
        let retired = self.write(None, |store| store.retire(token, since_ms), |_| ());
        self.shared.change_owners(token, None, |devices| devices.retain(is_alive));
        retired
    }

    fn retire_alert(
        &mut self,
        user: &User,
        device_id: &str,
        token: &Token,
        since_ms: i64,
    ) -> Result<bool, StoreError> {
        let is_it = |device: &Device| {
            device.device_id == device_id
                && device.registered_at_ms <= since_ms
                && device.alert.as_ref().is_some_and(|alert| alert.token == *token)
        };
        self.write(
            Some(user),
            |store| store.retire_alert(user, device_id, token, since_ms),
            |shared| {
                shared.change(user, |devices| {
                    devices.iter_mut().filter(|device| is_it(device)).for_each(|device| device.alert = None);
                });
            },
        )
    }

    fn prove_environment(&mut self, device: &Device, environment: Environment) -> Result<bool, StoreError> {
        let is_it = |known: &Device| known.device_id == device.device_id && known.token == device.token;
        self.write(
            Some(&device.user),
            |store| store.prove_environment(device, environment),
            |shared| {
                shared.change(&device.user, |devices| {
                    let proven = devices.iter_mut().filter(|known| is_it(known));
                    proven.for_each(|known| known.environment = Some(environment));
                });
            },
        )
    }

    fn plan_refresh(
        &mut self,
        user: &User,
        device_id: &str,
        due_at_ms: i64,
        ends_at_ms: i64,
    ) -> Result<(), StoreError> {
        let work = |store: &mut dyn TokenStore| store.plan_refresh(user, device_id, due_at_ms, ends_at_ms);
        self.write(Some(user), work, |_| ())
    }

    fn take_refreshes(&mut self, now_ms: i64, retry_ms: i64, most: u32) -> Result<Vec<Refresh>, StoreError> {
        self.write(None, |store| store.take_refreshes(now_ms, retry_ms, most), |_| ())
    }

    fn each_device(&mut self, tell: &mut dyn FnMut(Device) -> bool) -> Result<(), StoreError> {
        self.inner()?.each_device(tell)
    }

    fn count(&mut self) -> Result<u64, StoreError> {
        self.inner()?.count()
    }

    fn tidy(&mut self, now_ms: i64) -> Result<(), StoreError> {
        self.write(None, |store| store.tidy(now_ms), |_| ())
    }

    fn import(&mut self, devices: &[ToImport]) -> Result<Imported, StoreError> {
        let imported = self.inner()?.import(devices);
        if let Some(table) = &self.shared.table {
            table.forget_all();
        }
        imported
    }
}

/// Renews a remembered device as the store does, where nothing but its times is new; true where it was.
fn renew(devices: &mut Vec<Device>, new: &NewDevice, now_ms: i64) -> bool {
    let is_it = |known: &Device| {
        known.device_id == new.device_id
            && known.token == new.token
            && known.platform == new.platform
            && known.app == new.app
            && known.alert == new.alert
            && known.registered_at_ms <= now_ms
            // What was proven outlasts what is registered, and which of the two is known is not to be seen.
            && known.environment == new.environment
    };
    let Some(at) = devices.iter().position(is_it) else {
        devices.clear();
        return false;
    };
    let mut device = devices.remove(at);
    device.registered_at_ms = now_ms;
    device.expires_at_ms = new.expires.map(|lasts| now_ms.saturating_add(lasts.as_millis() as i64));
    devices.insert(0, device);
    true
}

impl From<Unwritten> for StoreError {
    fn from(unwritten: Unwritten) -> StoreError {
        match unwritten {
            Unwritten::NotSent(error) | Unwritten::InDoubt(error) | Unwritten::Refused(error) => error,
        }
    }
}

/// Without what is remembered.
impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stores").field(&self.settings).finish()
    }
}
