//! A push as FCM HTTP v1 wants it (Google, "Method: projects.messages.send").
//!
//! It refuses to know what the message says; `payload` writes it.

use crate::config::FcmCredential;
use crate::model::{Kind, Outcome, Platform, Push};
use crate::payload;
use crate::provider::Authorization;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Version};

pub(super) fn build(
    push: &Push,
    credential: &FcmCredential,
    authorization: &Authorization,
) -> Result<Request<Bytes>, Outcome> {
    let origin = credential.origin.base_url();
    let body = body(push, credential)?;
    Request::post(format!("{origin}/v1/projects/{}/messages:send", credential.project_id))
        .version(Version::HTTP_2)
        .header(AUTHORIZATION, authorization.header.clone())
        .header("content-type", "application/json")
        .body(body)
        .map_err(|_| Outcome::Rejected { reason: "the project cannot be put into a URL".to_owned() })
}

/// The same message, for Google to look at and not to send (Google, "Method: projects.messages.send", `validate_only`).
pub(super) fn validate_only(request: &Request<Bytes>) -> Option<Request<Bytes>> {
    let mut body: serde_json::Value = serde_json::from_slice(request.body()).ok()?;
    body.as_object_mut()?.insert("validate_only".to_owned(), true.into());
    let mut dry = request.clone();
    *dry.body_mut() = body.to_string().into();
    Some(dry)
}

fn body(push: &Push, credential: &FcmCredential) -> Result<Bytes, Outcome> {
    let refuse = |why: &str| Outcome::Rejected { reason: why.to_owned() };
    let profile = &credential.profile;
    match (push.kind, push.device.platform) {
        (Kind::Call, _) => Ok(payload::fcm(profile, push, credential.ios_push_type)),
        (Kind::Ended(ended), Platform::Android) => payload::fcm_ended(profile, push, ended)
            .ok_or_else(|| refuse("the app's profile has no word for the end of a call")),
        (Kind::Missed, Platform::Ios) => Ok(payload::fcm_missed(profile, push, &credential.alerts)),
        (Kind::Refresh, _) => Ok(payload::fcm_refresh(push)),
        (Kind::Dialog, _) => Ok(payload::fcm_dialog(push)),
        (Kind::Message(show), _) => payload::fcm_message(profile, push, show, &credential.alerts)
            .ok_or_else(|| refuse("the app's profile has no word for messages")),
        (Kind::Ended(_), Platform::Ios) | (Kind::Missed, Platform::Android) => {
            Err(refuse("this kind of push is not for this platform"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IosPushType;
    use crate::provider::tests::{fcm_credential, push_to, some_authorization};
    use serde_json::{Value, json};

    fn fcm_token() -> String {
        format!("c1:APA91b{}", "x".repeat(130))
    }

    fn built(push: &Push, ios: IosPushType) -> Value {
        let mut credential = fcm_credential();
        credential.ios_push_type = ios;
        let request = build(push, &credential, &some_authorization()).unwrap();
        assert_eq!(request.uri().path(), "/v1/projects/sip-phone-voip/messages:send");
        assert_eq!(request.headers()["content-type"], "application/json");
        serde_json::from_slice(request.body()).unwrap()
    }

    #[test]
    fn android_gets_data_only_at_once_and_for_the_ring_time() {
        let body = built(&push_to("android", &fcm_token(), "Alice"), IosPushType::Alert);
        let message = &body["message"];
        assert_eq!(message["token"], fcm_token());
        assert_eq!(message["android"], json!({ "priority": "HIGH", "ttl": "30s" }));
        assert!(message.get("notification").is_none() && message.get("apns").is_none());
        assert!(message["data"].as_object().unwrap().values().all(Value::is_string));
    }

    #[test]
    fn an_iphone_gets_the_seeds_message_field_for_field() {
        let push = push_to("ios", &fcm_token(), "Alice");
        let body = built(&push, IosPushType::Alert);
        let message = &body["message"];
        for (key, value) in [
            ("call_id", "call-1"),
            ("caller", "Alice"),
            ("caller_number", "Alice"),
            ("sip_user", "564612"),
            ("voip", "true"),
        ] {
            assert_eq!(message["data"][key], value, "{key}");
        }
        let headers = &message["apns"]["headers"];
        assert_eq!((&headers["apns-priority"], &headers["apns-push-type"]), (&json!("10"), &json!("alert")));
        let aps = json!({ "alert": "Incoming call from Alice", "sound": "default", "badge": 1 });
        assert_eq!(message["apns"]["payload"]["aps"], aps);
        assert!(message.get("android").is_none());
        let insisted = built(&push, IosPushType::Voip);
        assert_eq!(insisted["message"]["apns"]["headers"]["apns-push-type"], "voip");
    }

    #[test]
    fn a_dry_run_is_the_same_message_not_to_be_sent() {
        let push = push_to("android", &fcm_token(), "Alice");
        let request = build(&push, &fcm_credential(), &some_authorization()).unwrap();
        let dry = validate_only(&request).unwrap();
        assert_eq!((dry.uri(), dry.headers()), (request.uri(), request.headers()));
        let mut body: Value = serde_json::from_slice(dry.body()).unwrap();
        assert_eq!(body.as_object_mut().unwrap().remove("validate_only"), Some(json!(true)));
        assert_eq!(body, serde_json::from_slice::<Value>(request.body()).unwrap());
    }

    #[test]
    fn an_installation_id_is_named_as_such() {
        let body = built(&push_to("android", "cAbCdEfGhIjKlMnOpQrStU", "Alice"), IosPushType::Alert);
        assert_eq!(body["message"]["fid"], "cAbCdEfGhIjKlMnOpQrStU");
        assert!(body["message"].get("token").is_none());
    }
}
