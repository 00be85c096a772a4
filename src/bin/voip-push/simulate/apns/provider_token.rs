//! Provider tokens: the ES256 JWT in `authorization` (Apple, "Establishing a token-based connection to APNs").
//!
//! It refuses DER signatures, although Apple is said to take them: RFC 7518 §3.4 asks for r||s, and what passes
//! here must pass everywhere. Whether Apple counts token updates per address too is not documented; here they
//! count per connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::super::Sim;
use super::super::connection::Connection;
use super::reply::Refusal;

/// A provider token lives for one hour.
const MAX_AGE_S: i64 = 3600;
/// How far a clock may run ahead.
const MAX_AHEAD_S: i64 = 300;
/// A new provider token at most every 20 minutes on a connection.
const UPDATE_GAP_S: u64 = 1200;
/// Bound on the remembered tokens; a sane client makes one every 20 minutes.
const REMEMBERED: usize = 10_000;

/// The provider token in use on a connection.
pub struct CurrentJwt {
    authorization: HeaderValue,
    iat: i64,
    since: Instant,
    /// What [`ProviderTokens::changes`] was when it was checked.
    keys: u64,
}

/// Verifies provider tokens, each signature once.
pub struct ProviderTokens {
    team_id: String,
    /// The keys that are good, by their ids.
    keys: Mutex<HashMap<String, DecodingKey>>,
    /// How often that has changed.
    changes: AtomicU64,
    /// The text of every token that verified, with its iat.
    verified: Mutex<HashMap<String, i64>>,
    distinct: AtomicU64,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: i64,
}

impl ProviderTokens {
    /// Tokens of this team made with this key.
    pub fn new(team_id: &str, key_id: &str, key: DecodingKey) -> Self {
        ProviderTokens {
            team_id: team_id.to_owned(),
            keys: Mutex::new(HashMap::from([(key_id.to_owned(), key)])),
            changes: AtomicU64::new(0),
            verified: Mutex::default(),
            distinct: AtomicU64::new(0),
        }
    }

    /// Takes tokens of another key, too; `None`: of that one no more. False where there is no such key.
    pub fn set_key(&self, key_id: &str, key: Option<DecodingKey>) -> bool {
        let is_new = key.is_some();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match key {
            Some(key) => keys.insert(key_id.to_owned(), key),
            None => keys.remove(key_id),
        };
        // Whoever verifies a token takes the locks in the other order.
        drop(keys);
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.changes.fetch_add(1, Relaxed);
        is_new || before.is_some()
    }

    /// How many different tokens have verified.
    pub fn distinct(&self) -> u64 {
        self.distinct.load(Relaxed)
    }

    /// `iat` of a token with a good signature, kid and iss.
    fn verify(&self, token: &str) -> Option<i64> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(iat) = verified.get(token) {
            return Some(*iat);
        }
        let iat = self.verify_anew(token)?;
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(token.to_owned(), iat);
        self.distinct.fetch_add(1, Relaxed);
        Some(iat)
    }

    fn verify_anew(&self, token: &str) -> Option<i64> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let key_id = decode_header(token).ok()?.kid?;
        let key = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&key_id).cloned()?;
        let token = decode::<Claims>(token, &key, &validation).ok()?;
        (token.claims.iss == self.team_id).then_some(token.claims.iat)
    }
}

/// Checks the provider token of one request and leaves its `iat` behind once it is known.
pub fn check(
    sim: &Sim,
    connection: &Connection,
    authorization: Option<&HeaderValue>,
    seen_iat: &mut Option<i64>,
) -> Result<(), Refusal> {
    let mut current = connection.jwt.lock().unwrap_or_else(PoisonError::into_inner);
    let known = current.as_ref().filter(|known| Some(&known.authorization) == authorization);
    let keys = sim.apns.provider_tokens.changes.load(Relaxed);
    let iat = match known {
        Some(known) if known.keys == keys => known.iat,
        _ => sim.apns.provider_tokens.verify(bearer(authorization)?).ok_or_else(invalid)?,
    };
    *seen_iat = Some(iat);
    check_window(iat, sim.clock.now_s())?;
    if known.is_some() {
        return Ok(());
    }
    if let Some(former) = current.as_ref().filter(|_| sim.jwt_updates_limited.load(Relaxed)) {
        check_update(former, iat)?;
    }
    *current = authorization.map(|value| CurrentJwt {
        authorization: value.clone(),
        iat,
        since: Instant::now(),
        keys,
    });
    Ok(())
}

fn invalid() -> Refusal {
    Refusal::new(403, "InvalidProviderToken")
}

fn bearer(authorization: Option<&HeaderValue>) -> Result<&str, Refusal> {
    let missing = || Refusal::new(403, "MissingProviderToken");
    let text = authorization.ok_or_else(missing)?.to_str().map_err(|_| invalid())?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if text.is_empty() {
        return Err(missing());
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(invalid());
    }
    if token.trim().is_empty() { Err(missing()) } else { Ok(token.trim()) }
}

fn check_window(iat: i64, now: i64) -> Result<(), Refusal> {
    if now.saturating_sub(iat) > MAX_AGE_S {
        return Err(Refusal::new(403, "ExpiredProviderToken"));
    }
    if iat.saturating_sub(now) > MAX_AHEAD_S { Err(invalid()) } else { Ok(()) }
}

/// Too soon is: less than 20 minutes since the former token came, and less than 20 minutes between the two `iat`.
fn check_update(former: &CurrentJwt, iat: i64) -> Result<(), Refusal> {
    let arrived_apart = former.since.elapsed() >= Duration::from_secs(UPDATE_GAP_S);
    if arrived_apart || iat.abs_diff(former.iat) >= UPDATE_GAP_S {
        Ok(())
    } else {
        Err(Refusal::new(429, "TooManyProviderTokenUpdates"))
    }
}
