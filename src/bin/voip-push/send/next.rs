//! What the sender would do after an outcome, in plain words (design: "Outcomes").
//!
//! It refuses to know better than the policy: pauses and blame come from there.

use std::time::Duration;

use voip_push::config::Settings;
use voip_push::model::{Outcome, Push, utc};
use voip_push::service::{Blame, Next, Probe};

/// One sentence.
pub fn words(probe: &Probe, settings: &Settings, push: &Push, outcome: &Outcome) -> String {
    let Next { again_after, blame } = probe.next(outcome, push.ring);
    let ring_s = push.ring.as_secs();
    match outcome {
        Outcome::Accepted => format!("nothing: the provider has it, and delivers it within {ring_s} s or not at all"),
        Outcome::TokenGone { since_ms } => token_gone(push, *since_ms),
        Outcome::Rejected { .. } => rejected(blame, settings),
        Outcome::Throttled { .. } | Outcome::Unavailable { .. } => match again_after {
            Some(pause) => format!("it tries once more after {}, while the phone could still ring", pause_words(pause)),
            None => format!("it gives up: a phone that rings for {ring_s} s would not ring any more by then"),
        },
        Outcome::CredentialRefused { .. } => {
            "it makes a new authorization and tries once more at once; refused again, it leaves this credential alone for a \
             minute, logs an error and deletes nothing. voip-push check says what is wrong"
                .to_owned()
        }
    }
}

fn token_gone(push: &Push, since_ms: Option<i64>) -> String {
    let registered = utc(push.device.registered_at_ms / 1000);
    if !push.is_stored {
        return "nothing: the token is dead, and it is not from the database".to_owned();
    }
    match since_ms {
        Some(since_ms) if push.device.registered_at_ms > since_ms => {
            format!(
                "it keeps the token, which was registered at {registered}, after it was found dead at {}",
                utc(since_ms / 1000)
            )
        }
        Some(since_ms) => {
            format!(
                "it deletes the token, dead since {}; the app must register a new one",
                utc(since_ms / 1000)
            )
        }
        None => "it deletes the token, which is dead; the app must register a new one".to_owned(),
    }
}

fn rejected(blame: Blame, settings: &Settings) -> String {
    let pause_s = settings.quarantine.pair.as_secs();
    match blame {
        Blame::Push => "it gives this push up and keeps the token".to_owned(),
        Blame::Environment => format!(
            "it tries Apple's other environment where a credential serves it, keeps the token, and else leaves this device alone for {pause_s} s"
        ),
        Blame::Device => format!(
            "it keeps the token, which is not of this app, and leaves this device alone for {pause_s} s"
        ),
        Blame::App => {
            format!("it keeps the token, and does not use this credential for this app for {pause_s} s")
        }
    }
}

fn pause_words(pause: Duration) -> String {
    if pause < Duration::from_secs(1) {
        return format!("{} ms", pause.as_millis());
    }
    format!("{} s", pause.as_secs())
}
