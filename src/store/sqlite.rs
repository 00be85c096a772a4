//! The default store: one SQLite file in WAL mode that many processes read and write at once.
//!
//! It refuses to be shared: a handle belongs to the process (and the thread) that opened it, after the fork.

use super::schema::{failed, migrate};
use super::wal::switch_to_wal;
use super::{Imported, Limits, Refresh, Registered, StoreError, ToImport, TokenStore, bulk, refresh};
use crate::model::{Alert, Device, Environment, Invalid, NewDevice, Platform, Provider, Token, User};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Row, ToSql, Transaction, TransactionBehavior, params};
use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a writer waits for another process' write. Writes take microseconds; a second means that something is stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Part of the file that is read through a memory map; lookups were measured a third faster with it.
const MMAP_LEN: i64 = 256 << 20;

/// Both take the same twelve values. What is proven holds as long as the token: a token never changes its environment.
pub(super) const RENEW: &str = "UPDATE push_tokens
    SET proven_environment = iif(provider = ?5 AND token = ?3, proven_environment, NULL),
        token = ?3, platform = ?4, provider = ?5, app = ?6, environment = ?7,
        registered_at_ms = max(registered_at_ms, ?8), expires_at_ms = ?9,
        alert_provider = ?10, alert_token = ?11, alert_app = ?12, updated_at = CURRENT_TIMESTAMP
    WHERE user_id = ?1 AND device_id = ?2";
pub(super) const ADD: &str =
    "INSERT INTO push_tokens (user_id, device_id, token, platform, provider, app, environment,
        registered_at_ms, expires_at_ms, alert_provider, alert_token, alert_app)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
/// Of the other users who have the token, ?5 keep it. One user has a token once.
pub(super) const TAKE_FROM_OTHERS: &str = "DELETE FROM push_tokens
    WHERE provider = ?1 AND token = ?2 AND NOT (user_id = ?3 AND device_id = ?4)
        AND (user_id = ?3 OR user_id NOT IN (
            SELECT user_id FROM push_tokens WHERE provider = ?1 AND token = ?2 AND user_id <> ?3
            ORDER BY registered_at_ms DESC, user_id LIMIT ?5))";
/// More than one registration adds, so the expired do not pile up, and few enough that no writer holds the lock for long.
const FORGET_EXPIRED: &str = "DELETE FROM push_tokens WHERE (user_id, device_id) IN
    (SELECT user_id, device_id FROM push_tokens WHERE expires_at_ms <= ?1 LIMIT 32)";
/// Those that have expired count no more, even where they are not deleted yet.
const COUNT: &str = "SELECT count(*) FROM push_tokens
    WHERE user_id = ?1 AND (expires_at_ms IS NULL OR expires_at_ms > ?2)";

/// An open SQLite file.
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
}

impl SqliteStore {
    /// Makes the file where it is missing, brings its schema up to date and closes it again. To be called before a fork,
    /// while an operator is looking. A file made by root is given to the owner of its directory, since the SIP server will
    /// run as somebody else.
    ///
    /// # Errors
    /// The directory is missing or cannot be written, or the file is not ours.
    pub fn prepare(path: &Path) -> Result<(), StoreError> {
        let directory = directory_of(path);
        if !directory.is_dir() {
            let shown = directory.display();
            return Err(StoreError::new(format!(
                "the directory {shown} does not exist; make it for the SIP server's user"
            )));
        }
        let store = Self::open(path)?;
        store.check_writable()?;
        drop(store);
        if crate::process::is_root() {
            give_to_owner_of(&directory, path)?;
        }
        Ok(())
    }

    /// Opens the file for this process.
    ///
    /// # Errors
    /// The file cannot be read or written, or its schema is newer or foreign.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite would make the file readable for everybody; its -wal and -shm get the same mode as the file itself.
        let made = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path);
        made.map_err(|error| cannot_open(path, &error))?;
        let named = |error| StoreError::new(format!("{}: {}", path.display(), failed(error)));
        let mut connection = Connection::open(path).map_err(named)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(named)?;
        switch_to_wal(&connection, BUSY_TIMEOUT).map_err(named)?;
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(named)?;
        connection.pragma_update(None, "mmap_size", MMAP_LEN).map_err(named)?;
        // Else SQLite prepares a cached statement anew for each value, in case another plan suits that one better.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(named)?;
        migrate(&mut connection).map_err(|error| StoreError::new(format!("{}: {error}", path.display())))?;
        Ok(SqliteStore { connection, path: path.to_owned() })
    }

    /// For the store's other parts.
    pub(super) fn reading(&self) -> &Connection {
        &self.connection
    }

    /// For the store's other parts.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Proves that a write would work, by taking and giving back the write lock.
    fn check_writable(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(|error| self.named(error))
    }

    pub(super) fn named(&self, error: rusqlite::Error) -> StoreError {
        StoreError::new(format!("{}: {}", self.path.display(), failed(error)))
    }
}

impl TokenStore for SqliteStore {
    fn register(
        &mut self,
        device: &NewDevice,
        now_ms: i64,
        limits: Limits,
    ) -> Result<Option<Registered>, StoreError> {
        register(&mut self.connection, device, now_ms, limits).map_err(|error| self.named(error))
    }

    fn devices(&mut self, user: &User, now_ms: i64) -> Result<Vec<Device>, StoreError> {
        // Sorted here: SQLite would make a sorter for each lookup, which is dearer than the few devices that a user has.
        // What has expired is left out here, too, for the same reason.
        let sql = "SELECT device_id, token, platform, provider, app, coalesce(proven_environment, environment), \
             registered_at_ms, expires_at_ms, alert_provider, alert_token, alert_app \
             FROM push_tokens WHERE user_id = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(|error| self.named(error))?;
        let mut rows = statement.query([user.as_str()]).map_err(|error| self.named(error))?;
        // Most users have one; room for more is made when there are more.
        let mut devices = Vec::with_capacity(1);
        while let Some(row) = rows.next().map_err(|error| self.named(error))? {
            match device(user, row) {
                Ok(device) if device.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms) => devices.push(device),
                Ok(_) => {}
                Err(why) => log_odd_row(&self.path, &why),
            }
        }
        devices.sort_by(|one, other| {
            let by_time = other.registered_at_ms.cmp(&one.registered_at_ms);
            by_time.then_with(|| one.device_id.cmp(&other.device_id))
        });
        Ok(devices)
    }

    fn delete(&mut self, user: &User, device_id: Option<&str>) -> Result<usize, StoreError> {
        let sql = "DELETE FROM push_tokens WHERE user_id = ?1 AND (?2 IS NULL OR device_id = ?2)";
        let values = params![user.as_str(), device_id];
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        done.map_err(|error| self.named(error))
    }

    fn retire(&mut self, token: &Token, since_ms: i64) -> Result<usize, StoreError> {
        let sql = "DELETE FROM push_tokens WHERE provider = ?1 AND token = ?2 AND registered_at_ms <= ?3";
        let values = params![token.provider().as_str(), token.expose(), since_ms];
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        done.map_err(|error| self.named(error))
    }

    fn retire_alert(
        &mut self,
        user: &User,
        device_id: &str,
        token: &Token,
        since_ms: i64,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE push_tokens SET alert_provider = NULL, alert_token = NULL, alert_app = NULL
            WHERE user_id = ?1 AND device_id = ?2 AND alert_token = ?3 AND registered_at_ms <= ?4";
        let values = params![user.as_str(), device_id, token.expose(), since_ms];
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        done.map(|rows| rows > 0).map_err(|error| self.named(error))
    }

    fn prove_environment(&mut self, device: &Device, environment: Environment) -> Result<bool, StoreError> {
        let sql = "UPDATE push_tokens SET proven_environment = ?5
            WHERE user_id = ?1 AND device_id = ?2 AND provider = ?3 AND token = ?4";
        let values = params![
            device.user.as_str(),
            device.device_id,
            device.provider().as_str(),
            device.token.expose(),
            environment.as_str()
        ];
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        done.map(|rows| rows > 0).map_err(|error| self.named(error))
    }

    fn plan_refresh(
        &mut self,
        user: &User,
        device_id: &str,
        due_at_ms: i64,
        ends_at_ms: i64,
    ) -> Result<(), StoreError> {
        let done = refresh::plan(&mut self.connection, user, device_id, due_at_ms, ends_at_ms);
        done.map_err(|error| self.named(error))
    }

    fn take_refreshes(&mut self, now_ms: i64, retry_ms: i64, most: u32) -> Result<Vec<Refresh>, StoreError> {
        refresh::take(&mut self.connection, now_ms, retry_ms, most).map_err(|error| self.named(error))
    }

    fn each_device(&mut self, tell: &mut dyn FnMut(Device) -> bool) -> Result<(), StoreError> {
        self.tell_each(tell)
    }

    fn count(&mut self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM push_tokens";
        let count = self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        count.map(|count| count.unsigned_abs()).map_err(|error| self.named(error))
    }

    fn import(&mut self, devices: &[ToImport]) -> Result<Imported, StoreError> {
        bulk::import(&mut self.connection, devices).map_err(|error| self.named(error))
    }
}

/// All of it or nothing, under the write lock, which is taken at once, so that two processes wait for each other instead
/// of failing.
fn register(
    connection: &mut Connection,
    device: &NewDevice,
    now_ms: i64,
    limits: Limits,
) -> rusqlite::Result<Option<Registered>> {
    let expires_at_ms = device.expires.map(|expires| now_ms.saturating_add(expires.as_millis() as i64));
    let alert = device.alert.as_deref();
    let values = params![
        device.user.as_str(),
        device.device_id,
        device.token.expose(),
        device.platform.as_str(),
        device.token.provider().as_str(),
        device.app,
        device.environment.map(Environment::as_str),
        now_ms,
        expires_at_ms,
        alert.map(|alert| alert.token.provider().as_str()),
        alert.map(|alert| alert.token.expose()),
        alert.and_then(|alert| alert.app.as_deref()),
    ];
    // Prepared before the lock is taken, so that the first registration of a process does not make others wait for that.
    for sql in [FORGET_EXPIRED, TAKE_FROM_OTHERS, RENEW, COUNT, ADD] {
        drop(connection.prepare_cached(sql)?);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    make_room(&transaction, device, now_ms, limits.users_per_token)?;
    let done = add_or_renew(&transaction, values, limits.devices_per_user)?;
    match done {
        None => transaction.rollback()?,
        Some(_) => transaction.commit()?,
    }
    Ok(done)
}

fn make_room(
    transaction: &Transaction<'_>,
    device: &NewDevice,
    now_ms: i64,
    users: u32,
) -> rusqlite::Result<()> {
    transaction.prepare_cached(FORGET_EXPIRED)?.execute([now_ms])?;
    transaction.prepare_cached(TAKE_FROM_OTHERS)?.execute(params![
        device.token.provider().as_str(),
        device.token.expose(),
        device.user.as_str(),
        device.device_id,
        users.saturating_sub(1),
    ])?;
    Ok(())
}

fn add_or_renew(
    transaction: &Transaction<'_>,
    values: &[&dyn ToSql],
    most: u32,
) -> rusqlite::Result<Option<Registered>> {
    if transaction.prepare_cached(RENEW)?.execute(values)? > 0 {
        return Ok(Some(Registered::Renewed));
    }
    let (user, now_ms) = (values[0], values[7]);
    let there: u32 = transaction.prepare_cached(COUNT)?.query_row([user, now_ms], |row| row.get(0))?;
    if there >= most {
        return Ok(None);
    }
    transaction.prepare_cached(ADD)?.execute(values)?;
    Ok(Some(Registered::New))
}

/// A row as a device. Somebody may have written the row by hand, so it is checked as a registration is.
pub(super) fn device(user: &User, row: &Row<'_>) -> Result<Device, Invalid> {
    let provider = Provider::parse(text(row, 3)?)?;
    Ok(Device {
        user: user.clone(),
        device_id: text(row, 0)?.to_owned(),
        token: Token::parse(provider, text(row, 1)?)?,
        platform: Platform::parse(text(row, 2)?)?,
        app: optional(row, 4)?.map(str::to_owned),
        environment: optional(row, 5)?.map(Environment::parse).transpose()?,
        registered_at_ms: row.get(6).map_err(|_| odd())?,
        expires_at_ms: row.get(7).map_err(|_| odd())?,
        alert: alert(row)?,
    })
}

fn alert(row: &Row<'_>) -> Result<Option<Box<Alert>>, Invalid> {
    let Some(token) = optional(row, 9)? else { return Ok(None) };
    let token = Token::parse(Provider::parse(text(row, 8)?)?, token)?;
    Ok(Some(Box::new(Alert { token, app: optional(row, 10)?.map(str::to_owned) })))
}

/// A column's text, read in place.
fn optional<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a str>, Invalid> {
    let value = row.get_ref(column).map_err(|_| odd())?;
    value.as_str_or_null().map_err(|_| odd())
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, Invalid> {
    optional(row, column)?.ok_or_else(odd)
}

fn odd() -> Invalid {
    Invalid::new("row", "has a column of an unexpected type")
}

pub(super) fn log_odd_row(path: &Path, why: &Invalid) {
    log::warn!("{}: a row of push_tokens is left out: {why}", path.display());
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn cannot_open(path: &Path, error: &std::io::Error) -> StoreError {
    let shown = path.display();
    StoreError::new(match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            format!(
                "{shown} cannot be written by this user; give it and its directory to the SIP server's user"
            )
        }
        std::io::ErrorKind::NotFound => {
            format!("{shown}: its directory does not exist; make it for the SIP server's user")
        }
        _ => format!("{shown} cannot be opened: {error}"),
    })
}

fn give_to_owner_of(directory: &Path, path: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::new(format!("{}: {error}", path.display()));
    let owner = std::fs::metadata(directory).map_err(failed)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match chown(Path::new(&name), Some(owner.uid()), Some(owner.gid())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(())
}
