//! A look at the engine of a shared store by whoever wants to know how it stands.
//!
//! It refuses to change anything: no key is made, no setting is set.

use super::StoreError;
use crate::clock::now_ms;
use crate::config::{EngineSettings, EngineShape};
use crate::engine::{Engine, EngineError, FromRedisValue, Place, Value, cmd, from_redis_value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Who only looks does not wait for long.
const WITHIN: Duration = Duration::from_secs(3);
/// Rounds of SCAN for the sample, and keys that are looked through in each.
const ROUNDS: usize = 20;
const ROUND: usize = 1000;
/// Keys whose memory is asked for, of each master.
const SAMPLE: usize = 200;

/// Commands that a SIP server needs, with arguments that they take; `KEY` stands for a key of ours.
const COMMANDS: [&[&str]; 21] = [
    &["GET", "KEY"],
    &["SET", "KEY", "1"],
    &["HGETALL", "KEY"],
    &["HGET", "KEY", "a"],
    &["HSET", "KEY", "a", "1"],
    &["HDEL", "KEY", "a"],
    &["PEXPIRE", "KEY", "1"],
    &["PERSIST", "KEY"],
    &["PTTL", "KEY"],
    &["ZADD", "KEY", "1", "a"],
    &["ZREM", "KEY", "a"],
    &["ZRANGEBYSCORE", "KEY", "0", "1"],
    &["XADD", "KEY", "*", "a", "1"],
    &["XREAD", "COUNT", "1", "STREAMS", "KEY", "0"],
    &["XRANGE", "KEY", "-", "+", "COUNT", "1"],
    &["XREVRANGE", "KEY", "+", "-", "COUNT", "1"],
    &["XLEN", "KEY"],
    &["EVAL", "return 1", "1", "KEY"],
    &["EVALSHA", "0", "1", "KEY"],
    &["TIME"],
    // Only where the settings ask for it, as the next two.
    &["WAIT", "0", "1"],
];
const OF_A_CLUSTER: &[&str] = &["CLUSTER", "SLOTS"];
const OF_SENTINELS: &[&str] = &["ROLE"];

fn needed(settings: &EngineSettings) -> Vec<&'static [&'static str]> {
    let mut needed = COMMANDS.to_vec();
    if settings.wait_replicas == 0 {
        needed.pop();
    }
    match settings.shape {
        EngineShape::Single => {}
        EngineShape::Sentinel { .. } => needed.push(OF_SENTINELS),
        EngineShape::Cluster => needed.push(OF_A_CLUSTER),
    }
    needed
}

/// What an operator can mend and would else notice at the first registration: a server that is a replica, and commands that our
/// user may not run.
///
/// # Errors
/// One line that says what to do; or the engine is away.
pub(super) fn prove_usable(settings: &Arc<EngineSettings>) -> Result<(), StoreError> {
    let mut look = Look { engine: Engine::before_fork(settings), prefix: &settings.key_prefix };
    let place = Place::OfKey(look.prefix.as_bytes().to_vec());
    if settings.shape == EngineShape::Single
        && let Ok(info) = look.text(&place, &["INFO", "replication"])
        && let Some((host, port)) = master_of(&lines(&info))
    {
        let why = format!(
            "is a replica, which takes no writes; its master is {host}:{port}, give that in its place"
        );
        return Err(StoreError::new(format!("{settings}: {why}")));
    }
    match look.refused(&place) {
        Some((user, refused)) if !refused.is_empty() => {
            let refused = refused.join(", ");
            let why = format!("user {user} may not run {refused}; docs/store-layout.md has the ACL line");
            Err(StoreError::new(format!("{settings}: {why}")))
        }
        _ => Ok(()),
    }
}

fn master_of(info: &BTreeMap<String, String>) -> Option<(&str, &str)> {
    let said = |name: &str| info.get(name).map(String::as_str);
    if said("role") == Some("slave") { said("master_host").zip(said("master_port")) } else { None }
}

/// How an engine stands.
#[derive(Debug, Clone)]
pub struct EngineInspection {
    /// Its masters, or the one server that was named.
    pub nodes: Vec<NodeInspection>,
    /// What CLUSTER INFO says, where it is a Cluster.
    pub cluster: Option<BTreeMap<String, String>>,
    /// What stands under the layout's key, where there is something, or why it cannot be read.
    pub marker: Result<Option<String>, StoreError>,
    /// How many devices were looked at, and bytes of memory for each of them; `None` where there are none.
    pub memory: Option<(u64, u64)>,
    /// Whether the memory could be asked for.
    pub may_ask_memory: bool,
}

/// How one server stands.
#[derive(Debug, Clone)]
pub struct NodeInspection {
    /// `host:port`, or nothing where there is one only.
    pub name: String,
    /// Why it cannot be reached, where that is so; nothing else is known then.
    pub away: Option<StoreError>,
    /// What INFO says, by name.
    pub info: BTreeMap<String, String>,
    /// When it writes its memory to the disk (`save`); `None` where our user may not ask.
    pub saves: Option<String>,
    /// Its clock before ours, in ms.
    pub ahead_ms: Option<i64>,
    /// The user that we are logged in as, and what he may not do of what we do; `None` where that cannot be asked.
    pub refused: Option<(String, Vec<String>)>,
}

impl EngineInspection {
    /// Looks at the engine, at each master of a Cluster.
    ///
    /// # Errors
    /// It cannot be reached, or does not let us in.
    pub fn of(settings: &Arc<EngineSettings>) -> Result<EngineInspection, StoreError> {
        let mut look = Look { engine: Engine::new(settings), prefix: &settings.key_prefix };
        // It also tells what is wrong with the login.
        let masters = look.engine.masters(WITHIN)?;
        let nodes: Vec<NodeInspection> = masters.iter().map(|place| look.node(place)).collect();
        if let [NodeInspection { away: Some(why), .. }] = &nodes[..] {
            return Err(why.clone());
        }
        let mut said = masters.iter().filter_map(|place| look.text(place, &["CLUSTER", "INFO"]).ok());
        let cluster = said.next().map(|text| lines(&text));
        let marker = look.marker();
        let reached: Vec<Place> = masters
            .iter()
            .zip(&nodes)
            .filter(|(_, node)| node.away.is_none())
            .map(|(place, _)| place.clone())
            .collect();
        let (memory, may_ask_memory) = look.memory(&reached);
        Ok(EngineInspection { nodes, cluster, marker, memory, may_ask_memory })
    }
}

impl NodeInspection {
    /// A line of INFO, or nothing.
    pub fn said(&self, name: &str) -> &str {
        self.info.get(name).map_or("", String::as_str)
    }

    /// A number of INFO; 0 where there is none.
    pub fn number(&self, name: &str) -> u64 {
        self.said(name).parse().unwrap_or_default()
    }
}

struct Look<'a> {
    engine: Engine,
    prefix: &'a str,
}

impl Look<'_> {
    fn ask<T: FromRedisValue>(&mut self, place: &Place, words: &[&str]) -> Result<T, EngineError> {
        let mut command = cmd(words.first().copied().unwrap_or("PING"));
        command.arg(words.get(1..).unwrap_or_default());
        let said = self.engine.run_at(place, &command, WITHIN)?;
        let odd = || {
            let why = format!("has answered {} in another way than it should", words[0]);
            EngineError::new(crate::engine::EngineTrouble::Foreign, self.engine.settings(), &why)
        };
        from_redis_value(said).map_err(|_| odd())
    }

    fn text(&mut self, place: &Place, words: &[&str]) -> Result<String, EngineError> {
        self.ask(place, words)
    }

    fn node(&mut self, place: &Place) -> NodeInspection {
        let name = match place {
            Place::Server(host, port) => format!("{host}:{port}"),
            Place::OfKey(_) => String::new(),
        };
        let info = match self.text(place, &["INFO"]) {
            Ok(text) => lines(&text),
            Err(error) if error.is_away() || self.marker().is_err() => {
                let (info, away) = (BTreeMap::new(), Some(StoreError::from(error)));
                return NodeInspection { name, away, info, saves: None, ahead_ms: None, refused: None };
            }
            Err(_) => BTreeMap::new(),
        };
        let saves = self.ask::<Vec<String>>(place, &["CONFIG", "GET", "save"]).ok();
        NodeInspection {
            name,
            away: None,
            info,
            saves: saves.and_then(|pair| pair.into_iter().nth(1)),
            ahead_ms: self.ahead_ms(place),
            refused: self.refused(place),
        }
    }

    fn ahead_ms(&mut self, place: &Place) -> Option<i64> {
        let before = now_ms();
        let (seconds, micros): (i64, i64) = self.ask(place, &["TIME"]).ok()?;
        let between = before + (now_ms() - before) / 2;
        Some(seconds * 1000 + micros / 1000 - between)
    }

    /// Redis 7 and Valkey tell what a user may do without doing it.
    fn refused(&mut self, place: &Place) -> Option<(String, Vec<String>)> {
        let user = self.text(place, &["ACL", "WHOAMI"]).ok()?;
        let key = format!("{}:check", self.prefix);
        let mut refused = Vec::new();
        for words in needed(self.engine.settings()) {
            let words = words.iter().map(|word| if *word == "KEY" { key.as_str() } else { word });
            let asked: Vec<&str> = ["ACL", "DRYRUN", &user].into_iter().chain(words).collect();
            if self.text(place, &asked).ok()? != "OK" {
                let name = if asked[3] == "CLUSTER" { asked[3..5].join("|") } else { asked[3].to_owned() };
                refused.push(name.to_lowercase());
            }
        }
        Some((user, refused))
    }

    fn marker(&mut self) -> Result<Option<String>, StoreError> {
        let get = cmd("GET").arg(format!("{}:layout", self.prefix)).to_owned();
        match self.engine.run(&get, WITHIN)? {
            Value::BulkString(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            _ => Ok(None),
        }
    }

    /// How many devices there are in a sample, and how much memory each takes with all that belongs to it.
    fn memory(&mut self, masters: &[Place]) -> (Option<(u64, u64)>, bool) {
        let mut sum = Sum::default();
        for place in masters {
            if self.sample(place, &mut sum).is_err() {
                return (None, false);
            }
        }
        (sum.per_device(), true)
    }

    fn sample(&mut self, place: &Place, sum: &mut Sum) -> Result<(), EngineError> {
        let (mut cursor, glob) = (String::from("0"), format!("{}:*", escaped(self.prefix)));
        let (round, mut asked) = (ROUND.to_string(), 0);
        for _ in 0..ROUNDS {
            let scan = ["SCAN", &cursor, "MATCH", &glob, "COUNT", &round];
            let (next, keys): (String, Vec<String>) = self.ask(place, &scan)?;
            for key in keys.iter().take(SAMPLE - asked) {
                self.weigh(place, key, sum)?;
                asked += 1;
            }
            cursor = next;
            if cursor == "0" || asked == SAMPLE {
                break;
            }
        }
        Ok(())
    }

    fn weigh(&mut self, place: &Place, key: &str, sum: &mut Sum) -> Result<(), EngineError> {
        let rest = key.strip_prefix(self.prefix).unwrap_or_default();
        let is_user = rest.starts_with(":{") && rest.contains("}:u:");
        if !is_user && !rest.starts_with(":t:") {
            return Ok(());
        }
        // It may be gone by now.
        let bytes = self.ask::<Option<u64>>(place, &["MEMORY", "USAGE", key])?.unwrap_or_default();
        if is_user {
            sum.devices += self.ask::<u64>(place, &["HLEN", key])?;
            sum.of_users += bytes;
        } else {
            sum.tokens += 1;
            sum.of_tokens += bytes;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Sum {
    devices: u64,
    of_users: u64,
    tokens: u64,
    of_tokens: u64,
}

impl Sum {
    fn per_device(&self) -> Option<(u64, u64)> {
        let of_user = self.of_users.checked_div(self.devices)?;
        Some((self.devices, of_user + self.of_tokens.checked_div(self.tokens).unwrap_or_default()))
    }
}

/// INFO and CLUSTER INFO: `name:value`.
fn lines(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// For a glob that means this very text.
fn escaped(text: &str) -> String {
    let special = |c| if "*?[]\\".contains(c) { vec!['\\', c] } else { vec![c] };
    text.chars().flat_map(special).collect()
}
