//! Registering all that can be said of a device, and forgetting one of many: `register_device`, `delete_device`.
//!
//! It refuses a structure that is older than this library knows how to read.

use super::guard::{count, entry};
use super::instance;
use super::pointers::{InDevice, InText};
use super::status::{Failure, VOIP_PUSH_ERR_BAD_ARGUMENT, VOIP_PUSH_OK};
use crate::model::Extra;

/// A device with all that can be said of it, for register_device. Set it to zero and fill in
/// size, user, token and platform; a text that stays NULL or is "" is not said:
/// `voip_push_device device = {0}; device.size = sizeof device; device.user = "alice";`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct VoipPushDevice {
    /// sizeof(voip_push_device): later versions may have more fields at the end.
    pub size: usize,
    /// Whose it is, as for register_token.
    pub user: InText,
    /// What its provider calls it, as for register_token.
    pub token: InText,
    /// "ios" or "android".
    pub platform: InText,
    /// Which of the user's devices it is; NULL is "the one phone of this user".
    pub device_id: InText,
    /// "apns" or "fcm"; NULL is told by platform and token.
    pub provider: InText,
    /// Topic or project; NULL is the configuration's first.
    pub app: InText,
    /// "production" or "sandbox", for APNs; NULL is the configuration's first.
    pub environment: InText,
    /// The ordinary APNs token of an iPhone whose token is PushKit's, for what is not a call.
    pub alert_token: InText,
    /// Its topic; NULL is the device's own, without ".voip".
    pub alert_app: InText,
    /// For how many seconds the registration is good, up to ten years; 0 is until it is
    /// deleted.
    pub expires_s: i64,
}

/// Stores a device, in place of the one of this user that has the same device id. All that was
/// said of that one before is forgotten. Whoever had the same token before loses it: a token
/// belongs to one user and one device.
///
/// Returns VOIP_PUSH_OK.
///
/// Ownership: structure and strings stay yours and are not kept.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process opens the token store for itself.
/// Blocks: on the disk, and up to 5 seconds while another process locks the token store.
/// Errors: TOO_MANY_DEVICES, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use),
/// STORE, INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn register_device(device: InDevice) -> i32 {
    entry(|| {
        let device = device.read("device")?.ok_or_else(|| {
            let why = "device: size is not sizeof(voip_push_device); set it before the call";
            Failure::new(VOIP_PUSH_ERR_BAD_ARGUMENT, why)
        })?;
        let (user, token) = (device.user.text("user")?, device.token.text("token")?);
        let platform = device.platform.text("platform")?;
        instance::get()?.register(user, token, platform, &device.extra()?)?;
        Ok(VOIP_PUSH_OK)
    })
}

impl VoipPushDevice {
    fn extra(&self) -> Result<Extra<'_>, Failure> {
        Ok(Extra {
            provider: self.provider.optional("provider")?,
            device_id: self.device_id.optional("device_id")?,
            app: self.app.optional("app")?,
            environment: self.environment.optional("environment")?,
            expires_s: Some(self.expires_s).filter(|seconds| *seconds != 0),
            alert_token: self.alert_token.optional("alert_token")?,
            alert_app: self.alert_app.optional("alert_app")?,
        })
    }
}

/// Forgets one device of a user: the one with this device id, or with "" the one that was
/// registered without one. delete_token forgets them all.
///
/// Returns 1.
///
/// Ownership: the strings stay yours and are not kept.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process opens the token store for itself.
/// Blocks: on the disk, and up to 5 seconds while another process locks the token store.
/// Errors: NO_DEVICE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE,
/// INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn delete_device(user: InText, device_id: InText) -> i32 {
    entry(|| {
        let (user, device_id) = (user.text("user")?, device_id.text("device_id")?);
        Ok(count(instance::get()?.delete(user, Some(device_id))?))
    })
}
