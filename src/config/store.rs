//! `[store]`: where the tokens live, and how the engine of a store that several machines share is reached.
//!
//! It refuses names and passwords in the URL, since a URL is shown and logged.

use super::credential::{beside, read_ca};
use super::files::Files;
use super::load::in_range;
use super::{ConfigError, Secret, raw};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const URL: &str = "[store] url";

/// Where the tokens live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// In an SQLite file of this machine.
    Sqlite(PathBuf),
    /// In a Redis or Valkey that several machines share.
    Engine(Arc<EngineSettings>),
}

/// `[store]`, where its URL names a Redis or Valkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// What is behind the addresses.
    pub shape: EngineShape,
    /// Hosts and ports, at least one; of a Cluster or of Sentinels some of them are enough.
    pub hosts: Vec<(String, u16)>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// `ca_file`: trust these CA certificates (PEM) instead of the system's.
    pub ca_pem: Option<Arc<str>>,
    /// The database's number; always 0 in a Cluster.
    pub database: i64,
    /// `username`, for ACLs.
    pub username: Option<String>,
    /// `password_file`
    pub password: Option<Secret>,
    /// `sentinel_password_file`: where the Sentinels have one of their own.
    pub sentinel_password: Option<Secret>,
    /// `key_prefix`: what all our keys begin with.
    pub key_prefix: String,
    /// `lookup_ms`: how long a lookup may take.
    pub lookup: Duration,
    /// `write_ms`: how long a registration may take, the replicas' part included.
    pub write: Duration,
    /// `wait_replicas`: how many replicas must have a registration before it is accepted.
    pub wait_replicas: u32,
    /// `cache_users`: of how many users this machine remembers the tokens for a time when the engine is away; 0 is none.
    pub cache_users: usize,
    /// `cache_seconds`: how long it remembers them at most.
    pub cache: Duration,
}

/// What is behind the addresses of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineShape {
    /// One server.
    Single,
    /// Sentinels, which know who of the servers under this name is the master.
    Sentinel {
        /// The name.
        master: String,
    },
    /// A Cluster.
    Cluster,
}

impl StoreSettings {
    /// The store that a URL names, with the defaults of all other keys: for a command that was given no configuration.
    ///
    /// # Errors
    /// It is no URL of a store.
    pub fn of_url(url: &str) -> Result<StoreSettings, ConfigError> {
        let raw = raw::Store { url: url.to_owned(), ..raw::Store::default() };
        StoreSettings::from_raw(&Files::on_disk(Path::new("")), &raw)
    }

    /// The SQLite file; `None` where an engine is used.
    pub fn sqlite(&self) -> Option<&Path> {
        match self {
            StoreSettings::Sqlite(path) => Some(path),
            StoreSettings::Engine(_) => None,
        }
    }

    /// The engine; `None` where a file is used.
    pub fn engine(&self) -> Option<&Arc<EngineSettings>> {
        match self {
            StoreSettings::Sqlite(_) => None,
            StoreSettings::Engine(engine) => Some(engine),
        }
    }

    pub(super) fn from_raw(files: &Files, raw: &raw::Store) -> Result<StoreSettings, ConfigError> {
        let refuse = |why: &str| ConfigError::new(files.main(), URL, why);
        match raw.url.split_once(':') {
            Some(("sqlite", "")) | None => {
                Err(refuse("is neither sqlite:/path/to/tokens.db nor redis://host:port"))
            }
            Some(("sqlite", path)) => Ok(StoreSettings::Sqlite(beside(files.main(), Path::new(path)))),
            Some((scheme, rest)) => {
                let engine = Address::parse(scheme, rest).map_err(|why| refuse(&why))?;
                Ok(StoreSettings::Engine(Arc::new(EngineSettings::from_raw(files, raw, engine)?)))
            }
        }
    }

    /// Where this machine keeps what is its own: beside the SQLite file, or where `state_directory` says.
    pub(super) fn state_directory(&self, file: &Path, raw: &raw::Store) -> PathBuf {
        let named = raw.state_directory.as_deref().map(|named| beside(file, named));
        let own = || match self {
            StoreSettings::Sqlite(path) => path.parent().unwrap_or(Path::new("")).to_owned(),
            StoreSettings::Engine(_) => PathBuf::from("/var/lib/voip-push"),
        };
        named.unwrap_or_else(own)
    }
}

impl fmt::Display for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreSettings::Sqlite(path) => path.display().fmt(f),
            StoreSettings::Engine(engine) => engine.fmt(f),
        }
    }
}

/// The URL again, which holds no secret.
impl fmt::Display for EngineSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.tls { "s" } else { "" };
        let hosts = self.hosts.iter().map(|(host, port)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        match &self.shape {
            EngineShape::Cluster => write!(f, "redis{s}-cluster://{hosts}"),
            EngineShape::Single => write!(f, "redis{s}://{hosts}/{}", self.database),
            EngineShape::Sentinel { master } => {
                write!(f, "redis{s}-sentinel://{hosts}/{master}/{}", self.database)
            }
        }
    }
}

impl EngineSettings {
    fn from_raw(files: &Files, raw: &raw::Store, address: Address) -> Result<Self, ConfigError> {
        let file = files.main();
        let number = |key, value, range| in_range(file, key, value, range);
        let refuse = |key: &str, why: String| ConfigError::new(file, format!("[store] {key}"), why);
        let secret = |key: &str, named: &Option<PathBuf>| {
            let read = named.as_deref().map(|named| files.secret(named)).transpose();
            // An editor ends the last line, and no password ends so.
            let bare =
                |secret: Secret| Secret::new(secret.expose().trim_end_matches(['\r', '\n']).to_owned());
            read.map(|secret| secret.map(bare)).map_err(|why| refuse(key, why))
        };
        let is_prefix = |prefix: &str| {
            !prefix.is_empty()
                && prefix.len() <= 64
                && prefix.bytes().all(|b| b.is_ascii_graphic() && !b"{}".contains(&b))
        };
        if !is_prefix(&raw.key_prefix) {
            return Err(refuse(
                "key_prefix",
                "is not 1 to 64 printable characters without { and }".to_owned(),
            ));
        }
        let ca_pem = raw.ca_file.as_deref().map(|path| read_ca(files, path)).transpose();
        Ok(EngineSettings {
            ca_pem: ca_pem.map_err(|why| refuse("ca_file", why))?,
            username: raw.username.clone(),
            password: secret("password_file", &raw.password_file)?,
            sentinel_password: secret("sentinel_password_file", &raw.sentinel_password_file)?,
            key_prefix: raw.key_prefix.clone(),
            lookup: Duration::from_millis(number("[store] lookup_ms", raw.lookup_ms, 1..=5_000)?),
            write: Duration::from_millis(number("[store] write_ms", raw.write_ms, 10..=10_000)?),
            wait_replicas: number("[store] wait_replicas", raw.wait_replicas, 0..=9)? as u32,
            cache_users: number("[store] cache_users", raw.cache_users, 0..=10_000_000)? as usize,
            cache: Duration::from_secs(number("[store] cache_seconds", raw.cache_seconds, 1..=604_800)?),
            shape: address.shape,
            hosts: address.hosts,
            tls: address.tls,
            database: address.database,
        })
    }
}

/// What a URL says.
struct Address {
    shape: EngineShape,
    hosts: Vec<(String, u16)>,
    tls: bool,
    database: i64,
}

impl Address {
    fn parse(scheme: &str, rest: &str) -> Result<Address, String> {
        let (scheme, tls) = match scheme.strip_prefix("rediss") {
            Some(shape) => (shape, true),
            None => (scheme.strip_prefix("redis").unwrap_or("?"), false),
        };
        if !["", "-cluster", "-sentinel"].contains(&scheme) {
            return Err(
                "begins with none of sqlite:, redis://, rediss://, redis-sentinel://, rediss-sentinel://, \
                 redis-cluster:// and rediss-cluster://"
                    .to_owned(),
            );
        }
        let rest = rest.strip_prefix("//").ok_or("has no // after its scheme")?;
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        if hosts.contains('@') {
            return Err("has a name or a password in it; put them into username and password_file".to_owned());
        }
        let database = |text: &str| match text {
            "" => Ok(0),
            text => text
                .parse::<u16>()
                .map(i64::from)
                .map_err(|_| "names a database that is no number".to_owned()),
        };
        let (shape, port, database) = match scheme {
            "-cluster" if path.is_empty() => (EngineShape::Cluster, 6379, 0),
            "-cluster" => return Err("has a path; a Cluster has only database 0".to_owned()),
            "-sentinel" => {
                let (master, path) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err("names no master; give redis-sentinel://host,host/NAME".to_owned());
                }
                (EngineShape::Sentinel { master: master.to_owned() }, 26379, database(path)?)
            }
            _ => (EngineShape::Single, 6379, database(path)?),
        };
        let hosts = hosts.split(',').map(|text| host_and_port(text, port)).collect::<Result<Vec<_>, _>>()?;
        if shape == EngineShape::Single && hosts.len() > 1 {
            return Err("names several hosts; that is redis-cluster:// or redis-sentinel://".to_owned());
        }
        Ok(Address { shape, hosts, tls, database })
    }
}

fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let odd = || format!("has {text:?} where host or host:port is due");
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(odd);
    let (host, port) =
        match text.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(odd)).transpose()? {
            Some((host, "")) => (host, default_port),
            Some((host, rest)) => (host, port(rest.strip_prefix(':').ok_or_else(odd)?)?),
            None => match text.split_once(':') {
                Some((host, text)) => (host, port(text)?),
                None => (text, default_port),
            },
        };
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b)) {
        return Err(odd());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<String, String> {
        let (scheme, rest) = url.split_once(':').unwrap();
        let Address { shape, hosts, tls, database } = Address::parse(scheme, rest)?;
        Ok(format!("{shape:?} {hosts:?} {tls} {database}"))
    }

    #[test]
    fn every_shape_is_read() {
        assert_eq!(parsed("redis://db").unwrap(), r#"Single [("db", 6379)] false 0"#);
        assert_eq!(parsed("rediss://[::1]:7000/3").unwrap(), r#"Single [("::1", 7000)] true 3"#);
        let sentinel = parsed("redis-sentinel://a,b:5/calls/2").unwrap();
        assert_eq!(sentinel, r#"Sentinel { master: "calls" } [("a", 26379), ("b", 5)] false 2"#);
        assert_eq!(parsed("rediss-cluster://a:1,b").unwrap(), r#"Cluster [("a", 1), ("b", 6379)] true 0"#);
    }

    #[test]
    fn what_is_odd_is_refused_and_a_password_is_not_shown() {
        let refused = |url: &str, why: &str| {
            let said = parsed(url).unwrap_err();
            assert!(said.contains(why), "{url}: {said}");
        };
        refused("redis:db", "no //");
        refused("redis://", "where host");
        refused("redis://a:x", "where host");
        refused("redis://a:0", "where host");
        refused("redis://[::1", "where host");
        refused("redis://a b", "where host");
        refused("redis://a,b", "several hosts");
        refused("redis://a/x", "no number");
        refused("redis-cluster://a/1", "only database 0");
        refused("redis-sentinel://a", "names no master");
        refused("redis-else://a", "begins with none");
        refused("mysql://a", "begins with none");
        let said = parsed("redis://me:hunter2@a").unwrap_err();
        assert!(said.contains("password_file") && !said.contains("hunter2"), "{said}");
    }
}
