//! The HTTP API as a pure function: a request in, a response out.
//!
//! It refuses to own a socket: whoever has one (Kamailio's xhttp, a test) passes the request on.

mod access;
mod answer;
mod route;
mod tokens;
mod watch;

pub use answer::Response;
pub use tokens::MAX_BODY_LEN;

use crate::service::Service;

/// A request as the host received it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `GET`, `POST`, `DELETE`, …
    pub method: &'a str,
    /// Path and query as received, percent-encoded.
    pub target: &'a str,
    /// The `Authorization` header's value.
    pub authorization: Option<&'a str>,
    /// The `Content-Type` header's value.
    pub content_type: Option<&'a str>,
    /// The body; empty where there is none.
    pub body: &'a [u8],
    /// Who asks: an IP address, as the host sees it. Wrong API keys and passwords are counted for it.
    pub remote: &'a str,
    /// The user whose password the host has found right, or empty where it was wrong; no API key is asked for then. `None` where
    /// the host has checked none.
    pub user: Option<&'a str>,
}

/// Answers a request. Whatever comes in, something comes out.
pub fn handle(service: &Service, request: &Request<'_>) -> Response {
    let response = match answer(service, request) {
        Ok(response) | Err(response) => response,
    };
    let level = if response.status < 400 { log::Level::Debug } else { log::Level::Info };
    // The path may hold a user, so it is not logged.
    log::log!(level, "rest {:?} from {}: {}", request.method, request.remote, response.status);
    response
}

fn answer(service: &Service, request: &Request<'_>) -> Result<Response, Response> {
    let route = route::find(request)?;
    let asker = access::check(service, request, &route)?;
    match route {
        route::Route::Register => tokens::register(service, request, &asker),
        route::Route::Watch(view) => Ok(watch::show(service, view)),
        route::Route::Show { user } => tokens::show(service, &user),
        route::Route::Delete { user, device_id } => tokens::delete(service, &user, device_id.as_deref()),
    }
}
