//! A SIP MESSAGE that waits: which of the user's devices are woken for it, and how.
//!
//! It refuses to send a VoIP push for it: Apple ends apps that get one and show no call.

use super::{Error, Ready, Service, now_ms};
use crate::model::{Call, Caller, Device, Kind, Media, Push};

impl Service {
    /// The first half of pushing for a MESSAGE, as [`Service::ready_for`] is for a call; `caller` is who sends it. Android phones get data
    /// unless their app's profile has no word for messages, iPhones what `[message] ios_push_type` says, by their token for
    /// alerts.
    ///
    /// # Errors
    /// `Argument`, `Store`, or `NoDevice` where none of the user's devices can be woken so.
    pub fn ready_message(
        &self,
        request: impl FnOnce() -> Option<u32>,
        user: &str,
        caller: &str,
        call_id: &str,
    ) -> Result<Ready, Error> {
        self.counted(|| {
            let call = Call::new(user, Caller::parse(caller), call_id, Media::Audio)?;
            let to = |device| self.message_to(&call, device);
            let pushes: Vec<Push> =
                self.devices_for(&call.callee, request)?.into_iter().filter_map(to).collect();
            if pushes.is_empty() { Err(Error::NoDevice) } else { Ok(Ready { pushes }) }
        })
    }

    fn message_to(&self, call: &Call, device: Device) -> Option<Push> {
        // The store knows an iPhone by its token for calls.
        let stored = device.token.clone();
        let device = self.for_messages(device)?;
        let ring = self.settings().message.wake;
        let is_stored = device.token == stored;
        let expires_at_s = now_ms() / 1000 + ring.as_secs() as i64;
        let push = Push::new(call.clone(), device, expires_at_s, ring, is_stored);
        Some(push.of_kind(Kind::Message(self.settings().message.show)))
    }
}
