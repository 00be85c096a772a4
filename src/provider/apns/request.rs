//! A push as Apple wants it (Apple, "Sending notification requests to APNs").
//!
//! It refuses to know what the payload says; `payload` writes it.

use crate::config::{AlertWords, ApnsCredential, Profile};
use crate::model::{Kind, MISSED_KEPT_S, Outcome, Push, Show};
use crate::payload;
use crate::provider::Authorization;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri, Version};
use std::sync::Arc;

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const VOIP: HeaderValue = HeaderValue::from_static("voip");
const ALERT: HeaderValue = HeaderValue::from_static("alert");
const AT_ONCE: HeaderValue = HeaderValue::from_static("10");

/// What all requests with one credential have in common. `None` in it is what cannot be put into a request.
pub(super) struct Fixed {
    authority: Option<Authority>,
    /// Each topic as text and as a header.
    topics: Vec<(String, Option<HeaderValue>)>,
    alerts: Arc<AlertWords>,
}

impl Fixed {
    pub(super) fn new(credential: &ApnsCredential) -> Fixed {
        let uri = credential.origin.base_url().parse::<Uri>().ok();
        let topic = |topic: &String| (topic.clone(), HeaderValue::from_str(topic).ok());
        Fixed {
            authority: uri.and_then(|uri| uri.into_parts().authority),
            topics: credential.topics.iter().map(topic).collect(),
            alerts: Arc::clone(&credential.alerts),
        }
    }

    /// A topic as a header: prepared for calls, made for the alerts of the same apps.
    fn topic(&self, topic: &str) -> Option<HeaderValue> {
        match self.topics.iter().find(|(known, _)| known == topic) {
            Some((_, prepared)) => prepared.clone(),
            None => HeaderValue::from_str(topic).ok(),
        }
    }

    fn uri(&self, push: &Push) -> Option<Uri> {
        let path = ["/3/device/", push.device.token.expose()].concat();
        let uri = Uri::builder().scheme(Scheme::HTTPS).authority(self.authority.clone()?);
        uri.path_and_query(PathAndQuery::from_maybe_shared(Bytes::from(path)).ok()?).build().ok()
    }
}

pub(super) fn build(
    push: &Push,
    topic: &str,
    profile: &Profile,
    fixed: &Fixed,
    authorization: &Authorization,
) -> Result<Request<Bytes>, Outcome> {
    let (push_type, priority, expires_at_s, body) = match push.kind {
        Kind::Call => (VOIP, AT_ONCE, push.expires_at_s, payload::apns(profile, push)),
        Kind::Missed => (
            ALERT,
            AT_ONCE,
            push.expires_at_s + MISSED_KEPT_S,
            payload::apns_missed(profile, push, &fixed.alerts),
        ),
        Kind::Message(_) | Kind::Refresh | Kind::Dialog if topic.ends_with(".voip") => {
            let reason = "only a call is told by a VoIP push".to_owned();
            return Err(Outcome::Rejected { reason });
        }
        Kind::Message(show) => {
            let (push_type, priority) = (show.as_str(), show.priority());
            let body = payload::apns_message(profile, push, show, &fixed.alerts);
            let text = HeaderValue::from_static;
            (text(push_type), text(priority), push.expires_at_s, body)
        }
        Kind::Refresh | Kind::Dialog => {
            let (push_type, priority) = (Show::Background.as_str(), Show::Background.priority());
            let text = HeaderValue::from_static;
            (text(push_type), text(priority), push.expires_at_s, payload::apns_refresh())
        }
        // Apple ends apps that get a VoIP push and show no call.
        Kind::Ended(_) => {
            let reason = "an iPhone is not told by a push that a call is over".to_owned();
            return Err(Outcome::Rejected { reason });
        }
    };
    let rejected =
        |what: &str| Outcome::Rejected { reason: format!("the {what} cannot be put into a request") };
    let topic = fixed.topic(topic).ok_or_else(|| rejected("topic"))?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = fixed.uri(push).ok_or_else(|| rejected("host"))?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers(push, (push_type, priority, expires_at_s), topic, authorization);
    Ok(request)
}

fn headers(
    push: &Push,
    (push_type, priority, expires_at_s): (HeaderValue, HeaderValue, i64),
    topic: HeaderValue,
    authorization: &Authorization,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(AUTHORIZATION, authorization.header.clone());
    headers.insert(APNS_ID, apns_id(push));
    headers.insert(APNS_PUSH_TYPE, push_type);
    headers.insert(APNS_PRIORITY, priority);
    headers.insert(APNS_EXPIRATION, expires_at_s.into());
    headers.insert(APNS_TOPIC, topic);
    headers
}

/// Never the same in two pushes, so it is kept out of HPACK's table (Apple, "Sending notification requests to APNs": only
/// what comes again belongs there).
fn apns_id(push: &Push) -> HeaderValue {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = push.id().as_hyphenated().encode_lower(&mut text);
    let mut id = HeaderValue::from_str(text).expect("hexadecimal digits and hyphens");
    id.set_sensitive(true);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Ended;
    use crate::provider::tests::{push_to, some_authorization};

    const TOPIC: &str = "org.example.phone.voip";

    fn fixed() -> Fixed {
        Fixed {
            authority: Some(Authority::from_static("api.push.apple.com:443")),
            topics: vec![(TOPIC.to_owned(), Some(HeaderValue::from_static(TOPIC)))],
            alerts: Arc::default(),
        }
    }

    fn built(push: &Push) -> Request<Bytes> {
        build(push, TOPIC, &Profile::Callkit, &fixed(), &some_authorization()).unwrap()
    }

    #[test]
    fn what_is_secret_or_comes_only_once_stays_out_of_the_table() {
        let request = built(&push_to("ios", &"ab".repeat(32), "Alice"));
        let kept_out = |name: &str| request.headers()[name].is_sensitive();
        assert!(kept_out("authorization") && kept_out("apns-id"));
        assert!(!kept_out("apns-topic") && !kept_out("apns-expiration"));
    }

    #[test]
    fn a_topic_that_was_not_prepared_is_made_and_one_that_is_no_header_is_refused() {
        let push = push_to("ios", &"ab".repeat(32), "Alice");
        let made = |topic| build(&push, topic, &Profile::Callkit, &fixed(), &some_authorization());
        assert_eq!(made("org.example.phone").unwrap().headers()["apns-topic"], "org.example.phone");
        assert!(matches!(made("org.example\nphone"), Err(Outcome::Rejected { .. })));
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
            let push = call.clone().of_kind(Kind::Message(show));
            let to = |topic| build(&push, topic, &Profile::Callkit, &fixed(), &some_authorization());
            assert!(matches!(to("org.example.phone.voip"), Err(Outcome::Rejected { .. })));
            let request = to("org.example.phone").unwrap();
            assert_eq!(request.headers()["apns-push-type"], push_type);
            assert_eq!(request.headers()["apns-priority"], priority);
        }
    }

    #[test]
    fn a_missed_call_is_an_alert_and_no_other_end_is_anything() {
        let call = push_to("ios", &"ab".repeat(32), "Alice");
        let missed = call.clone().of_kind(Kind::Missed);
        let request = built(&missed);
        assert_eq!(request.headers()["apns-push-type"], "alert");
        assert_eq!(request.headers()["apns-expiration"], (call.expires_at_s + MISSED_KEPT_S).to_string());
        assert_ne!(missed.id(), call.id());
        for ended in [Ended::Cancelled, Ended::AnsweredElsewhere, Ended::DeclinedElsewhere] {
            let push = call.clone().of_kind(Kind::Ended(ended));
            let refused = build(&push, "t.voip", &Profile::Callkit, &fixed(), &some_authorization());
            assert!(matches!(refused, Err(Outcome::Rejected { .. })), "{ended:?}");
        }
    }
}
