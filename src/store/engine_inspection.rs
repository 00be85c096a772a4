//! A look at the engine of a shared store by whoever wants to know how it stands.
//!
//! It refuses to change anything: no key is made, no setting is set.

use super::StoreError;
use crate::config::EngineSettings;
use crate::engine::{Engine, EngineError, FromRedisValue, Place, Value, cmd, from_redis_value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who only looks does not wait for long.
const WITHIN: Duration = Duration::from_secs(3);
/// Rounds of SCAN for the sample, and keys that are looked through in each.
const ROUNDS: usize = 20;
const ROUND: usize = 1000;
/// Keys whose memory is asked for, of each master.
const SAMPLE: usize = 200;

/// Commands that the store and the sender use: each is tried with arguments that it takes; `KEY` stands for a key of ours.
const COMMANDS: [&[&str]; 26] = [
    &["GET", "KEY"],
    &["SET", "KEY", "1"],
    &["HGETALL", "KEY"],
    &["HGET", "KEY", "a"],
    &["HSET", "KEY", "a", "1"],
    &["HDEL", "KEY", "a"],
    &["HLEN", "KEY"],
    &["PEXPIRE", "KEY", "1"],
    &["PERSIST", "KEY"],
    &["PTTL", "KEY"],
    &["ZADD", "KEY", "1", "a"],
    &["ZREM", "KEY", "a"],
    &["ZRANGEBYSCORE", "KEY", "0", "1"],
    &["XADD", "KEY", "*", "a", "1"],
    &["XREAD", "COUNT", "1", "STREAMS", "KEY", "0"],
    &["DEL", "KEY"],
    &["EVAL", "return 1", "1", "KEY"],
    &["EVALSHA", "0", "1", "KEY"],
    &["SCAN", "0"],
    &["TIME"],
    &["WAIT", "0", "1"],
    &["INFO"],
    &["CLUSTER", "SLOTS"],
    &["CLUSTER", "INFO"],
    &["ROLE"],
    &["PING"],
];

/// How an engine stands.
#[derive(Debug, Clone)]
pub struct EngineInspection {
    /// Its masters, or the one server that was named.
    pub nodes: Vec<NodeInspection>,
    /// What CLUSTER INFO says, where it is a Cluster.
    pub cluster: Option<BTreeMap<String, String>>,
    /// What stands under the layout's key, where there is one.
    pub marker: Option<String>,
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
        let nodes: Vec<NodeInspection> =
            masters.iter().map(|place| look.node(place)).collect::<Result<_, _>>()?;
        let first = masters.first().cloned().unwrap_or(Place::OfKey(Vec::new()));
        let cluster = look.text(&first, &["CLUSTER", "INFO"]).ok().map(|text| lines(&text));
        let marker = look.marker()?;
        let (memory, may_ask_memory) = look.memory(&masters);
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

    fn node(&mut self, place: &Place) -> Result<NodeInspection, EngineError> {
        let info = match self.text(place, &["INFO"]) {
            Ok(text) => lines(&text),
            Err(error) if error.is_away() => return Err(error),
            // Told among what is not allowed.
            Err(_) => BTreeMap::new(),
        };
        let name = match place {
            Place::Server(host, port) => format!("{host}:{port}"),
            Place::OfKey(_) => String::new(),
        };
        let saves = self.ask::<Vec<String>>(place, &["CONFIG", "GET", "save"]).ok();
        Ok(NodeInspection {
            name,
            info,
            saves: saves.and_then(|pair| pair.into_iter().nth(1)),
            ahead_ms: self.ahead_ms(place),
            refused: self.refused(place),
        })
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
        for words in COMMANDS {
            let words = words.iter().map(|word| if *word == "KEY" { key.as_str() } else { word });
            let asked: Vec<&str> = ["ACL", "DRYRUN", &user].into_iter().chain(words).collect();
            if self.text(place, &asked).ok()? != "OK" {
                let name = if asked[3] == "CLUSTER" { asked[3..5].join("|") } else { asked[3].to_owned() };
                refused.push(name.to_lowercase());
            }
        }
        Some((user, refused))
    }

    fn marker(&mut self) -> Result<Option<String>, EngineError> {
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

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
