//! Connections to a provider: TLS, HTTP/2 streams, GOAWAY, pings, and one connection that is kept warm.
//!
//! It refuses to know any provider and to repeat a request on its own account once the request may have arrived.

mod backoff;
mod certificate;
mod client;
mod coalesced;
mod connection;
mod dial;
mod tls;

pub use certificate::certificate_ends_at_s;
pub use client::Client;
pub use coalesced::Coalesced;
pub use dial::{Addresses, Reached, Resolve, Unreached, reach};
pub use tls::Tls;

use bytes::Bytes;
use http::{HeaderMap, Request};
use std::fmt;
use std::time::Duration;

/// How long a client waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Opening a connection: DNS, TCP and TLS together.
    pub connect: Duration,
    /// Unused for longer than this, a connection is asked with a ping before it is trusted.
    pub idle: Duration,
    /// The answer to such a ping.
    pub ping: Duration,
    /// The first answer on a new connection, on which no other request may go out before. After this another is opened.
    pub first_answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(4),
            idle: Duration::from_secs(60),
            ping: Duration::from_secs(2),
            first_answer: Duration::from_secs(1),
        }
    }
}

/// What is asked. The request is made when it goes out, and once more where it has to go out again, so that nothing of it takes
/// memory while its answer is awaited.
pub trait Ask {
    /// The request, the same each time.
    ///
    /// # Errors
    /// Why there can be none.
    fn request(&self) -> Result<Request<Bytes>, String>;

    /// The request is written: from now on the provider may have it. Or the provider has said that it did not process it.
    fn note_sent(&self, _may_have_arrived: bool) {}

    /// Told the headers of the answer, for those few who want more of them than [`Response`] has.
    fn answered(&self, _headers: &HeaderMap) {}
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
    /// No connection could be made, so the request was not sent.
    Connect(String),
    /// The request was not sent, or the provider did not process it (GOAWAY, REFUSED_STREAM): it may be sent again at once.
    NotProcessed(String),
    /// The request may have arrived, but no answer came.
    Lost(Lost, String),
}

/// How an answer got lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// It was not there in time.
    Late,
    /// The provider has reset the stream.
    Reset,
    /// The connection ended first.
    Closed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unmade(why) => write!(f, "no request: {why}"),
            Failure::Connect(why) => write!(f, "no connection: {why}"),
            Failure::NotProcessed(why) => write!(f, "not processed: {why}"),
            Failure::Lost(_, why) => write!(f, "no answer: {why}"),
        }
    }
}
