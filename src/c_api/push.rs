//! Waking phones from C: `send_voip_push`, `send_voip_push_with` and `send_voip_push_to`; and `cancel_voip_push`.
//!
//! It refuses to call a push sent before its provider has accepted it.

use super::guard::{count, entry};
use super::instance;
use super::pointers::InText;
use crate::model::Media;
use crate::service::{Error, Target};

/// Pushes a call to every device of the callee and waits for the providers' answers, at most
/// call.wait_ms. A token that its provider calls dead is deleted.
///
/// user is the callee as it was registered. caller is the value of a From header, such as
/// "Alice" <sip:+4930123@example.org>;tag=x, or a SIP or tel URI, of which name, number and
/// host are taken; any other text is what the phone shows, a name or a number. Control
/// characters become spaces, and a part longer than 256 bytes is cut. call_id is the SIP Call-ID, at most 512 bytes; the same Call-ID gives the app the same
/// call UUID on every device. A device gets a call once: who asks again while the phone
/// may ring is told what became of the first push. It is an audio call; send_voip_push_with
/// tells of a video call.
///
/// Returns the number of devices whose provider accepted the push, at least 1. Whatever comes
/// back, let the SIP call go on: a negative status only says that no phone is known to wake.
///
/// Ownership: the strings stay yours and are not kept.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process has connections of its own.
/// Blocks: up to call.wait_ms, and on the disk as lookup_token does.
/// Errors: NO_DEVICE, ALL_REJECTED, NO_ANSWER, CREDENTIAL_REFUSED, QUEUE_FULL, SENDER_GONE,
/// NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE, INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn send_voip_push(user: InText, caller: InText, call_id: InText) -> i32 {
    entry(|| {
        let (user, caller, call_id) = (user.text("user")?, caller.text("caller")?, call_id.text("call_id")?);
        Ok(count(instance::get()?.send(user, caller, call_id)?.accepted()))
    })
}

/// send_voip_push for a call that may have pictures.
///
/// media is "audio" or "video"; NULL or "" means audio. user, caller and call_id are as in
/// send_voip_push.
///
/// Returns the number of devices whose provider accepted the push, at least 1.
///
/// Ownership: the strings stay yours and are not kept.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process has connections of its own.
/// Blocks: up to call.wait_ms, and on the disk as lookup_token does.
/// Errors: NO_DEVICE, ALL_REJECTED, NO_ANSWER, CREDENTIAL_REFUSED, QUEUE_FULL, SENDER_GONE,
/// NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE, INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn send_voip_push_with(user: InText, caller: InText, call_id: InText, media: InText) -> i32 {
    entry(|| {
        let (user, caller, call_id) = (user.text("user")?, caller.text("caller")?, call_id.text("call_id")?);
        let media = Media::parse(media.optional("media")?.unwrap_or_default()).map_err(Error::from)?;
        Ok(count(instance::get()?.send_media(user, caller, call_id, media)?.accepted()))
    })
}

/// send_voip_push for one device that you name, for programs that keep the tokens themselves: the
/// token store is neither asked nor changed.
///
/// provider is "apns" or "fcm". token is the provider's token of the device. app is the
/// APNs topic or the Firebase project; NULL or "" means the first one in the configuration.
/// user, caller and call_id are as in send_voip_push.
///
/// Returns 1. After ALL_REJECTED the last error holds the provider's answer; "token_gone"
/// in it means that the token is dead and should be deleted.
///
/// Ownership: the strings stay yours and are not kept.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process has connections of its own.
/// Blocks: up to call.wait_ms.
/// Errors: ALL_REJECTED, NO_ANSWER, CREDENTIAL_REFUSED, QUEUE_FULL, SENDER_GONE, NULL_POINTER,
/// INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE, INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn send_voip_push_to(
    provider: InText,
    token: InText,
    app: InText,
    user: InText,
    caller: InText,
    call_id: InText,
) -> i32 {
    entry(|| {
        let (provider, token) = (provider.text("provider")?, token.text("token")?);
        let target = Target { provider, token, app: app.optional("app")?.unwrap_or_default() };
        let (user, caller, call_id) = (user.text("user")?, caller.text("caller")?, call_id.text("call_id")?);
        Ok(count(instance::get()?.send_to(&target, user, caller, call_id)?.accepted()))
    })
}

/// Says that a call is over. What was not sent yet of its pushes is given up, retries too, and the
/// devices that were pushed for it are told, as far as they can be: an Android phone by an FCM data
/// message, unless the profile of its app has no word for it (linphone, some templates). An iPhone
/// never gets a second VoIP push, for which Apple would end the app; where
/// call.missed_call_alert is set, one that registered a token for alerts shows a missed call.
/// Devices that were not pushed for this call by this program within five minutes, and calls that
/// nobody knows, are nothing to it.
///
/// user and call_id are as in send_voip_push. reason is "cancelled" (the caller has hung up, or
/// nobody has answered), "answered elsewhere" or "declined elsewhere".
///
/// Returns VOIP_PUSH_OK; nobody waits for the providers.
///
/// Ownership: the strings stay yours and are not kept.
/// Threads: any, also at the same time.
/// Fork: usable before and after; each process has connections of its own, and knows only the
/// calls that it has pushed itself.
/// Blocks: on the disk as lookup_token does.
/// Errors: QUEUE_FULL, SENDER_GONE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first
/// use), STORE, INTERNAL.
#[unsafe(no_mangle)]
pub extern "C" fn cancel_voip_push(user: InText, call_id: InText, reason: InText) -> i32 {
    entry(|| {
        let (user, call_id, reason) = (user.text("user")?, call_id.text("call_id")?, reason.text("reason")?);
        instance::get()?.cancel(user, call_id, reason)?;
        Ok(super::status::VOIP_PUSH_OK)
    })
}
