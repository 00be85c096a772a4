//! APNs' answers: `{"reason": …}`, with `timestamp` for a 410 only, and the `apns-id` header always.
//!
//! It refuses to invent reasons but one: `BadPayload`, for a body that is not one JSON object, since Apple's table
//! has none for it.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::super::behaviour::Behaviour;
use super::super::host::Service;
use super::super::journal::unix_ms;
use super::super::push::decorate;
use super::super::random;

/// Why a push was not accepted.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Apple's word for it.
    pub reason: String,
    /// Since when the token is dead (410 only), UNIX ms.
    pub timestamp_ms: Option<u64>,
}

impl Refusal {
    /// A refusal without timestamp.
    pub fn new(status: u16, reason: &str) -> Self {
        Refusal { status, reason: reason.to_owned(), timestamp_ms: None }
    }

    /// The refusal that a behaviour asks for.
    pub fn told(status: u16, behaviour: &Behaviour) -> Self {
        let timestamp_ms = (status == 410).then(|| behaviour.timestamp_ms.unwrap_or_else(unix_ms));
        let reason = behaviour.reason.clone().unwrap_or_else(|| usual_reason(status).to_owned());
        Refusal { status, reason, timestamp_ms }
    }

    fn body(&self) -> Bytes {
        let mut body = json!({ "reason": self.reason });
        if let Some(timestamp_ms) = self.timestamp_ms {
            body["timestamp"] = json!(timestamp_ms);
        }
        body.to_string().into()
    }
}

/// Apple's table, the first reason of each status (Apple, "Handling notification responses from APNs").
fn usual_reason(status: u16) -> &'static str {
    match status {
        400 => "BadDeviceToken",
        403 => "InvalidProviderToken",
        404 => "BadPath",
        405 => "MethodNotAllowed",
        410 => "Unregistered",
        413 => "PayloadTooLarge",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalServerError",
    }
}

/// The whole answer.
pub fn response(
    service: Service,
    id: &str,
    outcome: &Result<(), Refusal>,
    behaviour: &Behaviour,
) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let id = HeaderValue::from_str(id).expect("a UUID is made of hexadecimal digits and hyphens");
    response.headers_mut().insert("apns-id", id);
    match outcome {
        Ok(()) if service == Service::ApnsSandbox => {
            let unique = HeaderValue::from_str(&random::uuid()).expect("a UUID is a header value");
            response.headers_mut().insert("apns-unique-id", unique);
        }
        Ok(()) => {}
        Err(refusal) => {
            *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
            *response.body_mut() = refusal.body();
        }
    }
    decorate(&mut response, behaviour);
    response
}
