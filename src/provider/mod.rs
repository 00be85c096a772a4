//! One folder per push provider: a push becomes a request, an answer becomes an outcome.
//!
//! It refuses to send anything and to decide what an outcome means for the token or the next attempt; the sender does.

pub mod apns;
pub mod fcm;

use crate::model::{Device, Environment, Outcome, Provider, Push};
use bytes::Bytes;
use http::HeaderValue;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the sender needs from a provider's folder. One value stands for one credential.
pub trait PushProvider: Send + Sync {
    /// Which provider this is.
    fn provider(&self) -> Provider;

    /// The credential's name in logs: team and key id, or project. Never a secret.
    fn name(&self) -> String;

    /// Who signs: credentials with the same signer share one authorization. For comparing only, never for a log.
    fn signer(&self) -> String;

    /// The topic or project that a push to this device is for.
    fn app<'a>(&'a self, device: &'a Device) -> &'a str;

    /// Which of Apple's environments it is for; others have only the one.
    fn environment(&self) -> Environment {
        Environment::Production
    }

    /// True if pushes to this device go out with this credential.
    fn serves(&self, device: &Device) -> bool;

    /// The HTTP request for a push.
    ///
    /// # Errors
    /// `Rejected` if the push cannot be put into a request the provider would take.
    fn request(&self, push: &Push, authorization: &Authorization) -> Result<http::Request<Bytes>, Outcome>;

    /// The same request as one that is checked and reaches nobody; `None` where the provider has no such thing.
    fn dry(&self, _request: &http::Request<Bytes>) -> Option<http::Request<Bytes>> {
        None
    }

    /// What an answer means. Exactly one outcome per answer, and nothing else happens here.
    fn outcome(&self, answer: &Answer) -> Outcome;

    /// What is to blame for a rejection (`Outcome::Rejected`) with this reason.
    fn blame(&self, reason: &str) -> Blame;

    /// Makes or fetches what goes into the `authorization` header. May block on the network, so the sender calls it on
    /// a thread of its own. `now_s` is the time in seconds since 1970.
    ///
    /// # Errors
    /// `CredentialRefused` or `Unavailable`.
    fn authorize(&self, now_s: i64) -> Result<Authorization, Outcome>;
}

/// What is to blame for a rejection, and so will not work with the next push either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Only this push, or nobody can say.
    Push,
    /// The device's token: it is of Apple's other environment, or of none.
    Environment,
    /// The device's token is not of this app.
    Device,
    /// This credential may not push to this app at all.
    App,
}

/// A header value that proves who we are, and how long it is good for.
#[derive(Clone)]
pub struct Authorization {
    /// The value of the `authorization` header.
    pub value: Arc<str>,
    /// The same as it goes out: made once, shared by every request, and marked so that HPACK never keeps it.
    pub header: HeaderValue,
    /// Age at which a new one should be fetched while this one still works.
    pub renew_after: Duration,
    /// Age at which it no longer works.
    pub expires_after: Duration,
}

impl Authorization {
    /// From the header's value.
    ///
    /// # Errors
    /// `CredentialRefused`: it cannot be put into a header.
    pub fn new(
        value: &str,
        renew_after: Duration,
        expires_after: Duration,
    ) -> Result<Authorization, Outcome> {
        let mut header = HeaderValue::from_str(value).map_err(|_| Outcome::CredentialRefused {
            reason: "the authorization cannot be put into a header".to_owned(),
        })?;
        header.set_sensitive(true);
        Ok(Authorization { value: value.into(), header, renew_after, expires_after })
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "authorization(renew after {:?})", self.renew_after)
    }
}

/// A provider's answer, as far as anybody needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The `retry-after` header, if it is a number of seconds.
    pub retry_after: Option<Duration>,
    /// The body, cut at some kilobytes.
    pub body: Bytes,
}

impl Answer {
    /// True where there is a body that is no JSON: a proxy's page, or noise. It says nothing about a push, whatever its status.
    fn is_nonsense(&self) -> bool {
        !self.body.is_empty() && serde_json::from_slice::<serde::de::IgnoredAny>(&self.body).is_err()
    }

    fn unavailable(&self) -> Outcome {
        Outcome::Unavailable { reason: format!("HTTP {} with a body that is not JSON", self.status) }
    }
}

/// The provider's reason for a log line: printable ASCII of a sensible length, since it comes from outside.
fn reason(text: &str) -> String {
    let printable: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    crate::model::cut_to(&printable, 80).to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    //! Pushes, answers and credentials that the providers' tests share.

    use super::*;
    use crate::config::{FcmCredential, IosPushType, Origin, Profile, SigningKey};
    use crate::model::{Call, Extra, NewDevice};

    pub(crate) fn push_to(platform: &str, token: &str, caller: &str) -> Push {
        let new = NewDevice::parse("564612", token, platform, &Extra::default()).unwrap();
        let device = Device {
            user: new.user,
            device_id: new.device_id,
            platform: new.platform,
            token: new.token,
            app: None,
            environment: None,
            registered_at_ms: 1,
            expires_at_ms: None,
            alert: None,
        };
        let call = Call::parse("564612", caller, "call-1").unwrap();
        Push::new(call, device, 1_900_000_030, Duration::from_secs(30), true)
    }

    pub(crate) fn some_authorization() -> Authorization {
        let hour = Duration::from_secs(3600);
        Authorization::new("bearer x.y.z", hour, hour).unwrap()
    }

    pub(crate) fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    pub(crate) fn fcm_credential() -> FcmCredential {
        FcmCredential {
            project_id: "sip-phone-voip".to_owned(),
            client_email: "push@sip-phone-voip.iam.gserviceaccount.com".to_owned(),
            key_id: "0123".to_owned(),
            key: SigningKey::for_tests(),
            account_file: "service-account.json".into(),
            token_uri: "https://oauth2.googleapis.com/token".to_owned(),
            ios_push_type: IosPushType::Alert,
            profile: Profile::default(),
            alerts: std::sync::Arc::default(),
            origin: Origin { host: "fcm.googleapis.com".to_owned(), port: 443, ca_pem: None },
        }
    }
}
