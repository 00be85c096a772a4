//! The shape of the SQLite file and how an older shape becomes today's.
//!
//! It refuses a file that another program or a newer voip_push made, rather than guess.

use super::StoreError;
use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Written into the file's header (`PRAGMA application_id`): "VPsh".
pub(super) const APPLICATION_ID: i32 = 0x5650_7368;

/// The schema that this version writes (`PRAGMA user_version`).
pub(super) const VERSION: i32 = 4;

/// The tokens, as of version 2. The first four columns are the seed's own; `registered_at_ms` decides between a rejection and a newer
/// registration; `environment` is what the app said, `proven_environment` what its provider was seen to accept.
const CREATE: &str = "
CREATE TABLE push_tokens (
    user_id          VARCHAR(255) NOT NULL,
    device_id        VARCHAR(255) NOT NULL DEFAULT '',
    token            TEXT         NOT NULL,
    platform         VARCHAR(10)  NOT NULL,
    provider         VARCHAR(10)  NOT NULL,
    app              VARCHAR(255),
    environment      VARCHAR(10),
    registered_at_ms INTEGER      NOT NULL,
    created_at       TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at       TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP,
    proven_environment VARCHAR(10),
    expires_at_ms    INTEGER,
    alert_provider   VARCHAR(10),
    alert_token      TEXT,
    alert_app        VARCHAR(255),
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;";

/// Of version 3: when phones are to be asked to renew their registrations.
const REFRESHES: &str = "
CREATE TABLE refreshes (
    user_id     VARCHAR(255) NOT NULL,
    device_id   VARCHAR(255) NOT NULL,
    due_at_ms   INTEGER      NOT NULL,
    ends_at_ms  INTEGER      NOT NULL,
    tries       INTEGER      NOT NULL,
    PRIMARY KEY (user_id, device_id)
) WITHOUT ROWID;
CREATE INDEX refreshes_by_time ON refreshes (due_at_ms);";

/// Up to version 3 a token had one owner; and those that expire are found without reading the others.
const INDICES: &str = "
CREATE UNIQUE INDEX push_tokens_by_token ON push_tokens (provider, token);
CREATE INDEX push_tokens_by_expiry ON push_tokens (expires_at_ms) WHERE expires_at_ms IS NOT NULL;";

/// Since version 4 several users may have one token, if the configuration says so; who may is decided where a token is registered.
const FROM_3: &str = "
DROP INDEX push_tokens_by_token;
CREATE INDEX push_tokens_by_token ON push_tokens (provider, token);";

/// From version 1, which let a token have many owners: the one who registered it last keeps it.
const FROM_1: &str = "
ALTER TABLE push_tokens ADD COLUMN proven_environment VARCHAR(10);
ALTER TABLE push_tokens ADD COLUMN expires_at_ms INTEGER;
ALTER TABLE push_tokens ADD COLUMN alert_provider VARCHAR(10);
ALTER TABLE push_tokens ADD COLUMN alert_token TEXT;
ALTER TABLE push_tokens ADD COLUMN alert_app VARCHAR(255);
UPDATE push_tokens SET token = lower(token) WHERE provider = 'apns' AND token <> lower(token);
CREATE INDEX push_tokens_of_version_1 ON push_tokens (provider, token);
DELETE FROM push_tokens AS older WHERE EXISTS (
    SELECT 1 FROM push_tokens AS newer WHERE newer.provider = older.provider AND newer.token = older.token
    AND (newer.registered_at_ms, newer.user_id, newer.device_id)
        > (older.registered_at_ms, older.user_id, older.device_id));
DROP INDEX push_tokens_of_version_1;";

/// From the table of the seed's document (one token per user, no version). `created_at` is UTC there, as SQLite's
/// CURRENT_TIMESTAMP is; a PushKit token is told by its hexadecimal digits. A token of several users stays the last one's.
const FROM_SEED: &str = "
INSERT OR IGNORE INTO push_tokens (user_id, token, platform, provider, registered_at_ms, created_at, updated_at)
SELECT user_id, CASE WHEN provider = 'apns' THEN lower(token) ELSE token END, platform, provider, registered_at_ms,
       coalesce(created_at, CURRENT_TIMESTAMP), CURRENT_TIMESTAMP
FROM (SELECT user_id, token, created_at, lower(platform) AS platform,
       CASE WHEN lower(platform) = 'ios' AND length(token) >= 64 AND token NOT GLOB '*[^0-9A-Fa-f]*' THEN 'apns' ELSE 'fcm' END
           AS provider,
       CAST(strftime('%s', coalesce(created_at, 'now')) AS INTEGER) * 1000 AS registered_at_ms
    FROM push_tokens_of_the_seed
    WHERE user_id IS NOT NULL AND token IS NOT NULL AND lower(platform) IN ('ios', 'android'))
ORDER BY registered_at_ms DESC;
DROP TABLE push_tokens_of_the_seed;";

/// Brings the file to today's schema. Several processes may do so at once: one does it, the others find it done.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    if version(connection)? == VERSION {
        return check_owner(connection);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    match version(&transaction)? {
        VERSION => return check_owner(&transaction),
        0 => make(&transaction)?,
        older @ 1..VERSION => renew(&transaction, older)?,
        newer => {
            return Err(StoreError::new(format!(
                "the token database has schema {newer}, this voip_push knows up to {VERSION}; install a newer one"
            )));
        }
    }
    transaction.commit().map_err(failed)
}

fn make(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let seed = table_count(transaction, "name = 'push_tokens'")? == 1;
    if !seed && table_count(transaction, "name NOT LIKE 'sqlite_%'")? > 0 {
        return Err(StoreError::new("the token database belongs to another program; name a file of its own"));
    }
    if seed {
        transaction
            .execute_batch("ALTER TABLE push_tokens RENAME TO push_tokens_of_the_seed")
            .map_err(failed)?;
    }
    transaction.execute_batch(CREATE).map_err(failed)?;
    transaction.execute_batch(INDICES).map_err(failed)?;
    transaction.execute_batch(REFRESHES).map_err(failed)?;
    if seed {
        transaction.execute_batch(FROM_SEED).map_err(failed)?;
    }
    transaction.execute_batch(FROM_3).map_err(failed)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(failed)
}

fn renew(transaction: &Transaction<'_>, from: i32) -> Result<(), StoreError> {
    check_owner(transaction)?;
    if from < 2 {
        transaction.execute_batch(FROM_1).map_err(failed)?;
        transaction.execute_batch(INDICES).map_err(failed)?;
    }
    if from < 3 {
        transaction.execute_batch(REFRESHES).map_err(failed)?;
    }
    transaction.execute_batch(FROM_3).map_err(failed)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(failed)
}

fn version(connection: &Connection) -> Result<i32, StoreError> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)
}

fn check_owner(connection: &Connection) -> Result<(), StoreError> {
    let owner: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    if owner == APPLICATION_ID {
        return Ok(());
    }
    Err(StoreError::new("the token database belongs to another program; name a file of its own"))
}

fn table_count(connection: &Connection, which: &str) -> Result<i64, StoreError> {
    let sql = format!("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND {which}");
    connection.query_row(&sql, [], |row| row.get(0)).map_err(failed)
}

/// SQLite's own words; they name tables and files, never values.
pub(super) fn failed(error: rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => {
            StoreError::new(format!("SQLite: {}", text.unwrap_or_else(|| code.to_string())))
        }
        other => StoreError::new(format!("SQLite: {other}")),
    }
}
