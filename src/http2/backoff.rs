//! The pause between attempts to connect, longer after every failure, and different in every process.
//!
//! It refuses to make a caller wait: within the pause the answer is no, at once.

use super::Failure;
use std::time::Duration;
use tokio::time::Instant;

/// The first pause; short, since a phone is waiting to ring.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10);

/// Failures in a row, and until when nobody knocks.
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
    last: String,
}

impl Backoff {
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.until {
            Some(until) if Instant::now() < until => Err(Failure::Connect(self.last.clone())),
            _ => Ok(()),
        }
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
            | Failure::Lost(why) => why.clone(),
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
    }

    #[test]
    fn after_a_failure_the_answer_is_no_and_after_a_success_it_is_yes() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.check(), Ok(()));
        backoff.failed(&Failure::Connect("refused".to_owned()));
        assert_eq!(backoff.check(), Err(Failure::Connect("refused".to_owned())));
        backoff.succeeded();
        assert_eq!(backoff.check(), Ok(()));
    }
}
