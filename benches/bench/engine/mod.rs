//! The token store on a Redis: memory per token, registrations a second, and what it costs the engine.
//!
//! It refuses a Redis that was there before: each is its own, on loopback, and keeps nothing.

pub mod cost;
pub mod memory;
pub mod registrations;

use crate::Effort;
use crate::machine;
use crate::report::Report;
use crate::support::Scratch;
use crate::support::engine::{Server, Setup};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use voip_push::config::{EngineSettings, StoreSettings};
use voip_push::model::{Extra, NewDevice};
use voip_push::service::{ToImport, TokenStore, open_store, prepare_store};

/// Tokens and registrations; [`cost`] is a section of its own.
pub fn measure(effort: Effort, report: &mut Report) {
    memory::measure(effort, report);
    registrations::measure(effort, report);
}

/// A single Redis, on the CPU of what stands around the subject.
pub fn single(scratch: &Scratch) -> Server {
    machine::on_cpu(machine::surroundings(), || Server::start(scratch, &Setup::default()))
}

/// Microseconds of CPU that a server has used so far, by its own account.
pub fn cpu_us(server: &Server) -> f64 {
    let info = server.ask(&["INFO", "cpu"]);
    let of = |name: &str| {
        let line = info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|text| text.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name} is not in {info}"))
    };
    (of("used_cpu_user") + of("used_cpu_sys")) * 1e6
}

/// What a server's data take, in bytes.
pub fn used_memory(server: &Server) -> f64 {
    let info = server.ask(&["INFO", "memory"]);
    let line = info.lines().find_map(|line| line.trim().strip_prefix("used_memory:"));
    line.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("used_memory is not in {info}"))
}

/// Opens a store on an engine.
pub fn open(settings: EngineSettings) -> Result<Box<dyn TokenStore>, String> {
    let store = StoreSettings::Engine(Arc::new(settings));
    prepare_store(&store).and_then(|()| open_store(&store)).map_err(|error| error.to_string())
}

/// The users of [`crate::tokens`], in batches as `voip-push token import` writes them.
pub fn fill(store: &mut dyn TokenStore, users: usize) -> Result<(), String> {
    let one = |number: usize| {
        let user = format!("user{number}");
        let device = NewDevice::parse(&user, &crate::tokens::token(number), "ios", &Extra::default());
        ToImport { device: device.unwrap(), registered_at_ms: 1, expires_at_ms: None }
    };
    for first in (0..users).step_by(500) {
        let batch: Vec<ToImport> = (first..users.min(first + 500)).map(one).collect();
        store.import(&batch).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A configuration with another store, beside it.
pub fn with_store(config: &Path, name: &str, settings: &EngineSettings) -> PathBuf {
    let text = fs::read_to_string(config).unwrap();
    let is_url = |line: &&str| line.starts_with("url = \"sqlite:");
    let old = text.lines().find(is_url).expect("the simulator's store is SQLite");
    let wait = settings.wait_replicas;
    let new = format!("url = \"{settings}\"\nlookup_ms = 5000\nwrite_ms = 10000\nwait_replicas = {wait}");
    let path = config.with_file_name(name);
    fs::write(&path, text.replacen(old, &new, 1)).unwrap();
    path
}
