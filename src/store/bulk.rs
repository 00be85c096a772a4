//! Many devices at once, for an administrator: all of them, a page at a time, and many more in one transaction.
//!
//! It refuses to let an old registration replace a newer one: phones register while an export is carried over.

use super::sqlite::{ADD, RENEW, TAKE_FROM_OTHERS, device, log_odd_row};
use super::{SqliteStore, StoreError};
use crate::model::{Device, Environment, NewDevice, User};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

/// So many rows are read at a time, so that no reader keeps the log of writes from being tidied up.
const PAGE: u32 = 1000;

const NEXT_PAGE: &str =
    "SELECT device_id, token, platform, provider, app, coalesce(proven_environment, environment),
        registered_at_ms, expires_at_ms, alert_provider, alert_token, alert_app, user_id
    FROM push_tokens WHERE (user_id, device_id) > (?1, ?2) ORDER BY user_id, device_id LIMIT ?3";
/// The same device, or another one with the same token, that registered later than the one at hand.
const NEWER: &str = "SELECT 1 FROM push_tokens
    WHERE user_id = ?1 AND device_id = ?2 AND registered_at_ms > ?5
    UNION ALL SELECT 1 FROM push_tokens WHERE provider = ?3 AND token = ?4 AND registered_at_ms > ?5 LIMIT 1";

/// A device as another store knew it.
#[derive(Debug, Clone)]
pub struct ToImport {
    /// The device; how long it is good for does not count here.
    pub device: NewDevice,
    /// When its app registered it, in ms since 1970.
    pub registered_at_ms: i64,
    /// When its registration ends, in ms since 1970; `None` is never.
    pub expires_at_ms: Option<i64>,
}

/// What became of devices that were imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Not known before.
    pub new: u64,
    /// Known, and written anew.
    pub renewed: u64,
    /// Left as they were, since they, or somebody else with their token, have registered later.
    pub left: u64,
}

impl SqliteStore {
    /// [`TokenStore::each_device`](super::TokenStore::each_device), in the order of users and device ids.
    pub(super) fn tell_each(&mut self, tell: &mut dyn FnMut(Device) -> bool) -> Result<(), StoreError> {
        let (mut user, mut device_id) = (String::new(), String::new());
        // No user has an empty name, so every row comes after this.
        loop {
            let page = self.page(&user, &device_id)?;
            let Some(last) = page.last() else { return Ok(()) };
            (user, device_id) = (last.0.clone(), last.1.clone());
            for (.., row) in page {
                match row {
                    Ok(device) => {
                        if !tell(device) {
                            return Ok(());
                        }
                    }
                    Err(why) => log_odd_row(self.path(), &why),
                }
            }
        }
    }

    fn page(&mut self, user: &str, device_id: &str) -> Result<Vec<Row>, StoreError> {
        let read = || {
            let mut statement = self.reading().prepare_cached(NEXT_PAGE)?;
            let rows = statement.query_map(params![user, device_id, PAGE], |row| {
                let (device_id, name): (String, String) = (row.get(0)?, row.get(11)?);
                let checked = User::parse(&name).and_then(|user| device(&user, row));
                Ok((name, device_id, checked))
            })?;
            rows.collect::<rusqlite::Result<Vec<Row>>>()
        };
        read().map_err(|error| self.named(error))
    }
}

/// User and device id as they stand there, and the device where the row is in order.
type Row = (String, String, Result<Device, crate::model::Invalid>);

pub(super) fn import(
    connection: &mut rusqlite::Connection,
    devices: &[ToImport],
) -> rusqlite::Result<Imported> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut imported = Imported::default();
    for device in devices {
        *match import_one(&transaction, device)? {
            Done::New => &mut imported.new,
            Done::Renewed => &mut imported.renewed,
            Done::Left => &mut imported.left,
        } += 1;
    }
    transaction.commit()?;
    Ok(imported)
}

enum Done {
    New,
    Renewed,
    Left,
}

fn import_one(transaction: &Transaction<'_>, one: &ToImport) -> rusqlite::Result<Done> {
    let ToImport { device, registered_at_ms, expires_at_ms } = one;
    let (user, device_id) = (device.user.as_str(), &device.device_id);
    let (provider, token) = (device.token.provider().as_str(), device.token.expose());
    let mut newer = transaction.prepare_cached(NEWER)?;
    let is_newer = newer.query_row(params![user, device_id, provider, token, registered_at_ms], |_| Ok(()));
    if is_newer.optional()?.is_some() {
        return Ok(Done::Left);
    }
    transaction.prepare_cached(TAKE_FROM_OTHERS)?.execute(params![provider, token, user, device_id, 0])?;
    let alert = device.alert.as_deref();
    let values = params![
        user,
        device_id,
        token,
        device.platform.as_str(),
        provider,
        device.app,
        device.environment.map(Environment::as_str),
        registered_at_ms,
        expires_at_ms,
        alert.map(|alert| alert.token.provider().as_str()),
        alert.map(|alert| alert.token.expose()),
        alert.and_then(|alert| alert.app.as_deref()),
    ];
    if transaction.prepare_cached(RENEW)?.execute(values)? > 0 {
        return Ok(Done::Renewed);
    }
    transaction.prepare_cached(ADD)?.execute(values)?;
    Ok(Done::New)
}
