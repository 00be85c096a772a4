//! Google's error bodies: `{"error": {"code", "message", "status", "details"}}` (google.rpc.Status as JSON).
//!
//! It refuses to put FCM's own error code where Google has none: the JSON front end and the authentication
//! answer without it.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::super::behaviour::Behaviour;
use super::json as json_answer;

/// Why a message was not accepted.
#[derive(Debug)]
pub struct Refusal {
    http: u16,
    status: &'static str,
    message: String,
    /// `FcmError.errorCode`.
    error_code: Option<String>,
    /// `BadRequest.fieldViolations`: field and description.
    violation: Option<(String, String)>,
}

impl Refusal {
    fn plain(http: u16, message: &str) -> Self {
        let message = message.to_owned();
        Refusal { http, status: status_name(http), message, error_code: None, violation: None }
    }

    /// The JSON front end did not understand the request: no FCM error code.
    pub fn invalid_json(field: &str, description: &str) -> Self {
        let message = format!("Invalid JSON payload received. {description}");
        let violation = Some((field.to_owned(), message.clone()));
        Refusal { violation, ..Refusal::plain(400, &message) }
    }

    /// A value that the JSON front end cannot read as the field's type.
    pub fn invalid_value(field: &str, description: &str) -> Self {
        let violation = Some((field.to_owned(), description.to_owned()));
        Refusal { violation, ..Refusal::plain(400, description) }
    }

    /// FCM itself refused a field.
    pub fn invalid_argument(field: &str, message: &str) -> Self {
        let violation = Some((field.to_owned(), message.to_owned()));
        Refusal { violation, error_code: Some("INVALID_ARGUMENT".to_owned()), ..Refusal::plain(400, message) }
    }

    /// No access token.
    pub fn no_access_token() -> Self {
        Refusal::plain(
            401,
            "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie \
             or other valid authentication credential. \
             See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        )
    }

    /// An access token that is unknown, revoked or expired.
    pub fn bad_access_token() -> Self {
        Refusal::plain(
            401,
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
             other valid authentication credential. \
             See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        )
    }

    /// A project of somebody else.
    pub fn foreign_project(project: &str) -> Self {
        Refusal::plain(
            403,
            &format!(
                "Permission 'cloudmessaging.messages.create' denied on resource \
                 '//cloudresourcemanager.googleapis.com/projects/{project}' (or it may not exist)."
            ),
        )
    }

    /// No project can have this name.
    pub fn no_such_project() -> Self {
        Refusal::plain(404, "Requested entity was not found.")
    }

    /// The token belongs to another project.
    pub fn sender_id_mismatch() -> Self {
        Refusal {
            error_code: Some("SENDER_ID_MISMATCH".to_owned()),
            ..Refusal::plain(403, "SenderId mismatch")
        }
    }

    /// The app instance is gone.
    pub fn unregistered() -> Self {
        let error_code = Some("UNREGISTERED".to_owned());
        Refusal { error_code, ..Refusal::plain(404, "Requested entity was not found.") }
    }

    /// The refusal that a behaviour asks for: FCM's own codes go into the detail, others are a bare status.
    pub fn told(http: u16, behaviour: &Behaviour) -> Self {
        let reason = behaviour.reason.clone().or_else(|| usual_code(http).map(str::to_owned));
        let error_code = reason.filter(|reason| ERROR_CODES.contains(&reason.as_str()));
        let message = error_code.clone().unwrap_or_else(|| status_name(http).to_owned());
        Refusal { error_code, ..Refusal::plain(http, &message) }
    }

    /// FCM's error code, else the status' name.
    pub fn reason(&self) -> &str {
        self.error_code.as_deref().unwrap_or(self.status)
    }

    /// The whole answer.
    pub fn response(&self) -> Response<Bytes> {
        let mut error = json!({ "code": self.http, "message": self.message, "status": self.status });
        let details = self.details();
        if !details.is_empty() {
            error["details"] = details.into();
        }
        json_answer(self.http, &json!({ "error": error }))
    }

    fn details(&self) -> Vec<Value> {
        let fcm = self.error_code.as_ref().map(|code| {
            json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code })
        });
        let violation = self.violation.as_ref().map(|(field, description)| {
            json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{ "field": field, "description": description }],
            })
        });
        fcm.into_iter().chain(violation).collect()
    }
}

/// firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
const ERROR_CODES: [&str; 8] = [
    "UNSPECIFIED_ERROR",
    "INVALID_ARGUMENT",
    "UNREGISTERED",
    "SENDER_ID_MISMATCH",
    "QUOTA_EXCEEDED",
    "UNAVAILABLE",
    "INTERNAL",
    "THIRD_PARTY_AUTH_ERROR",
];

/// The FCM error code that usually comes with a status; 401 and 403 usually come without one.
fn usual_code(http: u16) -> Option<&'static str> {
    match http {
        400 => Some("INVALID_ARGUMENT"),
        404 => Some("UNREGISTERED"),
        429 => Some("QUOTA_EXCEEDED"),
        500 => Some("INTERNAL"),
        502..=504 => Some("UNAVAILABLE"),
        _ => None,
    }
}

/// google.rpc.Code by HTTP status (Google, "API design guide", errors).
fn status_name(http: u16) -> &'static str {
    match http {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        502..=504 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}
