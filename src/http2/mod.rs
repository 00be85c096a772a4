//! Connections to a provider: TLS, HTTP/2 streams, GOAWAY, pings, and one connection that is kept warm.
//!
//! It refuses to know any provider and to repeat a request on its own account once the request may have arrived.

mod backoff;
mod client;
mod coalesced;
mod connection;
mod tls;

pub use client::Client;
pub use coalesced::Coalesced;
pub use tls::Tls;

use bytes::Bytes;
use http::Request;
use std::fmt;
use std::time::Duration;

/// What is asked. The request is made when it goes out, and once more where it has to go out again, so that nothing of it takes
/// memory while its answer is awaited.
pub trait Ask {
    /// The request, the same each time.
    ///
    /// # Errors
    /// Why there can be none.
    fn request(&self) -> Result<Request<Bytes>, String>;
}

impl Ask for Request<Bytes> {
    fn request(&self) -> Result<Request<Bytes>, String> {
        Ok(self.clone())
    }
}

/// What came back for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The `retry-after` header, if it is a number of seconds.
    pub retry_after: Option<Duration>,
    /// The body, cut at 16 KiB.
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// There can be no such request, and nothing was sent.
    Unmade(String),
    /// There is no connection, and the request was not sent.
    Connect(String),
    /// The provider did not process the request (GOAWAY, REFUSED_STREAM): it may be sent again at once.
    NotProcessed(String),
    /// The request may have arrived, but no answer came.
    Lost(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unmade(why) => write!(f, "no request: {why}"),
            Failure::Connect(why) => write!(f, "no connection: {why}"),
            Failure::NotProcessed(why) => write!(f, "not processed: {why}"),
            Failure::Lost(why) => write!(f, "no answer: {why}"),
        }
    }
}
