//! A push as Apple wants it (Apple, "Sending notification requests to APNs"; the payload's names are those that
//! flutter_callkit_incoming and react-native-callkeep read, besides the seed's own).
//!
//! It refuses payloads above Apple's limit before Apple does.

use crate::config::Origin;
use crate::model::{Outcome, Push};
use crate::provider::Authorization;
use bytes::Bytes;
use http::{Request, Version};
use serde_json::json;

/// Largest VoIP payload, in bytes.
const MAX_PAYLOAD_LEN: usize = 5120;

pub(super) fn build(
    push: &Push,
    topic: &str,
    origin: &Origin,
    authorization: &Authorization,
) -> Result<Request<Bytes>, Outcome> {
    let body = payload(push);
    if body.len() > MAX_PAYLOAD_LEN {
        return Err(Outcome::Rejected { reason: format!("payload of {} bytes is too large", body.len()) });
    }
    Request::post(format!("{}/3/device/{}", origin.base_url(), push.device.token.expose()))
        .version(Version::HTTP_2)
        .header("authorization", &*authorization.value)
        .header("apns-id", push.id().to_string())
        .header("apns-push-type", "voip")
        .header("apns-priority", "10")
        .header("apns-expiration", push.expires_at_s)
        .header("apns-topic", topic)
        .body(body)
        .map_err(|_| Outcome::Rejected { reason: "the topic cannot be put into a header".to_owned() })
}

fn payload(push: &Push) -> Bytes {
    let call = &push.call;
    let id = call.uuid().to_string();
    let payload = json!({
        "aps": {},
        "call_id": call.call_id,
        "caller": call.caller,
        "caller_number": call.caller,
        "sip_user": call.callee.as_str(),
        "voip": "true",
        "id": id,
        "uuid": id,
        "nameCaller": call.caller,
        "callerName": call.caller,
        "handle": call.caller,
        "hasVideo": false,
        "isVideo": false,
    });
    payload.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::{push_to, some_authorization};

    fn origin() -> Origin {
        Origin { host: "api.push.apple.com".to_owned(), port: 443, ca_pem: None }
    }

    fn built(push: &Push) -> Request<Bytes> {
        build(push, "org.example.phone.voip", &origin(), &some_authorization()).unwrap()
    }

    #[test]
    fn headers_are_apples() {
        let push = push_to("ios", &"ab".repeat(32), "Alice");
        let request = built(&push);
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri().path(), format!("/3/device/{}", "ab".repeat(32)));
        assert_eq!(header("apns-push-type"), "voip");
        assert_eq!(header("apns-priority"), "10");
        assert_eq!(header("apns-topic"), "org.example.phone.voip");
        assert_eq!(header("apns-expiration"), push.expires_at_s.to_string());
        assert_eq!(header("apns-id"), push.id().to_string());
        assert_eq!(header("authorization"), "bearer x.y.z");
    }

    #[test]
    fn the_payload_has_the_seeds_fields_and_callkits() {
        let push = push_to("ios", &"ab".repeat(32), "Alice");
        let body: serde_json::Value = serde_json::from_slice(built(&push).body()).unwrap();
        assert_eq!(body["aps"], json!({}));
        for (key, value) in [
            ("call_id", "call-1"),
            ("caller", "Alice"),
            ("caller_number", "Alice"),
            ("sip_user", "564612"),
            ("voip", "true"),
            ("nameCaller", "Alice"),
            ("handle", "Alice"),
        ] {
            assert_eq!(body[key], value, "{key}");
        }
        assert_eq!(body["id"], push.call.uuid().to_string());
        assert_eq!(body["hasVideo"], false);
    }

    /// The longest user, Call-ID and caller that are taken, with every character escaped in JSON.
    #[test]
    fn the_longest_call_still_fits() {
        let call_id = "\"".repeat(crate::model::MAX_CALL_ID_LEN);
        let user = format!("{}@{}", "\\".repeat(200), "h".repeat(54));
        let mut push = push_to("ios", &"ab".repeat(32), &"\"".repeat(1000));
        push.call = crate::model::Call::parse(&user, &"\"".repeat(1000), &call_id).unwrap();
        assert!(built(&push).body().len() <= MAX_PAYLOAD_LEN);
    }

    #[test]
    fn a_repeated_attempt_carries_the_same_ids_and_another_device_does_not() {
        let push = push_to("ios", &"ab".repeat(32), "Alice");
        let mut other = push.clone();
        other.device.device_id = "second".to_owned();
        assert_eq!(push.id(), push.clone().id());
        assert_ne!(push.id(), other.id());
        assert_eq!(push.call.uuid(), other.call.uuid());
    }
}
