//! The push that a device would get, for an administrator who wants to send one by hand.
//!
//! It refuses to send it.

use super::{Service, now_ms};
use crate::model::{Call, Device, Kind, Push};

impl Service {
    /// The push of this kind to one device, made as for a call or a message; `None` where a device like this is told no such thing.
    pub fn trial(&self, call: &Call, device: Device, kind: Kind) -> Option<Push> {
        // The store knows an iPhone by its token for calls.
        let stored = device.token.clone();
        let (device, ring) = match kind {
            Kind::Call | Kind::Ended(_) => (device, self.settings().ring),
            Kind::Missed => (self.for_alerts(device)?, self.settings().ring),
            Kind::Message(_) => (self.for_messages(device)?, self.settings().message.wake),
            Kind::Refresh | Kind::Dialog => (self.for_silence(device)?, self.settings().ring),
        };
        let is_stored = device.token == stored;
        let expires_at_s = now_ms() / 1000 + ring.as_secs() as i64;
        Some(Push::new(call.clone(), device, expires_at_s, ring, is_stored).of_kind(kind))
    }
}
