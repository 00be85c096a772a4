//! What is to be done with a call that waits or rings, and why.
//!
//! It refuses to do it: the sender's process does.

use super::super::note::CallId;
use crate::service::Needless;

/// What came of a call's pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct Verdict {
    /// As `send_voip_push` returns it.
    pub code: i32,
    /// The same in words.
    pub reason: String,
    /// How many devices were pushed to.
    pub devices: usize,
    /// For how many the provider accepted.
    pub accepted: usize,
    /// No phone will come: every token is dead, or every push was rejected.
    pub is_hopeless: bool,
}

/// A call that is to go on in its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) struct GoOn {
    pub id: CallId,
    pub route: String,
    pub user: String,
    pub sip_call_id: String,
    pub why: Why,
    /// What came of its pushes, if that is known.
    pub push: Option<Verdict>,
}

/// Why a call goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Why {
    /// A phone has registered.
    Woken(Told),
    /// Nobody has registered in time.
    TimeIsOver,
    /// Nobody will.
    Hopeless,
    /// The server stops.
    ServerStops,
}

impl Why {
    /// One word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Woken(_) => "woken",
            Why::TimeIsOver => "time_is_over",
            Why::Hopeless => "hopeless",
            Why::ServerStops => "server_stops",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::host) enum Act {
    GoOn(GoOn),
    /// A call that rings gets the contacts of this address that it does not ring yet; empty is the address that was called.
    Append {
        id: CallId,
        aor: String,
        told: Told,
    },
    /// What was not sent yet of a call's pushes is needed no more.
    GiveUp {
        user: String,
        sip_call_id: String,
        why: Needless,
    },
}

/// How we know that a phone has registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::host) enum Told {
    /// It has registered here.
    Here,
    /// Another machine has said so, and its contact may not have come to us yet.
    Elsewhere,
    /// The same, which was told before.
    Again,
}

/// Whose phone a call waits for: what it waits for may be one device of the user, whose id follows on a line of its own.
pub(in crate::host) fn user_of(key: &str) -> &str {
    key.split('\n').next().unwrap_or_default()
}
