//! One connection to one server of an engine, made when it is first needed and again when it broke.
//!
//! It refuses to be used out of step: after a late or a broken answer it is dropped, so that no later command reads that answer.

use super::opening;
use super::turn::{self, Address};
use redis::cluster::Connect;
use redis::{Arg, Cmd, Connection, ConnectionAddr, ConnectionInfo, ConnectionLike};
use redis::{ErrorKind, IntoConnectionInfo, RedisError, RedisResult, Value};
use std::time::Duration;

/// How far the time that a connection is told to wait may be from the time that is left, in parts of it.
const CLOSE_ENOUGH: u32 = 8;

pub(super) struct Node {
    info: ConnectionInfo,
    address: Address,
    connection: Option<Connection>,
    /// What the connection was told last; telling it again costs two calls of the system.
    waits: Duration,
}

impl Node {
    pub(super) fn new(info: ConnectionInfo) -> RedisResult<Node> {
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                (host.clone(), *port)
            }
            _ => return Err((ErrorKind::InvalidClientConfig, "not a TCP address").into()),
        };
        Ok(Node { info, address, connection: None, waits: Duration::ZERO })
    }

    /// A connection that the server has closed meanwhile (its `timeout`, a restart) is replaced, and the command goes out again:
    /// what we send may be done twice.
    fn with<T>(&mut self, work: impl Fn(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let was_open = self.connection.is_some() || turn::is_opening(&self.address);
        match self.attempt(&work) {
            Err(error) if was_open && error.is_connection_dropped() => self.attempt(&work),
            done => done,
        }
    }

    fn attempt<T>(&mut self, work: impl Fn(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let left = turn::left()?;
        let done = work(self.ready(left)?);
        match &done {
            Err(error) if is_broken(error) => {
                self.connection = None;
                if error.is_timeout() {
                    turn::was_late(&self.address);
                }
            }
            // Whoever says no has answered.
            Ok(_) | Err(_) => turn::answered(&self.address),
        }
        done
    }

    fn ready(&mut self, left: Duration) -> RedisResult<&mut Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.waits = Duration::ZERO;
                self.open(left)?
            }
        };
        if self.waits.abs_diff(left) > left / CLOSE_ENOUGH {
            connection.set_read_timeout(Some(left))?;
            connection.set_write_timeout(Some(left))?;
            self.waits = left;
        }
        Ok(self.connection.insert(connection))
    }

    fn open(&self, left: Duration) -> RedisResult<Connection> {
        turn::check(&self.address)?;
        let opened = opening::open(&self.info, &self.address, left);
        opened.inspect_err(|error| match is_broken(error) {
            true => turn::failed(&self.address),
            false => turn::refused(&self.address, error),
        })
    }
}

/// Whether the next answer on this connection would not be the one to the next command.
fn is_broken(error: &RedisError) -> bool {
    error.is_io_error() || error.kind() == ErrorKind::Parse
}

impl ConnectionLike for Node {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        self.with(|connection| connection.req_packed_command(command))
    }

    fn req_packed_commands(
        &mut self,
        commands: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        self.with(|connection| connection.req_packed_commands(commands, offset, count))
    }

    /// A Cluster's connection greets every node that it hears of, replicas too. Here that is not worth a connection.
    fn req_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        if matches!(command.args_iter().next(), Some(Arg::Simple(b"PING"))) {
            return Ok(Value::SimpleString("PONG".to_owned()));
        }
        self.with(|connection| connection.req_command(command))
    }

    fn get_db(&self) -> i64 {
        self.info.redis_settings().db()
    }

    fn check_connection(&mut self) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        true
    }
}

impl Connect for Node {
    /// Connects to nobody yet; see above.
    fn connect<T: IntoConnectionInfo>(info: T, _: Option<Duration>) -> RedisResult<Self> {
        let node = Node::new(info.into_connection_info()?)?;
        turn::saw(&node.address);
        Ok(node)
    }

    fn send_packed_command(&mut self, _: &[u8]) -> RedisResult<()> {
        Err(one_at_a_time())
    }

    fn recv_response(&mut self) -> RedisResult<Value> {
        Err(one_at_a_time())
    }

    /// The turn says how long it may take.
    fn set_write_timeout(&self, _: Option<Duration>) -> RedisResult<()> {
        Ok(())
    }

    /// The turn says how long it may take.
    fn set_read_timeout(&self, _: Option<Duration>) -> RedisResult<()> {
        Ok(())
    }
}

/// The crate's own pipelines over a Cluster are not used here.
fn one_at_a_time() -> RedisError {
    (ErrorKind::Client, "commands and answers go together").into()
}
