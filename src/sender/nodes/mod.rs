//! What the senders of several machines tell each other over the engine that keeps their tokens: words in one stream, and which of
//! them pushes a call that several have.
//!
//! It refuses to make the sender wait: what is asked and said goes through bounded queues to threads of its own, and where these
//! are full, or the engine is away, each machine does as if it were alone.

mod claims;
mod listen;
mod talk;
mod word;

pub(super) use word::Word;

use super::window::Mixed;
use crate::clock::since_1970;
use crate::config::{EngineSettings, Settings};
use crate::model::{Call, Push, folded};
use crate::process::{THREAD_NAME, spawn_quiet};
use crate::stats::{Counter, Stats};
use claims::Claim;
use std::cell::RefCell;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};
use talk::Said;
use tokio::sync::{Mutex, mpsc, oneshot};

/// The stream's key, after our prefix.
const STREAM: &str = "words";
/// What was said longer ago is of no use to anybody: no call waits for so long (`park_call`'s seconds are 120 at most).
const OLDEST: Duration = Duration::from_secs(120);
/// What was heard and waits for the sender.
const MOST_HEARD: usize = 1_024;
/// How much later than the engine's deadline an answer is given up.
const SLACK: Duration = Duration::from_millis(100);
/// So long it is known that another machine has pushed for a call; longer than one rings.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Most calls of which that is known.
const MOST_LOST: usize = 20_000;

/// What all threads know.
struct Common {
    settings: Arc<EngineSettings>,
    stats: Arc<Stats>,
    /// This sender's name, another one each time that it starts.
    me: Box<str>,
}

impl Common {
    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.settings.key_prefix)
    }
}

/// A word of another machine.
pub(super) struct Heard {
    word: Vec<u8>,
    /// How long ago it was said.
    pub age: Duration,
}

impl Heard {
    /// What it says; `None` where that is for another version to know.
    pub(super) fn word(&self) -> Option<Word> {
        Word::decode(&self.word)
    }
}

/// The other machines, as the sender of this one sees them.
pub(super) struct Nodes {
    common: Arc<Common>,
    words: SyncSender<Said>,
    claims: SyncSender<Claim>,
    heard: Mutex<mpsc::Receiver<Heard>>,
    /// For the thread that listens, while it does not yet.
    ear: RefCell<Option<mpsc::Sender<Heard>>>,
    lost: RefCell<Lost>,
}

/// The calls that another machine has pushed for, by a hash of user and Call-ID.
#[derive(Default)]
struct Lost {
    calls: HashMap<u64, Instant, Mixed>,
    in_order: VecDeque<(Instant, u64)>,
    hasher: RandomState,
}

impl Nodes {
    /// Begins to talk where the tokens are kept in an engine, which other machines may share. After the fork.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(settings: &Settings, stats: &Arc<Stats>) -> io::Result<Option<Nodes>> {
        let Some(engine) = settings.store.engine() else { return Ok(None) };
        let me = a_name().into();
        let common = Arc::new(Common { settings: Arc::clone(engine), stats: Arc::clone(stats), me });
        let (words, said) = sync_channel(talk::MOST_WAITING);
        let (claims, asked) = sync_channel(claims::MOST_WAITING);
        let (ear, heard) = mpsc::channel(MOST_HEARD);
        let [talks, asks] = [Arc::clone(&common), Arc::clone(&common)];
        spawn_quiet(&format!("{THREAD_NAME} says"), move || talk::talk(&talks, &said))?;
        spawn_quiet(&format!("{THREAD_NAME} asks"), move || claims::ask(&asks, &asked))?;
        let (heard, ear, lost) = (Mutex::new(heard), RefCell::new(Some(ear)), RefCell::default());
        Ok(Some(Nodes { common, words, claims, heard, ear, lost }))
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn listen(&self) -> io::Result<()> {
        let Some(ear) = self.ear.take() else { return Ok(()) };
        let common = Arc::clone(&self.common);
        spawn_quiet(&format!("{THREAD_NAME} hears"), move || listen::listen(&common, &ear)).map(drop)
    }

    /// The next word of another machine.
    pub(super) async fn hear(&self) -> Heard {
        match self.heard.lock().await.recv().await {
            Some(heard) => heard,
            // Nobody listens.
            None => std::future::pending().await,
        }
    }

    /// Tells all others. It is lost where too much waits to be told.
    pub(super) fn say(&self, word: &Word) {
        if self.words.try_send((Instant::now(), word.encode())).is_err() {
            self.common.stats.count(Counter::NodeWordsDropped);
        }
    }

    /// Whether this push is another machine's, which was first.
    pub(super) async fn is_pushed_elsewhere(&self, push: &Push) -> bool {
        let (answer, answered) = oneshot::channel();
        let claim = Claim { push: push.id(), ring: push.ring, answer };
        if self.claims.try_send(claim).is_err() {
            self.common.stats.count(Counter::NodeClaimsFailed);
            return false;
        }
        let patience = self.common.settings.lookup + SLACK;
        let is_ours =
            tokio::time::timeout(patience, answered).await.ok().and_then(Result::ok).unwrap_or(true);
        if !is_ours {
            self.common.stats.count(Counter::PushedElsewhere);
            self.lost.borrow_mut().note(&push.call);
        }
        !is_ours
    }

    /// Whether another machine has pushed for this call, to one of its devices at least.
    pub(super) fn has_pushed(&self, user: &str, call_id: &str) -> bool {
        self.lost.borrow().has(user, call_id)
    }
}

fn a_name() -> String {
    let time = since_1970();
    // The standard library's hasher is seeded by the system.
    format!("{:x}-{:x}-{:x}", RandomState::new().hash_one(0), std::process::id(), time.as_micros())
}

impl Lost {
    fn note(&mut self, call: &Call) {
        while self.in_order.front().is_some_and(|(at, _)| at.elapsed() > REMEMBERED)
            || self.in_order.len() >= MOST_LOST
        {
            self.in_order.pop_front().and_then(|(_, key)| self.calls.remove(&key));
        }
        let (key, now) = (self.key(call.callee.as_str(), &call.call_id), Instant::now());
        if self.calls.insert(key, now).is_none() {
            self.in_order.push_back((now, key));
        }
    }

    fn has(&self, user: &str, call_id: &str) -> bool {
        !self.calls.is_empty() && self.calls.contains_key(&self.key(user, call_id))
    }

    fn key(&self, user: &str, call_id: &str) -> u64 {
        self.hasher.hash_one((folded(user), call_id))
    }
}
