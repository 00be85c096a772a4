//! The body of a push: there, not too large, one JSON object.
//!
//! It refuses nothing inside that object: the app decides what it needs.

use serde::de::IgnoredAny;

use super::reply::Refusal;

/// Apple, "Generating a remote notification": 5 KB for VoIP, 4 KB for all others.
fn limit_len(push_type: &str) -> usize {
    if push_type == "voip" { 5120 } else { 4096 }
}

/// Checks the body of a push of this type.
pub fn check(body: &[u8], push_type: &str) -> Result<(), Refusal> {
    if body.is_empty() {
        return Err(Refusal::new(400, "PayloadEmpty"));
    }
    if body.len() > limit_len(push_type) {
        return Err(Refusal::new(413, "PayloadTooLarge"));
    }
    let object = body.trim_ascii_start().first() == Some(&b'{');
    if object && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        Ok(())
    } else {
        Err(Refusal::new(400, "BadPayload"))
    }
}
