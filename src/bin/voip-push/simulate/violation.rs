//! Violations: what a client did that the real services punish on the level of the connection.
//!
//! It refuses to judge single requests; those have a status of their own.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};

/// Counters of misconduct.
#[derive(Default)]
pub struct Violations {
    /// A second APNs stream before a provider token was accepted on the connection.
    pub early_stream: AtomicU64,
    /// A connection to an HTTP/2-only host that did not negotiate h2 by ALPN.
    pub no_h2: AtomicU64,
    /// A connection whose TLS handshake failed, for example since the client does not trust the CA.
    pub tls_failed: AtomicU64,
    /// A connection that ended in an HTTP protocol error.
    pub protocol_error: AtomicU64,
}

impl Violations {
    /// Counts one more.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// The counters.
    pub fn counts(&self) -> Value {
        json!({
            "early_stream": self.early_stream.load(Relaxed),
            "no_h2": self.no_h2.load(Relaxed),
            "tls_failed": self.tls_failed.load(Relaxed),
            "protocol_error": self.protocol_error.load(Relaxed),
        })
    }
}
