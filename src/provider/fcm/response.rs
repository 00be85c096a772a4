//! What Google's answers mean (Google, "ErrorCode" of FCM HTTP v1; AIP-193 for the error's shape).
//!
//! It refuses to call a token dead for an operator's mistake: a plain 404 may be a wrong project.

use crate::model::Outcome;
use crate::provider::{Answer, Blame, reason};
use serde::Deserialize;

const FCM_ERROR: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorBody {
    error: ErrorStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorStatus {
    status: String,
    message: String,
    details: Vec<Detail>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail {
    #[serde(rename = "@type")]
    kind: String,
    #[serde(rename = "errorCode")]
    error_code: String,
    #[serde(rename = "fieldViolations")]
    field_violations: Vec<FieldViolation>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct FieldViolation {
    field: String,
}

impl ErrorStatus {
    /// FCM's own code first, then Google's general one.
    fn code(&self) -> &str {
        let fcm =
            self.details.iter().find(|detail| detail.kind == FCM_ERROR && !detail.error_code.is_empty());
        fcm.map_or(&self.status, |detail| &detail.error_code)
    }

    /// True where INVALID_ARGUMENT is about the token and not about the rest of our message.
    fn blames_the_token(&self) -> bool {
        let fields = self.details.iter().flat_map(|detail| &detail.field_violations);
        fields
            .into_iter()
            .any(|violation| matches!(violation.field.as_str(), "message.token" | "message.fid"))
            || self.message.contains("registration token is not a valid FCM registration token")
    }
}

pub(super) fn outcome(answer: &Answer) -> Outcome {
    // Google's own page for a path that it does not know is HTML.
    if !matches!(answer.status, 404 | 429) && answer.is_nonsense() {
        return answer.unavailable();
    }
    if answer.status == 200 {
        return Outcome::Accepted;
    }
    // What cannot be read counts as having said nothing.
    let error = serde_json::from_slice::<ErrorBody>(&answer.body).unwrap_or_default().error;
    let said = match error.code() {
        "" => format!("HTTP {}", answer.status),
        code => reason(code),
    };
    match (answer.status, error.code()) {
        (404, "UNREGISTERED") => Outcome::TokenGone { since_ms: None },
        (400, "INVALID_ARGUMENT") if error.blames_the_token() => Outcome::TokenGone { since_ms: None },
        (403, "SENDER_ID_MISMATCH") => Outcome::Rejected { reason: said },
        // Without UNREGISTERED a 404 means that the project or the path is wrong.
        (401 | 403 | 404, _) => Outcome::CredentialRefused { reason: said },
        (429, _) => Outcome::Throttled { retry_after: answer.retry_after, reason: said },
        (400..=499, _) => Outcome::Rejected { reason: said },
        _ => Outcome::Unavailable { reason: said },
    }
}

/// Google's word for a token of another project.
pub(super) fn blame(reason: &str) -> Blame {
    if reason == "SENDER_ID_MISMATCH" { Blame::Device } else { Blame::Push }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::answer;
    use serde_json::json;

    fn body(status: &str, error_code: &str, field: &str, message: &str) -> String {
        let mut details = Vec::new();
        if !error_code.is_empty() {
            details.push(json!({ "@type": FCM_ERROR, "errorCode": error_code }));
        }
        if !field.is_empty() {
            let kind = "type.googleapis.com/google.rpc.BadRequest";
            details.push(json!({ "@type": kind, "fieldViolations": [{ "field": field }] }));
        }
        json!({ "error": { "code": 0, "status": status, "message": message, "details": details } })
            .to_string()
    }

    /// Google's table, a row each.
    #[test]
    fn every_row_of_googles_table_is_one_outcome() {
        let gone = || Outcome::TokenGone { since_ms: None };
        let rejected = |reason: &str| Outcome::Rejected { reason: reason.to_owned() };
        let refused = |reason: &str| Outcome::CredentialRefused { reason: reason.to_owned() };
        let throttled = |reason: &str| Outcome::Throttled { retry_after: None, reason: reason.to_owned() };
        let unavailable = |reason: &str| Outcome::Unavailable { reason: reason.to_owned() };
        let text = "The registration token is not a valid FCM registration token";
        let rows = [
            (200, "{\"name\":\"projects/p/messages/1\"}".to_owned(), Outcome::Accepted),
            (400, body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "", ""), rejected("INVALID_ARGUMENT")),
            (
                400,
                body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.data", ""),
                rejected("INVALID_ARGUMENT"),
            ),
            (400, body("INVALID_ARGUMENT", "", "message.token", ""), gone()),
            (400, body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.fid", ""), gone()),
            (400, body("INVALID_ARGUMENT", "INVALID_ARGUMENT", "", text), gone()),
            (
                401,
                body("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", "", ""),
                refused("THIRD_PARTY_AUTH_ERROR"),
            ),
            (401, body("UNAUTHENTICATED", "", "", ""), refused("UNAUTHENTICATED")),
            (403, body("PERMISSION_DENIED", "SENDER_ID_MISMATCH", "", ""), rejected("SENDER_ID_MISMATCH")),
            (403, body("PERMISSION_DENIED", "", "", ""), refused("PERMISSION_DENIED")),
            (404, body("NOT_FOUND", "UNREGISTERED", "", ""), gone()),
            (404, body("NOT_FOUND", "", "", ""), refused("NOT_FOUND")),
            (404, "<html>404</html>".to_owned(), refused("HTTP 404")),
            (429, body("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "", ""), throttled("QUOTA_EXCEEDED")),
            (500, body("INTERNAL", "INTERNAL", "", ""), unavailable("INTERNAL")),
            (
                502,
                "<html>bad gateway</html>".to_owned(),
                unavailable("HTTP 502 with a body that is not JSON"),
            ),
            (200, "<html>hello</html>".to_owned(), unavailable("HTTP 200 with a body that is not JSON")),
            (403, "{\"error\":".to_owned(), unavailable("HTTP 403 with a body that is not JSON")),
            (503, body("UNAVAILABLE", "UNAVAILABLE", "", ""), unavailable("UNAVAILABLE")),
            (504, String::new(), unavailable("HTTP 504")),
            (413, String::new(), rejected("HTTP 413")),
        ];
        for (status, body, expected) in rows {
            assert_eq!(outcome(&answer(status, &body)), expected, "{status} {body}");
        }
    }
}
