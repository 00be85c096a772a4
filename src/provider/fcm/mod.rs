//! Firebase Cloud Messaging, HTTP v1: the way to Android, and to iPhones that gave an FCM token.
//!
//! It refuses to promise what FCM cannot do: PushKit is out of its reach.

mod oauth;
mod request;
mod response;

use super::{Answer, Authorization, Blame, PushProvider};
use crate::config::FcmCredential;
use crate::model::{Device, Outcome, Provider, Push};
use bytes::Bytes;

/// One service account of a Firebase project.
pub struct Fcm {
    credential: FcmCredential,
    oauth: oauth::Exchange,
}

impl Fcm {
    /// Prepares the exchange of assertions for access tokens; opens no connection.
    ///
    /// # Errors
    /// The CA file has no usable certificate.
    pub fn new(credential: FcmCredential) -> Result<Self, String> {
        let oauth = oauth::Exchange::new(&credential)?;
        Ok(Fcm { credential, oauth })
    }
}

impl PushProvider for Fcm {
    fn provider(&self) -> Provider {
        Provider::Fcm
    }

    fn name(&self) -> String {
        self.credential.name()
    }

    fn signer(&self) -> String {
        let FcmCredential { client_email, token_uri, key, .. } = &self.credential;
        format!("fcm {client_email} {token_uri} {}", key.mark())
    }

    fn app<'a>(&'a self, _: &'a Device) -> &'a str {
        &self.credential.project_id
    }

    fn serves(&self, device: &Device) -> bool {
        device.provider() == Provider::Fcm
            && device.app.as_ref().is_none_or(|app| *app == self.credential.project_id)
    }

    fn request(&self, push: &Push, authorization: &Authorization) -> Result<http::Request<Bytes>, Outcome> {
        request::build(push, &self.credential, authorization)
    }

    fn dry(&self, request: &http::Request<Bytes>) -> Option<http::Request<Bytes>> {
        request::validate_only(request)
    }

    fn outcome(&self, answer: &Answer) -> Outcome {
        response::outcome(answer)
    }

    fn blame(&self, reason: &str) -> Blame {
        response::blame(reason)
    }

    fn authorize(&self, now_s: i64) -> Result<Authorization, Outcome> {
        self.oauth.access_token(&self.credential, now_s)
    }
}
