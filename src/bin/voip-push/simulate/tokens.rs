//! The tokens that the control API has declared: whose they are, whether they live, how they behave.
//!
//! It refuses to judge tokens that nobody declared; `--known-only` decides about those.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use super::behaviour::{Behaviour, Behaviours};
use super::journal::unix_ms;

/// A token as `PUT /tokens/{token}` declares it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Declaration {
    state: State,
    dead_since_ms: Option<u64>,
    environment: Option<Environment>,
    topics: Option<Vec<String>>,
    project: Option<String>,
    behaviours: Vec<Behaviour>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Registered,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Environment {
    Production,
    Sandbox,
}

impl Environment {
    fn name(self) -> &'static str {
        match self {
            Environment::Production => "production",
            Environment::Sandbox => "sandbox",
        }
    }
}

#[derive(Debug)]
struct Token {
    dead_since_ms: Option<u64>,
    environment: Option<Environment>,
    topics: Option<Vec<String>>,
    project: Option<String>,
    behaviours: Behaviours,
}

/// What a token says to a push whose request was in order.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Nobody declared it.
    Unknown,
    /// Declared, and this push may go there.
    Known,
    /// Declared for the other APNs environment.
    OtherEnvironment,
    /// Declared for other topics.
    OtherTopic,
    /// Declared for another Firebase project.
    OtherProject,
}

/// All declared tokens.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<String, Token>>);

/// APNs tokens are hexadecimal and compare without case; FCM's compare byte by byte.
fn key(token: &str) -> String {
    if token.bytes().all(|b| b.is_ascii_hexdigit()) { token.to_ascii_lowercase() } else { token.to_owned() }
}

impl Tokens {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Token>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares a token, or declares it anew.
    pub fn declare(&self, token: &str, declaration: Declaration) -> Result<(), String> {
        declaration.behaviours.iter().try_for_each(Behaviour::check)?;
        let dead = declaration.state == State::Dead;
        let since = declaration.dead_since_ms.unwrap_or_else(unix_ms);
        let declared = Token {
            dead_since_ms: dead.then_some(since),
            environment: declaration.environment,
            topics: declaration.topics,
            project: declaration.project,
            behaviours: Behaviours::new(declaration.behaviours),
        };
        self.lock().insert(key(token), declared);
        Ok(())
    }

    /// Forgets a token; false when it was not declared.
    pub fn forget(&self, token: &str) -> bool {
        self.lock().remove(&key(token)).is_some()
    }

    /// A declared token as the control API shows it.
    pub fn show(&self, token: &str) -> Option<Value> {
        let tokens = self.lock();
        let found = tokens.get(&key(token))?;
        Some(json!({
            "token": token,
            "state": if found.dead_since_ms.is_some() { "dead" } else { "registered" },
            "dead_since_ms": found.dead_since_ms,
            "environment": found.environment.map(Environment::name),
            "topics": found.topics, "project": found.project, "behaviours": found.behaviours.list(),
        }))
    }

    /// What an APNs push to this token in this environment and for this topic meets, in Apple's order.
    pub fn judge_apns(&self, token: &str, environment: &str, topic: &str) -> Verdict {
        self.judge(token, |found| {
            if found.environment.is_some_and(|declared| declared.name() != environment) {
                return Some(Verdict::OtherEnvironment);
            }
            let foreign = found.topics.as_ref().is_some_and(|topics| !topics.iter().any(|own| own == topic));
            foreign.then_some(Verdict::OtherTopic)
        })
    }

    /// What an FCM message to this token in this project meets.
    pub fn judge_fcm(&self, token: &str, project: &str) -> Verdict {
        self.judge(token, |found| {
            let foreign = found.project.as_ref().is_some_and(|own| own != project);
            foreign.then_some(Verdict::OtherProject)
        })
    }

    fn judge(&self, token: &str, astray: impl Fn(&Token) -> Option<Verdict>) -> Verdict {
        let of_token = |found: &mut Token| astray(found).unwrap_or(Verdict::Known);
        self.with(token, of_token).unwrap_or(Verdict::Unknown)
    }

    /// Uses the token's next behaviour up; a push that goes astray must not come here.
    pub fn take_behaviour(&self, token: &str) -> Option<Behaviour> {
        self.with(token, |found| found.behaviours.take()).flatten()
    }

    /// Since when the token is dead (UNIX ms), if it was declared dead.
    pub fn dead_since_ms(&self, token: &str) -> Option<u64> {
        self.with(token, |found| found.dead_since_ms).flatten()
    }

    fn with<R>(&self, token: &str, look: impl FnOnce(&mut Token) -> R) -> Option<R> {
        let mut tokens = self.lock();
        if tokens.is_empty() {
            return None;
        }
        tokens.get_mut(&key(token)).map(look)
    }
}
