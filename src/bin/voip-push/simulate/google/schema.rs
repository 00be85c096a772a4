//! The shape of `messages:send`'s body, after Google's discovery document fcm.v1 (revision 20261023).
//!
//! It refuses unknown fields and wrong types as Google's JSON front end does. Stricter than Google in one thing:
//! enum values must be spelt as in the document, while Google also takes `high` for `HIGH`.

use serde_json::{Map, Value};

use super::error::Refusal;

/// What a field holds.
pub enum Kind {
    Text,
    Flag,
    Int32,
    Number,
    /// google.protobuf.Duration: `"3.5s"`.
    Duration,
    /// google.protobuf.Timestamp: RFC 3339.
    Timestamp,
    /// map<string, string>
    Texts,
    /// Any JSON object.
    Object,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// A nested message.
    Message(&'static [Field]),
    /// A repeated field.
    List(&'static Kind),
}

/// A field's snake_case name and kind; JSON may also use the lowerCamel name (proto3 JSON mapping).
pub type Field = (&'static str, Kind);

use Kind::{Choice, Duration, Flag, Int32, List, Message, Number, Object, Text, Texts, Timestamp};

/// The body of `messages:send`.
pub static SEND_REQUEST: &[Field] = &[("validate_only", Flag), ("message", Message(MESSAGE))];

static MESSAGE: &[Field] = &[
    ("name", Text),
    ("data", Texts),
    ("notification", Message(&[("title", Text), ("body", Text), ("image", Text)])),
    ("android", Message(ANDROID)),
    ("android_v2", Message(ANDROID_V2)),
    ("webpush", Message(WEBPUSH)),
    ("apns", Message(APNS)),
    ("fcm_options", Message(ANALYTICS)),
    ("token", Text),
    ("fid", Text),
    ("topic", Text),
    ("condition", Text),
];

static ANALYTICS: &[Field] = &[("analytics_label", Text)];

static ANDROID: &[Field] = &[
    ("collapse_key", Text),
    ("priority", Choice(&["NORMAL", "HIGH"])),
    ("ttl", Duration),
    ("restricted_package_name", Text),
    ("data", Texts),
    ("notification", Message(ANDROID_NOTIFICATION)),
    ("fcm_options", Message(ANALYTICS)),
    ("direct_boot_ok", Flag),
    ("bandwidth_constrained_ok", Flag),
    ("restricted_satellite_ok", Flag),
];

static ANDROID_V2: &[Field] = &[
    ("collapse_key", Text),
    ("ttl", Duration),
    ("restricted_package_name", Text),
    ("data", Texts),
    ("fcm_options", Message(ANALYTICS)),
    ("direct_boot_ok", Flag),
    ("bandwidth_constrained_ok", Flag),
    ("restricted_satellite_ok", Flag),
    ("background_sync", Message(&[])),
    ("remote_notification", Message(REMOTE_NOTIFICATION)),
];

static REMOTE_NOTIFICATION: &[Field] = &[
    ("notification", Message(ANDROID_NOTIFICATION_V2)),
    ("mutable_content", Flag),
    ("use_as_v1_data_message", Flag),
];

static COLOR: &[Field] = &[("red", Number), ("green", Number), ("blue", Number), ("alpha", Number)];

static LIGHT: &[Field] =
    &[("color", Message(COLOR)), ("light_on_duration", Duration), ("light_off_duration", Duration)];

const PRIORITIES: Kind = Choice(&[
    "PRIORITY_UNSPECIFIED",
    "PRIORITY_MIN",
    "PRIORITY_LOW",
    "PRIORITY_DEFAULT",
    "PRIORITY_HIGH",
    "PRIORITY_MAX",
]);
const VISIBILITIES: Kind = Choice(&["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"]);

static ANDROID_NOTIFICATION: &[Field] = &[
    ("title", Text),
    ("body", Text),
    ("icon", Text),
    ("color", Text),
    ("sound", Text),
    ("tag", Text),
    ("click_action", Text),
    ("body_loc_key", Text),
    ("body_loc_args", List(&Text)),
    ("title_loc_key", Text),
    ("title_loc_args", List(&Text)),
    ("channel_id", Text),
    ("ticker", Text),
    ("sticky", Flag),
    ("event_time", Timestamp),
    ("local_only", Flag),
    ("notification_priority", PRIORITIES),
    ("default_sound", Flag),
    ("default_vibrate_timings", Flag),
    ("default_light_settings", Flag),
    ("vibrate_timings", List(&Duration)),
    ("visibility", VISIBILITIES),
    ("notification_count", Int32),
    ("light_settings", Message(LIGHT)),
    ("image", Text),
    ("bypass_proxy_notification", Flag),
    ("proxy", Choice(&["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"])),
];

static ANDROID_NOTIFICATION_V2: &[Field] = &[
    ("title", Text),
    ("body", Text),
    ("icon", Text),
    ("color", Text),
    ("sound", Text),
    ("tag", Text),
    ("id", Int32),
    ("click_action", Text),
    ("body_loc_key", Text),
    ("body_loc_args", List(&Text)),
    ("title_loc_key", Text),
    ("title_loc_args", List(&Text)),
    ("channel_id", Text),
    ("ticker", Text),
    ("sticky", Flag),
    ("event_time", Timestamp),
    ("local_only", Flag),
    ("notification_priority", PRIORITIES),
    ("default_sound", Flag),
    ("default_vibrate_timings", Flag),
    ("default_light_settings", Flag),
    ("vibrate_timings", List(&Duration)),
    ("visibility", VISIBILITIES),
    ("notification_count", Int32),
    ("light_settings", Message(LIGHT)),
    ("image", Text),
];

static APNS: &[Field] = &[
    ("headers", Texts),
    ("payload", Object),
    ("fcm_options", Message(&[("analytics_label", Text), ("image", Text)])),
    ("live_activity_token", Text),
];

static WEBPUSH: &[Field] = &[
    ("headers", Texts),
    ("data", Texts),
    ("notification", Object),
    ("fcm_options", Message(&[("link", Text), ("analytics_label", Text)])),
];

/// Reads a JSON value as a message; gives it back with snake_case names and without nulls.
pub fn read_message(fields: &[Field], value: &Value, path: &str) -> Result<Value, Refusal> {
    let object = value.as_object().ok_or_else(|| wrong(path, "TYPE_MESSAGE", value))?;
    let mut read = Map::new();
    for (name, value) in object {
        let Some((field, kind)) = fields.iter().find(|(field, _)| is_name_of(name, field)) else {
            return Err(unknown(name, path));
        };
        let path = if path.is_empty() { (*field).to_owned() } else { format!("{path}.{field}") };
        if read.contains_key(*field) {
            return Err(Refusal::invalid_value(&path, &format!("Field '{field}' is set twice.")));
        }
        if !value.is_null() {
            read.insert((*field).to_owned(), read_value(kind, value, &path)?);
        }
    }
    Ok(Value::Object(read))
}

fn read_value(kind: &Kind, value: &Value, path: &str) -> Result<Value, Refusal> {
    let (fits, type_name) = match kind {
        Kind::Message(fields) => return read_message(fields, value, path),
        Kind::List(kind) => return read_list(kind, value, path),
        Kind::Texts => return read_texts(value, path),
        Kind::Text => (value.is_string(), "TYPE_STRING"),
        Kind::Flag => (value.is_boolean(), "TYPE_BOOL"),
        Kind::Int32 => (value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()), "TYPE_INT32"),
        Kind::Number => (value.is_number(), "TYPE_FLOAT"),
        Kind::Object => (value.is_object(), "type.googleapis.com/google.protobuf.Struct"),
        Kind::Choice(names) => (value.as_str().is_some_and(|name| names.contains(&name)), "TYPE_ENUM"),
        Kind::Duration => {
            (value.as_str().and_then(duration_s).is_some(), "type.googleapis.com/google.protobuf.Duration")
        }
        Kind::Timestamp => {
            (value.as_str().is_some_and(is_timestamp), "type.googleapis.com/google.protobuf.Timestamp")
        }
    };
    if fits { Ok(value.clone()) } else { Err(wrong(path, type_name, value)) }
}

fn read_list(kind: &Kind, value: &Value, path: &str) -> Result<Value, Refusal> {
    let items = value.as_array().ok_or_else(|| wrong(path, "TYPE_LIST", value))?;
    let read = items.iter().enumerate().map(|(at, item)| read_value(kind, item, &format!("{path}[{at}]")));
    read.collect()
}

fn read_texts(value: &Value, path: &str) -> Result<Value, Refusal> {
    let texts = value.as_object().ok_or_else(|| wrong(path, "TYPE_MESSAGE", value))?;
    let bad = texts.values().enumerate().find(|(_, text)| !text.is_string());
    match bad {
        Some((at, text)) => Err(wrong(&format!("{path}[{at}].value"), "TYPE_STRING", text)),
        None => Ok(value.clone()),
    }
}

fn wrong(path: &str, type_name: &str, value: &Value) -> Refusal {
    Refusal::invalid_value(path, &format!("Invalid value at '{path}' ({type_name}), {value}"))
}

fn unknown(name: &str, path: &str) -> Refusal {
    let at = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
    Refusal::invalid_json(path, &format!("Unknown name \"{name}\"{at}: Cannot find field."))
}

/// The snake_case name itself or its lowerCamel form.
fn is_name_of(name: &str, field: &str) -> bool {
    if name == field {
        return true;
    }
    let mut after_underscore = false;
    let camel: String = field
        .chars()
        .filter_map(|c| {
            let capital = std::mem::replace(&mut after_underscore, c == '_');
            (c != '_').then(|| if capital { c.to_ascii_uppercase() } else { c })
        })
        .collect();
    name == camel
}

/// Seconds of a protobuf duration in JSON: digits, at most nine decimals, an `s`.
pub fn duration_s(text: &str) -> Option<f64> {
    let number = text.strip_suffix('s')?;
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(decimals) && decimals.len() <= 9 { number.parse().ok() } else { None }
}

/// RFC 3339, as far as its layout goes.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let zoned = text.ends_with('Z') || bytes.iter().rev().nth(5).is_some_and(|b| b"+-".contains(b));
    let layout = b"0000-00-00T00:00:00";
    zoned
        && bytes.len() > layout.len()
        && bytes
            .iter()
            .zip(layout)
            .all(|(b, like)| if *like == b'0' { b.is_ascii_digit() } else { b == like })
}
