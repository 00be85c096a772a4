//! What happened, as counters in shared memory that every process of the server adds to and can read.
//!
//! It refuses labels without a bound: no user, token or call id ever becomes part of a name.

use crate::model::{Outcome, Provider};
use crate::process::SharedCounters;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::Ordering;

/// One thing that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Devices stored or renewed.
    Registered,
    /// Registrations and other requests refused for their arguments.
    BadArgument,
    /// Devices deleted because somebody asked for it.
    Deleted,
    /// Devices deleted because the provider said that the token is dead.
    Retired,
    /// Lookups that found a device.
    LookupFound,
    /// Lookups that found none.
    LookupEmpty,
    /// Calls that were pushed.
    Calls,
    /// Calls whose every device was refused, is dead, or did not answer.
    CallsFailed,
    /// Pushes that were refused since the queue was full.
    QueueFull,
    /// Attempts that were repeated.
    Retries,
    /// Times that the token store could not be reached.
    StoreFailed,
    /// Requests to the REST API without a valid key.
    RestUnauthorized,
    /// Panics that were caught; each one is a bug to report.
    Panics,
}

/// Name in Prometheus' way, and help, of each [`Counter`], in its order.
const PLAIN: [(Counter, &str, &str); 13] = [
    (Counter::Registered, "registered_total", "Devices stored or renewed"),
    (Counter::BadArgument, "bad_argument_total", "Requests refused for their arguments"),
    (Counter::Deleted, "deleted_total", "Devices deleted on request"),
    (Counter::Retired, "retired_total", "Devices deleted because their token is dead"),
    (Counter::LookupFound, "lookup_found_total", "Lookups that found a device"),
    (Counter::LookupEmpty, "lookup_empty_total", "Lookups that found no device"),
    (Counter::Calls, "calls_total", "Calls that were pushed"),
    (Counter::CallsFailed, "calls_failed_total", "Calls that no provider accepted a push for in time"),
    (Counter::QueueFull, "queue_full_total", "Pushes refused since the queue was full"),
    (Counter::Retries, "retries_total", "Attempts that were repeated"),
    (Counter::StoreFailed, "store_failed_total", "Times that the token store could not be reached"),
    (Counter::RestUnauthorized, "rest_unauthorized_total", "REST requests without a valid API key"),
    (Counter::Panics, "panics_total", "Panics caught; each one is a bug to report"),
];

/// The outcomes in the order of their counters; the names are [`Outcome::name`]'s.
const OUTCOMES: [&str; 6] =
    ["accepted", "token_gone", "rejected", "throttled", "unavailable", "credential_refused"];

/// All counters of one server.
pub struct Stats {
    counters: SharedCounters,
}

impl Stats {
    /// Makes the counters. Before the fork, or every process counts alone.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new() -> io::Result<Stats> {
        let len = PLAIN.len() + Provider::ALL.len() * OUTCOMES.len();
        Ok(Stats { counters: SharedCounters::new(len)? })
    }

    /// Counts one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts several.
    pub fn add(&self, counter: Counter, how_many: u64) {
        let at = PLAIN.iter().position(|(known, ..)| *known == counter);
        self.add_at(at.expect("every counter is in the table; a test checks it"), how_many);
    }

    /// Counts the end of one push.
    pub fn push_ended(&self, provider: Provider, outcome: &Outcome) {
        self.add_at(outcome_at(provider, outcome.name()), 1);
    }

    /// Every counter with its name (Prometheus' way, without the prefix `voip_push_`), its labels as
    /// Prometheus writes them (`{...}` or nothing), its help and its value.
    pub fn read(&self) -> Vec<Reading> {
        let value = |at: usize| self.counters.as_slice()[at].load(Ordering::Relaxed);
        let plain = PLAIN.iter().enumerate().map(|(at, (_, name, help))| Reading {
            name,
            labels: String::new(),
            help,
            value: value(at),
        });
        let pushes = Provider::ALL.into_iter().flat_map(|provider| OUTCOMES.map(|name| (provider, name)));
        let pushes = pushes.map(|(provider, outcome)| Reading {
            name: "pushes_total",
            labels: format!("{{provider=\"{}\",outcome=\"{outcome}\"}}", provider.as_str()),
            help: "Pushes by provider and how they ended",
            value: value(outcome_at(provider, outcome)),
        });
        plain.chain(pushes).collect()
    }

    /// All counters as Prometheus' text format, version 0.0.4.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        let mut last = "";
        for Reading { name, labels, help, value } in self.read() {
            if name != last {
                let _ = write!(text, "# HELP voip_push_{name} {help}\n# TYPE voip_push_{name} counter\n");
                last = name;
            }
            let _ = writeln!(text, "voip_push_{name}{labels} {value}");
        }
        text
    }

    fn add_at(&self, at: usize, how_many: u64) {
        self.counters.as_slice()[at].fetch_add(how_many, Ordering::Relaxed);
    }
}

/// One counter as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Name without the prefix.
    pub name: &'static str,
    /// Labels in braces, or nothing.
    pub labels: String,
    /// One line of help.
    pub help: &'static str,
    /// The count.
    pub value: u64,
}

fn outcome_at(provider: Provider, name: &str) -> usize {
    let row = Provider::ALL.iter().position(|known| *known == provider);
    let column = OUTCOMES.iter().position(|known| *known == name);
    let (Some(row), Some(column)) = (row, column) else {
        unreachable!("a test walks all providers and outcomes")
    };
    PLAIN.len() + row * OUTCOMES.len() + column
}
