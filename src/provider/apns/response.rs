//! What Apple's answers mean (Apple, "Handling notification responses from APNs").
//!
//! It refuses to guess from text: the reason decides, and for a reason that nobody knows yet the status does.

use crate::model::Outcome;
use crate::provider::{Answer, Blame, reason};
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorBody {
    reason: String,
    /// Since when the token is dead, in ms since 1970; only with 410.
    timestamp: Option<i64>,
}

pub(super) fn outcome(answer: &Answer) -> Outcome {
    if answer.status != 429 && answer.is_nonsense() {
        return answer.unavailable();
    }
    if answer.status == 200 {
        return Outcome::Accepted;
    }
    let body: ErrorBody = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = || match body.reason.as_str() {
        "" => format!("HTTP {}", answer.status),
        text => reason(text),
    };
    match (answer.status, body.reason.as_str()) {
        (410, _) => Outcome::TokenGone { since_ms: body.timestamp },
        // Of the connection, not of the push: another connection may do.
        (400, "IdleTimeout") | (403, "UnrelatedKeyIdInToken") => Outcome::Unavailable { reason: said() },
        // Apple asks not to try again; renewing the token would be a retry.
        (403, "Forbidden") => Outcome::Rejected { reason: said() },
        (401 | 403, _) => Outcome::CredentialRefused { reason: said() },
        (429, _) => Outcome::Throttled { retry_after: answer.retry_after, reason: said() },
        (400..=499, _) => Outcome::Rejected { reason: said() },
        _ => Outcome::Unavailable { reason: said() },
    }
}

/// Apple's words for a push that went to the wrong place.
pub(super) fn blame(reason: &str) -> Blame {
    match reason {
        "BadDeviceToken" => Blame::Environment,
        "DeviceTokenNotForTopic" => Blame::Device,
        "BadTopic" | "MissingTopic" | "TopicDisallowed" => Blame::App,
        _ => Blame::Push,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::answer;
    use std::time::Duration;

    fn rejected(reason: &str) -> Outcome {
        Outcome::Rejected { reason: reason.to_owned() }
    }

    fn unavailable(reason: &str) -> Outcome {
        Outcome::Unavailable { reason: reason.to_owned() }
    }

    fn refused(reason: &str) -> Outcome {
        Outcome::CredentialRefused { reason: reason.to_owned() }
    }

    fn throttled(reason: &str) -> Outcome {
        Outcome::Throttled { retry_after: None, reason: reason.to_owned() }
    }

    /// Apple's table, a row each, and the class of its outcome.
    #[test]
    fn every_row_of_apples_table_is_one_outcome() {
        type Row<'a> = (u16, &'a [&'a str], fn(&str) -> Outcome);
        let rows: &[Row<'_>] = &[
            (
                400,
                &[
                    "BadCollapseId",
                    "BadExpirationDate",
                    "BadMessageId",
                    "BadPriority",
                    "DuplicateHeaders",
                    "InvalidPushType",
                    "PayloadEmpty",
                    "MissingDeviceToken",
                    "BadDeviceToken",
                    "DeviceTokenNotForTopic",
                    "BadTopic",
                    "MissingTopic",
                    "TopicDisallowed",
                ],
                rejected,
            ),
            (400, &["IdleTimeout"], unavailable),
            (
                403,
                &[
                    "ExpiredProviderToken",
                    "InvalidProviderToken",
                    "MissingProviderToken",
                    "BadEnvironmentKeyIdInToken",
                    "BadEnvironmentKeyInToken",
                    "BadCertificate",
                    "BadCertificateEnvironment",
                ],
                refused,
            ),
            (403, &["UnrelatedKeyIdInToken"], unavailable),
            (403, &["Forbidden"], rejected),
            (404, &["BadPath"], rejected),
            (405, &["MethodNotAllowed"], rejected),
            (413, &["PayloadTooLarge"], rejected),
            (429, &["TooManyRequests", "TooManyProviderTokenUpdates"], throttled),
            (500, &["InternalServerError"], unavailable),
            (503, &["ServiceUnavailable", "Shutdown"], unavailable),
            // Reasons that nobody knows yet: the status decides.
            (400, &["SomethingNew"], rejected),
            (403, &["SomethingNew"], refused),
            (429, &["SomethingNew"], throttled),
            (502, &["SomethingNew"], unavailable),
        ];
        for (status, reasons, expected) in rows {
            for reason in *reasons {
                let body = format!("{{\"reason\":\"{reason}\"}}");
                assert_eq!(outcome(&answer(*status, &body)), expected(reason), "{status} {reason}");
            }
        }
        assert_eq!(outcome(&answer(200, "")), Outcome::Accepted);
    }

    #[test]
    fn a_dead_token_may_say_since_when() {
        for (reason, since_ms) in [("Unregistered", Some(1_700_000_000_123)), ("ExpiredToken", None)] {
            let body = serde_json::json!({ "reason": reason, "timestamp": since_ms }).to_string();
            assert_eq!(outcome(&answer(410, &body)), Outcome::TokenGone { since_ms });
        }
    }

    #[test]
    fn nonsense_says_nothing_about_the_push_and_an_empty_answer_is_judged_by_its_status() {
        for (status, body) in
            [(200, "<html>"), (400, "[1,2"), (403, "<html>"), (410, "gone"), (503, "<html>busy</html>")]
        {
            assert_eq!(outcome(&answer(status, body)).name(), "unavailable", "{status} {body}");
        }
        assert_eq!(outcome(&answer(400, "")), rejected("HTTP 400"));
        assert_eq!(outcome(&answer(400, "[1,2]")), rejected("HTTP 400"));
        assert_eq!(outcome(&answer(302, "")), unavailable("HTTP 302"));
        let mut slow = answer(429, "");
        slow.retry_after = Some(Duration::from_secs(7));
        let expected =
            Outcome::Throttled { retry_after: Some(Duration::from_secs(7)), reason: "HTTP 429".to_owned() };
        assert_eq!(outcome(&slow), expected);
    }
}
