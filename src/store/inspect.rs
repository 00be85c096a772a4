//! A look at a token database by whoever wants to know how it stands.
//!
//! It refuses to change anything: no file is made, no schema renewed, no journal mode set.

use super::schema::{APPLICATION_ID, VERSION, failed};
use super::{SqliteStore, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// The schema that this version writes.
pub const SCHEMA: i32 = VERSION;
/// Who only looks does not wait for long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeBy {
    /// A voip_push.
    Us,
    /// Nobody yet: it is empty.
    Nobody,
    /// The seed's document, whose table is taken over.
    Seed,
    /// Another program.
    Others,
}

/// How a token database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its schema; [`SCHEMA`] is ours.
    pub schema: i32,
    /// Who made it.
    pub made_by: MadeBy,
    /// `wal`, unless somebody has changed it.
    pub journal_mode: String,
    /// How many devices are registered; none where it is not ours.
    pub devices: i64,
    /// Why nothing can be written, where that is so.
    pub not_writable: Option<String>,
}

impl SqliteStore {
    /// Looks at the file of a token database, which must be there.
    ///
    /// # Errors
    /// It cannot be opened, or is no SQLite file.
    pub fn inspect(path: &Path) -> Result<Inspection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        look(&connection).map_err(failed)
    }
}

fn look(connection: &Connection) -> rusqlite::Result<Inspection> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (owner, schema) = (number("application_id")?, number("user_version")?);
    let made_by = if owner == APPLICATION_ID { MadeBy::Us } else { stranger(connection)? };
    let devices = match made_by {
        MadeBy::Us => connection.query_row("SELECT count(*) FROM push_tokens", [], |row| row.get(0))?,
        MadeBy::Nobody | MadeBy::Seed | MadeBy::Others => 0,
    };
    let writable = connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
    Ok(Inspection {
        schema,
        made_by,
        journal_mode: connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?,
        devices,
        not_writable: writable.map_err(|error| failed(error).to_string()).err(),
    })
}

/// As `schema::make` sees it.
fn stranger(connection: &Connection) -> rusqlite::Result<MadeBy> {
    let count = |which: &str| {
        let sql = format!("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND {which}");
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    Ok(match (count("name = 'push_tokens'")?, count("name NOT LIKE 'sqlite_%'")?) {
        (1, _) => MadeBy::Seed,
        (_, 0) => MadeBy::Nobody,
        _ => MadeBy::Others,
    })
}
