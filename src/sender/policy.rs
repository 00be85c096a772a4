//! When a push is tried again: a decision, not a sleep.
//!
//! It refuses to look at a clock; whoever asks brings the time.

use crate::model::Outcome;
use std::time::{Duration, Instant};

/// A push is tried twice at the most: a phone rings for seconds, not minutes.
const MAX_ATTEMPTS: u32 = 2;
/// Pause before asking a provider in trouble again.
const BACKOFF: Duration = Duration::from_millis(100);
/// Pause where a provider says "too much" without saying for how long.
const THROTTLED: Duration = Duration::from_secs(1);

/// When the next attempt is due after `attempt` attempts, or `None` when this outcome is the end. What the provider would
/// not take (GOAWAY, no stream free) is not counted, so `attempt` may be 0: only the deadline ends that.
/// `deadline` is when the phone stops ringing; nothing is sent after it.
///
/// `jitter` from 0 to 1 is added to a pause in parts of itself, so that many pushes that failed together do not come back
/// together; a time that the provider named is never shortened.
///
/// A refused credential is tried again at once: the sender renews it in between and does so once.
pub fn next_attempt(
    outcome: &Outcome,
    attempt: u32,
    now: Instant,
    deadline: Instant,
    jitter: f64,
) -> Option<Instant> {
    if attempt >= MAX_ATTEMPTS {
        return None;
    }
    let pause = match outcome {
        Outcome::Accepted | Outcome::TokenGone { .. } | Outcome::Rejected { .. } => return None,
        Outcome::Unavailable { .. } => BACKOFF,
        Outcome::Throttled { retry_after, .. } => retry_after.unwrap_or(THROTTLED),
        Outcome::CredentialRefused { .. } => Duration::ZERO,
    };
    let longest_jitter = pause.min(THROTTLED);
    let due = now.checked_add(pause)?.checked_add(longest_jitter.mul_f64(jitter.clamp(0.0, 1.0)))?;
    Some(due).filter(|due| *due < deadline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let reason = || String::from("reason");
        prop_oneof![
            Just(Outcome::Accepted),
            any::<Option<i64>>().prop_map(|since_ms| Outcome::TokenGone { since_ms }),
            Just(Outcome::Rejected { reason: reason() }),
            any::<Option<u64>>().prop_map(move |seconds| Outcome::Throttled {
                retry_after: seconds.map(Duration::from_secs),
                reason: reason()
            }),
            Just(Outcome::Unavailable { reason: reason() }),
            Just(Outcome::CredentialRefused { reason: reason() }),
        ]
    }

    proptest! {
        #[test]
        fn an_attempt_lies_between_now_and_the_deadline_and_there_are_few(
            outcome in outcomes(), attempt in 0u32..10, ring_ms in 0u64..60_000, jitter in 0.0f64..1.0
        ) {
            let now = Instant::now();
            let deadline = now + Duration::from_millis(ring_ms);
            if let Some(due) = next_attempt(&outcome, attempt, now, deadline, jitter) {
                prop_assert!(due >= now && due < deadline && attempt < MAX_ATTEMPTS);
                let is_final = matches!(outcome, Outcome::Accepted | Outcome::TokenGone { .. } | Outcome::Rejected { .. });
                prop_assert!(!is_final);
                if let Outcome::Throttled { retry_after: Some(wait), .. } = outcome {
                    prop_assert!(due >= now + wait);
                }
            }
        }
    }

    #[test]
    fn a_provider_in_trouble_is_asked_once_more_while_the_phone_could_still_ring() {
        let now = Instant::now();
        let outcome = Outcome::Unavailable { reason: String::new() };
        let second = now + Duration::from_secs(1);
        assert_eq!(next_attempt(&outcome, 1, now, second, 0.0), Some(now + BACKOFF));
        assert_eq!(next_attempt(&outcome, 1, now, second, 0.5), Some(now + BACKOFF * 3 / 2));
        assert_eq!(next_attempt(&outcome, 0, now, second, 0.0), Some(now + BACKOFF));
        assert_eq!(next_attempt(&outcome, 2, now, second, 0.0), None);
        assert_eq!(next_attempt(&outcome, 1, now, now + BACKOFF, 0.0), None);
    }
}
