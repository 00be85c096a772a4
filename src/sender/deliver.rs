//! One push from its first attempt to its end.
//!
//! It refuses to leave a push without an end: whatever happens, exactly one result comes out.

use super::graveyard::Graveyard;
use super::lane::Lane;
use super::policy::next_attempt;
use crate::model::{Outcome, Push, PushResult};
use crate::stats::{Counter, Stats};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A push, and all that its delivery needs.
pub(super) struct Delivery<'a> {
    pub push: &'a Push,
    /// The credential that serves its device, if there is one.
    pub lane: Option<&'a Rc<Lane>>,
    /// Set where it is not to be sent at all.
    pub refusal: Option<Outcome>,
    pub handed_over: Instant,
    pub stats: &'a Stats,
    pub graveyard: &'a Graveyard,
}

/// Sends a push until it has ended: by an answer that is final, or because the phone would have stopped ringing.
pub(super) async fn deliver(delivery: &Delivery<'_>) -> PushResult {
    let Delivery { push, lane, handed_over, stats, .. } = *delivery;
    let result = match (&delivery.refusal, lane) {
        (Some(refusal), _) => not_sent(push, refusal.clone()),
        (None, Some(lane)) => attempt_until_done(delivery, lane).await,
        (None, None) => not_sent(push, no_credential(push)),
    };
    let took = handed_over.elapsed();
    let app = lane.map_or("", |lane| lane.app(&push.device));
    stats.push_ended(result.provider, app, &result.outcome, took);
    log_end(push, &result, took);
    result
}

async fn attempt_until_done(delivery: &Delivery<'_>, lane: &Rc<Lane>) -> PushResult {
    let Delivery { push, stats, .. } = delivery;
    let deadline = delivery.handed_over + push.ring;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let asked_at_ms = now_ms();
        let outcome = lane.attempt(push, deadline).await;
        if matches!(outcome, Outcome::Accepted) {
            return PushResult { provider: lane.provider(), outcome, attempts };
        }
        let now = Instant::now().into_std();
        let next = next_attempt(&outcome, attempts, now, deadline.into_std(), crate::random::fraction());
        let Some(due) = next else {
            if let Outcome::TokenGone { since_ms } = outcome
                && push.is_stored
            {
                // Without a time from the provider: dead unless it was registered after we asked.
                let since_ms = since_ms.unwrap_or(asked_at_ms);
                // Boxed: rare, and every push under way would keep room for it.
                Box::pin(delivery.graveyard.retire(push, since_ms, &lane.name())).await;
            }
            return PushResult { provider: lane.provider(), outcome, attempts };
        };
        stats.count(Counter::Retries);
        tokio::time::sleep_until(due.into()).await;
    }
}

fn not_sent(push: &Push, outcome: Outcome) -> PushResult {
    PushResult { provider: push.device.provider(), outcome, attempts: 0 }
}

fn no_credential(push: &Push) -> Outcome {
    let app = push.device.app.as_deref().unwrap_or("the default app");
    Outcome::CredentialRefused { reason: format!("no credential in the configuration serves {app}") }
}

/// One line per push, in a form that grep and awk like. Who is called and by whom stays out of it.
fn log_end(push: &Push, result: &PushResult, took: Duration) {
    let level = match &result.outcome {
        Outcome::Accepted => log::Level::Info,
        Outcome::CredentialRefused { .. } => log::Level::Error,
        _ => log::Level::Warn,
    };
    log::log!(
        level,
        "push call_id={:?} user={} device={:?} provider={} outcome={} reason={:?} id={} attempts={} ms={}",
        push.call.call_id,
        push.device.user.shortened(),
        push.device.token,
        result.provider.as_str(),
        result.outcome.name(),
        result.outcome.reason(),
        push.id(),
        result.attempts,
        took.as_millis(),
    );
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
