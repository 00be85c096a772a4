//! The journal: every push that arrived, with what it got for an answer, for `GET /pushes`.
//!
//! It refuses to grow without end: the newest [`KEPT`] pushes stay, older ones go.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::host::Service;

/// How many pushes are kept.
pub const KEPT: usize = 100_000;

/// One push and its end.
#[derive(Clone)]
pub struct Push {
    /// Number in order of the answers, from 1, set by the journal.
    pub seq: u64,
    /// When the push arrived.
    pub time_unix_ms: u64,
    /// Which service it was sent to.
    pub service: Service,
    /// Number of the connection that carried it.
    pub connection: u64,
    /// Device token, registration token or Firebase installation id; empty when the request had none.
    pub token: String,
    /// Topic (APNs) or project (FCM).
    pub app: String,
    /// The request's headers but `authorization`, as `name: value` lines.
    pub headers: String,
    /// `iat` of the provider token (APNs), if it could be read.
    pub jwt_iat: Option<i64>,
    /// The request's body as it came.
    pub payload: Box<[u8]>,
    /// Status of the answer; none when there was no answer (reset, stall).
    pub status: Option<u16>,
    /// Apple's reason or Google's error code.
    pub reason: Option<String>,
    /// `apns-id` (APNs) or message name (FCM).
    pub id: String,
    /// A GOAWAY followed the answer.
    pub goaway: bool,
    /// The stream was reset instead of answered.
    pub reset: bool,
    /// The stream was left without an answer.
    pub stall: bool,
    /// The real service would have brought it to a phone.
    pub reached: bool,
    /// From arrival to answer.
    pub duration_ms: f64,
}

/// All pushes kept, and who waits for the next.
#[derive(Default)]
pub struct Journal {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Default)]
struct Inner {
    pushes: VecDeque<Arc<Push>>,
    last_seq: u64,
    by_status: BTreeMap<(&'static str, u16), u64>,
    /// What befell pushes besides a status.
    by_fault: BTreeMap<(&'static str, &'static str), u64>,
}

impl Journal {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files a push and wakes the long polls.
    pub fn add(&self, mut push: Push) -> Arc<Push> {
        let mut inner = self.inner();
        inner.last_seq += 1;
        push.seq = inner.last_seq;
        inner.count(push.service, push.status.unwrap_or(0));
        if inner.pushes.len() == KEPT {
            inner.pushes.pop_front();
        }
        let push = Arc::new(push);
        inner.pushes.push_back(push.clone());
        drop(inner);
        self.arrived.notify_waiters();
        push
    }

    /// Counts an answer that is not a push (OAuth2).
    pub fn count(&self, service: Service, status: u16) {
        self.inner().count(service, status);
    }

    /// Counts what befell a push of a service: goaway, reset, stall; unread and unheard, where the client gave up
    /// before its request was whole or before its answer.
    pub fn count_fault(&self, service: Service, fault: &'static str) {
        *self.inner().by_fault.entry((service.name(), fault)).or_default() += 1;
    }

    /// What befell pushes, by service.
    pub fn faults(&self) -> Value {
        let mut counts = Map::new();
        for ((service, fault), number) in &self.inner().by_fault {
            counts.entry(*service).or_insert_with(|| json!({}))[*fault] = json!(number);
        }
        Value::Object(counts)
    }

    /// The pushes after `seq` and the newest number; waits up to `wait` until there is at least one.
    pub async fn after(&self, seq: u64, wait: Duration) -> (Vec<Arc<Push>>, u64) {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let page = self.newer_than(seq);
            if !page.0.is_empty() || tokio::time::timeout_at(deadline, arrived).await.is_err() {
                return page;
            }
        }
    }

    fn newer_than(&self, seq: u64) -> (Vec<Arc<Push>>, u64) {
        let inner = self.inner();
        let from = inner.pushes.partition_point(|push| push.seq <= seq);
        (inner.pushes.range(from..).cloned().collect(), inner.last_seq)
    }

    /// Forgets the pushes; the numbers go on.
    pub fn clear(&self) {
        self.inner().pushes.clear();
    }

    /// Answers by service and status; `none` stands for no answer.
    pub fn counts(&self) -> Value {
        let mut counts = Map::new();
        for ((service, status), number) in &self.inner().by_status {
            let status = if *status == 0 { "none".to_owned() } else { status.to_string() };
            counts.entry(*service).or_insert_with(|| json!({}))[status] = json!(number);
        }
        Value::Object(counts)
    }
}

impl Inner {
    fn count(&mut self, service: Service, status: u16) {
        *self.by_status.entry((service.name(), status)).or_default() += 1;
    }
}

impl Push {
    /// The push as `GET /pushes` shows it.
    pub fn to_json(&self) -> Value {
        let payload = serde_json::from_slice(&self.payload).unwrap_or(Value::Null);
        let apns = self.service.is_apns();
        json!({
            "seq": self.seq, "time_unix_ms": self.time_unix_ms, "provider": self.service.provider(),
            "environment": self.service.environment(), "host": self.service.host().name(),
            "connection": self.connection, "token": self.token,
            (if apns { "topic" } else { "project" }): self.app,
            "headers": self.headers_json(), "jwt_iat": self.jwt_iat, "payload": payload,
            "status": self.status, "reason": self.reason,
            (if apns { "apns_id" } else { "name" }): self.id,
            "goaway": self.goaway, "reset": self.reset, "stall": self.stall, "reached": self.reached,
            "duration_ms": self.duration_ms,
        })
    }

    fn headers_json(&self) -> Value {
        let mut headers = Map::new();
        for (name, value) in self.headers.lines().filter_map(|line| line.split_once(": ")) {
            match headers.get_mut(name) {
                Some(Value::String(former)) => *former = format!("{former}, {value}"),
                _ => drop(headers.insert(name.to_owned(), value.into())),
            }
        }
        Value::Object(headers)
    }
}

/// The headers as `name: value` lines without `authorization`: what a push keeps must not hold credentials,
/// nor pin the connection's read buffer as a `HeaderMap` would.
pub fn flatten(headers: &HeaderMap) -> String {
    let mut text = String::with_capacity(256);
    for (name, value) in headers.iter().filter(|(name, _)| *name != http::header::AUTHORIZATION) {
        text.push_str(name.as_str());
        text.push_str(": ");
        text.push_str(&String::from_utf8_lossy(value.as_bytes()));
        text.push('\n');
    }
    text
}

/// Wall clock, milliseconds.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since `start`, with fractions.
pub fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_micros() as f64 / 1000.0
}
