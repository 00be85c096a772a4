//! A push as Apple wants it (Apple, "Sending notification requests to APNs"; the payload's names are those that
//! flutter_callkit_incoming and react-native-callkeep read, besides the seed's own).
//!
//! It refuses payloads above Apple's limit before Apple does.

use crate::config::ApnsCredential;
use crate::model::{Device, Outcome, Push};
use crate::provider::Authorization;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri, Version};
use serde::Serialize;

/// Largest VoIP payload, in bytes.
const MAX_PAYLOAD_LEN: usize = 5120;
/// What most payloads are shorter than.
const USUAL_PAYLOAD_LEN: usize = 1024;

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const VOIP: HeaderValue = HeaderValue::from_static("voip");
const AT_ONCE: HeaderValue = HeaderValue::from_static("10");

/// What all requests with one credential have in common. `None` in it is what cannot be put into a request.
pub(super) struct Fixed {
    authority: Option<Authority>,
    /// Each topic as text and as a header.
    topics: Vec<(String, Option<HeaderValue>)>,
}

impl Fixed {
    pub(super) fn new(credential: &ApnsCredential) -> Fixed {
        let uri = credential.origin.base_url().parse::<Uri>().ok();
        let topic = |topic: &String| (topic.clone(), HeaderValue::from_str(topic).ok());
        Fixed {
            authority: uri.and_then(|uri| uri.into_parts().authority),
            topics: credential.topics.iter().map(topic).collect(),
        }
    }

    fn topic(&self, device: &Device) -> Option<&HeaderValue> {
        let found = match &device.app {
            Some(app) => self.topics.iter().find(|(topic, _)| topic == app),
            None => self.topics.first(),
        };
        found?.1.as_ref()
    }

    fn uri(&self, push: &Push) -> Option<Uri> {
        let path = ["/3/device/", push.device.token.expose()].concat();
        let uri = Uri::builder().scheme(Scheme::HTTPS).authority(self.authority.clone()?);
        uri.path_and_query(PathAndQuery::from_maybe_shared(Bytes::from(path)).ok()?).build().ok()
    }
}

pub(super) fn build(
    push: &Push,
    fixed: &Fixed,
    authorization: &Authorization,
) -> Result<Request<Bytes>, Outcome> {
    let body = payload(push);
    if body.len() > MAX_PAYLOAD_LEN {
        return Err(Outcome::Rejected { reason: format!("payload of {} bytes is too large", body.len()) });
    }
    let rejected =
        |what: &str| Outcome::Rejected { reason: format!("the {what} cannot be put into a request") };
    let topic = fixed.topic(&push.device).ok_or_else(|| rejected("topic"))?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = fixed.uri(push).ok_or_else(|| rejected("host"))?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers(push, topic, authorization);
    Ok(request)
}

fn headers(push: &Push, topic: &HeaderValue, authorization: &Authorization) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(AUTHORIZATION, authorization.header.clone());
    headers.insert(APNS_ID, apns_id(push));
    headers.insert(APNS_PUSH_TYPE, VOIP);
    headers.insert(APNS_PRIORITY, AT_ONCE);
    headers.insert(APNS_EXPIRATION, push.expires_at_s.into());
    headers.insert(APNS_TOPIC, topic.clone());
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

/// `aps`, which Apple wants to be there and PushKit does not look into.
#[derive(Serialize)]
struct Aps {}

#[derive(Serialize)]
#[allow(non_snake_case, reason = "the apps' names")]
struct Payload<'a> {
    aps: Aps,
    call_id: &'a str,
    caller: &'a str,
    caller_number: &'a str,
    sip_user: &'a str,
    voip: &'a str,
    id: &'a str,
    uuid: &'a str,
    nameCaller: &'a str,
    callerName: &'a str,
    handle: &'a str,
    hasVideo: bool,
    isVideo: bool,
}

fn payload(push: &Push) -> Bytes {
    let call = &push.call;
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = &*call.uuid().as_hyphenated().encode_lower(&mut id);
    let payload = Payload {
        aps: Aps {},
        call_id: &call.call_id,
        caller: &call.caller,
        caller_number: &call.caller,
        sip_user: call.callee.as_str(),
        voip: "true",
        id,
        uuid: id,
        nameCaller: &call.caller,
        callerName: &call.caller,
        handle: &call.caller,
        hasVideo: false,
        isVideo: false,
    };
    let mut body = Vec::with_capacity(USUAL_PAYLOAD_LEN);
    serde_json::to_writer(&mut body, &payload)
        .expect("texts and switches always are JSON, and a Vec takes all");
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::{push_to, some_authorization};
    use serde_json::json;

    fn fixed() -> Fixed {
        let topic = |name: &str| (name.to_owned(), Some(HeaderValue::from_str(name).unwrap()));
        Fixed {
            authority: Some(Authority::from_static("api.push.apple.com:443")),
            topics: vec![topic("org.example.phone.voip"), topic("org.example.other.voip")],
        }
    }

    fn built(push: &Push) -> Request<Bytes> {
        build(push, &fixed(), &some_authorization()).unwrap()
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
    fn the_topic_is_the_devices_or_the_first() {
        let mut push = push_to("ios", &"ab".repeat(32), "Alice");
        push.device.app = Some("org.example.other.voip".to_owned());
        assert_eq!(built(&push).headers()["apns-topic"], "org.example.other.voip");
        push.device.app = Some("org.example.unknown".to_owned());
        assert!(matches!(build(&push, &fixed(), &some_authorization()), Err(Outcome::Rejected { .. })));
    }

    #[test]
    fn what_is_secret_or_comes_only_once_stays_out_of_the_table() {
        let request = built(&push_to("ios", &"ab".repeat(32), "Alice"));
        let kept_out = |name: &str| request.headers()[name].is_sensitive();
        assert!(kept_out("authorization") && kept_out("apns-id"));
        assert!(!kept_out("apns-topic") && !kept_out("apns-expiration"));
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
