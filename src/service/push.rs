//! The pushes of a call: looked up and checked first, then handed over, with or without waiting for what comes of them.
//!
//! It refuses to hand anything over before all that can be wrong with a call was looked at.

use super::error::judge;
use super::{Error, Service, now_ms};
use crate::model::{
    Call, Device, Invalid, Kind, Media, Platform, Provider, Push, Report, Token, User, parse_app,
};
use crate::sender::Pending;
use crate::stats::{Counter, Stats};
use std::sync::Arc;
use std::time::Duration;

/// A call, or a message, that was looked up and checked, and can be handed over.
pub struct Ready {
    pub(super) pushes: Vec<Push>,
}

impl Ready {
    /// What it counts as.
    fn counter(&self) -> Counter {
        match self.pushes.first().map(|push| push.kind) {
            Some(Kind::Message(_)) => Counter::Messages,
            Some(Kind::Refresh) => Counter::Refreshes,
            Some(Kind::Dialog) => Counter::Dialogs,
            _ => Counter::Calls,
        }
    }

    /// The devices that it is for.
    pub fn each_device(&self) -> impl Iterator<Item = &Device> {
        self.pushes.iter().map(|push| &push.device)
    }

    /// The same for some of them only, which may be none.
    pub fn only(mut self, is_wanted: impl Fn(&Device) -> bool) -> Ready {
        self.pushes.retain(|push| is_wanted(&push.device));
        self
    }

    /// How many devices it is for; at least one, before [`Ready::only`].
    pub fn devices(&self) -> usize {
        self.pushes.len()
    }
}

/// Where `send_to` pushes to: a device that the caller knows and no store is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// `apns` or `fcm`.
    pub provider: &'a str,
    /// The provider's token.
    pub token: &'a str,
    /// Topic or project; empty means the configuration's first.
    pub app: &'a str,
}

impl Service {
    /// Pushes an audio call to every device of the user and waits for the answers, at most `call.wait_ms`. The report says how
    /// many providers accepted, at least one. What `caller` may be, [`Caller::parse`](crate::model::Caller::parse) says, here and below.
    ///
    /// # Errors
    /// Why no phone will ring; see [`Error`].
    pub fn send(&self, user: &str, caller: &str, call_id: &str) -> Result<Report, Error> {
        self.send_media(user, caller, call_id, Media::Audio)
    }

    /// The same for a call that may have pictures.
    ///
    /// # Errors
    /// Why no phone will ring; see [`Error`].
    pub fn send_media(&self, user: &str, caller: &str, call_id: &str, media: Media) -> Result<Report, Error> {
        self.send_ready(self.ready(user, caller, call_id, media)?)
    }

    /// The same for one device that the caller names; no store is asked, and none is changed.
    ///
    /// # Errors
    /// Why the phone will not ring; see [`Error`].
    pub fn send_to(
        &self,
        target: &Target<'_>,
        user: &str,
        caller: &str,
        call_id: &str,
    ) -> Result<Report, Error> {
        self.send_ready(self.ready_to(target, user, caller, call_id)?)
    }

    /// The same without waiting: hands the pushes over and says how many devices there are. `done` is told on the sender's
    /// thread what `send` would have returned, and must not block. Only where the sender is a thread of this process.
    ///
    /// # Errors
    /// Why nothing was handed over; see [`Error`]. `done` is not told then.
    pub fn send_with(
        &self,
        user: &str,
        caller: &str,
        call_id: &str,
        done: impl FnOnce(Result<Report, Error>) + Send + 'static,
    ) -> Result<usize, Error> {
        let ready = self.ready(user, caller, call_id, Media::Audio)?;
        let devices = ready.devices();
        self.stats.count(Counter::Calls);
        let stats = Arc::clone(&self.stats);
        let judged = move |report| done(judge_counted(report, &stats));
        self.with_sender(|sender| Ok(sender.start_with(ready.pushes, self.settings().wait, judged)?))?;
        Ok(devices)
    }

    /// The same without waiting: hands the pushes over and says how many devices there are. Where the sender is a process of
    /// its own, the host is told `note` and the report there once all have ended, at the latest after `patience`.
    ///
    /// # Errors
    /// Why nothing was handed over; see [`Error`].
    pub fn queue(
        &self,
        user: &str,
        caller: &str,
        call_id: &str,
        patience: Option<Duration>,
        note: Vec<u8>,
    ) -> Result<usize, Error> {
        let ready = self.ready(user, caller, call_id, Media::Audio)?;
        let devices = ready.devices();
        self.hand_over(ready, patience, note)?;
        Ok(devices)
    }

    /// The first half of [`Service::queue`]: everything that can be wrong with a call, before anything depends on it.
    ///
    /// # Errors
    /// `Argument`, `Store` or `NoDevice`.
    pub fn ready(&self, user: &str, caller: &str, call_id: &str, media: Media) -> Result<Ready, Error> {
        self.ready_for(|| None, user, caller, call_id, media)
    }

    /// The second half of [`Service::queue`].
    ///
    /// # Errors
    /// `QueueFull` or `SenderGone`.
    pub fn hand_over(&self, ready: Ready, patience: Option<Duration>, note: Vec<u8>) -> Result<(), Error> {
        self.stats.count(ready.counter());
        self.with_sender(|sender| Ok(sender.queue(ready.pushes, patience, note)?))
    }

    /// The same, and the report can be fetched, at the latest after `call.wait_ms`, when a descriptor is readable; its outcome is
    /// then [`Service::verdict`]'s. Only where the sender is a process of its own.
    ///
    /// # Errors
    /// Why nothing was handed over; see [`Error`].
    pub fn start(&self, user: &str, caller: &str, call_id: &str, media: Media) -> Result<Pending, Error> {
        let ready = self.ready(user, caller, call_id, media)?;
        self.start_ready(ready)
    }

    /// The same for one device that the caller names; see [`Service::send_to`].
    ///
    /// # Errors
    /// Why nothing was handed over; see [`Error`].
    pub fn start_to(
        &self,
        target: &Target<'_>,
        user: &str,
        caller: &str,
        call_id: &str,
    ) -> Result<Pending, Error> {
        let ready = self.ready_to(target, user, caller, call_id)?;
        self.start_ready(ready)
    }

    fn ready_to(&self, target: &Target<'_>, user: &str, caller: &str, call_id: &str) -> Result<Ready, Error> {
        self.counted(|| {
            let call = Call::parse(user, caller, call_id)?;
            let device = target.device(&call.callee)?;
            Ok(Ready { pushes: self.pushes(call, vec![device], false) })
        })
    }

    /// The second half of [`Service::start`].
    ///
    /// # Errors
    /// `QueueFull`, `SenderGone`, or `Internal` in the sender's own process.
    pub fn start_ready(&self, ready: Ready) -> Result<Pending, Error> {
        self.refuse_to_wait_for_ourselves()?;
        self.stats.count(ready.counter());
        self.with_sender(|sender| Ok(sender.begin(ready.pushes, self.settings().wait)?))
    }

    /// What a report comes to: as [`Service::send`] would have ended with it. To be asked once for each report that the host is
    /// told.
    ///
    /// # Errors
    /// Why no phone will ring; see [`Error`].
    pub fn verdict(&self, report: Report) -> Result<Report, Error> {
        judge_counted(report, &self.stats)
    }

    pub(super) fn pushes(&self, call: Call, devices: Vec<Device>, is_stored: bool) -> Vec<Push> {
        let ring = self.settings().ring;
        let expires_at_s = now_ms() / 1000 + ring.as_secs() as i64;
        // The last push takes the call itself, which for most calls is the only one.
        let calls = std::iter::repeat_n(call, devices.len());
        let push = |(call, device)| Push::new(call, device, expires_at_s, ring, is_stored);
        calls.zip(devices).map(push).collect()
    }

    /// The second half of [`Service::send`].
    ///
    /// # Errors
    /// Why no phone will ring; see [`Error`].
    pub fn send_ready(&self, ready: Ready) -> Result<Report, Error> {
        self.refuse_to_wait_for_ourselves()?;
        self.stats.count(ready.counter());
        self.verdict(self.with_sender(|sender| Ok(sender.send(ready.pushes, self.settings().wait)?))?)
    }

    /// A route that the sender's process runs must not wait for the sender.
    fn refuse_to_wait_for_ourselves(&self) -> Result<(), Error> {
        if !self.is_sender() {
            return Ok(());
        }
        let why = "send_voip_push waits, and this route runs in the process that it would wait for; use queue_voip_push";
        Err(Error::Internal(why.to_owned()))
    }
}

impl Target<'_> {
    fn device(&self, user: &User) -> Result<Device, Invalid> {
        let provider = Provider::parse(self.provider)?;
        Ok(Device {
            user: user.clone(),
            device_id: String::new(),
            platform: if provider == Provider::Apns { Platform::Ios } else { Platform::Android },
            token: Token::parse(provider, self.token)?,
            app: parse_app(self.app)?,
            environment: None,
            registered_at_ms: now_ms(),
            expires_at_ms: None,
            alert: None,
        })
    }
}

fn judge_counted(report: Report, stats: &Stats) -> Result<Report, Error> {
    judge(report).inspect_err(|_| stats.count(Counter::CallsFailed))
}
