//! One HTTP exchange with a push service, whatever version of HTTP carried it.
//!
//! It refuses to read bodies without end: past [`BODY_LIMIT`] the rest is not wanted.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};

use super::journal::unix_ms;

/// More than any push service takes, so that "too large" can still be answered properly.
pub const BODY_LIMIT: usize = 256 * 1024;

/// A whole request.
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, cut at [`BODY_LIMIT`].
    pub body: Bytes,
    /// When it arrived.
    pub arrived_unix_ms: u64,
    /// The same on the monotonic clock.
    pub arrived: Instant,
}

impl Exchange {
    /// A request from its parts; the clock starts here.
    pub fn new(parts: http::request::Parts) -> Self {
        Exchange {
            path: parts.uri.path_and_query().map_or_else(String::new, |path| path.as_str().to_owned()),
            method: parts.method,
            headers: parts.headers,
            body: Bytes::new(),
            arrived_unix_ms: unix_ms(),
            arrived: Instant::now(),
        }
    }
}

/// What the wire gets to see.
pub enum Reply {
    /// An answer, and a GOAWAY after it if asked for.
    Answer {
        /// Status, headers, body.
        response: Response<Bytes>,
        /// Ask the client to leave this connection.
        goaway: bool,
    },
    /// RST_STREAM with this code.
    Reset(u32),
    /// Nothing, until the client gives up.
    Stall,
}
