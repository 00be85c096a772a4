//! Who may use the HTTP API: whoever has one of the API keys, for what the key is for, and a user whose password the host has
//! checked, for what is his own.
//!
//! It refuses to tell by its speed how much of a key was right, to tell a wrong user from a wrong password, and to listen to an
//! address that keeps on guessing.

use super::route::Route;
use super::{Request, Response};
use crate::model::{Scope, User};
use crate::service::Service;
use crate::stats::Counter;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use std::time::Duration;

/// Who asks, as far as the API must know.
pub(super) enum Asker {
    /// Whoever has a key for it; for any user.
    Key,
    /// A user, for himself.
    User(User),
}

impl Asker {
    /// Lets pass what is asked for this user.
    pub(super) fn check_owner(&self, service: &Service, user: &str) -> Result<(), Response> {
        match self {
            Asker::Key => Ok(()),
            Asker::User(own) if User::parse(user).is_ok_and(|user| user == *own) => Ok(()),
            Asker::User(_) => Err(not_yours(service)),
        }
    }
}

/// Lets a request pass that shows a known `Authorization: Bearer KEY` (RFC 6750 §2.1), where that key may do this, or that the
/// host has authenticated, where it is about that very user.
pub(super) fn check(service: &Service, request: &Request<'_>, route: &Route) -> Result<Asker, Response> {
    if service.settings().api_keys.is_none() && request.user.is_none() {
        return Err(Response::error(
            503,
            "the REST API is off; it needs [rest] api_keys_file in the configuration",
        ));
    }
    // Before a key or a password is looked at: who guesses learns nothing more, not even that a guess was right.
    if let Some(wait) = service.guesses().must_wait(request.remote) {
        service.stats().count(Counter::RestThrottled);
        return Err(too_many_guesses(wait));
    }
    let Some(user) = request.user else { return check_key(service, request, route) };
    if route.scope() == Scope::Watch {
        return Err(not_yours(service));
    }
    let asker = Asker::User(authenticated(service, request, user)?);
    if let Some(user) = route.user() {
        asker.check_owner(service, user)?;
    }
    Ok(asker)
}

/// The user whom the host names. He has to be spelt as tokens are stored, but for the host's case: of a user `bob;x` or
/// `sip:bob` the model would make `bob`, who is somebody else.
fn authenticated(service: &Service, request: &Request<'_>, name: &str) -> Result<User, Response> {
    if name.is_empty() {
        note_guess(service, request);
        return Err(Response::error(401, "the user or the password is wrong"));
    }
    let user = User::parse(name).ok().filter(|user| user.as_str().eq_ignore_ascii_case(name));
    user.ok_or_else(|| not_yours(service))
}

fn check_key(service: &Service, request: &Request<'_>, route: &Route) -> Result<Asker, Response> {
    let scope = route.scope();
    let shown = request.authorization.and_then(|shown| match bearer(shown) {
        Some(key) => Some(key.to_owned()),
        // A browser knows no Bearer; what it can see has no other use.
        None => basic_password(shown).filter(|_| scope == Scope::Watch),
    });
    let Some(shown) = shown else {
        service.stats().count(Counter::RestUnauthorized);
        return Err(no_valid_key(scope));
    };
    match service.settings().api_keys.as_ref().and_then(|keys| keys.find(&shown)) {
        Some(key) if key.allows(scope) => Ok(Asker::Key),
        Some(key) => {
            service.stats().count(Counter::RestForbidden);
            log::info!("rest: the key {} is not for {}", key.name(), scope.as_str());
            Err(not_for_this(scope))
        }
        None => {
            note_guess(service, request);
            Err(no_valid_key(scope))
        }
    }
}

fn note_guess(service: &Service, request: &Request<'_>) {
    service.stats().count(Counter::RestUnauthorized);
    if service.guesses().note(request.remote) {
        let remote = request.remote;
        log::warn!("rest: {remote} has shown too many wrong keys or passwords and is not listened to");
    }
}

fn no_valid_key(scope: Scope) -> Response {
    let why = "give a valid API key in the header Authorization: Bearer KEY";
    let scheme = if scope == Scope::Watch { "Basic" } else { "Bearer" };
    Response::error(401, why).with_headers(format!("WWW-Authenticate: {scheme} realm=\"voip-push\"\r\n"))
}

/// The same whether the other user exists or not.
fn not_yours(service: &Service) -> Response {
    service.stats().count(Counter::RestForbidden);
    Response::error(403, "with a user's password only that user's own tokens can be reached")
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
    Response::error(429, "too many wrong API keys or passwords from this address")
        .with_headers(format!("Retry-After: {seconds}\r\n"))
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim()).filter(|key| !key.is_empty())
}

/// The password of RFC 7617; the user name before it means nothing.
fn basic_password(authorization: &str) -> Option<String> {
    let (scheme, credentials) = authorization.trim().split_once(' ')?;
    let decoded = BASE64.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned()).filter(|password| !password.is_empty())
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

    #[test]
    fn a_browser_shows_the_key_as_a_password() {
        assert_eq!(basic_password("Basic YWRtaW46azpleQ=="), Some("k:ey".to_owned()));
        for wrong in
            ["Basic YWRtaW46", "Basic YWRtaW4=", "Basic ??", "Bearer YWRtaW46azpleQ==", "Basic", "Basic //86"]
        {
            assert_eq!(basic_password(wrong), None, "{wrong}");
        }
    }
}
