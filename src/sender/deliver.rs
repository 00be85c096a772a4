//! One push from its first attempt to its end.
//!
//! It refuses to leave a push without an end: whatever happens, exactly one result comes out.

use super::astray::follow_up;
use super::events::{note_end, note_retry};
use super::graveyard::Graveyard;
use super::lane::{Attempt, Lane, Reach};
use super::pairs::Pairs;
use super::policy::next_attempt;
use super::records::Records;
use super::stops::Ticket;
use crate::clock::now_ms;
use crate::http2::Lost;
use crate::model::{Kind, Outcome, Push, PushResult};
use crate::stats::{Counter, Stats};
use crate::timeline::Timeline;
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// A push, and all that its delivery needs.
pub(super) struct Delivery<'a> {
    pub push: &'a Push,
    /// The credential that serves its device, if there is one.
    pub lane: Option<&'a Rc<Lane>>,
    /// All credentials.
    pub lanes: &'a [Rc<Lane>],
    /// Set where it is not to be sent at all.
    pub refusal: Option<Outcome>,
    pub handed_over: Instant,
    /// Says when its call needs it no more.
    pub ticket: &'a Ticket,
    pub stats: &'a Stats,
    pub records: &'a Records,
    pub graveyard: &'a Graveyard,
    pub pairs: &'a Pairs,
    pub timeline: &'a Timeline,
}

/// Sends a push until it has ended: by an answer that is final, or because the phone would have stopped ringing.
pub(super) async fn deliver(delivery: &Delivery<'_>) -> PushResult {
    let Delivery { push, lane, handed_over, stats, .. } = *delivery;
    let result = match (&delivery.refusal, lane) {
        (Some(refusal), _) => not_sent(push, refusal.clone()),
        (None, Some(lane)) => match delivery.pairs.refusal(lane, push) {
            Some(known) => not_sent(push, known),
            None => follow_up(delivery, lane, attempt_until_done(delivery, lane).await).await,
        },
        (None, None) => not_sent(push, no_credential(push)),
    };
    let took = handed_over.elapsed();
    let app = lane.map_or("", |lane| lane.app(&push.device));
    stats.push_ended(result.provider, app, &result.outcome, took);
    note_end(delivery.timeline, push, app, &result, took);
    log_end(push, app, &result, took, delivery.ticket.is_needless());
    result
}

pub(super) async fn attempt_until_done(delivery: &Delivery<'_>, lane: &Rc<Lane>) -> PushResult {
    let Delivery { push, stats, ticket, .. } = delivery;
    let deadline = delivery.handed_over + push.ring;
    // What the provider would not take is no try; what could not be sent is one, but nobody was asked.
    let (mut tries, mut attempts) = (0, 0);
    loop {
        let asked_at_ms = now_ms();
        let is_sent = Cell::new(false);
        // Ends with its block: a push under way would keep room for the attempt and for the pause after it.
        let Some(Attempt { outcome, reach }) = ({
            let attempt = pin!(lane.attempt(push, deadline, &is_sent));
            ticket.while_needed(attempt, || !is_sent.get()).await
        }) else {
            return given_up(delivery, lane, not_needed(), attempts);
        };
        tries += u32::from(reach != Reach::NotTaken);
        attempts += u32::from(matches!(reach, Reach::Answered | Reach::Lost(_)));
        if let Reach::Lost(how) = reach {
            count_lost(stats, how);
        }
        if matches!(outcome, Outcome::Accepted) {
            return PushResult { provider: lane.provider(), outcome, attempts };
        }
        let now = Instant::now().into_std();
        let next = next_attempt(&outcome, tries, now, deadline.into_std(), crate::random::fraction());
        let Some(due) = next else {
            if let Outcome::TokenGone { since_ms } = outcome
                && (push.is_stored || goes_to_alerts(push))
            {
                // Boxed: rare, and every push under way would keep room for it.
                Box::pin(retire(delivery, lane, since_ms, asked_at_ms)).await;
            }
            return PushResult { provider: lane.provider(), outcome, attempts };
        };
        let failed = PushResult { provider: lane.provider(), outcome, attempts };
        note_retry(delivery.timeline, push, &failed);
        let PushResult { outcome, .. } = failed;
        let pause = pin!(tokio::time::sleep_until(due.into()));
        if ticket.while_needed(pause, || true).await.is_none() {
            return given_up(delivery, lane, outcome, attempts);
        }
        stats.count(Counter::Retries);
    }
}

fn count_lost(stats: &Stats, how: Lost) {
    stats.count(Counter::Lost);
    stats.count(match how {
        Lost::Late => Counter::LostLate,
        Lost::Reset => Counter::LostReset,
        Lost::Closed => Counter::LostClosed,
    });
}

/// Whether a push goes to an iPhone's token for alerts, as far as the store has it: a call that is pushed to a device which no store
/// knows is the one that does not.
pub(super) fn goes_to_alerts(push: &Push) -> bool {
    !push.is_stored && push.kind != Kind::Call
}

/// The token is dead. Without a time from the provider: unless it was registered after we asked. With one, a provider whose clock
/// is ahead must not outvote a registration that is still to come.
pub(super) async fn retire(delivery: &Delivery<'_>, lane: &Lane, since_ms: Option<i64>, asked_at_ms: i64) {
    let since_ms = since_ms.map_or(asked_at_ms, |since_ms| since_ms.min(now_ms()));
    delivery.graveyard.retire(delivery.push, since_ms, lane).await;
}

/// The end of a push whose call needs it no more: what its last attempt came to, where there was one.
fn given_up(delivery: &Delivery<'_>, lane: &Lane, outcome: Outcome, attempts: u32) -> PushResult {
    delivery.stats.count(Counter::Stopped);
    PushResult { provider: lane.provider(), outcome, attempts }
}

fn not_needed() -> Outcome {
    Outcome::Unavailable { reason: "the call needs it no more".to_owned() }
}

fn not_sent(push: &Push, outcome: Outcome) -> PushResult {
    PushResult { provider: push.device.provider(), outcome, attempts: 0 }
}

fn no_credential(push: &Push) -> Outcome {
    let app = push.device.app.as_deref().unwrap_or("the default app");
    Outcome::CredentialRefused { reason: format!("no credential in the configuration serves {app}") }
}

/// One line per push, in a form that grep and awk like. Who is called and by whom stays out of it.
fn log_end(push: &Push, app: &str, result: &PushResult, took: Duration, is_needless: bool) {
    let level = match &result.outcome {
        Outcome::Accepted => log::Level::Info,
        Outcome::Unavailable { .. } | Outcome::Throttled { .. } if is_needless => log::Level::Info,
        Outcome::CredentialRefused { .. } => log::Level::Error,
        _ => log::Level::Warn,
    };
    log::log!(
        level,
        "push kind={} call_id={:?} user={} device={:?} provider={} app={app:?} outcome={} reason={:?} id={} attempts={} ms={}",
        push.kind.as_str(),
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
