//! Apple Push Notification service: the only way to PushKit.
//!
//! It refuses to tell an iPhone by a VoIP push anything but that a call comes.

mod jwt;
mod request;
mod response;

use super::{Answer, Authorization, Blame, PushProvider};
use crate::config::ApnsCredential;
use crate::model::{Device, Environment, Outcome, Provider, Push};
use bytes::Bytes;

/// One Apple key with the topics it is for.
pub struct Apns {
    credential: ApnsCredential,
    fixed: request::Fixed,
    default_environment: Environment,
}

impl Apns {
    /// `default_environment` is the one of a device that did not say.
    pub fn new(credential: ApnsCredential, default_environment: Environment) -> Self {
        let fixed = request::Fixed::new(&credential);
        Apns { credential, fixed, default_environment }
    }
}

impl PushProvider for Apns {
    fn provider(&self) -> Provider {
        Provider::Apns
    }

    fn name(&self) -> String {
        self.credential.name()
    }

    fn signer(&self) -> String {
        let ApnsCredential { team_id, key_id, key, .. } = &self.credential;
        format!("apns {team_id} {key_id} {}", key.mark())
    }

    fn app<'a>(&'a self, device: &'a Device) -> &'a str {
        device.app.as_deref().unwrap_or(&self.credential.topics[0])
    }

    fn environment(&self) -> Environment {
        self.credential.environment
    }

    fn serves(&self, device: &Device) -> bool {
        device.provider() == Provider::Apns
            && device.environment.unwrap_or(self.default_environment) == self.credential.environment
            && device.app.as_ref().is_none_or(|app| self.credential.is_for(app))
    }

    fn request(&self, push: &Push, authorization: &Authorization) -> Result<http::Request<Bytes>, Outcome> {
        let topic = self.app(&push.device);
        request::build(push, topic, self.credential.profile(topic), &self.fixed, authorization)
    }

    fn outcome(&self, answer: &Answer) -> Outcome {
        response::outcome(answer)
    }

    fn blame(&self, reason: &str) -> Blame {
        response::blame(reason)
    }

    fn authorize(&self, now_s: i64) -> Result<Authorization, Outcome> {
        jwt::sign(&self.credential, now_s)
    }
}
