//! The clock of the push services, which may be wrong on request: then a client sees what a wrong clock of its own would bring.
//!
//! It refuses to touch the clocks of the control API and the journal: those tell what happened here.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderValue, header};
use voip_push::model::http_date;

use super::exchange::Reply;

/// A clock that is this many seconds ahead of the machine's.
pub struct Clock {
    ahead_s: i64,
}

impl Clock {
    /// A negative number is a clock that is behind.
    pub fn new(ahead_s: i64) -> Self {
        Clock { ahead_s }
    }

    /// Seconds since 1970.
    pub fn now_s(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        now.cast_signed().saturating_add(self.ahead_s)
    }

    /// Puts `Date` onto an answer (RFC 9110 §6.6.1). Google sends it; whether Apple does is not documented.
    pub fn date(&self, mut reply: Reply) -> Reply {
        if let Reply::Answer { response, .. } = &mut reply
            && let Ok(now) = HeaderValue::from_str(&http_date(self.now_s()))
        {
            response.headers_mut().insert(header::DATE, now);
        }
        reply
    }
}
