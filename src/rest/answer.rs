//! Responses, and which status a failure of the library becomes.
//!
//! It refuses to repeat in an answer what came in: no token, no number.

use crate::service::{Error, RETRY_AFTER_S};
use serde_json::{Value, json};
use std::borrow::Cow;

/// What to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Its reason phrase.
    pub reason: &'static str,
    /// The `Content-Type` of the body.
    pub content_type: &'static str,
    /// More header lines, each ending in CRLF; often none.
    pub headers: Cow<'static, str>,
    /// The body.
    pub body: String,
}

impl Response {
    pub(super) fn json(status: u16, body: &Value) -> Response {
        Response {
            status,
            reason: reason_phrase(status),
            content_type: "application/json",
            headers: Cow::Borrowed(""),
            body: body.to_string(),
        }
    }

    pub(super) fn ok(content_type: &'static str, body: String) -> Response {
        Response { status: 200, reason: reason_phrase(200), content_type, headers: Cow::Borrowed(""), body }
    }

    /// `{"error": "…"}` in one plain sentence.
    pub(super) fn error(status: u16, why: &str) -> Response {
        Response::json(status, &json!({ "error": why }))
    }

    pub(super) fn with_headers(self, headers: impl Into<Cow<'static, str>>) -> Response {
        Response { headers: headers.into(), ..self }
    }
}

impl From<Error> for Response {
    fn from(error: Error) -> Self {
        match &error {
            Error::Argument(invalid) => {
                Response::json(400, &json!({ "error": invalid.to_string(), "field": invalid.what }))
            }
            Error::NoDevice => Response::error(404, &error.to_string()),
            Error::TooManyDevices { .. } => Response::error(409, &error.to_string()),
            Error::Store(why) => {
                // That the engine is away, or refuses us, is said once.
                let level = if why.is_told() { log::Level::Debug } else { log::Level::Error };
                log::log!(level, "{error}");
                let headers = format!("Retry-After: {RETRY_AFTER_S}\r\n");
                Response::error(503, "the token store cannot be reached").with_headers(headers)
            }
            Error::Config(_)
            | Error::AllRejected(_)
            | Error::NoAnswer(_)
            | Error::CredentialRefused(_)
            | Error::QueueFull
            | Error::SenderGone
            | Error::Internal(_) => {
                log::error!("{error}");
                Response::error(500, "internal error; see the server's log")
            }
        }
    }
}

fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}
