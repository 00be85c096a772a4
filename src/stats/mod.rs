//! What happened, as counters in shared memory that every process of the server adds to and can read.
//!
//! It refuses to grow without a bound: how many counters there are is known when the configuration is read, and a reload may add
//! some.

mod apps;
mod endpoints;
mod histogram;
mod history;
mod names;
mod rows;
mod timings;
mod wards;

pub use histogram::{BOUNDS_MS as WAKE_BOUNDS_MS, Timing};
pub use history::{Failure, Minute};
pub use names::{Counter, OUTCOMES};
pub use wards::Ward;

use crate::clock;
use crate::model::{Outcome, Provider};
use crate::process::SharedCounters;
use apps::Apps;
use endpoints::Endpoints;
use histogram::Histograms;
use history::History;
use names::{GROWING, TABLE};
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wards::Wards;

/// What there are numbers of, each with its provider.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Topics and projects that are pushed to.
    pub apps: Vec<(Provider, String)>,
    /// Names of credentials, as in the log.
    pub credentials: Vec<(Provider, String)>,
    /// Where the providers are reached, as `host:port`.
    pub endpoints: Vec<(Provider, String)>,
}

/// All counters of one server.
pub struct Stats {
    apps: Apps,
    wards: Wards,
    endpoints: Endpoints,
    /// When the certificate ends that this process serves HTTPS with; 0 where it does not.
    own_certificate_ends_at_s: AtomicU64,
    numbers: SharedCounters,
    histograms: Histograms,
    history: History,
}

/// One number as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Name without the prefix `voip_push_`; one that only grows ends in `_total`.
    pub name: &'static str,
    /// Labels as Prometheus writes them, in braces, or nothing.
    pub labels: String,
    /// One line of help.
    pub help: &'static str,
    /// The number.
    pub value: u64,
}

impl Reading {
    /// The name where there are no labels, as in a SIP server's statistics: `pushes_total{provider="apns",app="a.voip",outcome="accepted"}`
    /// is `pushes_apns_a_voip_accepted_total`, and the level `parked` is `parked_now`. Only letters, digits and `_`: Kamailio's
    /// xhttp_prom hands the names to Prometheus, which refuses all metrics of a server for one name with a point.
    pub fn flat_name(&self) -> String {
        let (stem, ending) = match self.name.strip_suffix("_total") {
            Some(stem) => (stem, "total"),
            None => (self.name, "now"),
        };
        let values = self.labels.split('"').skip(1).step_by(2);
        let words: Vec<&str> = std::iter::once(stem).chain(values).chain([ending]).collect();
        words.join("_").replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    }
}

impl Stats {
    /// Makes the counters. Before the fork, or every process counts alone.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new(counted: Counted) -> io::Result<Stats> {
        Ok(Stats {
            apps: Apps::new(counted.apps)?,
            wards: Wards::new(counted.credentials)?,
            endpoints: Endpoints::new(counted.endpoints)?,
            own_certificate_ends_at_s: AtomicU64::new(0),
            numbers: SharedCounters::new(TABLE.len())?,
            histograms: Histograms::new()?,
            history: History::new()?,
        })
    }

    /// Makes counters of further ones, behind the others; gives back those that there is no room for. Pushes to such apps are
    /// counted as other ones, and nothing is shown of such credentials and endpoints. By one process at a time.
    pub fn add_counted(&self, counted: Counted) -> Vec<String> {
        let Counted { apps, credentials, endpoints } = counted;
        [self.apps.add(apps), self.wards.add(credentials), self.endpoints.add(endpoints)].concat()
    }

    /// Counts one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts several, or raises a level.
    pub fn add(&self, counter: Counter, how_many: u64) {
        self.numbers.as_slice()[counter as usize].fetch_add(how_many, Ordering::Relaxed);
    }

    /// Lowers a level.
    pub fn lower(&self, level: Counter, how_many: u64) {
        self.numbers.as_slice()[level as usize].fetch_sub(how_many, Ordering::Relaxed);
    }

    /// Sets a level.
    pub fn set(&self, level: Counter, value: u64) {
        self.numbers.as_slice()[level as usize].store(value, Ordering::Relaxed);
    }

    /// How often something was counted, or a level as it stands.
    pub fn get(&self, counter: Counter) -> u64 {
        self.value(counter as usize)
    }

    /// Counts the end of one push: to which app, how, and how long after it was handed over.
    pub fn push_ended(&self, provider: Provider, app: &str, outcome: &Outcome, took: Duration) {
        let column = OUTCOMES.iter().position(|known| *known == outcome.name());
        let column = column.expect("a test walks all outcomes");
        self.apps.number_of(provider, app, column).fetch_add(1, Ordering::Relaxed);
        self.histograms.note(Timing::Push(provider), took);
        self.history.push_ended(provider, outcome, now_ms());
    }

    /// A phone has registered so long after the first push of its call was accepted.
    pub fn woke(&self, took: Duration) {
        self.histograms.note(Timing::WakeToRegister, took);
        self.history.woke(took, now_ms());
    }

    /// A call that has waited went out to a phone so long after the first of its pushes was accepted.
    pub fn invited(&self, took: Duration) {
        self.histograms.note(Timing::WakeToInvite, took);
    }

    /// The minutes of the last hour in which something happened, oldest first.
    pub fn last_hour(&self) -> Vec<Minute> {
        self.history.minutes(now_ms())
    }

    /// The last pushes that were not accepted, newest first.
    pub fn last_failures(&self) -> Vec<Failure> {
        self.history.failures()
    }

    /// A sender deletes no dead token of this credential until an administrator has spoken.
    pub fn ward_closed(&self, provider: Provider, credential: &str) {
        self.wards.close(provider, credential, now_ms());
    }

    /// A dead token of this credential is held back.
    pub fn ward_holds(&self, provider: Provider, credential: &str) {
        self.add(Counter::InQuarantine, 1);
        self.wards.hold(provider, credential);
    }

    /// A sender that had closed a credential's quarantine, and held so many, has opened it.
    pub fn ward_opened(&self, provider: Provider, credential: &str, held: usize) {
        self.lower(Counter::InQuarantine, held as u64);
        self.wards.open(provider, credential, held as u64);
    }

    /// Every credential's quarantine, open or closed.
    pub fn wards(&self) -> Vec<Ward> {
        self.wards.all().collect()
    }

    /// The certificate that a provider's server has shown ends at this time, in seconds since 1970.
    pub fn certificate_seen(&self, provider: Provider, endpoint: &str, ends_at_s: u64) {
        self.endpoints.seen(provider, endpoint, ends_at_s);
    }

    /// This process serves HTTPS, with a certificate that ends at this time, in seconds since 1970.
    pub fn serves_with(&self, ends_at_s: u64) {
        self.own_certificate_ends_at_s.store(ends_at_s, Ordering::Relaxed);
    }

    /// Every number but the histograms.
    pub fn read(&self) -> Vec<Reading> {
        let plain = TABLE.iter().enumerate().map(|(at, (_, name, help))| Reading {
            name,
            labels: String::new(),
            help,
            value: self.value(at),
        });
        let (growing, levels): (Vec<_>, Vec<_>) = plain.enumerate().partition(|(at, _)| *at < GROWING);
        let plain = |rows: Vec<(usize, Reading)>| rows.into_iter().map(|(_, reading)| reading);
        let by_name = self.wards.read().chain(self.read_certificates()).chain(self.read_pushes());
        plain(growing).chain(plain(levels)).chain(by_name).collect()
    }

    fn read_certificates(&self) -> impl Iterator<Item = Reading> {
        let own = Reading {
            name: "server_certificate_expiry_timestamp_seconds",
            labels: String::new(),
            help: "When the certificate ends that the REST API is served with",
            value: self.own_certificate_ends_at_s.load(Ordering::Relaxed),
        };
        self.endpoints.read().chain((own.value > 0).then_some(own))
    }

    fn read_pushes(&self) -> Vec<Reading> {
        let rows = self.apps.names().enumerate().flat_map(|(row, (provider, app))| {
            OUTCOMES.iter().enumerate().map(move |(column, outcome)| Reading {
                name: "pushes_total",
                labels: format!("{{provider=\"{}\",app=\"{app}\",outcome=\"{outcome}\"}}", provider.as_str()),
                help: "Pushes by provider, app and how they ended",
                value: self.apps.number(row, column).load(Ordering::Relaxed),
            })
        });
        rows.collect()
    }

    /// All numbers as Prometheus' text format, version 0.0.4.
    pub fn prometheus(&self) -> String {
        self.prometheus_with(self.read())
    }

    /// The same with other numbers beside the histograms.
    pub fn prometheus_with(&self, readings: Vec<Reading>) -> String {
        let mut text = String::new();
        let mut last = "";
        for Reading { name, labels, help, value } in readings {
            // A time that is not known yet is not 1970.
            if value == 0 && name.ends_with("_timestamp_seconds") {
                continue;
            }
            if name != last {
                let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
                let _ = write!(text, "# HELP voip_push_{name} {help}\n# TYPE voip_push_{name} {kind}\n");
                last = name;
            }
            let _ = writeln!(text, "voip_push_{name}{labels} {value}");
        }
        self.histograms.write(&mut text);
        text
    }

    fn value(&self, at: usize) -> u64 {
        self.numbers.as_slice()[at].load(Ordering::Relaxed)
    }
}

/// A text as the value of a label in Prometheus' format.
fn label_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}

/// Now, in ms since 1970.
fn now_ms() -> u64 {
    clock::now_ms().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> Stats {
        let apps = vec![(Provider::Apns, "org.example.phone.voip".to_owned())];
        Stats::new(Counted { apps, ..Counted::default() }).unwrap()
    }

    #[test]
    fn a_flat_name_has_no_labels() {
        let labels = "{provider=\"apns\",app=\"a.voip\",outcome=\"accepted\"}".to_owned();
        let push = Reading { name: "pushes_total", labels, help: "", value: 0 };
        assert_eq!(push.flat_name(), "pushes_apns_a_voip_accepted_total");
        let plain = Reading { name: "calls_total", labels: String::new(), help: "", value: 0 };
        assert_eq!(plain.flat_name(), "calls_total");
        let level = Reading { name: "parked", labels: String::new(), help: "", value: 0 };
        assert_eq!(level.flat_name(), "parked_now");
    }

    #[test]
    fn every_outcome_of_every_app_has_its_own_counter() {
        let stats = stats();
        let reason = String::new;
        let outcomes = [
            Outcome::Accepted,
            Outcome::TokenGone { since_ms: None },
            Outcome::Rejected { reason: reason() },
            Outcome::Throttled { retry_after: None, reason: reason() },
            Outcome::Unavailable { reason: reason() },
            Outcome::CredentialRefused { reason: reason() },
        ];
        for provider in Provider::ALL {
            for app in ["org.example.phone.voip", "unknown"] {
                outcomes.iter().for_each(|outcome| stats.push_ended(provider, app, outcome, Duration::ZERO));
            }
        }
        let pushes: Vec<_> =
            stats.read().into_iter().filter(|reading| reading.name == "pushes_total").collect();
        assert_eq!(pushes.iter().map(|reading| reading.value).sum::<u64>(), 24);
        let of = |labels: &str| pushes.iter().find(|reading| reading.labels == labels).unwrap().value;
        assert_eq!(of("{provider=\"apns\",app=\"org.example.phone.voip\",outcome=\"accepted\"}"), 1);
        assert_eq!(of("{provider=\"apns\",app=\"other\",outcome=\"accepted\"}"), 1);
        assert_eq!(of("{provider=\"fcm\",app=\"other\",outcome=\"token_gone\"}"), 2);
    }

    #[test]
    fn prometheus_reads_counters_levels_and_histograms() {
        let stats = stats();
        stats.set(Counter::Queued, 3);
        stats.lower(Counter::Queued, 1);
        for took_ms in [1, 7, 60_000] {
            stats.push_ended(Provider::Apns, "", &Outcome::Accepted, Duration::from_millis(took_ms));
        }
        let text = stats.prometheus();
        for line in [
            "# TYPE voip_push_queued gauge",
            "voip_push_queued 2",
            "# TYPE voip_push_pushes_total counter",
            "voip_push_push_seconds_bucket{provider=\"apns\",le=\"0.001\"} 1",
            "voip_push_push_seconds_bucket{provider=\"apns\",le=\"0.01\"} 2",
            "voip_push_push_seconds_bucket{provider=\"apns\",le=\"10\"} 2",
            "voip_push_push_seconds_bucket{provider=\"apns\",le=\"+Inf\"} 3",
            "voip_push_push_seconds_sum{provider=\"apns\"} 60.008",
            "voip_push_push_seconds_count{provider=\"fcm\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let names: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let mut unique = names.clone();
        unique.dedup();
        assert_eq!(names, unique, "a family is told twice");
    }
}
