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

/// Sends a push until it has ended: by an answer that is final, or because the phone would have stopped ringing.
pub(super) async fn deliver(
    push: &Push,
    lane: Option<&Rc<Lane>>,
    stats: &Stats,
    graveyard: &Graveyard,
) -> PushResult {
    let started = Instant::now();
    let result = match lane {
        Some(lane) => attempt_until_done(push, lane, stats, graveyard, started + push.ring).await,
        None => no_credential(push),
    };
    stats.push_ended(result.provider, &result.outcome);
    log_end(push, &result, started.elapsed());
    result
}

async fn attempt_until_done(
    push: &Push,
    lane: &Rc<Lane>,
    stats: &Stats,
    graveyard: &Graveyard,
    deadline: Instant,
) -> PushResult {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let asked_at_ms = now_ms();
        let outcome = lane.attempt(push, deadline).await;
        let next = next_attempt(&outcome, attempts, Instant::now().into_std(), deadline.into_std());
        let Some(due) = next else {
            if let Outcome::TokenGone { since_ms } = outcome
                && push.is_stored
            {
                // Without a time from the provider: dead unless it was registered after we asked.
                graveyard.retire(push, since_ms.unwrap_or(asked_at_ms), stats).await;
            }
            return PushResult { provider: lane.provider(), outcome, attempts };
        };
        stats.count(Counter::Retries);
        tokio::time::sleep_until(due.into()).await;
    }
}

fn no_credential(push: &Push) -> PushResult {
    let app = push.device.app.as_deref().unwrap_or("the default app");
    let reason = format!("no credential in the configuration serves {app}");
    PushResult {
        provider: push.device.provider(),
        outcome: Outcome::CredentialRefused { reason },
        attempts: 0,
    }
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
