//! The seed's fields and nothing else, under its names.
//!
//! It refuses to add any, the call's UUID too: an app that was written after the seed knows a call by its Call-ID.
//!
//! Source: the seed's `sendVoIPPush`, `message.data`.

use super::object::Object;
use super::values::Values;

pub(super) fn apns(out: &mut Vec<u8>, values: &Values<'_>) {
    let mut object = Object::new(out);
    object.json("aps", "{}");
    write(&mut object, values);
    object.end();
}

pub(super) fn data(out: &mut Vec<u8>, values: &Values<'_>) {
    let mut object = Object::new(out);
    write(&mut object, values);
    object.end();
}

pub(super) fn write(object: &mut Object<'_>, values: &Values<'_>) {
    object.text("call_id", &values.call.call_id);
    object.text("caller", values.name);
    object.text("caller_number", values.number());
    object.text("sip_user", values.user());
    object.text("voip", "true");
}
