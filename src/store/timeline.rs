//! The file of what happened to calls: SQLite beside the tokens, in a file of its own, so that no lookup of a token ever waits for it.
//!
//! It refuses to be precious: its writes are not forced to the disk, and a power cut may cost the last seconds.

use super::StoreError;
use super::schema::failed;
use super::wal::switch_to_wal;
use crate::model::{Event, Happening};
use rusqlite::{Connection, OpenFlags, Row, params};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How many old events are forgotten at once, so that a reader never waits for long.
const FORGET_AT_ONCE: u32 = 10_000;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS call_events (
        id INTEGER PRIMARY KEY,
        call_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        at_ms INTEGER NOT NULL,
        event TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS call_events_by_call ON call_events (call_id);
    CREATE INDEX IF NOT EXISTS call_events_by_user ON call_events (user_id, at_ms);
    CREATE INDEX IF NOT EXISTS call_events_by_time ON call_events (at_ms);";
const ADD: &str =
    "INSERT INTO call_events (call_id, user_id, at_ms, event, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
const OF_CALL: &str =
    "SELECT call_id, user_id, at_ms, event, detail FROM call_events WHERE call_id = ?1 ORDER BY at_ms, id";
const CALLS_OF_USER: &str = "SELECT call_id, max(at_ms) AS last_ms FROM call_events WHERE user_id = ?1
    GROUP BY call_id ORDER BY last_ms DESC LIMIT ?2";
const FORGET: &str =
    "DELETE FROM call_events WHERE id IN (SELECT id FROM call_events WHERE at_ms < ?1 LIMIT ?2)";

/// An open file of what happened.
pub struct TimelineFile {
    connection: Connection,
    path: PathBuf,
}

impl TimelineFile {
    /// Opens the file to write, and makes it where it is missing.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn open(path: &Path) -> Result<TimelineFile, StoreError> {
        let made = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path);
        made.map_err(|error| StoreError::new(format!("{}: {error}", path.display())))?;
        let file = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        file.named(switch_to_wal(&file.connection, BUSY_TIMEOUT))?;
        file.named(file.connection.pragma_update(None, "synchronous", "OFF"))?;
        file.named(file.connection.execute_batch(SCHEMA))?;
        Ok(file)
    }

    /// Opens the file to read; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open_to_read(path: &Path) -> Result<Option<TimelineFile>, StoreError> {
        if !path.is_file() {
            return Ok(None);
        }
        Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map(Some)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<TimelineFile, StoreError> {
        let named = |error| StoreError::new(format!("{}: {}", path.display(), failed(error)));
        let connection = Connection::open_with_flags(path, flags).map_err(named)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(named)?;
        Ok(TimelineFile { connection, path: path.to_owned() })
    }

    /// Adds events, all or none.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn add(&mut self, happenings: &[Happening]) -> Result<(), StoreError> {
        let added = (|| {
            let transaction = self.connection.transaction()?;
            let mut add = transaction.prepare_cached(ADD)?;
            for Happening { call_id, user, at_ms, event, detail } in happenings {
                add.execute(params![call_id, user, at_ms, event.as_str(), detail])?;
            }
            drop(add);
            transaction.commit()
        })();
        self.named(added)
    }

    /// What happened to a call, in its order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_call(&self, call_id: &str) -> Result<Vec<Happening>, StoreError> {
        let found = (|| {
            let mut statement = self.connection.prepare_cached(OF_CALL)?;
            let rows = statement.query_map([call_id], happening)?;
            rows.collect::<Result<Vec<_>, _>>()
        })();
        // An event of a newer version is passed over.
        Ok(self.named(found)?.into_iter().flatten().collect())
    }

    /// The Call-IDs of a user's last calls, the last one first, and when something last happened to each, in ms since 1970.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn calls_of(&self, user: &str, most: u32) -> Result<Vec<(String, i64)>, StoreError> {
        let found = (|| {
            let mut statement = self.connection.prepare_cached(CALLS_OF_USER)?;
            let rows = statement.query_map(params![user, most], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })();
        self.named(found)
    }

    /// Forgets some of what happened before then; false where all of it is forgotten.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget_before(&mut self, at_ms: i64) -> Result<bool, StoreError> {
        let forgotten = self.connection.execute(FORGET, params![at_ms, FORGET_AT_ONCE]);
        Ok(self.named(forgotten)? == FORGET_AT_ONCE as usize)
    }

    fn named<T>(&self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| StoreError::new(format!("{}: {}", self.path.display(), failed(error))))
    }
}

fn happening(row: &Row<'_>) -> rusqlite::Result<Option<Happening>> {
    let event: String = row.get(3)?;
    let Some(event) = Event::parse(&event) else { return Ok(None) };
    Ok(Some(Happening {
        call_id: row.get(0)?,
        user: row.get(1)?,
        at_ms: row.get(2)?,
        event,
        detail: row.get(4)?,
    }))
}
