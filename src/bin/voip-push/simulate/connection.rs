//! The open connections: their numbers, their streams, and how the control API reaches them.
//!
//! It refuses to hold a connection open: an entry ends with the connection that made it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::apns::CurrentJwt;
use super::host::Host;

/// How a connection is asked to end.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// GOAWAY, the open streams may end.
    Graceful,
    /// GOAWAY, the open streams are lost.
    Abrupt,
    /// No GOAWAY, the TCP connection just goes.
    Close,
}

/// One connection from a client.
pub struct Connection {
    /// Number, from 1, over all hosts.
    pub number: u64,
    /// The host that accepted it.
    pub host: Host,
    /// The provider token that this connection uses (APNs).
    pub jwt: Mutex<Option<CurrentJwt>>,
    streams: AtomicUsize,
    proved: AtomicBool,
    commands: UnboundedSender<Command>,
}

impl Connection {
    /// A stream opens. False when it may not: APNs allows one stream until a provider token was accepted
    /// (Apple, "Sending notification requests to APNs"). [`Connection::stream_ends`] must follow anyway.
    pub fn stream_opens(&self, hosts: &Connections) -> bool {
        let open = self.streams.fetch_add(1, Relaxed) + 1;
        hosts.counts[self.host.index()].max_streams.fetch_max(open, Relaxed);
        open == 1 || self.proved.load(Relaxed)
    }

    /// A stream has got its answer, or will never get one.
    pub fn stream_ends(&self) {
        self.streams.fetch_sub(1, Relaxed);
    }

    /// A provider token was accepted and answered: from now on many streams.
    pub fn prove(&self) {
        if !self.proved.load(Relaxed) {
            self.proved.store(true, Relaxed);
        }
    }

    /// Asks the connection's task to end it; too late is fine.
    pub fn command(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

#[derive(Default)]
struct HostCounts {
    opened: AtomicU64,
    current: AtomicUsize,
    max_streams: AtomicUsize,
}

/// All connections of all hosts.
#[derive(Default)]
pub struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    last_number: AtomicU64,
    counts: [HostCounts; 3],
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a new connection.
    pub fn enter(&self, host: Host) -> (Arc<Connection>, UnboundedReceiver<Command>) {
        let (commands, inbox) = unbounded_channel();
        let connection = Arc::new(Connection {
            number: self.last_number.fetch_add(1, Relaxed) + 1,
            host,
            jwt: Mutex::new(None),
            streams: AtomicUsize::new(0),
            proved: AtomicBool::new(host == Host::Google),
            commands,
        });
        self.open().insert(connection.number, connection.clone());
        self.counts[host.index()].opened.fetch_add(1, Relaxed);
        self.counts[host.index()].current.fetch_add(1, Relaxed);
        (connection, inbox)
    }

    /// Strikes a connection off.
    pub fn leave(&self, connection: &Connection) {
        if self.open().remove(&connection.number).is_some() {
            self.counts[connection.host.index()].current.fetch_sub(1, Relaxed);
        }
    }

    /// Sends a command to all connections of a host, or of all hosts; says to how many.
    pub fn command(&self, host: Option<Host>, command: Command) -> usize {
        let open = self.open();
        let meant = open.values().filter(|connection| host.is_none_or(|host| connection.host == host));
        meant.map(|connection| connection.command(command)).count()
    }

    /// Connections opened and current, and the most streams at once, per host.
    pub fn counts(&self) -> Value {
        let of_host = |host: Host| {
            let counts = &self.counts[host.index()];
            json!({
                "opened": counts.opened.load(Relaxed), "current": counts.current.load(Relaxed),
                "max_concurrent_streams": counts.max_streams.load(Relaxed),
            })
        };
        let hosts = Host::ALL.into_iter().map(|host| (host.name().to_owned(), of_host(host)));
        Value::Object(Map::from_iter(hosts))
    }
}
