//! Pushes by hand, one step at a time, for an administrator who wants to see each: the credentials, requests, connections and
//! judgements are the sender's own.
//!
//! It refuses to act on an answer: no token dies by it, and nothing is tried again.

use super::lane::{ATTEMPT_TIMEOUT, judge};
use super::plan::{Plan, Planned};
use super::policy::next_attempt;
use super::runtime;
use crate::clock::now_s;
use crate::config::{ConfigError, Origin, Settings};
use crate::http2::{Ask, Client, Patience, Reached, Unreached, reach};
use crate::model::{Device, Environment, Outcome, Provider, Push, parse_http_date};
use crate::provider::{Authorization, Blame};
use bytes::Bytes;
use http::{HeaderMap, Request};
use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

/// One credential of the configuration, ready to be tried.
pub struct Probe {
    planned: Planned,
}

/// A request and what came of it.
#[derive(Debug, Clone)]
pub struct Probed {
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The answer's body, as far as it was read.
    pub body: Bytes,
    /// What it means to the sender.
    pub outcome: Outcome,
    /// From the request to the answer; the first one's includes the connection.
    pub took: Duration,
    /// When the answer was there, in seconds since 1970.
    pub answered_at_s: i64,
}

impl Probed {
    /// A header's text; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// How many seconds the provider's clock is ahead of ours (negative: behind), where it has told its time.
    pub fn clock_ahead_s(&self) -> Option<i64> {
        parse_http_date(self.header("date")).map(|theirs| theirs - self.answered_at_s)
    }
}

/// What the sender would do after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The pause before it would try once more; `None` is never.
    pub again_after: Option<Duration>,
    /// What a rejection would be blamed on.
    pub blame: Blame,
}

impl Probe {
    /// One for each credential, in the order in which the sender tries them. Opens nothing.
    ///
    /// # Errors
    /// One line that names the key which cannot be sent with.
    pub fn all(settings: &Settings) -> Result<Vec<Probe>, ConfigError> {
        Ok(Plan::new(settings)?.into_each().map(|planned| Probe { planned }).collect())
    }

    /// Which provider it is for.
    pub fn provider(&self) -> Provider {
        self.planned.provider.provider()
    }

    /// The credential's name in logs: team and key id, or project.
    pub fn name(&self) -> String {
        self.planned.provider.name()
    }

    /// The host that it sends to.
    pub fn origin(&self) -> &Origin {
        &self.planned.origin
    }

    /// Which of Apple's environments it is for.
    pub fn environment(&self) -> Environment {
        self.planned.provider.environment()
    }

    /// Whether the sender would use it for this device.
    pub fn serves(&self, device: &Device) -> bool {
        self.planned.provider.serves(device)
    }

    /// The topic or project that a push to this device is for.
    pub fn app<'a>(&'a self, device: &'a Device) -> &'a str {
        self.planned.provider.app(device)
    }

    /// Goes the way to the provider: DNS, TCP, TLS. Blocks for four seconds at most.
    ///
    /// # Errors
    /// The system has no event loop to give.
    pub fn reach(&self) -> io::Result<Result<Reached, Unreached>> {
        let patience = Patience::default().connect;
        let Planned { origin, tls, .. } = &self.planned;
        Ok(LocalSet::new().block_on(&runtime()?, reach(origin, tls, patience)))
    }

    /// Makes or fetches the authorization; blocks for ten seconds at most.
    ///
    /// # Errors
    /// Why there is none.
    pub fn authorize(&self) -> Result<Authorization, Outcome> {
        self.planned.provider.authorize(now_s())
    }

    /// The request for a push.
    ///
    /// # Errors
    /// The push cannot be put into a request that the provider would take.
    pub fn request(&self, push: &Push, authorization: &Authorization) -> Result<Request<Bytes>, Outcome> {
        self.planned.provider.request(push, authorization)
    }

    /// The same request as one that reaches nobody; `None` where the provider has no such thing.
    pub fn dry(&self, request: &Request<Bytes>) -> Option<Request<Bytes>> {
        self.planned.provider.dry(request)
    }

    /// Sends requests, one after the other on one connection, each with the sender's patience.
    ///
    /// # Errors
    /// The system has no event loop to give.
    pub fn ask(&self, requests: &[Request<Bytes>]) -> io::Result<Vec<Probed>> {
        let Planned { provider, origin, tls } = &self.planned;
        let client = Client::new(origin.clone(), tls.clone());
        let each = async {
            let mut probed = Vec::new();
            for request in requests {
                let asked = Asked { request, headers: RefCell::default() };
                let start = Instant::now();
                let done = client.send(&asked, (start + ATTEMPT_TIMEOUT).into()).await;
                let (status, body) = match &done {
                    Ok(response) => (Some(response.status), response.body.clone()),
                    Err(_) => (None, Bytes::new()),
                };
                probed.push(Probed {
                    status,
                    headers: asked.headers.take(),
                    body,
                    outcome: judge(&**provider, done).outcome,
                    took: start.elapsed(),
                    answered_at_s: now_s(),
                });
            }
            probed
        };
        Ok(LocalSet::new().block_on(&runtime()?, each))
    }

    /// What the sender would do after this outcome of a first attempt, while the phone may still ring for `ring`.
    pub fn next(&self, outcome: &Outcome, ring: Duration) -> Next {
        let now = Instant::now();
        let due = next_attempt(outcome, 1, now, now + ring, 0.0);
        Next { again_after: due.map(|due| due - now), blame: self.planned.provider.blame(outcome.reason()) }
    }
}

/// A request that keeps the headers of its answer.
struct Asked<'a> {
    request: &'a Request<Bytes>,
    headers: RefCell<HeaderMap>,
}

impl Ask for Asked<'_> {
    fn request(&self) -> Result<Request<Bytes>, String> {
        Ok(self.request.clone())
    }

    fn answered(&self, headers: &HeaderMap) {
        self.headers.replace(headers.clone());
    }
}
