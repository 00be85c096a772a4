//! What follows when a provider says that a push went to the wrong place: Apple's other host is tried once, and what was
//! learned is kept.
//!
//! It refuses to delete a device for it. A token for alerts that no environment knows is forgotten, since the device stays and rings.

use super::deliver::Delivery;
use super::lane::Lane;
use crate::model::{Outcome, PushResult};
use crate::provider::Blame;
use crate::stats::Counter;
use std::rc::Rc;

/// Follows a rejection up; gives it back as it is where there is nothing to follow.
pub(super) async fn follow_up(delivery: &Delivery, lane: &Rc<Lane>, result: PushResult) -> PushResult {
    let Outcome::Rejected { reason } = &result.outcome else { return result };
    let blame = lane.blame(reason);
    if blame == Blame::Push {
        return result;
    }
    // Boxed: rare, and every push under way would keep room for it.
    if blame == Blame::Environment
        && let Some(there) = Box::pin(try_elsewhere(delivery, lane, result.attempts)).await
    {
        return there;
    }
    if blame == Blame::Environment && delivery.goes_to_alerts() {
        // Unless the device has registered again since this push was made for it.
        let since_ms = delivery.push.device.registered_at_ms;
        Box::pin(delivery.retire(lane, Some(since_ms), since_ms)).await;
        return result;
    }
    delivery.engine.pairs.note(lane, &delivery.push, blame, reason);
    result
}

/// Tries the other environment; `None` where there is none, or where it says no as well.
async fn try_elsewhere(delivery: &Delivery, lane: &Rc<Lane>, attempts: u32) -> Option<PushResult> {
    let other = delivery.lanes.iter().find(|other| other.serves_elsewhere(lane, &delivery.push.device))?;
    if delivery.engine.pairs.refusal(other, &delivery.push).is_some() {
        return None;
    }
    delivery.engine.stats.count(Counter::OtherEnvironment);
    let there = delivery.attempt_until_done(other).await;
    match &there.outcome {
        Outcome::Accepted => keep_environment(delivery, other).await,
        Outcome::TokenGone { .. } | Outcome::Throttled { .. } | Outcome::Unavailable { .. } => {}
        Outcome::Rejected { .. } | Outcome::CredentialRefused { .. } => return None,
    }
    Some(PushResult { attempts: attempts + there.attempts, ..there })
}

/// The next push goes there first. Waited for, so that it does when the next call follows at once.
async fn keep_environment(delivery: &Delivery, lane: &Rc<Lane>) {
    if !delivery.push.is_stored {
        return;
    }
    let (device, environment) = (delivery.push.device.clone(), lane.environment());
    let token = device.token.clone();
    let keep = delivery
        .engine
        .records
        .write("a token's environment", move |store| store.prove_environment(&device, environment));
    if keep.await == Some(true) {
        log::info!("{token:?} works in {}, which is remembered", environment.as_str());
    }
}
