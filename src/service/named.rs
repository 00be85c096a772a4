//! Phones that a registrar names by their contact: no token store knows them.
//!
//! It refuses to let a phone ring for anything but a call: what waits else wakes it silently, or not at all.

use super::ends::fcm_profile;
use super::{Error, Ready, Service, now_ms};
use crate::config::Profile;
use crate::model::{
    Alert, Call, Caller, Device, Invalid, Kind, Media, Platform, Provider, Push, Token, User,
};
use crate::sip::PushDevice;
use std::time::Duration;

/// What a phone is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A call, which rings.
    Call(Media),
    /// A SIP MESSAGE, which is shown as `[message]` says.
    Message,
    /// Anything else for which it has to register: it is asked to, as before its registration ends.
    Refresh,
}

/// How long a request waits for the phone at most, where the registrar does not say: RFC 3261's timer F.
const REQUEST_WAITS: Duration = Duration::from_secs(32);

impl Service {
    /// As [`Service::ready`] for one phone, by the push parameters of its contact. Where nobody calls, there may be no call id.
    /// `NoDevice` says that this phone takes no push but for calls.
    ///
    /// # Errors
    /// `Argument` or `NoDevice`.
    pub fn ready_contact(
        &self,
        contact: &PushDevice,
        wake: Wake,
        [user, caller, call_id]: [&str; 3],
    ) -> Result<Ready, Error> {
        self.counted(|| {
            let media = if let Wake::Call(media) = wake { media } else { Media::Audio };
            let id = if call_id.is_empty() && wake == Wake::Refresh {
                format!("refresh-{}", now_ms() / 1000)
            } else {
                call_id.to_owned()
            };
            let call = Call::new(user, Caller::parse(caller), &id, media)?;
            let device = self.device_of(contact, &call.callee)?;
            let (kind, device, lasts) = match wake {
                Wake::Call(_) => return Ok(Ready { pushes: self.pushes(call, vec![device], false) }),
                Wake::Message => {
                    let show = Kind::Message(self.settings().message.show);
                    (show, self.for_messages(device), self.settings().message.wake)
                }
                Wake::Refresh => (Kind::Refresh, self.for_silence(device), REQUEST_WAITS),
            };
            let device = device.ok_or(Error::NoDevice)?;
            let ends_at_s = now_ms() / 1000 + lasts.as_secs() as i64;
            Ok(Ready { pushes: vec![Push::new(call, device, ends_at_s, lasts, false).of_kind(kind)] })
        })
    }

    fn device_of(&self, contact: &PushDevice, user: &User) -> Result<Device, Invalid> {
        let alert = |token| Some(Box::new(Alert { token, app: None }));
        let alert_token = contact.alert_token.as_deref();
        let alert_token = alert_token.map(|token| Token::parse(contact.provider, token)).transpose()?;
        Ok(Device {
            user: user.clone(),
            device_id: String::new(),
            platform: if contact.provider == Provider::Apns { Platform::Ios } else { Platform::Android },
            token: Token::parse(contact.provider, &contact.token)?,
            // an app that we have no credential for is named to the sender, which says so
            app: self.settings().served_app(contact).unwrap_or_else(|| contact.app.clone()),
            environment: contact.environment,
            registered_at_ms: now_ms(),
            expires_at_ms: None,
            alert: alert_token.and_then(alert),
        })
    }

    /// The device as it takes messages.
    pub(super) fn for_messages(&self, device: Device) -> Option<Device> {
        let tells =
            |device: &Device| fcm_profile(&self.settings(), device).is_some_and(Profile::tells_of_messages);
        if device.platform == Platform::Android {
            Some(device).filter(tells)
        } else {
            self.for_alerts(device)
        }
    }

    /// The device as it takes what nobody sees.
    pub(super) fn for_silence(&self, device: Device) -> Option<Device> {
        if device.platform == Platform::Android { Some(device) } else { self.for_alerts(device) }
    }
}
