//! `POST /token`: the JWT-bearer grant of a service account (RFC 7523; Google, "Using OAuth 2.0 for server to
//! server applications").
//!
//! It refuses assertions of other accounts, keys, audiences and scopes, and those that live longer than an hour.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::{Response, header};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::json;

use super::super::Sim;
use super::super::behaviour::Behaviour;
use super::super::exchange::{Exchange, Reply};
use super::super::host::Service;
use super::super::push::{decorate, reply, wait};
use super::form;
use super::{Rules, json as json_answer};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
/// "Token must be a short-lived token (60 minutes)".
const MAX_LIFE_S: i64 = 3600;
/// How far a clock may run ahead.
const MAX_AHEAD_S: i64 = 300;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
}

/// OAuth2's error and its description (RFC 6749 §5.2).
struct Refusal(&'static str, String);

fn invalid_grant(description: &str) -> Refusal {
    Refusal("invalid_grant", description.to_owned())
}

/// Answers one token request.
pub async fn answer(sim: &Sim, exchange: &Exchange) -> Reply {
    let checked = check(&sim.google, exchange, sim.clock.now_s());
    let behaviour = match checked {
        Ok(()) => sim.behaviours.take(Service::Oauth).unwrap_or_default(),
        Err(_) => Behaviour::default(),
    };
    wait(sim, &behaviour).await;
    let response = match (checked, behaviour.status) {
        (Err(refusal), _) => refused(400, refusal.0, &refusal.1),
        (Ok(()), None | Some(200)) => grant(&sim.google),
        (Ok(()), Some(status)) => refused(
            status,
            behaviour.reason.as_deref().unwrap_or("internal_failure"),
            "told by the control API",
        ),
    };
    let reply = reply(&behaviour, decorated(response, &behaviour));
    let status = if let Reply::Answer { response, .. } = &reply { response.status().as_u16() } else { 0 };
    sim.journal.count(Service::Oauth, status);
    reply
}

fn decorated(mut response: Response<Bytes>, behaviour: &Behaviour) -> Response<Bytes> {
    decorate(&mut response, behaviour);
    response
}

fn grant(rules: &Rules) -> Response<Bytes> {
    rules.exchanges.fetch_add(1, Relaxed);
    let (token, expires_in) = rules.access_tokens.issue();
    json_answer(200, &json!({ "access_token": token, "expires_in": expires_in, "token_type": "Bearer" }))
}

fn refused(status: u16, error: &str, description: &str) -> Response<Bytes> {
    json_answer(status, &json!({ "error": error, "error_description": description }))
}

fn check(rules: &Rules, exchange: &Exchange, now: i64) -> Result<(), Refusal> {
    let media_type = exchange.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !media_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")) {
        return Err(Refusal("invalid_request", "Bad Request".to_owned()));
    }
    let form = std::str::from_utf8(&exchange.body).unwrap_or_default();
    let grant_type = form::field(form, "grant_type").unwrap_or_default();
    if grant_type != GRANT_TYPE {
        return Err(Refusal("unsupported_grant_type", format!("Invalid grant_type: {grant_type}")));
    }
    let assertion = form::field(form, "assertion").unwrap_or_default();
    if assertion.is_empty() {
        return Err(Refusal("invalid_request", "Missing required parameter: assertion".to_owned()));
    }
    check_claims(rules, &verified_claims(rules, &assertion)?, now)
}

fn verified_claims(rules: &Rules, assertion: &str) -> Result<Claims, Refusal> {
    let header = decode_header(assertion).map_err(|_| invalid_grant("Bad Request"))?;
    if header.alg != Algorithm::RS256 || header.kid.as_deref() != Some(&rules.key_id) {
        return Err(invalid_grant("Invalid JWT Signature."));
    }
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = decode::<Claims>(assertion, &rules.key, &validation);
    decoded.map(|token| token.claims).map_err(|error| match error.kind() {
        jsonwebtoken::errors::ErrorKind::Json(_) => {
            invalid_grant("Invalid JWT: a required claim is missing.")
        }
        _ => invalid_grant("Invalid JWT Signature."),
    })
}

fn check_claims(rules: &Rules, claims: &Claims, now: i64) -> Result<(), Refusal> {
    if claims.iss != rules.client_email {
        return Err(invalid_grant("Invalid grant: account not found"));
    }
    if claims.aud != rules.token_uri {
        let right = &rules.token_uri;
        return Err(invalid_grant(&format!(
            "Invalid JWT: Failed audience check. The right audience is {right}"
        )));
    }
    let life_s = claims.exp.saturating_sub(claims.iat);
    if !(1..=MAX_LIFE_S).contains(&life_s)
        || claims.exp <= now
        || claims.iat.saturating_sub(now) > MAX_AHEAD_S
    {
        return Err(invalid_grant(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
             Check your iat and exp values in the JWT claim.",
        ));
    }
    if claims.scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
        return Ok(());
    }
    Err(Refusal("invalid_scope", "Invalid OAuth scope or ID token audience provided.".to_owned()))
}
