//! One credential at one provider: its connections, its attempts, and the pause when it is refused.
//!
//! It refuses to hammer a provider that does not accept our credential: it renews once, then it pauses.

use super::authorizer::Authorizer;
use super::deliver::Delivery;
use crate::config::Origin;
use crate::http2::{Ask, Client, Failure, Lost, Response};
use crate::model::{Device, Environment, Outcome, Provider};
use crate::provider::{Answer, Authorization, Blame, PushProvider};
use bytes::Bytes;
use http::Request;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long one attempt may wait for its answer.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a refused credential is left alone; then one push tries it again.
const PAUSE: Duration = Duration::from_secs(60);
/// A credential is renewed because it was refused at most this often (Apple: not more than once in 20 minutes).
const FORCED_RENEWAL: Duration = Duration::from_secs(20 * 60);
pub(super) struct Lane {
    provider: Arc<dyn PushProvider>,
    client: Rc<Client>,
    authorizer: Rc<Authorizer>,
    last_forced: Rc<Cell<Option<Instant>>>,
    paused_until: Rc<Cell<Option<Instant>>>,
    /// Stands for this key at this origin, and for no other that ever was.
    number: u64,
}

/// What came of one attempt.
pub(super) struct Attempt {
    pub outcome: Outcome,
    pub reach: Reach,
}

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The provider answered.
    Answered,
    /// It was sent, and no answer came.
    Lost(Lost),
    /// The provider would not take it (GOAWAY, no stream free): nothing happened, so it is no attempt.
    NotTaken,
    /// There was nobody to send it to, or nothing to send.
    NotSent,
}

/// A push as its provider wants to be asked for it.
struct Asked<'a> {
    lane: &'a Lane,
    delivery: &'a Delivery,
    authorization: Rc<Authorization>,
}

impl Ask for Asked<'_> {
    fn request(&self) -> Result<Request<Bytes>, String> {
        let made = self.lane.provider.request(&self.delivery.push, &self.authorization);
        made.map_err(|outcome| outcome.reason().to_owned())
    }

    fn note_sent(&self, may_have_arrived: bool) {
        self.delivery.is_sent.set(may_have_arrived);
    }
}

impl Lane {
    pub(super) fn new(
        provider: Arc<dyn PushProvider>,
        client: Rc<Client>,
        authorizer: Rc<Authorizer>,
    ) -> Rc<Lane> {
        static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);
        Rc::new(Lane {
            provider,
            client,
            authorizer,
            last_forced: Rc::default(),
            paused_until: Rc::default(),
            number: LAST_NUMBER.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The same key at the same origin, for other apps or other payloads: what is known of it and what is open stays.
    pub(super) fn with_provider(&self, provider: Arc<dyn PushProvider>) -> Rc<Lane> {
        Rc::new(Lane {
            provider,
            client: Rc::clone(&self.client),
            authorizer: Rc::clone(&self.authorizer),
            last_forced: Rc::clone(&self.last_forced),
            paused_until: Rc::clone(&self.paused_until),
            number: self.number,
        })
    }

    /// Whether this is the key of another provider's, at the same origin.
    pub(super) fn is_for(&self, provider: &dyn PushProvider, origin: &Origin) -> bool {
        self.provider.signer() == provider.signer()
            && self.provider.name() == provider.name()
            && self.client.origin() == origin
    }

    /// Who signs; see [`PushProvider::signer`].
    pub(super) fn signer(&self) -> String {
        self.provider.signer()
    }

    pub(super) fn authorizer(&self) -> &Rc<Authorizer> {
        &self.authorizer
    }

    pub(super) fn number(&self) -> u64 {
        self.number
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

    /// Which of Apple's environments it is for.
    pub(super) fn environment(&self) -> Environment {
        self.provider.environment()
    }

    /// What a rejection with this reason blames.
    pub(super) fn blame(&self, reason: &str) -> Blame {
        self.provider.blame(reason)
    }

    /// Whether it is for the same app of the same device as `lane`, in Apple's other environment.
    pub(super) fn serves_elsewhere(&self, lane: &Lane, device: &Device) -> bool {
        let there = Device { environment: Some(self.environment()), ..device.clone() };
        self.environment() != lane.environment()
            && self.serves(&there)
            && self.app(&there) == lane.app(device)
    }

    /// One attempt: one request, one outcome.
    pub(super) fn attempt(&self, delivery: &Delivery) -> impl Future<Output = Attempt> {
        async move {
            let deadline = delivery.deadline().min(Instant::now() + ATTEMPT_TIMEOUT);
            if let Some(outcome) = self.paused() {
                return Attempt { outcome, reach: Reach::NotSent };
            }
            let authorization = match self.authorizer.held() {
                Some(held) => held,
                // Boxed: rare, and every push under way would keep room for it.
                None => match Box::pin(self.new_authorization(deadline)).await {
                    Ok(new) => new,
                    Err(outcome) => return Attempt { outcome, reach: Reach::NotSent },
                },
            };
            let asked = Asked { lane: self, delivery, authorization };
            let done = self.client.send(&asked, deadline).await;
            self.learn(done, &asked.authorization)
        }
    }

    fn paused(&self) -> Option<Outcome> {
        let is_paused = self.paused_until.get().is_some_and(|until| Instant::now() < until);
        let reason = || "the credential is paused after a refusal".to_owned();
        is_paused.then(|| Outcome::CredentialRefused { reason: reason() })
    }

    async fn new_authorization(&self, deadline: Instant) -> Result<Rc<Authorization>, Outcome> {
        match tokio::time::timeout_at(deadline, self.authorizer.get()).await {
            Ok(done) => done.map_err(|outcome| self.noted(outcome)),
            Err(_) => Err(Outcome::Unavailable { reason: "no authorization in time".to_owned() }),
        }
    }

    /// What came of an attempt with this authorization, and what it says about the credential.
    fn learn(&self, done: Result<Response, Failure>, authorization: &Authorization) -> Attempt {
        let attempt = judge(&*self.provider, done);
        match attempt.outcome {
            Outcome::CredentialRefused { .. } => self.distrust(authorization),
            Outcome::Accepted => self.authorizer.works(authorization),
            _ => {}
        }
        Attempt { outcome: self.noted(attempt.outcome), ..attempt }
    }

    /// Forgets a refused authorization and the connection that it was refused on (after ExpiredProviderToken a connection
    /// can stay wedged), unless that was done a short while ago: then the credential itself is wrong and is paused. Where the
    /// clock was set since, the time in the authorization was wrong and not the credential.
    fn distrust(&self, refused: &Authorization) {
        if !self.authorizer.is_current(refused) {
            return; // Somebody has renewed it meanwhile.
        }
        let was_forced = self.last_forced.get().is_some_and(|last| last.elapsed() < FORCED_RENEWAL);
        if was_forced && !self.authorizer.clock_has_jumped() {
            self.paused_until.set(Some(Instant::now() + PAUSE));
            return;
        }
        self.last_forced.set(Some(Instant::now()));
        self.authorizer.forget();
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
}

/// What an answer, or none, means.
pub(super) fn judge(provider: &dyn PushProvider, done: Result<Response, Failure>) -> Attempt {
    match done {
        Ok(Response { status, retry_after, body }) => {
            let outcome = provider.outcome(&Answer { status, retry_after, body });
            Attempt { outcome, reach: Reach::Answered }
        }
        Err(Failure::Unmade(reason)) => {
            Attempt { outcome: Outcome::Rejected { reason }, reach: Reach::NotSent }
        }
        Err(failure) => {
            let reach = match &failure {
                Failure::Lost(how, _) => Reach::Lost(*how),
                Failure::NotProcessed(_) => Reach::NotTaken,
                Failure::Connect(_) | Failure::Unmade(_) => Reach::NotSent,
            };
            Attempt { outcome: Outcome::Unavailable { reason: failure.to_string() }, reach }
        }
    }
}
