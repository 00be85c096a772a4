//! A token store with as many users as a bench wants: `user0`, `user1`, … with one iPhone each.
//!
//! It refuses to go through the library for each row: a million registrations would take longer than the bench.

use crate::support::run;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use voip_push::service::Service;

/// The token of a user: 64 hexadecimal digits. Never zeros alone, which the simulator takes for nobody's.
pub fn token(number: usize) -> String {
    format!("f{number:07x}").repeat(8)
}

/// A registration that renews one, as a condition in a script.
pub fn renewal() -> String {
    format!("register_token(\"user0\", \"{}\", \"ios\")", token(0))
}

/// Makes the configuration's store as the library makes it and fills it through SQLite's own program.
pub fn fill(config: &Path, users: usize) -> PathBuf {
    let service = Service::prepare(config).unwrap_or_else(|error| panic!("{error}"));
    let path =
        service.settings().store.sqlite().expect("a configuration of the simulator is of SQLite").to_owned();
    let sql = format!(
        "DELETE FROM push_tokens;
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {users})
         INSERT INTO push_tokens (user_id, device_id, token, platform, provider, registered_at_ms)
         SELECT 'user' || i, '', replace(printf('%.8c', 'x'), 'x', printf('f%07x', i)), 'ios', 'apns', 1 FROM n;
         PRAGMA wal_checkpoint(TRUNCATE);"
    );
    run(Command::new("sqlite3").arg(&path).arg(sql), "sqlite3");
    path
}

/// The same users for SIPp, as fields: user and token.
pub fn for_sipp(users: usize) -> String {
    let mut text = String::from("RANDOM\n");
    for number in 0..users {
        let _ = writeln!(text, "user{number};{};", token(number));
    }
    text
}
