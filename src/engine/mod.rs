//! Connections to a Redis or Valkey that several machines share: one server, a master that Sentinels name, or a Cluster.
//!
//! It refuses to know what is kept there: it runs commands and scripts, each with a deadline, and says clearly why one failed.

mod address;
mod error;
mod link;
mod masters;
mod node;
mod opening;
mod script;
mod turn;

pub use error::{EngineError, EngineTrouble};
pub use link::Place;
pub use masters::slot_of;
pub use redis::{Cmd, FromRedisValue, Value, cmd, from_redis_value};
pub use script::Script;

use crate::config::EngineSettings;
use link::Link;
use masters::Masters;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use turn::{Nodes, take_turn};

/// After an engine was asked who is who, it is not asked again for so long.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// One thread's way to an engine: nothing is opened before it is needed, and what broke is opened again by itself.
///
/// What is sent may be done twice: a connection that turns out to be closed is replaced, and the command goes out again.
/// A command that blocks (`XREAD BLOCK`) needs an `Engine` of its own and a deadline that is longer than it blocks.
pub struct Engine {
    settings: Arc<EngineSettings>,
    link: Option<Link>,
    nodes: Nodes,
    /// When the link was last opened, or was to be.
    opened: Option<Instant>,
    /// Why it could not be opened then.
    why_closed: Option<EngineError>,
    masters: Option<Masters>,
}

impl Engine {
    /// A way to this engine; nobody is asked yet.
    pub fn new(settings: &Arc<EngineSettings>) -> Engine {
        Engine {
            settings: Arc::clone(settings),
            link: None,
            nodes: Nodes::default(),
            opened: None,
            why_closed: None,
            masters: None,
        }
    }

    /// The same for a process that is going to fork, which may make no threads: it waits for as long as the system looks up a name.
    pub fn before_fork(settings: &Arc<EngineSettings>) -> Engine {
        Engine { nodes: Nodes::before_fork(), ..Engine::new(settings) }
    }

    /// Whose it is.
    pub fn settings(&self) -> &Arc<EngineSettings> {
        &self.settings
    }

    /// Runs a command where its key is, at most for so long, connecting included.
    ///
    /// # Errors
    /// It was not answered, or refused.
    pub fn run(&mut self, command: &Cmd, within: Duration) -> Result<Value, EngineError> {
        self.take_turn(within, |link, _| link.run(command))
    }

    /// Runs a command that names no key in a place of its own.
    ///
    /// # Errors
    /// It was not answered, or refused.
    pub fn run_at(&mut self, place: &Place, command: &Cmd, within: Duration) -> Result<Value, EngineError> {
        self.take_turn(within, |link, _| link.run_at(place, command))
    }

    /// Runs a script's call, with the script itself where the engine does not know it.
    ///
    /// # Errors
    /// It was not answered, or refused.
    pub fn call(&mut self, script: &Script, call: &Cmd, within: Duration) -> Result<Value, EngineError> {
        self.take_turn(within, |link, _| match link.run(call) {
            Err(error) if is_unknown_script(&error) => link.run(&script.in_full(call)),
            done => done,
        })
    }

    /// Runs many commands with few round trips; each command is sent with its key (its first one, where it has several), by which a
    /// Cluster is divided. A call of a script that the engine may not know yet comes with the script. The answers are in the order of
    /// the commands. Some commands may have been done where others failed.
    ///
    /// # Errors
    /// One of them was not answered, or refused.
    pub fn run_many(
        &mut self,
        commands: &[(&[u8], Cmd)],
        script: Option<&Script>,
        within: Duration,
    ) -> Result<Vec<Value>, EngineError> {
        self.know_masters(within)?;
        let masters = self.masters.take().unwrap_or_else(Masters::one);
        let done = self.take_turn(within, |link, _| run_divided(link, &masters, commands, script));
        self.masters = Some(masters);
        done
    }

    /// All places that have keys: every master of a Cluster, or the one server.
    ///
    /// # Errors
    /// They cannot be asked for.
    pub fn masters(&mut self, within: Duration) -> Result<Vec<Place>, EngineError> {
        self.masters = None;
        self.know_masters(within)?;
        Ok(self.masters.as_ref().map(|masters| masters.places.clone()).unwrap_or_default())
    }

    fn know_masters(&mut self, within: Duration) -> Result<(), EngineError> {
        if self.masters.is_none() {
            let found = self.take_turn(within, |link, settings| match link {
                Link::One(_) => Ok(Masters::one()),
                Link::Cluster(_) => Ok(Masters::of_slots(&link.slots()?, &settings.hosts[0].0)),
            })?;
            self.masters = Some(found);
        }
        Ok(())
    }

    /// Works on the open link, and once more on a new one where others may serve by now what these did not.
    fn take_turn<T>(
        &mut self,
        within: Duration,
        work: impl Fn(&mut Link, &EngineSettings) -> RedisResult<T>,
    ) -> Result<T, EngineError> {
        let settings = Arc::clone(&self.settings);
        let mut nodes = std::mem::take(&mut self.nodes);
        let done = take_turn(&mut nodes, within, || {
            let error = match work(self.link()?, &settings) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !self.close_for(&error) {
                return Err(EngineError::of(&settings, &error));
            }
            work(self.link()?, &settings).map_err(|error| {
                self.close_for(&error);
                EngineError::of(&settings, &error)
            })
        });
        self.nodes = nodes;
        done
    }

    fn link(&mut self) -> Result<&mut Link, EngineError> {
        let link = match self.link.take() {
            Some(link) => link,
            None => self.open()?,
        };
        Ok(self.link.insert(link))
    }

    fn open(&mut self) -> Result<Link, EngineError> {
        if let Some(why) = &self.why_closed
            && !self.may_ask()
        {
            return Err(why.clone());
        }
        self.opened = Some(Instant::now());
        self.masters = None;
        let opened = Link::open(&self.settings).map_err(|error| EngineError::of(&self.settings, &error));
        self.why_closed = opened.as_ref().err().cloned();
        opened
    }

    fn may_ask(&self) -> bool {
        self.opened.is_none_or(|opened| opened.elapsed() >= ASK_AGAIN)
    }

    /// Closes the link where the error says that somebody else may be the master by now. True where a new one may be tried at once.
    fn close_for(&mut self, error: &RedisError) -> bool {
        let is_elsewhere = error.is_io_error()
            || matches!(
                error.kind(),
                ErrorKind::ClusterConnectionNotFound
                    | ErrorKind::Server(
                        ServerErrorKind::ReadOnly
                            | ServerErrorKind::Moved
                            | ServerErrorKind::ClusterDown
                            | ServerErrorKind::MasterDown
                    )
            );
        let has_others = !matches!(self.settings.shape, crate::config::EngineShape::Single);
        if !is_elsewhere || !has_others || !self.may_ask() {
            return false;
        }
        self.link = None;
        self.masters = None;
        !error.is_timeout()
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Each master's share in one go; where one of a share fails, one by one, since what failed may just have moved.
fn run_divided(
    link: &mut Link,
    masters: &Masters,
    commands: &[(&[u8], Cmd)],
    script: Option<&Script>,
) -> RedisResult<Vec<Value>> {
    let mut answers: Vec<Value> = vec![Value::Nil; commands.len()];
    for place in 0..masters.places.len().max(1) {
        let share: Vec<usize> =
            (0..commands.len()).filter(|at| masters.of_key(commands[*at].0) == place).collect();
        if share.is_empty() {
            continue;
        }
        let together: Vec<&Cmd> = share.iter().map(|at| &commands[*at].1).collect();
        let found = match link.run_together(&together) {
            Err(error) if is_unknown_script(&error) => run_in_full(link, &together, script),
            done => done,
        };
        match found {
            Ok(found) => share.iter().zip(found).for_each(|(at, answer)| answers[*at] = answer),
            Err(error) if error.is_io_error() => return Err(error),
            Err(_) => {
                for at in share {
                    answers[at] = run_one(link, &commands[at], script)?;
                }
            }
        }
    }
    Ok(answers)
}

/// Calls of the script with the script itself, and the rest as it was.
fn run_in_full(link: &mut Link, commands: &[&Cmd], script: Option<&Script>) -> RedisResult<Vec<Value>> {
    let full = |command: &&Cmd| match script.filter(|script| script.is_called_by(command)) {
        Some(script) => script.in_full(command),
        None => (*command).clone(),
    };
    let all: Vec<Cmd> = commands.iter().map(full).collect();
    link.run_together(&all.iter().collect::<Vec<_>>())
}

fn run_one(link: &mut Link, (key, command): &(&[u8], Cmd), script: Option<&Script>) -> RedisResult<Value> {
    // Not all commands name it themselves.
    let place = Place::OfKey(key.to_vec());
    match (link.run_at(&place, command), script) {
        (Err(error), Some(script)) if is_unknown_script(&error) => {
            link.run_at(&place, &script.in_full(command))
        }
        (done, _) => done,
    }
}
