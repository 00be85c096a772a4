//! Requests within dialogs: which phone one is for that says so by a PURR, and the push that wakes it (RFC 8599 §6).
//!
//! It refuses to send a VoIP push for one, which Apple wants to be a new call: an iPhone that has only a token for calls gets no PURR.

use super::purr::{Named, Purrs};
use super::{Error, Ready, Service, SipRegister, now_ms};
use crate::config::PurrOffer;
use crate::model::{Call, Caller, Device, Kind, Media, NewDevice, Platform, Push, User};
use crate::sip::Uri;
use crate::stats::Counter;
use std::time::Duration;

impl Service {
    /// Has phones offered PURRs from here on. Only where somebody asks [`Service::dialog_device`] for requests within dialogs: else a
    /// PURR would be a promise that nobody keeps. Before the fork, while an operator is looking.
    ///
    /// # Errors
    /// The file with the key cannot be read, or made.
    pub fn offer_purrs(&self) -> Result<(), Error> {
        let settings = self.settings();
        let sip = &settings.sip;
        if sip.purr == PurrOffer::Nobody {
            return Ok(());
        }
        let load = || {
            Purrs::load(&sip.purr_key_file)
                .map_err(|why| Error::Config(settings.error("[sip] purr_key_file", why)))
        };
        self.purrs.get_or_try_init(load).map(|_| ())
    }

    /// A new PURR for a device that registers with a Contact of this user part, where it is to have one.
    pub(super) fn purr(&self, device: &NewDevice, contact_user: &[u8], asks: bool) -> Option<String> {
        let purrs = self.purrs.get()?;
        let is_offered = match self.settings().sip.purr {
            PurrOffer::All => true,
            PurrOffer::Asked => asks,
            PurrOffer::Nobody => false,
        };
        let can_be_woken = device.platform == Platform::Android || device.alert.is_some();
        if !is_offered || !can_be_woken {
            return None;
        }
        let named = Named { user: device.user.as_str().to_owned(), device_id: device.device_id.clone() };
        purrs.make(&named, contact_user)
    }

    /// The device that a request within a dialog is for, by the PURR in its Request-URI.
    ///
    /// # Errors
    /// `NoDevice`, where there is no PURR, or none of ours, or its phone is gone or takes no such push: then the request goes on as one
    /// without it. `Store`.
    pub fn dialog_device(&self, request_uri: &[u8]) -> Result<Device, Error> {
        let uri = Uri::read(request_uri).map_err(|_| Error::NoDevice)?;
        let Ok(Some(purr)) = uri.param("pn-purr") else { return Err(Error::NoDevice) };
        let found = self.counted(|| self.device_of_purr(&purr, uri.user()));
        if matches!(found, Err(Error::NoDevice)) {
            self.stats.count(Counter::UselessPurrs);
        }
        found
    }

    fn device_of_purr(&self, purr: &str, contact_user: &[u8]) -> Result<Device, Error> {
        let named = self.purrs.get().and_then(|purrs| purrs.read(purr, contact_user));
        let Named { user, device_id } = named.ok_or(Error::NoDevice)?;
        let user = User::parse(&user)?;
        let devices = self.with_store(|store| store.devices(&user, now_ms()))?;
        let device = devices.into_iter().find(|device| device.device_id == device_id);
        device.filter(|device| self.for_silence(device.clone()).is_some()).ok_or(Error::NoDevice)
    }

    /// The first half of pushing for a request within a dialog, as [`Service::ready`] is for a call. `request_id` names the request, not
    /// its dialog, which may wake the same phone many times. The push is good for as long as the request waits.
    ///
    /// # Errors
    /// `Argument`, or `NoDevice` where the device takes only calls.
    pub fn ready_dialog(
        &self,
        device: &Device,
        from: &str,
        request_id: &str,
        within: Duration,
    ) -> Result<Ready, Error> {
        self.counted(|| {
            let call = Call::new(device.user.as_str(), Caller::parse(from), request_id, Media::Audio)?;
            let woken = self.for_silence(device.clone()).ok_or(Error::NoDevice)?;
            let is_stored = woken.token == device.token;
            let expires_at_s = now_ms() / 1000 + within.as_secs() as i64;
            let push = Push::new(call, woken, expires_at_s, within, is_stored).of_kind(Kind::Dialog);
            Ok(Ready { pushes: vec![push] })
        })
    }

    /// The same for a device that was found before.
    ///
    /// # Errors
    /// `Argument`, `Store`, or `NoDevice` where it is gone or takes only calls.
    pub fn ready_dialog_again(
        &self,
        [user, device_id]: [&str; 2],
        from: &str,
        request_id: &str,
        within: Duration,
    ) -> Result<Ready, Error> {
        let user = User::parse(user)?;
        let devices = self.counted(|| self.with_store(|store| store.devices(&user, now_ms())))?;
        let device = devices.iter().find(|device| device.device_id == device_id).ok_or(Error::NoDevice)?;
        self.ready_dialog(device, from, request_id, within)
    }

    /// The devices that a REGISTER has brought, by their ids; to be asked when [`Service::register_contacts`] has stored them.
    pub fn registered_devices(&self, register: &SipRegister<'_>) -> Vec<String> {
        self.new_devices(register).into_iter().map(|device| device.device_id).collect()
    }
}
