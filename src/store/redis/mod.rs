//! The store that several machines share: devices in a Redis or Valkey, each user's in one slot (docs/store-layout.md).
//!
//! It refuses to pretend that two slots change at once: what is to be done in a token's slot is noted beside the user, done, and
//! struck out, and whoever comes by later finishes what was left.

mod answer;
mod bulk;
mod layout;
mod record;
mod refresh;
mod saga;
mod scripts;

use super::{Imported, Limits, Refresh, Registered, StoreError, ToImport, TokenStore};
use crate::config::EngineSettings;
use crate::engine::{Cmd, Engine, EngineError, EngineTrouble, Script, Value, cmd, slot_of};
use crate::model::{Device, Environment, NewDevice, Token, User};
use answer::Answer;
use layout::{Keys, letter};
use record::{Odd, Words};
use saga::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The version of the layout that is read and written here, and what stands before it in the marker.
pub const LAYOUT: (u32, &str) = (layout::VERSION, layout::MARKER);

/// Who looks at an engine while an operator waits has at least so long.
const PREPARE: Duration = Duration::from_secs(3);

/// A handle of one thread.
pub struct RedisStore {
    engine: Engine,
    keys: Keys,
    /// Whether the layout's marker was seen.
    is_ours: bool,
    /// Where the next look at what was left undone begins.
    next_bucket: u16,
    /// Whether it was said that values of a later version are left out.
    told_newer: bool,
}

/// Until when all steps of one piece of work must have been answered.
#[derive(Debug, Clone, Copy)]
struct Budget {
    ends: Instant,
}

impl Budget {
    fn new(within: Duration) -> Budget {
        Budget { ends: Instant::now() + within }
    }

    fn left(self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> StoreError {
        match error.trouble {
            EngineTrouble::Away => StoreError::away(error.to_string()),
            EngineTrouble::Refused => StoreError::refused(error.to_string()),
            EngineTrouble::Foreign => StoreError::new(error.to_string()),
        }
    }
}

impl RedisStore {
    /// Looks whether the engine can be used, and marks it as ours where it is empty. Nothing stays open.
    ///
    /// # Errors
    /// The engine is away, which for a SIP server that starts is no reason not to; it refuses us, or holds another layout: one line
    /// that says why and what to do.
    pub fn prepare(settings: &Arc<EngineSettings>) -> Result<(), StoreError> {
        RedisStore::of(Engine::before_fork(settings)).check(Budget::new(PREPARE.max(settings.write)))
    }

    /// A handle for this process; nobody is asked yet.
    pub fn open(settings: &Arc<EngineSettings>) -> RedisStore {
        RedisStore::of(Engine::new(settings))
    }

    fn of(engine: Engine) -> RedisStore {
        let keys = Keys::new(&engine.settings().key_prefix);
        RedisStore { engine, keys, is_ours: false, next_bucket: 0, told_newer: false }
    }

    /// A budget for a change, once the engine is known to be ours.
    fn begin(&mut self) -> Result<Budget, StoreError> {
        let budget = Budget::new(self.engine.settings().write);
        self.check(budget)?;
        Ok(budget)
    }

    fn check(&mut self, budget: Budget) -> Result<(), StoreError> {
        if self.is_ours {
            return Ok(());
        }
        let marker = self.keys.marker();
        let ours = format!("{}{}", layout::MARKER, layout::VERSION);
        let get = cmd("GET").arg(&marker).to_owned();
        let mut found = Answer::text(&self.engine.run(&get, budget.left())?);
        if found.is_none() {
            let set = cmd("SET").arg(&marker).arg(&ours).arg("NX").to_owned();
            self.engine.run(&set, budget.left())?;
            found = Answer::text(&self.engine.run(&get, budget.left())?);
        }
        let found = found.unwrap_or_default();
        if found != ours {
            return Err(self.foreign(&found));
        }
        self.is_ours = true;
        Ok(())
    }

    fn foreign(&self, found: &str) -> StoreError {
        let newer = found.strip_prefix(layout::MARKER).and_then(|version| version.parse::<u32>().ok());
        let (prefix, own) = (&self.engine.settings().key_prefix, layout::VERSION);
        let why = match newer {
            Some(version) => {
                format!("its layout is version {version} and this voip_push knows {own}; install a newer one")
            }
            None => format!("{prefix}:layout is not ours; choose another [store] key_prefix"),
        };
        StoreError::new(format!("{}: {why}", self.engine.settings()))
    }

    fn call(&mut self, script: &Script, call: &Cmd, budget: Budget) -> Result<Value, StoreError> {
        Ok(self.engine.call(script, call, budget.left())?)
    }

    /// A change that must outlive the loss of a master, where the settings ask for that: it counts once so many replicas have it.
    fn change(
        &mut self,
        script: &Script,
        key: &[u8],
        call: Cmd,
        budget: Budget,
    ) -> Result<Value, StoreError> {
        let replicas = self.engine.settings().wait_replicas;
        if replicas == 0 {
            return self.call(script, &call, budget);
        }
        // In one go, so that both go over one connection: WAIT asks for what that one has written. There must be time for twice that,
        // since an engine that does not know the script yet says so after the wait.
        let patience = (budget.left() * 2 / 5).as_millis().max(1) as u64;
        let wait = cmd("WAIT").arg(replicas).arg(patience).to_owned();
        let mut answers =
            self.engine.run_many(&[(key, call), (key, wait)], Some(script), budget.left())?.into_iter();
        let (done, have) = (answers.next().unwrap_or(Value::Nil), answers.next());
        match have {
            Some(Value::Int(have)) if have >= i64::from(replicas) => Ok(done),
            have => {
                let have = if let Some(Value::Int(have)) = have { have } else { 0 };
                let why = format!("{have} replicas have the change, and wait_replicas is {replicas}");
                // The engine itself is there, and lookups go on.
                Err(StoreError::new(format!("{}: {why}", self.engine.settings())))
            }
        }
    }

    /// All of a user's devices, expired ones too, with their stamps.
    fn all_of(&mut self, user: &User, budget: Budget) -> Result<Vec<(Device, u64)>, StoreError> {
        let mut get = cmd("HGETALL");
        get.arg(self.keys.user(user));
        let found = self.engine.run(&get, budget.left())?;
        Ok(self.read_all(user, &found))
    }

    fn read_all(&mut self, user: &User, found: &Value) -> Vec<(Device, u64)> {
        let Value::Array(parts) = found else { return Vec::new() };
        let mut devices = Vec::with_capacity(parts.len() / 2);
        for pair in parts.chunks_exact(2) {
            let [Value::BulkString(id), Value::BulkString(value)] = pair else { continue };
            match record::read(user, id, value) {
                Ok(read) => devices.push(read),
                Err(odd) => self.log_odd(&odd),
            }
        }
        devices
    }

    fn log_odd(&mut self, odd: &Odd) {
        let engine = self.engine.settings();
        match odd {
            Odd::Unreadable => log::warn!("{engine}: a device that cannot be read is left out"),
            Odd::Newer if self.told_newer => {}
            Odd::Newer => {
                self.told_newer = true;
                log::warn!(
                    "{engine}: devices that a newer version has written are left out; install a newer one"
                );
            }
        }
    }
}

impl TokenStore for RedisStore {
    fn register(
        &mut self,
        device: &NewDevice,
        now_ms: i64,
        limits: Limits,
    ) -> Result<Option<Registered>, StoreError> {
        let budget = self.begin()?;
        let expires = device.expires.map(|expires| now_ms.saturating_add(expires.as_millis() as i64));
        let entry = Entry {
            user: &device.user,
            device_id: &device.device_id,
            words: Words::of(device),
            registered_at_ms: now_ms,
            expires_at_ms: expires,
            now_ms,
            clock_ms: now_ms,
            devices: limits.devices_per_user,
            owners: limits.users_per_token.max(1),
            only_if_newest: false,
        };
        self.store(&entry, budget)
    }

    fn devices(&mut self, user: &User, now_ms: i64) -> Result<Vec<Device>, StoreError> {
        let budget = Budget::new(self.engine.settings().lookup);
        self.check(budget)?;
        let found = self.all_of(user, budget)?;
        let is_good = |device: &Device| device.expires_at_ms.is_none_or(|expires| expires > now_ms);
        let mut devices: Vec<Device> = found.into_iter().map(|(device, _)| device).filter(is_good).collect();
        devices.sort_by(|one, other| {
            let by_time = other.registered_at_ms.cmp(&one.registered_at_ms);
            by_time.then_with(|| one.device_id.cmp(&other.device_id))
        });
        Ok(devices)
    }

    fn reach(&mut self) {
        // Whoever needs it next is told why it failed.
        let _ = self.begin();
    }

    /// Two bits more than a Cluster's slot has.
    fn part_of(&self, user: &User) -> u16 {
        slot_of(&self.keys.user(user)) << 2
    }

    fn delete(&mut self, user: &User, device_id: Option<&str>) -> Result<usize, StoreError> {
        let budget = self.begin()?;
        self.forget(user, device_id, budget)
    }

    fn retire(&mut self, token: &Token, since_ms: i64) -> Result<usize, StoreError> {
        let budget = self.begin()?;
        self.retire_everywhere(token, since_ms, budget)
    }

    fn retire_alert(
        &mut self,
        user: &User,
        device_id: &str,
        token: &Token,
        since_ms: i64,
    ) -> Result<bool, StoreError> {
        let budget = self.begin()?;
        let key = self.keys.user(user);
        let call = scripts::ALERT.call(&[&key]).arg(device_id).arg(token.expose()).arg(since_ms).to_owned();
        Ok(self.change(&scripts::ALERT, &key, call, budget)? == Value::Int(1))
    }

    fn prove_environment(&mut self, device: &Device, environment: Environment) -> Result<bool, StoreError> {
        let budget = self.begin()?;
        let key = self.keys.user(&device.user);
        let mut call = scripts::PROVE.call(&[&key]);
        call.arg(&device.device_id).arg(letter(device.provider())).arg(device.token.expose());
        call.arg(record::environment(environment));
        Ok(self.change(&scripts::PROVE, &key, call, budget)? == Value::Int(1))
    }

    fn plan_refresh(
        &mut self,
        user: &User,
        device_id: &str,
        due_at_ms: i64,
        ends_at_ms: i64,
    ) -> Result<(), StoreError> {
        let budget = self.begin()?;
        self.plan(user, device_id, due_at_ms, ends_at_ms, budget)
    }

    fn take_refreshes(&mut self, now_ms: i64, retry_ms: i64, most: u32) -> Result<Vec<Refresh>, StoreError> {
        let budget = self.begin()?;
        self.take(now_ms, retry_ms, most, budget)
    }

    fn each_device(&mut self, tell: &mut dyn FnMut(Device) -> bool) -> Result<(), StoreError> {
        self.begin()?;
        self.tell_each(tell)
    }

    fn count(&mut self) -> Result<u64, StoreError> {
        self.begin()?;
        self.count_all()
    }

    fn import(&mut self, devices: &[ToImport]) -> Result<Imported, StoreError> {
        self.begin()?;
        self.import_all(devices)
    }

    fn tidy(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let budget = self.begin()?;
        self.finish_what_was_left(now_ms, budget)
    }
}
