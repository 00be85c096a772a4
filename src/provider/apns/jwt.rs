//! The provider token of APNs (Apple, "Establishing a token-based connection to APNs").
//!
//! It refuses to decide when a new one is made: Apple punishes who makes them too often, and the sender knows.

use crate::config::ApnsCredential;
use crate::model::Outcome;
use crate::provider::Authorization;
use std::time::Duration;

/// Apple: not more often than once in 20 minutes, not older than an hour.
const RENEW_AFTER: Duration = Duration::from_secs(45 * 60);
const EXPIRES_AFTER: Duration = Duration::from_secs(58 * 60);

pub(super) fn sign(credential: &ApnsCredential, now_s: i64) -> Result<Authorization, Outcome> {
    let claims = serde_json::json!({ "iss": credential.team_id, "iat": now_s });
    let jwt = credential
        .key
        .sign(&credential.key_id, &claims)
        .map_err(|_| Outcome::CredentialRefused { reason: "the key cannot sign".to_owned() })?;
    Authorization::new(&format!("bearer {jwt}"), RENEW_AFTER, EXPIRES_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_for_40_to_50_minutes_and_never_for_an_hour() {
        assert!((40..=50).contains(&(RENEW_AFTER.as_secs() / 60)));
        assert!(RENEW_AFTER < EXPIRES_AFTER && EXPIRES_AFTER < Duration::from_secs(3600));
    }
}
