//! One credential at one provider: its connection, its authorization, and the pause when it is refused.
//!
//! It refuses to hammer a provider that does not accept our credential: it renews once, then it pauses.

use crate::http2::{Ask, Client, Failure, Response};
use crate::model::{Device, Outcome, Provider, Push};
use crate::provider::{Answer, Authorization, PushProvider};
use bytes::Bytes;
use http::Request;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long one attempt may wait for its answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a refused credential is left alone; then one push tries it again.
const PAUSE: Duration = Duration::from_secs(60);
/// A credential is renewed because it was refused at most this often (Apple: not more than once in 20 minutes).
const FORCED_RENEWAL: Duration = Duration::from_secs(20 * 60);
/// The wall clock may be off from the steady one by this much before an authorization counts as made at a wrong time.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

pub(super) struct Lane {
    provider: Arc<dyn PushProvider>,
    client: Rc<Client>,
    authorization: RefCell<Option<Rc<Held>>>,
    /// Held while an authorization is made, so that many pushes at once make one.
    renewing: Mutex<()>,
    last_forced: Cell<Option<Instant>>,
    paused_until: Cell<Option<Instant>>,
}

/// An authorization and when it was made, by the steady clock and by the wall clock.
struct Held {
    authorization: Authorization,
    made_at: Instant,
    made_at_wall: Duration,
}

impl Held {
    fn age(&self) -> Duration {
        self.made_at.elapsed()
    }

    /// True when the wall clock was set since: what we signed then may lie in the future or in the past for the provider.
    fn clock_has_jumped(&self) -> bool {
        let expected = self.made_at_wall + self.age();
        wall_clock().abs_diff(expected) > CLOCK_TOLERANCE
    }

    fn should_renew(&self) -> bool {
        self.age() >= self.authorization.renew_after || self.clock_has_jumped()
    }

    fn is_usable(&self) -> bool {
        self.age() < self.authorization.expires_after && !self.clock_has_jumped()
    }
}

/// A push as its provider wants to be asked for it.
struct Asked<'a> {
    provider: &'a dyn PushProvider,
    push: &'a Push,
    authorization: &'a Authorization,
}

impl Ask for Asked<'_> {
    fn request(&self) -> Result<Request<Bytes>, String> {
        self.provider.request(self.push, self.authorization).map_err(|outcome| outcome.reason().to_owned())
    }
}

impl Lane {
    pub(super) fn new(provider: Arc<dyn PushProvider>, client: Rc<Client>) -> Rc<Lane> {
        Rc::new(Lane {
            provider,
            client,
            authorization: RefCell::new(None),
            renewing: Mutex::new(()),
            last_forced: Cell::new(None),
            paused_until: Cell::new(None),
        })
    }

    pub(super) fn provider(&self) -> Provider {
        self.provider.provider()
    }

    /// The credential's name in logs.
    pub(super) fn name(&self) -> String {
        self.provider.name()
    }

    /// Topic or project of a device that it serves.
    pub(super) fn app<'a>(&'a self, device: &'a Device) -> &'a str {
        self.provider.app(device)
    }

    pub(super) fn serves(&self, device: &Device) -> bool {
        self.provider.serves(device)
    }

    /// One attempt: one request, one outcome. `deadline` is when the phone stops ringing.
    pub(super) async fn attempt(self: &Rc<Self>, push: &Push, deadline: Instant) -> Outcome {
        if self.paused_until.get().is_some_and(|until| Instant::now() < until) {
            return Outcome::CredentialRefused {
                reason: "the credential is paused after a refusal".to_owned(),
            };
        }
        let deadline = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
        let held = match self.held_authorization() {
            Some(held) => held,
            // Boxed: rare, and every push under way would keep room for it.
            None => match Box::pin(tokio::time::timeout_at(deadline, self.authorization())).await {
                Ok(Ok(made)) => made,
                Ok(Err(outcome)) => return self.noted(outcome),
                Err(_) => return Outcome::Unavailable { reason: "no authorization in time".to_owned() },
            },
        };
        let asked = Asked { provider: &*self.provider, push, authorization: &held.authorization };
        let outcome = self.judge(self.client.send(&asked, deadline).await);
        if matches!(outcome, Outcome::CredentialRefused { .. }) {
            self.distrust(&held);
        }
        self.noted(outcome)
    }

    fn judge(&self, done: Result<Response, Failure>) -> Outcome {
        match done {
            Ok(Response { status, retry_after, body }) => {
                self.provider.outcome(&Answer { status, retry_after, body })
            }
            Err(Failure::Unmade(reason)) => Outcome::Rejected { reason },
            Err(failure) => Outcome::Unavailable { reason: failure.to_string() },
        }
    }

    /// Forgets a refused authorization and the connection that it was refused on (after ExpiredProviderToken a connection
    /// can stay wedged), unless that was done a short while ago: then the credential itself is wrong and is paused.
    fn distrust(&self, refused: &Rc<Held>) {
        if self.authorization.borrow().as_ref().is_some_and(|held| !Rc::ptr_eq(held, refused)) {
            return; // Somebody has renewed it meanwhile.
        }
        if self.last_forced.get().is_some_and(|last| last.elapsed() < FORCED_RENEWAL) {
            self.paused_until.set(Some(Instant::now() + PAUSE));
            return;
        }
        self.last_forced.set(Some(Instant::now()));
        self.authorization.replace(None);
        self.client.forget_connections();
    }

    fn noted(&self, outcome: Outcome) -> Outcome {
        match &outcome {
            Outcome::CredentialRefused { reason } => {
                log::error!(
                    "{}: the credential was refused: {reason}; nothing is deleted",
                    self.provider.name()
                );
            }
            Outcome::Accepted => {
                self.last_forced.set(None);
                self.paused_until.set(None);
            }
            _ => {}
        }
        outcome
    }

    /// The authorization that there is, while it works.
    fn held_authorization(self: &Rc<Self>) -> Option<Rc<Held>> {
        let held = self.authorization.borrow().clone()?;
        if held.should_renew() {
            if !held.is_usable() {
                return None;
            }
            self.renew_in_background();
        }
        Some(held)
    }

    /// The same, or a new one.
    async fn authorization(&self) -> Result<Rc<Held>, Outcome> {
        let held = self.authorization.borrow().clone();
        self.renew(held).await
    }

    /// Nobody waits for a renewal while the old one works.
    fn renew_in_background(self: &Rc<Self>) {
        if self.renewing.try_lock().is_err() {
            return;
        }
        let lane = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let held = lane.authorization.borrow().clone();
            if let Err(outcome) = lane.renew(held).await {
                log::warn!("{}: not renewed yet: {}", lane.provider.name(), outcome.reason());
            }
        });
    }

    /// Makes a new authorization unless somebody else did so since `old` was read.
    async fn renew(&self, old: Option<Rc<Held>>) -> Result<Rc<Held>, Outcome> {
        let _turn = self.renewing.lock().await;
        if let Some(held) = self.authorization.borrow().as_ref()
            && old.as_ref().is_none_or(|old| !Rc::ptr_eq(old, held))
            && held.is_usable()
        {
            return Ok(Rc::clone(held));
        }
        let provider = Arc::clone(&self.provider);
        let made_at_wall = wall_clock();
        let made_at = Instant::now();
        let making = tokio::task::spawn_blocking(move || {
            provider.authorize(i64::try_from(made_at_wall.as_secs()).unwrap_or(i64::MAX))
        });
        let authorization = making
            .await
            .map_err(|_| Outcome::Unavailable { reason: "the authorization's thread ended".to_owned() })??;
        let held = Rc::new(Held { authorization, made_at, made_at_wall });
        self.authorization.replace(Some(Rc::clone(&held)));
        Ok(held)
    }
}

fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
