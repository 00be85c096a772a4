//! An engine that answers, is away, or does what it is told without saying so, as its test wants.
//!
//! It refuses to keep anything itself: SQLite does.

use super::super::super::{
    Imported, Limits, Refresh, Registered, SqliteStore, StoreError, ToImport, TokenStore,
};
use crate::model::{Device, Environment, NewDevice, Token, User};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How the engine is at the moment.
#[derive(Default)]
pub(super) struct Mood {
    /// 0 answers, 1 is away, 2 does what it is told and does not answer, 3 refuses everything.
    pub is: AtomicUsize,
    /// How often it was asked.
    pub asked: AtomicU64,
}

/// The engine.
pub(super) struct Moody(pub SqliteStore, pub Arc<Mood>);

impl Moody {
    fn ask<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.1.asked.fetch_add(1, Ordering::SeqCst);
        let away = || StoreError::away("it does not answer");
        match self.1.is.load(Ordering::SeqCst) {
            0 => work(&mut self.0),
            1 => Err(away()),
            3 => Err(StoreError::refused("it has another password")),
            _ => work(&mut self.0).and(Err(away())),
        }
    }
}

impl TokenStore for Moody {
    fn register(
        &mut self,
        new: &NewDevice,
        at: i64,
        limits: Limits,
    ) -> Result<Option<Registered>, StoreError> {
        self.ask(|store| store.register(new, at, limits))
    }
    fn devices(&mut self, user: &User, now_ms: i64) -> Result<Vec<Device>, StoreError> {
        self.ask(|store| store.devices(user, now_ms))
    }
    fn delete(&mut self, user: &User, device_id: Option<&str>) -> Result<usize, StoreError> {
        self.ask(|store| store.delete(user, device_id))
    }
    fn retire(&mut self, token: &Token, since_ms: i64) -> Result<usize, StoreError> {
        self.ask(|store| store.retire(token, since_ms))
    }
    fn retire_alert(&mut self, user: &User, id: &str, token: &Token, since: i64) -> Result<bool, StoreError> {
        self.ask(|store| store.retire_alert(user, id, token, since))
    }
    fn prove_environment(&mut self, device: &Device, proven: Environment) -> Result<bool, StoreError> {
        self.ask(|store| store.prove_environment(device, proven))
    }
    fn plan_refresh(&mut self, user: &User, id: &str, due: i64, ends: i64) -> Result<(), StoreError> {
        self.ask(|store| store.plan_refresh(user, id, due, ends))
    }
    fn take_refreshes(&mut self, now: i64, retry: i64, most: u32) -> Result<Vec<Refresh>, StoreError> {
        self.ask(|store| store.take_refreshes(now, retry, most))
    }
    fn each_device(&mut self, tell: &mut dyn FnMut(Device) -> bool) -> Result<(), StoreError> {
        self.0.each_device(tell)
    }
    fn count(&mut self) -> Result<u64, StoreError> {
        self.ask(TokenStore::count)
    }
    fn import(&mut self, devices: &[ToImport]) -> Result<Imported, StoreError> {
        self.ask(|store| store.import(devices))
    }
}
