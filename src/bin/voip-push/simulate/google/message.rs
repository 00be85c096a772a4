//! What FCM itself checks of a well-formed message: target, data, life time, size.
//!
//! It refuses nothing that FCM's documentation allows. A message with `apns-push-type: voip` is accepted, since
//! nobody has documented FCM's refusal, but it is marked as reaching no phone: FCM cannot reach PushKit.

use serde_json::Value;

use super::error::Refusal;
use super::schema::duration_s;

/// 4096 bytes of data (keys and values), half of it for topics.
const DATA_LIMIT_LEN: usize = 4096;
const TOPIC_DATA_LIMIT_LEN: usize = 2048;
/// Apple's limit for everything but VoIP.
const APNS_LIMIT_LEN: usize = 4096;
/// Four weeks.
const MAX_TTL_S: f64 = 2_419_200.0;
const TARGETS: [&str; 4] = ["fid", "token", "topic", "condition"];
const PUSH_TYPES: [&str; 10] = [
    "alert",
    "background",
    "voip",
    "complication",
    "controls",
    "fileprovider",
    "liveactivity",
    "location",
    "pushtotalk",
    "widgets",
];

/// A message in order.
#[derive(Debug)]
pub struct Accepted {
    /// Registration token, installation id, topic or condition.
    pub target: String,
    /// It names one app instance.
    pub single: bool,
    /// Nothing in it keeps it from its phone.
    pub reachable: bool,
}

/// Checks the `message` of a normalised request (snake_case names).
pub fn check(message: &Value) -> Result<Accepted, Refusal> {
    let (kind, target) = target(message)?;
    let limit_len = if kind == "topic" { TOPIC_DATA_LIMIT_LEN } else { DATA_LIMIT_LEN };
    for (block, path) in [
        (&message["data"], "message.data"),
        (&message["android"]["data"], "message.android.data"),
        (&message["android_v2"]["data"], "message.android_v2.data"),
        (&message["webpush"]["data"], "message.webpush.data"),
    ] {
        check_data(block, path, limit_len)?;
    }
    check_android(message)?;
    check_apns(&message["apns"])?;
    check_target(kind, target)?;
    let voip = apns_header(&message["apns"], "apns-push-type") == Some("voip");
    let single = kind == "token" || kind == "fid";
    Ok(Accepted { target: target.to_owned(), single, reachable: !voip })
}

/// The one target of a message, whatever else is wrong with it.
pub fn target(message: &Value) -> Result<(&'static str, &str), Refusal> {
    let mut given = TARGETS.into_iter().filter_map(|kind| message[kind].as_str().map(|text| (kind, text)));
    let first = given.next().filter(|(_, text)| !text.is_empty());
    let first =
        first.ok_or_else(|| Refusal::invalid_argument("message", "Recipient of the message is not set."))?;
    match given.next() {
        None => Ok(first),
        Some((second, _)) => Err(Refusal::invalid_value(
            "message",
            &format!(
                "Invalid value at 'message' (oneof), oneof field 'target' is already set. Cannot set '{second}'"
            ),
        )),
    }
}

fn check_data(data: &Value, path: &str, limit_len: usize) -> Result<(), Refusal> {
    let Some(data) = data.as_object() else { return Ok(()) };
    let reserved = |key: &str| {
        matches!(key, "from" | "message_type")
            || key.starts_with("google.")
            || key.starts_with("gcm.notification.")
    };
    if let Some(key) = data.keys().find(|key| reserved(key)) {
        return Err(Refusal::invalid_argument(path, &format!("Invalid data payload key: {key}")));
    }
    let len: usize = data.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if len > limit_len { Err(Refusal::invalid_argument(path, "Message is too big")) } else { Ok(()) }
}

fn check_android(message: &Value) -> Result<(), Refusal> {
    if message["android"].is_object() && message["android_v2"].is_object() {
        let message = "android and android_v2 are mutually exclusive";
        return Err(Refusal::invalid_argument("message.android_v2", message));
    }
    for block in ["android", "android_v2"] {
        let ttl_s = message[block]["ttl"].as_str().and_then(duration_s);
        if ttl_s.is_some_and(|ttl_s| !(0.0..=MAX_TTL_S).contains(&ttl_s)) {
            let field = format!("message.{block}.ttl");
            return Err(Refusal::invalid_argument(&field, "Invalid ttl: 0 to 2419200 seconds are allowed"));
        }
    }
    Ok(())
}

fn apns_header<'a>(apns: &'a Value, name: &str) -> Option<&'a str> {
    let headers = apns["headers"].as_object()?;
    let (_, value) = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    value.as_str()
}

fn check_apns(apns: &Value) -> Result<(), Refusal> {
    let refuse = |field: &str, message: &str| Err(Refusal::invalid_argument(field, message));
    if apns_header(apns, "apns-push-type").is_some_and(|value| !PUSH_TYPES.contains(&value)) {
        return refuse("message.apns.headers", "Invalid apns-push-type");
    }
    if apns_header(apns, "apns-priority").is_some_and(|value| !["1", "5", "10"].contains(&value)) {
        return refuse("message.apns.headers", "Invalid apns-priority");
    }
    let payload = &apns["payload"];
    if !payload["aps"].is_null() && !payload["aps"].is_object() {
        return refuse("message.apns.payload.aps", "aps must be an object");
    }
    if payload.is_object() && payload.to_string().len() > APNS_LIMIT_LEN {
        return refuse("message.apns.payload", "APNs payload is too big");
    }
    Ok(())
}

fn check_target(kind: &str, target: &str) -> Result<(), Refusal> {
    let url_safe = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let installation_id = target.len() == 22 && target.bytes().all(url_safe);
    match kind {
        "fid" if !installation_id => {
            Err(Refusal::invalid_argument("message.fid", "The Firebase installation ID is not valid"))
        }
        "token" if !installation_id && !is_registration_token(target) => Err(Refusal::invalid_argument(
            "message.token",
            "The registration token is not a valid FCM registration token",
        )),
        "topic" if !is_topic(target) => Err(Refusal::invalid_argument("message.topic", "Invalid topic name")),
        _ => Ok(()),
    }
}

/// Letters, digits, `-`, `_` and `:`; real ones have about 140 to 200 characters, which nobody promises.
fn is_registration_token(text: &str) -> bool {
    (32..=4096).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_:".contains(&b))
}

fn is_topic(text: &str) -> bool {
    (1..=900).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%".contains(&b))
}
