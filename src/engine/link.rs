//! The way to an engine of each shape: one server, the one that Sentinels name, or all of a Cluster.
//!
//! It refuses to choose, move or promote anybody: it asks who is who and goes there.

use super::address;
use super::node::Node;
use super::turn::{self, Address};
use crate::config::{EngineSettings, EngineShape};
use redis::cluster::{ClusterClient, ClusterConnection};
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::io::tcp::TcpSettings;
use redis::{Cmd, ConnectionLike, ErrorKind, RedisError, RedisResult, Value, cmd};

/// How often a Cluster may send a command elsewhere before that is an error.
const REDIRECTIONS: u32 = 3;
/// How long to wait, in ms, for a Cluster that is moving a slot.
const MOVING_MS: (u64, u64) = (1, 20);

pub(super) enum Link {
    One(Box<Node>),
    Cluster(Box<ClusterConnection<Node>>),
}

/// Where a command that names no key goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To the master that has this key.
    OfKey(Vec<u8>),
    /// To one server of the engine; [`Engine::masters`](super::Engine::masters) knows them.
    Server(String, u16),
}

impl Link {
    /// Within a turn.
    pub(super) fn open(settings: &EngineSettings) -> RedisResult<Link> {
        match &settings.shape {
            EngineShape::Single => one(settings, &settings.hosts[0]),
            EngineShape::Sentinel { master } => of_master(settings, master),
            EngineShape::Cluster => of_cluster(settings),
        }
    }

    pub(super) fn run(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Link::One(node) => node.req_command(command),
            Link::Cluster(cluster) => cluster.req_command(command),
        };
        answer.and_then(Value::extract_error)
    }

    pub(super) fn run_at(&mut self, place: &Place, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Link::One(node) => node.req_command(command),
            Link::Cluster(cluster) => {
                cluster.route_command(command, RoutingInfo::SingleNode(place.routing()))
            }
        };
        answer.and_then(Value::extract_error)
    }

    /// Who has which slots. Any node can say, and whom to ask is left to chance, so a node that is silent does not get all the time.
    pub(super) fn slots(&mut self) -> RedisResult<Value> {
        let slots = cmd("CLUSTER").arg("SLOTS").to_owned();
        let mut answer = Err(turn::too_late());
        for parts in [3, 2, 1] {
            answer = turn::in_a_part(parts, || self.run(&slots));
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// Commands that all go where the first one goes, in one go.
    pub(super) fn run_together(&mut self, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        let mut packed = Vec::new();
        commands.iter().for_each(|command| command.write_packed_command(&mut packed));
        let answers = match self {
            Link::One(node) => node.req_packed_commands(&packed, 0, commands.len()),
            Link::Cluster(cluster) => cluster.req_packed_commands(&packed, 0, commands.len()),
        }?;
        answers.into_iter().map(Value::extract_error).collect()
    }
}

fn one(settings: &EngineSettings, host: &Address) -> RedisResult<Link> {
    Ok(Link::One(Box::new(Node::new(address::of_data(settings, host)?)?)))
}

/// Asks one after the other until one has answered well.
fn first_of<T>(hosts: &[Address], mut ask: impl FnMut(&Address) -> RedisResult<T>) -> RedisResult<T> {
    let mut worst: Option<RedisError> = None;
    let mut left = hosts.len() as u32;
    for host in hosts {
        match turn::in_a_part(left, || ask(host)) {
            Ok(found) => return Ok(found),
            // Whoever said no knows more than whoever said nothing.
            Err(error) if worst.as_ref().is_none_or(RedisError::is_io_error) => worst = Some(error),
            Err(_) => {}
        }
        left -= 1;
    }
    Err(worst.unwrap_or_else(turn::too_late))
}

/// Which server a Sentinel names, if that one says so too (redis.io, "Guidelines for Redis clients with support for Sentinel").
fn of_master(settings: &EngineSettings, name: &str) -> RedisResult<Link> {
    first_of(&turn::whom_to_ask(&settings.hosts), |host| {
        let mut sentinel = Node::new(address::of_sentinel(settings, host)?)?;
        let who = cmd("SENTINEL").arg("get-master-addr-by-name").arg(name).to_owned();
        let no_master = || RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no master"));
        let answer: Option<Address> = redis::from_redis_value(sentinel.req_command(&who)?.extract_error()?)?;
        let mut node = Node::new(address::of_data(settings, &answer.ok_or_else(no_master)?)?)?;
        let role = node.req_command(&cmd("ROLE"))?.extract_error()?;
        if !is_master(&role) {
            return Err(no_master());
        }
        Ok(Link::One(Box::new(node)))
    })
}

fn is_master(role: &Value) -> bool {
    let Value::Array(parts) = role else { return false };
    matches!(parts.first(), Some(Value::BulkString(name)) if name == b"master")
}

fn of_cluster(settings: &EngineSettings) -> RedisResult<Link> {
    first_of(&turn::whom_to_ask(&settings.hosts), |host| {
        let mut builder = ClusterClient::builder([address::of_data(settings, host)?])
            .retries(REDIRECTIONS)
            .min_retry_wait(MOVING_MS.0)
            .max_retry_wait(MOVING_MS.1)
            .tcp_settings(TcpSettings::default().set_nodelay(true));
        if let Some(mode) = address::tls_mode(settings) {
            builder = builder.tls(mode);
        }
        if let Some(trusted) = address::certificates(settings) {
            builder = builder.certs(trusted);
        }
        // Documented nowhere, and the crate's one way to hand it connections that know their deadline.
        let cluster = builder.build()?.get_generic_connection::<Node>()?;
        // A node is asked again by its own rules, not by the crate's.
        cluster.set_auto_reconnect(false);
        Ok(Link::Cluster(Box::new(cluster)))
    })
}

impl Place {
    fn routing(&self) -> SingleNodeRoutingInfo {
        match self {
            Place::OfKey(key) => SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master)),
            Place::Server(host, port) => SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port },
        }
    }
}
