//! What the connections of one engine share while it works: how much time is left, and who has not answered lately.
//!
//! It refuses to outlive its turn: what it knows goes back to its engine, which may next be used on another thread.

use super::error::PAUSED;
use super::opening::Opening;
use redis::{ErrorKind, RedisError};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// So long a node is left alone that cannot be reached, so that not every call waits for it.
const PAUSE: Duration = Duration::from_millis(500);
/// One late answer may be chance; after the second one the node is left alone.
const LATE_ANSWERS: u32 = 2;

/// Host and port.
pub(super) type Address = (String, u16);

/// What is known of the nodes of an engine, kept from turn to turn.
#[derive(Default)]
pub(super) struct Nodes {
    troubled: HashMap<Address, Trouble>,
    /// Nodes of a Cluster that were seen; any of them can tell the others.
    seen: Vec<Address>,
    /// Connections that nobody has waited for long enough.
    opening: HashMap<Address, Opening>,
    is_before_fork: bool,
}

impl Nodes {
    /// Of an engine whose process will fork.
    pub(super) fn before_fork() -> Nodes {
        Nodes { is_before_fork: true, ..Nodes::default() }
    }
}

#[derive(Debug)]
struct Trouble {
    late: u32,
    until: Instant,
    /// What a node has said that let nobody in.
    refusal: Option<RedisError>,
}

struct Turn {
    ends: Instant,
    nodes: Nodes,
}

thread_local! {
    // The crate `redis` makes the connections of a Cluster itself and hands nothing through to them.
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// Does `work`, whose connections then know how long they have.
pub(super) fn take_turn<T>(nodes: &mut Nodes, within: Duration, work: impl FnOnce() -> T) -> T {
    /// Gives the nodes back, after a panic too.
    struct Back<'a>(&'a mut Nodes);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            if let Some(turn) = TURN.take() {
                *self.0 = turn.nodes;
            }
        }
    }
    let turn = Turn { ends: Instant::now() + within, nodes: std::mem::take(nodes) };
    let _back = Back(nodes);
    TURN.set(Some(turn));
    work()
}

fn with<T>(work: impl FnOnce(&mut Turn) -> T) -> Option<T> {
    TURN.with_borrow_mut(|turn| turn.as_mut().map(work))
}

/// The time that is left.
pub(super) fn left() -> Result<Duration, RedisError> {
    let left = with(|turn| turn.ends.saturating_duration_since(Instant::now())).unwrap_or_default();
    if left.is_zero() { Err(too_late()) } else { Ok(left) }
}

/// Does `work` in a part of the time that is left, so that somebody else can be asked afterwards.
pub(super) fn in_a_part<T>(parts: u32, work: impl FnOnce() -> T) -> T {
    let ends = with(|turn| {
        let left = turn.ends.saturating_duration_since(Instant::now());
        std::mem::replace(&mut turn.ends, Instant::now() + left / parts.max(1))
    });
    let done = work();
    with(|turn| turn.ends = ends.unwrap_or(turn.ends));
    done
}

pub(super) fn too_late() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

/// Fails where the node is left alone.
pub(super) fn check(address: &Address) -> Result<(), RedisError> {
    if !is_paused(address) {
        return Ok(());
    }
    let refusal =
        |turn: &mut Turn| turn.nodes.troubled.get(address).and_then(|trouble| trouble.refusal.clone());
    Err(with(refusal).flatten().unwrap_or_else(|| (ErrorKind::Io, PAUSED).into()))
}

pub(super) fn is_paused(address: &Address) -> bool {
    let paused = |turn: &mut Turn| {
        turn.nodes.troubled.get(address).is_some_and(|trouble| trouble.until > Instant::now())
    };
    with(paused).unwrap_or_default()
}

/// The node cannot be reached.
pub(super) fn failed(address: &Address) {
    pause(address, None);
}

/// The node does not let us in. Logging in costs both sides more than a lookup does, and the next attempt would end so, too.
pub(super) fn refused(address: &Address, refusal: &RedisError) {
    pause(address, Some(refusal.clone()));
}

fn pause(address: &Address, refusal: Option<RedisError>) {
    with(|turn| {
        let trouble = Trouble { late: LATE_ANSWERS, until: Instant::now() + PAUSE, refusal };
        turn.nodes.troubled.insert(address.clone(), trouble);
    });
}

/// The node has not answered in time.
pub(super) fn was_late(address: &Address) {
    with(|turn| {
        let now = Instant::now();
        let new = Trouble { late: 0, until: now, refusal: None };
        let trouble = turn.nodes.troubled.entry(address.clone()).or_insert(new);
        trouble.late += 1;
        if trouble.late >= LATE_ANSWERS {
            trouble.until = now + PAUSE;
        }
    });
}

/// The node has answered.
pub(super) fn answered(address: &Address) {
    with(|turn| {
        if !turn.nodes.troubled.is_empty() {
            turn.nodes.troubled.remove(address);
        }
    });
}

/// Whether no thread may be made.
pub(super) fn is_before_fork() -> bool {
    with(|turn| turn.nodes.is_before_fork).unwrap_or_default()
}

/// Whether a connection is being made, or was made meanwhile.
pub(super) fn is_opening(address: &Address) -> bool {
    with(|turn| turn.nodes.opening.contains_key(address)).unwrap_or_default()
}

/// The connection that is being made.
pub(super) fn take_opening(address: &Address) -> Option<Opening> {
    with(|turn| turn.nodes.opening.remove(address)).flatten()
}

/// Leaves it to whoever comes next.
pub(super) fn keep_opening(address: &Address, opening: Opening) {
    with(|turn| turn.nodes.opening.insert(address.clone(), opening));
}

/// The node is one of the Cluster's.
pub(super) fn saw(address: &Address) {
    with(|turn| {
        if !turn.nodes.seen.contains(address) {
            turn.nodes.seen.push(address.clone());
        }
    });
}

/// Whom to ask who is who: the configured ones and those that were seen, those that are left alone at the end.
pub(super) fn whom_to_ask(configured: &[Address]) -> Vec<Address> {
    let seen = with(|turn| turn.nodes.seen.clone()).unwrap_or_default();
    let mut all = configured.to_vec();
    all.extend(seen.into_iter().filter(|address| !configured.contains(address)));
    all.sort_by_key(is_paused);
    all
}
