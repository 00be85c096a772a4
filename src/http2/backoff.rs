//! The pause between attempts to connect, longer after every failure, and different in every process.
//!
//! It refuses to make a caller wait long: within a longer pause the answer is no, at once.

use super::Failure;
use std::time::Duration;
use tokio::time::Instant;

/// The first pause; short, since a phone is waiting to ring.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);
/// A request waits for the end of a pause that is over so soon: a provider that restarts is back within this.
const SHORT: Duration = Duration::from_millis(400);

/// Failures in a row, and until when nobody knocks.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
    last: String,
}

impl Backoff {
    /// When it may be tried again, where that is soon.
    pub(super) fn check(&self) -> Result<Option<Instant>, Failure> {
        match self.until {
            Some(until) if Instant::now() + SHORT < until => Err(Failure::Connect(self.last.clone())),
            until => Ok(until),
        }
    }

    /// When it may be tried again, however late that is.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn succeeded(&mut self) {
        *self = Backoff::default();
    }

    pub(super) fn failed(&mut self, failure: &Failure) {
        let pause = pause(self.failures, crate::random::fraction());
        self.failures += 1;
        self.last = match failure {
            Failure::Unmade(why)
            | Failure::Connect(why)
            | Failure::NotProcessed(why)
            | Failure::Lost(_, why) => why.clone(),
        };
        self.until = Some(Instant::now() + pause);
    }
}

/// Doubles with every failure; `jitter` from 0 to 1 takes up to half of it away, so that many senders do not knock together.
fn pause(failures: u32, jitter: f64) -> Duration {
    let whole = FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST);
    whole.mul_f64(1.0 - jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_grows_and_stays_within_its_bounds(failures in any::<u32>(), jitter in 0.0f64..1.0) {
            let pause = pause(failures, jitter);
            prop_assert!(pause >= FIRST / 2 && pause <= LONGEST);
        }

        #[test]
        fn a_pause_is_another_for_everybody(failures in any::<u32>(), one in 0.0f64..1.0, other in 0.0f64..1.0) {
            prop_assume!((one - other).abs() > 1e-6);
            prop_assert_ne!(pause(failures, one), pause(failures, other));
        }
    }

    #[test]
    fn after_some_failures_the_answer_is_no_and_after_a_success_it_is_yes() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.check(), Ok(None));
        backoff.failed(&Failure::Connect("refused".to_owned()));
        assert!(matches!(backoff.check(), Ok(Some(_))), "a short pause is waited for");
        (0..4).for_each(|_| backoff.failed(&Failure::Connect("refused".to_owned())));
        assert_eq!(backoff.check(), Err(Failure::Connect("refused".to_owned())));
        backoff.succeeded();
        assert_eq!(backoff.check(), Ok(None));
    }
}
