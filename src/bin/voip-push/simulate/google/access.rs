//! Access tokens: issued, checked, expired, revoked.
//!
//! It refuses to remember more than [`KEPT`]; then the oldest knowledge goes, as with a revocation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::random;

const KEPT: usize = 10_000;

/// All access tokens handed out and not yet forgotten.
pub struct AccessTokens {
    issued: Mutex<HashMap<String, Instant>>,
    lifetime_s: AtomicU64,
}

impl Default for AccessTokens {
    fn default() -> Self {
        // Google says 3599 for a token of one hour.
        AccessTokens { issued: Mutex::default(), lifetime_s: AtomicU64::new(3599) }
    }
}

impl AccessTokens {
    fn issued(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token and its lifetime in seconds.
    pub fn issue(&self) -> (String, u64) {
        let lifetime_s = self.lifetime_s.load(Relaxed);
        let token = format!("ya29.{}{}", random::url_safe(), random::url_safe());
        let mut issued = self.issued();
        if issued.len() >= KEPT {
            issued.clear();
        }
        issued.insert(token.clone(), Instant::now() + Duration::from_secs(lifetime_s));
        (token, lifetime_s)
    }

    /// Issued, not revoked, not expired.
    pub fn good(&self, token: &str) -> bool {
        self.issued().get(token).is_some_and(|ends| Instant::now() < *ends)
    }

    /// Forgets all tokens; says how many.
    pub fn revoke_all(&self) -> usize {
        let mut issued = self.issued();
        let number = issued.len();
        issued.clear();
        number
    }

    /// Lifetime of the tokens issued from now on.
    pub fn set_lifetime_s(&self, lifetime_s: u64) {
        self.lifetime_s.store(lifetime_s, Relaxed);
    }
}
