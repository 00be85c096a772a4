//! The end of a call: what is still to be sent for it is given up, and the devices that ring for it are told.
//!
//! It refuses to send a second VoIP push to an iPhone: Apple ends apps that get one and show no call.

use super::{Error, Service, now_ms};
use crate::config::{Profile, Settings, alert_topic};
use crate::model::{Alert, Call, Device, Ended, Kind, Platform, Provider, Push};

impl Service {
    /// A call is over: gives up what was not sent yet of its pushes, and tells the devices that were pushed for it, as far as they
    /// can be told: Android phones by a data message, iPhones by an alert about a call that they missed, where that is wanted
    /// and they gave a token for alerts. Says how many devices are told, at most.
    ///
    /// # Errors
    /// `Argument`, `Store`, `QueueFull` or `SenderGone`. What was not sent yet is given up even where the rest fails.
    pub fn cancel(&self, user: &str, call_id: &str, reason: &str) -> Result<usize, Error> {
        let (call, ended) = self.counted(|| Ok((Call::parse(user, "", call_id)?, Ended::parse(reason)?)))?;
        self.with_sender(|sender| Ok(sender.give_up(call.clone())?))?;
        let devices = match self.counted(|| self.devices_of(&call.callee)) {
            Err(Error::NoDevice) => return Ok(0),
            devices => devices?,
        };
        let last_words = |device| self.last_word(&call, device, ended);
        let pushes: Vec<Push> = devices.into_iter().filter_map(last_words).collect();
        let told = pushes.len();
        if told > 0 {
            self.with_sender(|sender| Ok(sender.queue(pushes, None, Vec::new())?))?;
        }
        Ok(told)
    }

    /// What a device is told of the end of a call, if anything.
    fn last_word(&self, call: &Call, device: Device, ended: Ended) -> Option<Push> {
        // The store knows an iPhone by its token for calls.
        let stored = device.token.clone();
        let (kind, device) = match device.platform {
            Platform::Android if self.knows_ends(&device) => (Kind::Ended(ended), device),
            Platform::Android => return None,
            Platform::Ios if self.settings().missed_call_alert && ended == Ended::Cancelled => {
                (Kind::Missed, self.for_alerts(device)?)
            }
            Platform::Ios => return None,
        };
        let (ring, is_stored) = (self.settings().ring, device.token == stored);
        let expires_at_s = now_ms() / 1000 + ring.as_secs() as i64;
        Some(Push::new(call.clone(), device, expires_at_s, ring, is_stored).of_kind(kind))
    }

    /// Whether the app on this Android phone has a word for the end of a call.
    fn knows_ends(&self, device: &Device) -> bool {
        fcm_profile(&self.settings(), device).is_some_and(Profile::tells_of_ends)
    }

    /// The same iPhone as a device that takes alerts.
    pub(super) fn for_alerts(&self, device: Device) -> Option<Device> {
        if device.provider() == Provider::Fcm {
            // FCM reaches iPhones by alerts only, with the one token.
            return Some(device);
        }
        let settings = self.settings();
        let Alert { token, app } = *device.alert.clone()?;
        let app = app.or_else(|| match token.provider() {
            Provider::Apns => device
                .app
                .as_deref()
                .or_else(|| first_topic(&settings, &device))
                .map(|app| alert_topic(app).to_owned()),
            Provider::Fcm => None,
        });
        Some(Device { token, app, alert: None, ..device })
    }
}

/// What pushes to the app on this Android phone hold.
pub(super) fn fcm_profile<'a>(settings: &'a Settings, device: &Device) -> Option<&'a Profile> {
    let its = |project: &str| device.app.as_ref().is_none_or(|app| app == project);
    settings.fcm.iter().find(|fcm| its(&fcm.project_id)).map(|fcm| &fcm.profile)
}

fn first_topic<'a>(settings: &'a Settings, device: &Device) -> Option<&'a str> {
    let first = settings.apns.first()?;
    let environment = device.environment.unwrap_or(first.environment);
    let credential = settings.apns.iter().find(|apns| apns.environment == environment)?;
    credential.topics.first().map(String::as_str)
}
