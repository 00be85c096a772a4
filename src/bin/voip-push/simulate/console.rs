//! What the administrator sees on standard output: one line per listener and one per push.
//!
//! It refuses to show more of a token than its last four characters.

use std::fmt;
use std::io::Write;

use super::files::Urls;
use super::host::Host;
use super::journal::{Push, unix_ms};

/// Standard output, or silence.
pub struct Console {
    quiet: bool,
}

impl Console {
    /// A console that says nothing when `quiet`.
    pub fn new(quiet: bool) -> Self {
        Console { quiet }
    }

    /// A reader that went away is no reason to end, hence the ignored result.
    fn line(&self, line: fmt::Arguments<'_>) {
        if !self.quiet {
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }

    /// Where the services are.
    pub fn listening(&self, urls: &Urls) {
        self.line(format_args!("APNs production    {}", urls.apns));
        self.line(format_args!("APNs sandbox       {}", urls.apns_sandbox));
        self.line(format_args!("FCM and OAuth2     {}", urls.google));
        self.line(format_args!("control API        {}", urls.control));
    }

    /// A connection that did not come to be.
    pub fn tls_failed(&self, host: Host, error: &std::io::Error) {
        self.line(format_args!("{} {}: TLS failed: {error}", utc_time(unix_ms()), host.name()));
    }

    /// A push and its end.
    pub fn push(&self, push: &Push) {
        if self.quiet {
            return;
        }
        let status = push.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        let reason = push.reason.as_deref().unwrap_or(if push.reached { "reached" } else { "not reached" });
        self.line(format_args!(
            "{} {:<12} {status} {reason}, token …{}, {}, connection {}, {} ms",
            utc_time(push.time_unix_ms),
            push.service.name(),
            last_four(&push.token),
            push.app,
            push.connection,
            push.duration_ms,
        ));
    }
}

fn last_four(token: &str) -> &str {
    token.char_indices().rev().nth(3).map_or("", |(at, _)| &token[at..])
}

/// `HH:MM:SS.mmm` in UTC.
fn utc_time(unix_ms: u64) -> String {
    let (s, ms) = (unix_ms / 1000, unix_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600 % 24, s / 60 % 60, s % 60)
}
