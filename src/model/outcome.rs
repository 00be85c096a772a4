//! What a push is and how it can end.
//!
//! It refuses to decide what happens next: providers produce outcomes, the sender alone acts on them.

use super::name_uuid::name_uuid;
use super::{Call, Device, Kind, Provider};
use std::sync::OnceLock;
use std::time::Duration;
use uuid::Uuid;

/// One call, or what else there is to say, to one device.
#[derive(Debug, Clone)]
pub struct Push {
    /// What it says.
    pub kind: Kind,
    /// The call that wants to ring.
    pub call: Call,
    /// The phone that is to ring.
    pub device: Device,
    /// When the phone stops ringing, in seconds since 1970: the provider need not deliver after that.
    pub expires_at_s: i64,
    /// How long the phone may ring.
    pub ring: Duration,
    /// True where the device is from the token store, so that a dead token can be taken out of it.
    pub is_stored: bool,
    id: OnceLock<Uuid>,
}

impl Push {
    /// A push of a call to a device, which rings for `ring`, until `expires_at_s`.
    pub fn new(call: Call, device: Device, expires_at_s: i64, ring: Duration, is_stored: bool) -> Push {
        Push { kind: Kind::Call, call, device, expires_at_s, ring, is_stored, id: OnceLock::new() }
    }

    /// The same, of another kind.
    pub fn of_kind(self, kind: Kind) -> Push {
        Push { kind, id: OnceLock::new(), ..self }
    }

    /// The id of this push (`apns-id`): made from call, device and token, so a repeated attempt carries the same id and
    /// the provider and the log can tell it from a second push. Made once; neither call nor device may be changed then.
    pub fn id(&self) -> Uuid {
        *self.id.get_or_init(|| self.id_of(self.kind))
    }

    /// For the word that a call is over: the id of the push by which the device learned of it. An alert goes by another token, so
    /// that nobody knows there.
    pub fn call_push_id(&self) -> Option<Uuid> {
        (self.kind != Kind::Missed).then(|| self.id_of(Kind::Call))
    }

    fn id_of(&self, kind: Kind) -> Uuid {
        let device = &self.device;
        let kind_text = (kind != Kind::Call).then(|| kind.as_str());
        // Messages of one conversation may share a Call-ID (RFC 3428 §4).
        let time = matches!(kind, Kind::Message(_)).then(|| self.expires_at_s.to_string());
        let name = [device.user.as_str(), "/", &device.device_id, "/", device.token.expose()].into_iter();
        let more = [kind_text, time.as_deref()].into_iter().flatten().flat_map(|part| ["/", part]);
        name_uuid(&self.call.uuid(), name.chain(more))
    }
}

/// What became of one request to a provider. A provider's module turns an answer into exactly one of these and does
/// nothing else (design: "Outcomes").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took the push.
    Accepted,
    /// The token is dead, since this time (ms since 1970) where the provider says so.
    TokenGone {
        /// When the provider found out, in ms since 1970.
        since_ms: Option<i64>,
    },
    /// This push cannot work; the token may be fine.
    Rejected {
        /// The provider's word for it.
        reason: String,
    },
    /// Too much at once.
    Throttled {
        /// When the provider wants to be asked again, where it says so.
        retry_after: Option<Duration>,
        /// The provider's word for it.
        reason: String,
    },
    /// No answer, or the provider is in trouble.
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// The provider does not accept our credential.
    CredentialRefused {
        /// The provider's word for it.
        reason: String,
    },
}

impl Outcome {
    /// The outcome's name in logs and counters.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::TokenGone { .. } => "token_gone",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Throttled { .. } => "throttled",
            Outcome::Unavailable { .. } => "unavailable",
            Outcome::CredentialRefused { .. } => "credential_refused",
        }
    }

    /// The provider's reason, empty where there is none.
    pub fn reason(&self) -> &str {
        match self {
            Outcome::Accepted | Outcome::TokenGone { .. } => "",
            Outcome::Rejected { reason }
            | Outcome::Throttled { reason, .. }
            | Outcome::Unavailable { reason }
            | Outcome::CredentialRefused { reason } => reason,
        }
    }
}

/// How one push ended, after all attempts.
#[derive(Debug, Clone)]
pub struct PushResult {
    /// Who was asked.
    pub provider: Provider,
    /// The last answer.
    pub outcome: Outcome,
    /// How often the provider was asked: requests that it took, or may have.
    pub attempts: u32,
}

/// What became of a call's pushes by the time the caller stopped waiting.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many devices were pushed to.
    pub devices: usize,
    /// The answers that came in time; fewer than `devices` when the time was over first.
    pub results: Vec<PushResult>,
}

impl Report {
    /// How many devices' providers accepted.
    pub fn accepted(&self) -> usize {
        self.results.iter().filter(|result| result.outcome == Outcome::Accepted).count()
    }
}
