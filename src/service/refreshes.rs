//! Phones that registered by REGISTER and rely on us to be woken before their registration ends (RFC 8599 §5.5).
//!
//! It refuses what a call may do: no VoIP push, which Apple wants to be a call, and no high priority, which Google takes away from
//! apps that show nothing.

use super::{Error, Service, now_ms};
use crate::model::{Call, Kind, NewDevice, Platform, Push};
use crate::stats::Counter;
use crate::store::Refresh;
use std::time::Duration;

/// Most phones that are asked at a time, once a second.
const BATCH: u32 = 100;

impl Service {
    /// Whether phones are asked at all.
    pub fn refreshes(&self) -> bool {
        self.settings().refresh.before.is_some()
    }

    /// A phone was registered for `granted_s`.
    pub(super) fn plan_refresh(
        &self,
        device: &NewDevice,
        granted_s: u32,
        wakes_itself: bool,
    ) -> Result<(), Error> {
        let due_in = self.settings().refresh.due_in(granted_s, wakes_itself, crate::random::fraction());
        // Where a phone cannot be asked, nothing is to be kept.
        let can_be_asked = device.platform == Platform::Android || device.alert.is_some();
        let Some(due_in) = due_in.filter(|_| can_be_asked) else { return Ok(()) };
        let now_ms = now_ms();
        let (due_at_ms, ends_at_ms) =
            (now_ms + due_in.as_millis() as i64, now_ms + i64::from(granted_s) * 1000);
        self.counted(|| {
            self.with_store(|store| {
                store.plan_refresh(&device.user, &device.device_id, due_at_ms, ends_at_ms)
            })
        })
    }

    /// Asks the phones whose registrations end soon; says how many. To be called about once a second, by one process. It blocks on the
    /// disk as a lookup does.
    ///
    /// # Errors
    /// `Store`, `QueueFull` or `SenderGone`.
    pub fn push_refreshes(&self) -> Result<usize, Error> {
        let retry_ms = self.settings().refresh.retry.as_millis() as i64;
        let due =
            self.counted(|| self.with_store(|store| store.take_refreshes(now_ms(), retry_ms, BATCH)))?;
        let mut asked = 0;
        for refresh in due {
            if let Some(push) = self.refresh_push(&refresh)? {
                self.with_sender(|sender| Ok(sender.queue(vec![push], None, Vec::new())?))?;
                self.stats.count(Counter::Refreshes);
                asked += 1;
            }
        }
        Ok(asked)
    }

    /// `None` where the device is gone, or takes only calls.
    fn refresh_push(&self, refresh: &Refresh) -> Result<Option<Push>, Error> {
        let now_ms = now_ms();
        let devices = self.counted(|| self.with_store(|store| store.devices(&refresh.user, now_ms)))?;
        let device = devices.into_iter().find(|device| device.device_id == refresh.device_id);
        let stored = device.as_ref().map(|device| device.token.clone());
        let Some(device) = device.and_then(|device| self.for_silence(device)) else { return Ok(None) };
        let id = format!("refresh-{}-{}", refresh.ends_at_ms, refresh.tries);
        let call = Call::parse(refresh.user.as_str(), "", &id)?;
        let left = Duration::from_millis((refresh.ends_at_ms - now_ms).max(1000) as u64);
        let is_stored = stored.as_ref() == Some(&device.token);
        let push = Push::new(call, device, refresh.ends_at_ms / 1000, left, is_stored);
        Ok(Some(push.of_kind(Kind::Refresh)))
    }
}
