//! What time it is.
//!
//! It refuses to measure how long something takes: this clock can be set, forwards and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970; nothing where the clock stands before that.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Now, in ms since 1970; never negative.
pub fn now_ms() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

/// Now, in seconds since 1970; never negative.
pub fn now_s() -> i64 {
    now_ms() / 1000
}
