//! Apps that hand in new tokens all the time, and the look at the end whether any is gone that a node has said yes to.
//!
//! It refuses to guess what became of a registration without an answer: either token is right then.

use super::clock::now_s;
use super::nodes::{Node, Nodes};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Apps that work at the same time; each has users of its own, so that nobody else registers for them.
const APPS: usize = 4;
/// Users of each.
const USERS: usize = 100;
/// Pause of one app between two registrations.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an app waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// What may be in the store for a user.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The last token that was answered with 2xx; empty is none.
    accepted: String,
    /// Those handed in since, without an answer or with another one.
    unsure: Vec<String>,
}

/// What came of the registrations.
#[derive(Debug, Default)]
pub struct Registered {
    /// Answered with 2xx.
    pub accepted: u64,
    /// By other statuses.
    pub refused: BTreeMap<u16, u64>,
    /// No answer.
    pub unanswered: u64,
    /// The longest time between two that were accepted, in seconds.
    pub longest_gap_s: f64,
    last_s: f64,
    known: BTreeMap<String, Known>,
}

/// What the nodes say at the end.
#[derive(Debug, Default)]
pub struct Found {
    /// Users whose token was accepted and who were looked up, at each node.
    pub looked_up: u64,
    /// User, node and what was found instead.
    pub lost: Vec<String>,
}

/// The REST API of the nodes.
pub struct Rest {
    agent: ureq::Agent,
    key: String,
    nodes: Nodes,
}

impl Rest {
    /// With this API key.
    pub fn new(nodes: &Nodes, key: &str) -> Rest {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_idle_connections(0)
            .build();
        Rest { agent: config.into(), key: format!("Bearer {key}"), nodes: nodes.clone() }
    }

    fn url(node: &Node, path: &str) -> String {
        format!("http://{}:{}{path}", node.ip, node.http_port)
    }

    /// The status; `None` where there was no answer.
    fn register(&self, node: usize, user: &str, token: &str) -> Option<u16> {
        let url = Rest::url(&self.nodes.0[node], "/api/register-push-token");
        let body = json!({ "user": user, "token": token, "platform": "ios" }).to_string();
        let sent = self.agent.post(url).header("Authorization", &self.key).content_type("application/json");
        sent.send(body).ok().map(|answer| answer.status().as_u16())
    }

    /// The newest token, or why there is none.
    fn lookup(&self, node: usize, user: &str) -> Result<String, String> {
        let url = Rest::url(&self.nodes.0[node], &format!("/api/user/{user}/push-token"));
        let asked = self.agent.get(url).header("Authorization", &self.key).call();
        let mut answer = asked.map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        let body: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        body["token"].as_str().map(str::to_owned).ok_or_else(|| format!("{} {body}", answer.status()))
    }

    /// Gives every user who is going to be called a token; all must be accepted.
    pub fn prepare(&self, users: usize, registered: &Mutex<Registered>) {
        for number in 0..users {
            let (user, token) = (format!("user{number}"), token(number, 0));
            self.register_one(number % self.nodes.0.len(), &user, &token, registered);
        }
        let registered = registered.lock().expect("nobody panics with it");
        assert_eq!(registered.accepted, users as u64, "{:?}", registered.refused);
    }

    fn register_one(&self, node: usize, user: &str, token: &str, registered: &Mutex<Registered>) {
        let status = self.register(node, user, token);
        registered.lock().expect("nobody panics with it").note(user, token, status);
    }

    /// Registers all the time until it is over.
    pub fn keep_registering(&self, registered: &Mutex<Registered>, is_over: &AtomicBool) {
        thread::scope(|scope| {
            for app in 0..APPS {
                scope.spawn(move || {
                    let mut number = 0;
                    while !is_over.load(Ordering::SeqCst) {
                        let user = format!("app{app}-{}", number % USERS);
                        let token = token(1_000_000 * (app + 1) + number % USERS, 1 + number / USERS);
                        self.register_one(number % self.nodes.0.len(), &user, &token, registered);
                        number += 1;
                        thread::sleep(PAUSE);
                    }
                });
            }
        });
    }

    /// Looks every user up at every node.
    pub fn check(&self, registered: &Registered) -> Found {
        let mut found = Found::default();
        for (user, known) in registered.known.iter().filter(|(_, known)| !known.accepted.is_empty()) {
            found.looked_up += 1;
            for (at, node) in self.nodes.0.iter().enumerate() {
                let said = self.lookup(at, user);
                let is_right = |token: &String| *token == known.accepted || known.unsure.contains(token);
                if !said.as_ref().is_ok_and(is_right) {
                    let said = said.map_or_else(|why| why, |_| "an older token".to_owned());
                    found.lost.push(format!("{user} at {}: {said}", node.letter));
                }
            }
        }
        found
    }
}

impl Registered {
    fn note(&mut self, user: &str, token: &str, status: Option<u16>) {
        let known = self.known.entry(user.to_owned()).or_default();
        match status {
            Some(200..300) => {
                (known.accepted, known.unsure) = (token.to_owned(), Vec::new());
                self.accepted += 1;
                let now = now_s();
                if self.last_s > 0.0 {
                    self.longest_gap_s = self.longest_gap_s.max(now - self.last_s);
                }
                self.last_s = now;
                return;
            }
            Some(status) => *self.refused.entry(status).or_default() += 1,
            None => self.unanswered += 1,
        }
        known.unsure.push(token.to_owned());
    }
}

/// 64 hexadecimal digits, other ones for each user and generation.
fn token(number: usize, generation: usize) -> String {
    format!("a{number:09x}{generation:06x}").repeat(4)
}
