//! A push as FCM HTTP v1 wants it (Google, "Method: projects.messages.send"); the fields are the seed's.
//!
//! It refuses a `notification` block: with one, Android shows a notification and does not run the app.

use crate::config::{FcmCredential, IosPushType};
use crate::model::{Outcome, Platform, Push};
use crate::provider::Authorization;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Version};
use serde_json::{Value, json};

/// Most that the keys and values of `data` may hold, in bytes.
const MAX_DATA_LEN: usize = 4096;

pub(super) fn build(
    push: &Push,
    credential: &FcmCredential,
    authorization: &Authorization,
) -> Result<Request<Bytes>, Outcome> {
    let data = data(push);
    if data_len(&data) > MAX_DATA_LEN {
        return Err(Outcome::Rejected { reason: format!("data of {} bytes is too large", data_len(&data)) });
    }
    let body = json!({ "message": message(push, data, credential.ios_push_type) }).to_string();
    let origin = credential.origin.base_url();
    Request::post(format!("{origin}/v1/projects/{}/messages:send", credential.project_id))
        .version(Version::HTTP_2)
        .header(AUTHORIZATION, authorization.header.clone())
        .header("content-type", "application/json")
        .body(body.into())
        .map_err(|_| Outcome::Rejected { reason: "the project cannot be put into a URL".to_owned() })
}

fn message(push: &Push, data: Value, ios: IosPushType) -> Value {
    let target = if push.device.token.is_fid() { "fid" } else { "token" };
    let mut message = json!({ target: push.device.token.expose(), "data": data });
    match push.device.platform {
        Platform::Ios => message["apns"] = apns_block(push, ios),
        Platform::Android => {
            message["android"] = json!({ "priority": "HIGH", "ttl": format!("{}s", push.ring.as_secs()) });
        }
    }
    message
}

/// The seed's map. FCM takes strings only.
fn data(push: &Push) -> Value {
    let call = &push.call;
    json!({
        "call_id": call.call_id,
        "caller": call.caller,
        "caller_number": call.caller,
        "sip_user": call.callee.as_str(),
        "voip": "true",
        "id": call.uuid().to_string(),
        "nameCaller": call.caller,
        "handle": call.caller,
        "hasVideo": "false",
    })
}

/// The seed's block for iPhones. FCM would keep the message for 30 days, hence the expiration.
fn apns_block(push: &Push, ios: IosPushType) -> Value {
    let push_type = match ios {
        IosPushType::Alert => "alert",
        IosPushType::Voip => "voip",
    };
    json!({
        "headers": {
            "apns-priority": "10",
            "apns-push-type": push_type,
            "apns-expiration": push.expires_at_s.to_string(),
        },
        "payload": {
            "aps": {
                "alert": format!("Incoming call from {}", push.call.caller),
                "sound": "default",
                "badge": 1,
            },
        },
    })
}

fn data_len(data: &Value) -> usize {
    let pairs = data.as_object().into_iter().flatten();
    pairs.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::{fcm_credential, push_to, some_authorization};

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
    fn an_installation_id_is_named_as_such() {
        let body = built(&push_to("android", "cAbCdEfGhIjKlMnOpQrStU", "Alice"), IosPushType::Alert);
        assert_eq!(body["message"]["fid"], "cAbCdEfGhIjKlMnOpQrStU");
        assert!(body["message"].get("token").is_none());
    }

    #[test]
    fn the_longest_call_still_fits() {
        let mut push = push_to("android", &fcm_token(), "Alice");
        let call_id = "x".repeat(crate::model::MAX_CALL_ID_LEN);
        push.call = crate::model::Call::parse(&"u".repeat(255), &"é".repeat(1000), &call_id).unwrap();
        assert!(data_len(&data(&push)) <= MAX_DATA_LEN);
        built(&push, IosPushType::Alert);
    }
}
