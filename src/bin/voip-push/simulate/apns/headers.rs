//! The `apns-*` request headers (Apple, "Sending notification requests to APNs", table of header fields).
//!
//! It refuses what Apple refuses; `apns-priority` and `apns-expiration` may be absent, as at Apple.

use super::super::exchange::Exchange;
use super::super::random;
use super::Rules;
use super::reply::Refusal;

/// Push types and the ending that their topic must have (none: the plain bundle id).
const PUSH_TYPES: [(&str, Option<&str>); 10] = [
    ("alert", None),
    ("background", None),
    ("voip", Some(".voip")),
    ("complication", Some(".complication")),
    ("controls", Some(".push-type.controls")),
    ("fileprovider", Some(".pushkit.fileprovider")),
    ("liveactivity", Some(".push-type.liveactivity")),
    ("location", Some(".location-query")),
    ("pushtotalk", Some(".voip-ptt")),
    ("widgets", Some(".push-type.widgets")),
];

/// A header's value; empty when absent or not ASCII.
pub fn text<'a>(exchange: &'a Exchange, name: &str) -> &'a str {
    exchange.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A header's value; none when absent, empty when it is not ASCII.
fn present<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a str> {
    exchange.headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// The request's `apns-id` when it is a good one, else a new one, as APNs does.
pub fn message_id(exchange: &Exchange) -> String {
    let given = text(exchange, "apns-id");
    if canonical_uuid(given) { given.to_owned() } else { random::uuid() }
}

/// No `apns-*` header and no authorization twice.
pub fn check_duplicates(exchange: &Exchange) -> Result<(), Refusal> {
    let ours =
        |name: &http::HeaderName| name.as_str().starts_with("apns-") || *name == http::header::AUTHORIZATION;
    // A map with as many values as names has no duplicates at all.
    let twice = exchange.headers.len() != exchange.headers.keys_len()
        && exchange
            .headers
            .keys()
            .any(|name| ours(name) && exchange.headers.get_all(name).iter().count() > 1);
    if twice { Err(Refusal::new(400, "DuplicateHeaders")) } else { Ok(()) }
}

/// All headers but authorization; gives the push type.
pub fn check<'a>(rules: &Rules, exchange: &'a Exchange) -> Result<&'a str, Refusal> {
    let push_type = text(exchange, "apns-push-type");
    if present(exchange, "apns-id").is_some_and(|id| !canonical_uuid(id)) {
        return Err(Refusal::new(400, "BadMessageId"));
    }
    if present(exchange, "apns-expiration").is_some_and(|value| !unix_seconds(value)) {
        return Err(Refusal::new(400, "BadExpirationDate"));
    }
    if !priority_fits(present(exchange, "apns-priority"), push_type) {
        return Err(Refusal::new(400, "BadPriority"));
    }
    if exchange.headers.get("apns-collapse-id").is_some_and(|value| value.len() > 64) {
        return Err(Refusal::new(400, "BadCollapseId"));
    }
    check_topic(rules, push_type, present(exchange, "apns-topic"))?;
    Ok(push_type)
}

fn check_topic(rules: &Rules, push_type: &str, topic: Option<&str>) -> Result<(), Refusal> {
    let ending = PUSH_TYPES.iter().find(|(name, _)| *name == push_type);
    let Some((_, ending)) = ending else { return Err(Refusal::new(400, "InvalidPushType")) };
    let Some(topic) = topic else { return Err(Refusal::new(400, "MissingTopic")) };
    if topic_ending(topic) != *ending {
        return Err(Refusal::new(400, "InvalidPushType"));
    }
    if topic.is_empty() || !topic.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b)) {
        return Err(Refusal::new(400, "BadTopic"));
    }
    if rules.allows(topic) { Ok(()) } else { Err(Refusal::new(400, "TopicDisallowed")) }
}

/// Which of the known endings a topic has.
fn topic_ending(topic: &str) -> Option<&'static str> {
    PUSH_TYPES.iter().filter_map(|(_, ending)| *ending).find(|ending| topic.ends_with(ending))
}

/// 1, 5 or 10; a background push must not ask for another than 5.
fn priority_fits(priority: Option<&str>, push_type: &str) -> bool {
    match priority {
        None | Some("5") => true,
        Some("1" | "10") => push_type != "background",
        Some(_) => false,
    }
}

/// Seconds since 1970, 0 for "do not store".
fn unix_seconds(value: &str) -> bool {
    !value.is_empty() && value.len() <= 18 && value.bytes().all(|b| b.is_ascii_digit())
}

/// 32 lower-case hexadecimal digits as 8-4-4-4-12.
fn canonical_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}
