//! When phones are to be asked to renew their registrations, kept beside their tokens, so that a restart forgets none.
//!
//! It refuses to name a phone whose registration has ended (RFC 8599 §5.5).

use crate::model::User;
use rusqlite::{Connection, TransactionBehavior, params};

/// A phone that is to be asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// Whose.
    pub user: User,
    /// Which of the user's.
    pub device_id: String,
    /// When its registration ends, in ms since 1970.
    pub ends_at_ms: i64,
    /// How often it was asked before.
    pub tries: u32,
}

const PLAN: &str =
    "INSERT INTO refreshes (user_id, device_id, due_at_ms, ends_at_ms, tries) VALUES (?1, ?2, ?3, ?4, 0)
    ON CONFLICT (user_id, device_id) DO UPDATE SET due_at_ms = ?3, ends_at_ms = ?4, tries = 0";
const DUE: &str = "SELECT user_id, device_id, ends_at_ms, tries FROM refreshes WHERE due_at_ms <= ?1
    ORDER BY due_at_ms LIMIT ?2";
const ONCE_MORE: &str =
    "UPDATE refreshes SET due_at_ms = ?3, tries = tries + 1 WHERE user_id = ?1 AND device_id = ?2";
const DONE: &str = "DELETE FROM refreshes WHERE user_id = ?1 AND device_id = ?2";
/// Asked so often, a phone that does not register is left alone.
pub(super) const MOST_TRIES: u32 = 2;

pub(super) fn plan(
    connection: &mut Connection,
    user: &User,
    device_id: &str,
    due_at_ms: i64,
    ends_at_ms: i64,
) -> rusqlite::Result<()> {
    let values = params![user.as_str(), device_id, due_at_ms, ends_at_ms];
    connection.prepare_cached(PLAN)?.execute(values).map(|_| ())
}

pub(super) fn take(
    connection: &mut Connection,
    now_ms: i64,
    retry_ms: i64,
    most: u32,
) -> rusqlite::Result<Vec<Refresh>> {
    // Mostly there is nothing, and then no lock is taken.
    if due(connection, now_ms, 1)?.is_empty() {
        return Ok(Vec::new());
    }
    take_due(connection, now_ms, retry_ms, most)
}

fn take_due(
    connection: &mut Connection,
    now_ms: i64,
    retry_ms: i64,
    most: u32,
) -> rusqlite::Result<Vec<Refresh>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut taken = due(&transaction, now_ms, most)?;
    for refresh in &taken {
        let key = (refresh.user.as_str(), &refresh.device_id);
        let is_last = refresh.tries + 1 >= MOST_TRIES || refresh.ends_at_ms <= now_ms;
        if is_last {
            transaction.prepare_cached(DONE)?.execute(params![key.0, key.1])?;
        } else {
            transaction.prepare_cached(ONCE_MORE)?.execute(params![key.0, key.1, now_ms + retry_ms])?;
        }
    }
    transaction.commit()?;
    taken.retain(|refresh| refresh.ends_at_ms > now_ms);
    Ok(taken)
}

fn due(connection: &Connection, now_ms: i64, most: u32) -> rusqlite::Result<Vec<Refresh>> {
    let mut statement = connection.prepare_cached(DUE)?;
    let rows = statement.query_map(params![now_ms, most], |row| {
        let (user, device_id): (String, String) = (row.get(0)?, row.get(1)?);
        Ok((user, device_id, row.get(2)?, row.get(3)?))
    })?;
    let row = |row: rusqlite::Result<(String, String, i64, u32)>| {
        let (user, device_id, ends_at_ms, tries) = row?;
        let user = User::parse(&user).map_err(|_| rusqlite::Error::InvalidQuery)?;
        Ok(Refresh { user, device_id, ends_at_ms, tries })
    };
    rows.map(row).collect()
}
