//! The switch of a file to SQLite's WAL mode, in which it stays.
//!
//! It refuses to fail where others switch the same new file at once.

use rusqlite::{Connection, ErrorCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// Switches the file to WAL mode, within so long. SQLite itself waits for nobody there: of two that hold the read lock and want to
/// write it lets one fail at once.
///
/// # Errors
/// It cannot be switched, or not within this time.
pub(super) fn switch_to_wal(connection: &Connection, within: Duration) -> rusqlite::Result<()> {
    let end = Instant::now() + within;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && Instant::now() < end => sleep(PAUSE),
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}
