//! One push from its first attempt to its end.
//!
//! It refuses to leave a push without an end: whatever happens, exactly one result comes out.

use super::astray::follow_up;
use super::engine::Engine;
use super::events::{note_end, note_retry};
use super::lane::{Attempt, Lane, Reach};
use super::policy::next_attempt;
use super::stops::Ticket;
use crate::clock::now_ms;
use crate::http2::Lost;
use crate::model::{Kind, Outcome, Push, PushResult};
use crate::stats::{Counter, Stats};
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// A push, and all that its delivery needs. There are thousands under way at once, so that whatever is done for one borrows from here
/// and keeps little of its own.
pub(super) struct Delivery {
    pub engine: Rc<Engine>,
    /// All credentials, as they were when it began.
    pub lanes: Rc<[Rc<Lane>]>,
    pub push: Push,
    pub handed_over: Instant,
    /// Says when its call needs it no more.
    pub ticket: Ticket,
    /// True while the provider may have it.
    pub is_sent: Cell<bool>,
}

impl Delivery {
    /// Sends a push, unless another machine has done so. A device is told of a call's end only if it was pushed for the call.
    pub(super) fn run(&mut self) -> impl Future<Output = PushResult> {
        async move {
            if !self.engine.is_for_a_pushed_device(&mut self.push) {
                let reason = "it was not pushed for this call".to_owned();
                return self.not_sent(Outcome::Unavailable { reason });
            }
            if self.engine.is_pushed_elsewhere(&self.push).await {
                self.engine.forget(&self.push);
                return self.not_sent(Outcome::Accepted);
            }
            let lane = match self.addressee() {
                Ok(lane) => lane,
                Err(outcome) => return self.ended(self.not_sent(outcome)),
            };
            let result = self.attempt_until_done(lane).await;
            self.ended(follow_up(self, lane, result).await)
        }
    }

    /// Tries with one credential until there is an end.
    pub(super) fn attempt_until_done(&self, lane: &Rc<Lane>) -> impl Future<Output = PushResult> {
        async move {
            // What the provider would not take is no try; what could not be sent is one, but nobody was asked.
            let (mut tries, mut attempts) = (0, 0);
            loop {
                let asked_at_ms = now_ms();
                self.is_sent.set(false);
                // Ends with its block: a push under way would keep room for the attempt and for what comes after it.
                let Some(Attempt { outcome, reach }) = ({
                    let attempt = pin!(lane.attempt(self));
                    self.ticket.while_needed(attempt, || !self.is_sent.get()).await
                }) else {
                    let outcome = not_needed();
                    return self.given_up(PushResult { provider: lane.provider(), outcome, attempts });
                };
                tries += u32::from(reach != Reach::NotTaken);
                attempts += u32::from(matches!(reach, Reach::Answered | Reach::Lost(_)));
                count_lost(&self.engine.stats, reach);
                let result = PushResult { provider: lane.provider(), outcome, attempts };
                if matches!(result.outcome, Outcome::Accepted) {
                    return result;
                }
                // Boxed: rare, and every push under way would keep room for it.
                let ended = Box::pin(self.end_or_pause(lane, result, tries, asked_at_ms)).await;
                if let Some(result) = ended {
                    return result;
                }
            }
        }
    }

    /// After an attempt that was not accepted: the end, or nothing as soon as the next attempt is due.
    async fn end_or_pause(
        &self,
        lane: &Lane,
        result: PushResult,
        tries: u32,
        asked_at_ms: i64,
    ) -> Option<PushResult> {
        let (now, deadline) = (Instant::now().into_std(), self.deadline().into_std());
        let Some(due) = next_attempt(&result.outcome, tries, now, deadline, crate::random::fraction()) else {
            if let Outcome::TokenGone { since_ms } = result.outcome
                && (self.push.is_stored || self.goes_to_alerts())
            {
                self.retire(lane, since_ms, asked_at_ms).await;
            }
            return Some(result);
        };
        note_retry(&self.engine.timeline, &self.push, &result);
        let pause = pin!(tokio::time::sleep_until(due.into()));
        if self.ticket.while_needed(pause, || true).await.is_none() {
            return Some(self.given_up(result));
        }
        self.engine.stats.count(Counter::Retries);
        None
    }

    /// The token is dead. Without a time from the provider: unless it was registered after we asked. With one, a provider whose clock
    /// is ahead must not outvote a registration that is still to come.
    pub(super) async fn retire(&self, lane: &Lane, since_ms: Option<i64>, asked_at_ms: i64) {
        let since_ms = since_ms.map_or(asked_at_ms, |since_ms| since_ms.min(now_ms()));
        self.engine.graveyard.retire(&self.push, since_ms, lane).await;
    }

    /// Whether it goes to an iPhone's token for alerts, as far as the store has it: a call that is pushed to a device which no store
    /// knows is the one that does not.
    pub(super) fn goes_to_alerts(&self) -> bool {
        !self.push.is_stored && self.push.kind != Kind::Call
    }

    /// The credential that serves its device, if there is one.
    fn lane(&self) -> Option<&Rc<Lane>> {
        self.lanes.iter().find(|lane| lane.serves(&self.push.device))
    }

    /// The credential to send it with, or why it is not to be sent at all.
    fn addressee(&self) -> Result<&Rc<Lane>, Outcome> {
        if let Some(refusal) = self.engine.over_budget(&self.push) {
            return Err(refusal);
        }
        let lane = self.lane().ok_or_else(|| no_credential(&self.push))?;
        self.engine.pairs.refusal(lane, &self.push).map_or(Ok(lane), Err)
    }

    /// When the phone stops ringing.
    pub(super) fn deadline(&self) -> Instant {
        self.handed_over + self.push.ring
    }

    fn not_sent(&self, outcome: Outcome) -> PushResult {
        PushResult { provider: self.push.device.provider(), outcome, attempts: 0 }
    }

    /// The end of a push whose call needs it no more: what its last attempt came to, where there was one.
    fn given_up(&self, result: PushResult) -> PushResult {
        self.engine.stats.count(Counter::Stopped);
        result
    }

    /// What is remembered, said and counted of every push that this machine has sent, or would have.
    fn ended(&self, result: PushResult) -> PushResult {
        if self.push.kind == Kind::Call && !may_have_arrived(&result) {
            self.engine.forget(&self.push);
        }
        let took = self.handed_over.elapsed();
        let app = self.lane().map_or("", |lane| lane.app(&self.push.device));
        self.engine.stats.push_ended(result.provider, app, &result.outcome, took);
        note_end(&self.engine.timeline, &self.push, app, &result, took);
        log_end(&self.push, app, &result, took, self.ticket.is_needless());
        result
    }
}

/// Whether a device may have got this push.
fn may_have_arrived(result: &PushResult) -> bool {
    match &result.outcome {
        Outcome::Accepted => true,
        // The answer may have been lost.
        Outcome::Unavailable { .. } => result.attempts > 0,
        Outcome::TokenGone { .. }
        | Outcome::Rejected { .. }
        | Outcome::Throttled { .. }
        | Outcome::CredentialRefused { .. } => false,
    }
}

fn count_lost(stats: &Stats, reach: Reach) {
    let Reach::Lost(how) = reach else { return };
    stats.count(Counter::Lost);
    stats.count(match how {
        Lost::Late => Counter::LostLate,
        Lost::Reset => Counter::LostReset,
        Lost::Closed => Counter::LostClosed,
    });
}

fn not_needed() -> Outcome {
    Outcome::Unavailable { reason: "the call needs it no more".to_owned() }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function of one argument gives.
    fn size_of_made<A, F>(_: fn(A) -> F) -> usize {
        size_of::<F>()
    }

    /// Both are in the box of each push under way, of which there may be many thousands.
    #[test]
    fn a_push_under_way_takes_little_memory() {
        let (delivery, running) = (size_of::<Delivery>(), size_of_made(Delivery::run));
        assert!(delivery + running <= 760, "{delivery} + {running}");
    }
}
