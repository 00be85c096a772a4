//! A call as a table: when, who told whom what.
//!
//! It refuses to show retransmissions, which are no news.

use crate::support::sipp::Traced;
use serde_json::Value;
use std::collections::HashSet;

const DAY_MS: f64 = 86_400_000.0;

/// Whose trace it is; the server is at the other end of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// Who calls.
    Caller,
    /// Who is called.
    Phone,
}

impl Party {
    fn name(self) -> &'static str {
        match self {
            Party::Caller => "caller",
            Party::Phone => "phone",
        }
    }
}

struct Event {
    /// Milliseconds since midnight UTC.
    at_ms: f64,
    from: &'static str,
    to: &'static str,
    what: String,
}

/// All that happened.
pub struct Timeline(Vec<Event>);

impl Timeline {
    /// The SIP that the two ends of a call saw.
    pub fn new(caller: &[Traced], phone: &[Traced]) -> Timeline {
        let mut timeline = Timeline(Vec::new());
        timeline.extend(Party::Caller, caller);
        timeline.extend(Party::Phone, phone);
        timeline
    }

    /// Adds what one end saw.
    pub fn extend(&mut self, party: Party, traced: &[Traced]) {
        let mut seen = HashSet::new();
        for message in traced {
            let what = label(message);
            if seen.insert((message.sent, what.clone(), message.via.clone())) {
                let (from, to) =
                    if message.sent { (party.name(), "Kamailio") } else { ("Kamailio", party.name()) };
                self.0.push(Event { at_ms: message.at_ms, from, to, what });
            }
        }
    }

    /// Adds a push as the simulator lists it; the push service must have taken it.
    pub fn push(&mut self, push: &Value) {
        assert_eq!(push["status"], 200, "{push:#}");
        let number = |field: &str| push[field].as_f64().expect("every push has its times");
        let at_ms = number("time_unix_ms").rem_euclid(DAY_MS);
        let answered_ms = at_ms + number("duration_ms");
        let user = push["payload"]["sip_user"].as_str().expect("every push names its user");
        let mut add = |at_ms, from, to, what| self.0.push(Event { at_ms, from, to, what });
        add(at_ms, "Kamailio", "APNs", format!("VoIP push: a call for {user}"));
        add(answered_ms, "APNs", "Kamailio", "200, push accepted".to_owned());
    }

    /// Prints it, counting from what the caller did first; midnight may be in between.
    pub fn print(mut self) {
        let Some(start_ms) = self.0.first().map(|event| event.at_ms) else { return };
        for event in &mut self.0 {
            event.at_ms = (event.at_ms - start_ms).rem_euclid(DAY_MS);
        }
        self.0.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
        for Event { at_ms, from, to, what } in &self.0 {
            println!("{at_ms:9.1} ms  {from:>8} -> {to:<8}  {what}");
        }
    }
}

/// `INVITE`, or `200 OK (INVITE)`.
fn label(message: &Traced) -> String {
    match message.start.strip_prefix("SIP/2.0 ") {
        Some(status) => {
            let short: String = status.split(" -- ").next().unwrap_or(status).to_owned();
            format!("{short} ({})", message.method)
        }
        None => message.method.clone(),
    }
}
