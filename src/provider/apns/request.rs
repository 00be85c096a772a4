//! A push as Apple wants it (Apple, "Sending notification requests to APNs").
//!
//! It refuses to know what the payload says; `payload` writes it.

use crate::config::{Origin, Profile};
use crate::model::{Kind, MISSED_KEPT_S, Outcome, Push};
use crate::payload;
use crate::provider::Authorization;
use bytes::Bytes;
use http::{Request, Version};

pub(super) fn build(
    push: &Push,
    topic: &str,
    profile: &Profile,
    origin: &Origin,
    authorization: &Authorization,
) -> Result<Request<Bytes>, Outcome> {
    let (push_type, priority, expires_at_s, body) = match push.kind {
        Kind::Call => ("voip", "10", push.expires_at_s, payload::apns(profile, push)),
        Kind::Missed => {
            ("alert", "10", push.expires_at_s + MISSED_KEPT_S, payload::apns_missed(profile, push))
        }
        Kind::Message(_) if topic.ends_with(".voip") => {
            let reason = "a message is not told by a VoIP push".to_owned();
            return Err(Outcome::Rejected { reason });
        }
        Kind::Message(show) => {
            let body = payload::apns_message(profile, push, show);
            (show.as_str(), show.priority(), push.expires_at_s, body)
        }
        // Apple ends apps that get a VoIP push and show no call.
        Kind::Ended(_) => {
            let reason = "an iPhone is not told by a push that a call is over".to_owned();
            return Err(Outcome::Rejected { reason });
        }
    };
    Request::post(format!("{}/3/device/{}", origin.base_url(), push.device.token.expose()))
        .version(Version::HTTP_2)
        .header("authorization", &*authorization.value)
        .header("apns-id", push.id().to_string())
        .header("apns-push-type", push_type)
        .header("apns-priority", priority)
        .header("apns-expiration", expires_at_s)
        .header("apns-topic", topic)
        .body(body)
        .map_err(|_| Outcome::Rejected { reason: "the topic cannot be put into a header".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ended, Show};
    use crate::provider::tests::{push_to, some_authorization};

    fn origin() -> Origin {
        Origin { host: "api.push.apple.com".to_owned(), port: 443, ca_pem: None }
    }

    fn built(push: &Push) -> Request<Bytes> {
        build(push, "org.example.phone.voip", &Profile::Callkit, &origin(), &some_authorization()).unwrap()
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
    fn a_repeated_attempt_carries_the_same_ids_and_another_device_does_not() {
        let push = push_to("ios", &"ab".repeat(32), "Alice");
        let mut other = push.clone();
        other.device.device_id = "second".to_owned();
        assert_eq!(push.id(), push.clone().id());
        assert_ne!(push.id(), other.id());
        assert_eq!(push.call.uuid(), other.call.uuid());
    }

    #[test]
    fn a_message_is_never_told_by_a_voip_push() {
        let call = push_to("ios", &"ab".repeat(32), "Alice");
        for (show, push_type, priority) in
            [(Show::Alert, "alert", "10"), (Show::Background, "background", "5")]
        {
            let push = Push { kind: Kind::Message(show), ..call.clone() };
            let to = |topic| build(&push, topic, &Profile::Callkit, &origin(), &some_authorization());
            assert!(matches!(to("org.example.phone.voip"), Err(Outcome::Rejected { .. })));
            let request = to("org.example.phone").unwrap();
            assert_eq!(request.headers()["apns-push-type"], push_type);
            assert_eq!(request.headers()["apns-priority"], priority);
        }
    }

    #[test]
    fn a_missed_call_is_an_alert_and_no_other_end_is_anything() {
        let call = push_to("ios", &"ab".repeat(32), "Alice");
        let missed = Push { kind: Kind::Missed, ..call.clone() };
        let request = built(&missed);
        assert_eq!(request.headers()["apns-push-type"], "alert");
        assert_eq!(request.headers()["apns-expiration"], (call.expires_at_s + MISSED_KEPT_S).to_string());
        assert_ne!(missed.id(), call.id());
        for ended in [Ended::Cancelled, Ended::AnsweredElsewhere, Ended::DeclinedElsewhere] {
            let push = Push { kind: Kind::Ended(ended), ..call.clone() };
            let refused = build(&push, "t.voip", &Profile::Callkit, &origin(), &some_authorization());
            assert!(matches!(refused, Err(Outcome::Rejected { .. })), "{ended:?}");
        }
    }
}
