//! Opens connections, to a server that is known by its name on a thread of its own: nobody can hurry whoever looks a name up.
//!
//! It refuses to make a thread before a fork, and one for each who waits: there is one for a server, and whoever comes next takes the
//! connection that it has made.

use super::turn::{self, Address};
use crate::process::{THREAD_NAME, spawn_quiet};
use redis::{Client, Connection, ConnectionInfo, RedisError, RedisResult};
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// How long the thread waits for the server, once its name is known.
const CONNECT: Duration = Duration::from_secs(2);
/// What is said of a name that nobody has looked up in time.
pub(super) const LATE: &str =
    "its name was not looked up in time, or it was not reached then; does the name server answer?";

/// A connection that a thread is making.
pub(super) type Opening = Receiver<RedisResult<Connection>>;

/// A connection within the time that is left.
pub(super) fn open(info: &ConnectionInfo, address: &Address, left: Duration) -> RedisResult<Connection> {
    let client = Client::open(info.clone())?;
    if address.0.parse::<IpAddr>().is_ok() || turn::is_before_fork() {
        return client.get_connection_with_timeout(left);
    }
    let opening = match turn::take_opening(address) {
        Some(opening) => match opening.try_recv() {
            Ok(Ok(connection)) => return Ok(connection),
            // It has failed some time ago; now it may work.
            Ok(Err(_)) | Err(mpsc::TryRecvError::Disconnected) => begin(client, left)?,
            Err(mpsc::TryRecvError::Empty) => opening,
        },
        None => begin(client, left)?,
    };
    match opening.recv_timeout(left) {
        Ok(opened) => opened,
        Err(RecvTimeoutError::Timeout) => {
            turn::keep_opening(address, opening);
            Err(io::Error::new(io::ErrorKind::TimedOut, LATE).into())
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("the thread that connects has died").into())
        }
    }
}

fn begin(client: Client, left: Duration) -> RedisResult<Opening> {
    let (made, opening) = mpsc::sync_channel(1);
    let connect = move || {
        // Nobody may want it any more.
        let _ = made.send(client.get_connection_with_timeout(left.max(CONNECT)));
    };
    spawn_quiet(&format!("{THREAD_NAME} engine"), connect).map_err(RedisError::from)?;
    Ok(opening)
}
