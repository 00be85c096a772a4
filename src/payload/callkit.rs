//! The default profile: one payload for the plug-ins that most apps are made with, beside the seed's fields.
//!
//! It refuses to guess: a host that is not known is left out.
//!
//! Sources: flutter_callkit_incoming, PUSHKIT.md (`id`, `nameCaller`, `handle`, `isVideo`);
//! react-native-voip-push-notification, README (`uuid`, `callerName`, `handle`); callkeep, `displayIncomingCall` (`hasVideo`).

use super::object::Object;
use super::seed;
use super::values::Values;

pub(super) fn apns(out: &mut Vec<u8>, values: &Values<'_>) {
    let mut object = Object::new(out);
    object.json("aps", "{}");
    write(&mut object, values, |object, key| object.json(key, values.video_text()));
    object.end();
}

/// The same as texts.
pub(super) fn data(out: &mut Vec<u8>, values: &Values<'_>) {
    let mut object = Object::new(out);
    write(&mut object, values, |object, key| object.text(key, values.video_text()));
    object.end();
}

fn write(object: &mut Object<'_>, values: &Values<'_>, flag: impl Fn(&mut Object<'_>, &'static str)) {
    seed::write(object, values);
    object.text("id", values.id());
    object.text("uuid", values.id());
    object.text("nameCaller", values.name);
    object.text("callerName", values.name);
    object.text("handle", values.number());
    flag(object, "hasVideo");
    flag(object, "isVideo");
    if !values.host().is_empty() {
        object.text("caller_host", values.host());
    }
}
