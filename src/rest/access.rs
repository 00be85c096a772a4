//! Who may use the HTTP API: whoever has one of the API keys.
//!
//! It refuses to tell by its speed how much of a key was right.

use super::Response;
use crate::service::Service;
use crate::stats::Counter;
use subtle::ConstantTimeEq;

/// Lets a request with a known `Authorization: Bearer KEY` (RFC 6750 §2.1) pass.
pub(super) fn check(service: &Service, authorization: Option<&str>) -> Result<(), Response> {
    let Some(keys) = &service.settings().api_keys else {
        return Err(Response::error(
            503,
            "the REST API is off; it needs [rest] api_keys_file in the configuration",
        ));
    };
    if authorization
        .and_then(bearer)
        .is_some_and(|key| is_known(key, keys.iter().map(|known| known.expose())))
    {
        return Ok(());
    }
    service.stats().count(Counter::RestUnauthorized);
    let why = "give a valid API key in the header Authorization: Bearer KEY";
    Err(Response::error(401, why).with_headers("WWW-Authenticate: Bearer realm=\"voip-push\"\r\n"))
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Compares with every key, and every byte of it, whatever the first ones gave.
fn is_known<'a>(key: &str, keys: impl Iterator<Item = &'a str>) -> bool {
    let matches = keys.map(|known| known.as_bytes().ct_eq(key.as_bytes()));
    matches.fold(subtle::Choice::from(0), |any, this| any | this).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_key_is_known() {
        let keys = || ["first-key-0123456789", "second-key-0123456789"].into_iter();
        for key in keys() {
            assert!(is_known(key, keys()));
            assert!(!is_known(&key[1..], keys()));
        }
        assert!(!is_known("", keys()));
        assert!(!is_known("", std::iter::empty()));
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bEARER  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("abc"), None);
    }
}
