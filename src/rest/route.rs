//! Which path and method mean what.
//!
//! It refuses to guess: an unknown path is 404, a known path with another method is 405 with `Allow`.

use super::{Request, Response};
use crate::model::Scope;
use percent_encoding::percent_decode_str;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Register,
    Show {
        user: String,
    },
    Delete {
        user: String,
        device_id: Option<String>,
    },
    /// For administrators: no user and no token.
    Watch(View),
}

/// How the counters are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Page,
    Json,
    Prometheus,
}

impl Route {
    /// What an API key must be for.
    pub(super) fn scope(&self) -> Scope {
        match self {
            Route::Register => Scope::Register,
            Route::Show { .. } => Scope::Read,
            Route::Delete { .. } => Scope::Delete,
            Route::Watch(_) => Scope::Watch,
        }
    }

    /// Whose tokens are asked for, where the path says so.
    pub(super) fn user(&self) -> Option<&str> {
        match self {
            Route::Register | Route::Watch(_) => None,
            Route::Show { user } | Route::Delete { user, .. } => Some(user),
        }
    }
}

pub(super) fn find(request: &Request<'_>) -> Result<Route, Response> {
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    if path == "/api/register-push-token" {
        return match request.method {
            "POST" => Ok(Route::Register),
            _ => Err(not_allowed("Allow: POST\r\n")),
        };
    }
    if let Some(view) = view(path) {
        return match request.method {
            "GET" => Ok(Route::Watch(view)),
            _ => Err(not_allowed("Allow: GET\r\n")),
        };
    }
    let user = path.strip_prefix("/api/user/").and_then(|rest| rest.strip_suffix("/push-token"));
    let Some(user) = user.filter(|user| !user.contains('/')) else {
        return Err(Response::error(404, "there is nothing at this path"));
    };
    let user = decode(user, "user")?;
    match request.method {
        "GET" => Ok(Route::Show { user }),
        "DELETE" => Ok(Route::Delete { user, device_id: device_id(query)? }),
        _ => Err(not_allowed("Allow: GET, DELETE\r\n")),
    }
}

fn view(path: &str) -> Option<View> {
    match path {
        "/voip-push/" => Some(View::Page),
        "/voip-push/stats.json" => Some(View::Json),
        "/voip-push/metrics" => Some(View::Prometheus),
        _ => None,
    }
}

fn not_allowed(allow: &'static str) -> Response {
    Response::error(405, "this path does not take this method").with_headers(allow)
}

/// Nothing, or one device's id: a slip of the pen there must not delete all devices.
fn device_id(query: &str) -> Result<Option<String>, Response> {
    match query.strip_prefix("device_id=") {
        Some(value) if !value.contains('&') => decode(value, "device_id").map(Some),
        None if query.is_empty() => Ok(None),
        _ => Err(Response::error(400, "after ? there can be device_id=ID and nothing else")),
    }
}

fn decode(text: &str, what: &str) -> Result<String, Response> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded =
        decoded.map_err(|_| Response::error(400, &format!("{what}: is not UTF-8 after percent-decoding")))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, target: &str) -> Result<Route, u16> {
        let request = Request {
            method,
            target,
            authorization: None,
            content_type: None,
            body: b"",
            remote: "127.0.0.1",
            user: None,
        };
        find(&request).map_err(|response| response.status)
    }

    #[test]
    fn the_seeds_three_endpoints() {
        let user = || "alice@example.org".to_owned();
        assert_eq!(route("POST", "/api/register-push-token"), Ok(Route::Register));
        assert_eq!(
            route("GET", "/api/user/alice%40example.org/push-token"),
            Ok(Route::Show { user: user() })
        );
        assert_eq!(
            route("DELETE", "/api/user/alice@example.org/push-token?device_id=a%20b"),
            Ok(Route::Delete { user: user(), device_id: Some("a b".to_owned()) })
        );
    }

    #[test]
    fn three_views_of_the_counters() {
        assert_eq!(route("GET", "/voip-push/"), Ok(Route::Watch(View::Page)));
        assert_eq!(route("GET", "/voip-push/stats.json?x"), Ok(Route::Watch(View::Json)));
        assert_eq!(route("GET", "/voip-push/metrics"), Ok(Route::Watch(View::Prometheus)));
        assert_eq!(route("POST", "/voip-push/metrics"), Err(405));
        assert_eq!(route("GET", "/voip-push/other"), Err(404));
    }

    #[test]
    fn everything_else_is_refused() {
        for target in
            ["/", "/api", "/api/user/push-token", "/api/user/a/b/push-token", "", "/api/user/a/push-token/"]
        {
            assert_eq!(route("GET", target), Err(404), "{target}");
        }
        assert_eq!(route("GET", "/api/register-push-token"), Err(405));
        assert_eq!(route("PUT", "/api/user/a/push-token"), Err(405));
        assert_eq!(route("GET", "/api/user/%ff/push-token"), Err(400));
        for query in
            ["deviceid=a", "device_id", "device_id=a&device_id=b", "x=1&device_id=a", "device_id=%ff"]
        {
            assert_eq!(route("DELETE", &format!("/api/user/a/push-token?{query}")), Err(400), "{query}");
        }
        let nameless = Route::Delete { user: "a".to_owned(), device_id: Some(String::new()) };
        assert_eq!(route("DELETE", "/api/user/a/push-token?device_id="), Ok(nameless));
    }
}
