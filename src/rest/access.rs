//! Who may use the HTTP API: whoever has one of the API keys, for what the key is for.
//!
//! It refuses to tell by its speed how much of a key was right, and to listen to an address that keeps on guessing.

use super::{Request, Response};
use crate::model::Scope;
use crate::service::Service;
use crate::stats::Counter;
use std::time::Duration;

/// Lets a request with a known `Authorization: Bearer KEY` (RFC 6750 §2.1) pass, where that key may do this.
pub(super) fn check(service: &Service, request: &Request<'_>, scope: Scope) -> Result<(), Response> {
    let Some(keys) = &service.settings().api_keys else {
        return Err(Response::error(
            503,
            "the REST API is off; it needs [rest] api_keys_file in the configuration",
        ));
    };
    // Before the key is looked at: who guesses learns nothing more, not even that a guess was right.
    if let Some(wait) = service.guesses().must_wait(request.remote) {
        service.stats().count(Counter::RestThrottled);
        return Err(too_many_guesses(wait));
    }
    let Some(shown) = request.authorization.and_then(bearer) else {
        service.stats().count(Counter::RestUnauthorized);
        return Err(no_valid_key());
    };
    match keys.find(shown) {
        Some(key) if key.allows(scope) => Ok(()),
        Some(key) => {
            service.stats().count(Counter::RestForbidden);
            log::info!("rest: the key {} is not for {}", key.name(), scope.as_str());
            Err(not_for_this(scope))
        }
        None => {
            service.stats().count(Counter::RestUnauthorized);
            if service.guesses().note(request.remote) {
                log::warn!(
                    "rest: {} has shown too many wrong API keys and is not listened to",
                    request.remote
                );
            }
            Err(no_valid_key())
        }
    }
}

fn no_valid_key() -> Response {
    let why = "give a valid API key in the header Authorization: Bearer KEY";
    Response::error(401, why).with_headers("WWW-Authenticate: Bearer realm=\"voip-push\"\r\n")
}

/// RFC 6750 §3.1.
fn not_for_this(scope: Scope) -> Response {
    let scope = scope.as_str();
    Response::error(403, &format!("this API key is not for {scope}")).with_headers(format!(
        "WWW-Authenticate: Bearer realm=\"voip-push\", error=\"insufficient_scope\", scope=\"{scope}\"\r\n"
    ))
}

fn too_many_guesses(wait: Duration) -> Response {
    let seconds = wait.as_millis().div_ceil(1000);
    Response::error(429, "too many wrong API keys from this address")
        .with_headers(format!("Retry-After: {seconds}\r\n"))
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim()).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bEARER  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer "), None);
        assert_eq!(bearer("abc"), None);
    }
}
