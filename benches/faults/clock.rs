//! The time that all parts of the run go by, which is also SIPp's: seconds since 1970.
//!
//! It refuses to be a calendar.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, in seconds since 1970.
pub fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// Lets time pass until then.
pub fn sleep_until(then_s: f64) {
    std::thread::sleep(Duration::from_secs_f64((then_s - now_s()).max(0.0)));
}
