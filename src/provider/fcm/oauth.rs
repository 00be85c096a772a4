//! Google's OAuth2 exchange: an assertion signed by the service account for an access token (RFC 7523 §2.1).
//!
//! It refuses to run on the sending thread: it blocks, and is called once in an hour.

use crate::config::FcmCredential;
use crate::model::Outcome;
use crate::provider::{Authorization, reason};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION_LIFETIME_S: i64 = 3600;
/// How long the exchange may take altogether.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Renewed this long before it expires, so that no push waits for it.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// The client that does the exchange.
pub(super) struct Exchange {
    agent: Agent,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TokenError {
    error: String,
}

impl Exchange {
    /// Loads the trust roots once; opens no connection.
    pub(super) fn new(credential: &FcmCredential) -> Result<Self, String> {
        // The only place outside http2/ that names rustls: ureq wants its crypto provider handed over as rustls' type.
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(crypto)
            .root_certs(roots(credential.origin.ca_pem.as_deref())?)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .https_only(true)
            .max_redirects(0)
            .proxy(None)
            .build();
        Ok(Exchange { agent: config.new_agent() })
    }

    /// Fetches an access token; blocks for as long as Google takes, at most ten seconds.
    pub(super) fn access_token(
        &self,
        credential: &FcmCredential,
        now_s: i64,
    ) -> Result<Authorization, Outcome> {
        let assertion = assertion(credential, now_s)?;
        let form = [("grant_type", GRANT_TYPE), ("assertion", assertion.as_str())];
        let unavailable = |what: &str| Outcome::Unavailable { reason: format!("OAuth2: {what}") };
        let mut response = self
            .agent
            .post(&credential.token_uri)
            .send_form(form)
            .map_err(|error| unavailable(&kind(&error)))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(64 * 1024).read_to_vec();
        read_answer(status, &body.map_err(|error| unavailable(&kind(&error)))?)
    }
}

fn read_answer(status: u16, body: &[u8]) -> Result<Authorization, Outcome> {
    match status {
        200 => {
            let answer: TokenAnswer = serde_json::from_slice(body).map_err(|_| Outcome::Unavailable {
                reason: "OAuth2: an answer without a token".to_owned(),
            })?;
            let expires_after = Duration::from_secs(answer.expires_in);
            let renew_after = expires_after.saturating_sub(EARLY).max(expires_after / 2);
            Authorization::new(&format!("Bearer {}", answer.access_token), renew_after, expires_after)
        }
        400..=403 => {
            let said: TokenError = serde_json::from_slice(body).unwrap_or_default();
            Err(Outcome::CredentialRefused {
                reason: format!("OAuth2: HTTP {status} {}", reason(&said.error)),
            })
        }
        _ => Err(Outcome::Unavailable { reason: format!("OAuth2: HTTP {status}") }),
    }
}

/// The claims are those that google-auth makes for the same service account.
fn assertion(credential: &FcmCredential, now_s: i64) -> Result<String, Outcome> {
    let claims = serde_json::json!({
        "iss": credential.client_email,
        "scope": SCOPE,
        "aud": credential.token_uri,
        "iat": now_s,
        "exp": now_s + ASSERTION_LIFETIME_S,
    });
    let signed = credential.key.sign(&credential.key_id, &claims);
    signed.map_err(|_| Outcome::CredentialRefused { reason: "the key cannot sign".to_owned() })
}

fn roots(ca_pem: Option<&str>) -> Result<RootCerts, String> {
    let Some(pem) = ca_pem else { return Ok(RootCerts::WebPki) };
    let items = ureq::tls::parse_pem(pem.as_bytes()).filter_map(Result::ok);
    let certificates: Vec<_> = items
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err("has no usable certificate".to_owned());
    }
    Ok(RootCerts::from(certificates))
}

/// The kind of failure only: a dependency's full text may carry what was sent.
fn kind(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "the host name is not known".to_owned(),
        // What rustls refuses comes as an I/O error with its error inside.
        ureq::Error::Io(io) if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            "TLS failed; is the CA right?".to_owned()
        }
        ureq::Error::Io(io) => format!("{}", io.kind()),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => "TLS failed; is the CA right?".to_owned(),
        _ => "the connection failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_token_is_renewed_before_it_expires() {
        let token =
            read_answer(200, br#"{"access_token":"t","expires_in":3599,"token_type":"Bearer"}"#).unwrap();
        assert_eq!(&*token.value, "Bearer t");
        assert_eq!(token.renew_after, Duration::from_secs(3299));
        assert_eq!(token.expires_after, Duration::from_secs(3599));
        let short = read_answer(200, br#"{"access_token":"t","expires_in":60}"#).unwrap();
        assert_eq!(short.renew_after, Duration::from_secs(30));
    }

    #[test]
    fn a_refused_assertion_is_a_refused_credential_and_nonsense_is_no_answer() {
        let refused = read_answer(400, br#"{"error":"invalid_grant"}"#).unwrap_err();
        assert_eq!(
            refused,
            Outcome::CredentialRefused { reason: "OAuth2: HTTP 400 invalid_grant".to_owned() }
        );
        for (status, body) in [(200, "<html>"), (500, ""), (302, ""), (429, "")] {
            assert_eq!(read_answer(status, body.as_bytes()).unwrap_err().name(), "unavailable");
        }
    }
}
