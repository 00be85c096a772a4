//! What a push says: that a call comes or what became of it, or that a message waits.
//!
//! It refuses to say how; providers and payloads do.

use super::Invalid;

/// What a push tells a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// A call wants to ring.
    #[default]
    Call,
    /// The call that the device was pushed for is over: it may stop ringing.
    Ended(Ended),
    /// An ordinary alert about a call that was missed.
    Missed,
    /// A SIP MESSAGE waits for the phone to register.
    Message(Show),
    /// The phone's registration ends soon.
    Refresh,
    /// A request within a dialog waits for the phone to register.
    Dialog,
}

/// How an iPhone takes what is not a call (Apple's `apns-push-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Show {
    /// The user sees it, and an extension of the app, or the app, gets time to work.
    #[default]
    Alert,
    /// The app gets time to work, as far as iOS grants it: a few times an hour.
    Background,
}

/// How a call has ended, as far as the devices that rang for it care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The caller has hung up, or nobody has answered in time.
    Cancelled,
    /// Another phone of the user has answered.
    AnsweredElsewhere,
    /// Another phone of the user has declined.
    DeclinedElsewhere,
}

/// So many seconds longer than its call rings an alert about it is kept for a phone that cannot be reached: a day.
pub const MISSED_KEPT_S: i64 = 86_400;

impl Kind {
    /// Every kind, in the order of their numbers between processes.
    pub const ALL: [Kind; 9] = [
        Kind::Call,
        Kind::Ended(Ended::Cancelled),
        Kind::Ended(Ended::AnsweredElsewhere),
        Kind::Ended(Ended::DeclinedElsewhere),
        Kind::Missed,
        Kind::Message(Show::Alert),
        Kind::Message(Show::Background),
        Kind::Refresh,
        Kind::Dialog,
    ];

    /// Whether it is about a call that the device was pushed for before.
    pub fn follows_a_call(self) -> bool {
        matches!(self, Kind::Ended(_) | Kind::Missed)
    }

    /// One word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Call => "call",
            Kind::Ended(ended) => ended.as_str(),
            Kind::Missed => "missed",
            Kind::Message(_) => "message",
            Kind::Refresh => "refresh",
            Kind::Dialog => "dialog",
        }
    }
}

impl Show {
    /// Takes `alert` or `background`.
    pub fn parse(text: &str) -> Option<Show> {
        match text {
            "alert" => Some(Show::Alert),
            "background" => Some(Show::Background),
            _ => None,
        }
    }

    /// `apns-push-type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Show::Alert => "alert",
            Show::Background => "background",
        }
    }

    /// `apns-priority`: a background push with another one than 5 is refused (Apple, "Sending notification requests to APNs").
    pub fn priority(self) -> &'static str {
        match self {
            Show::Alert => "10",
            Show::Background => "5",
        }
    }
}

impl Ended {
    /// Takes `cancelled`, `answered elsewhere` or `declined elsewhere`, in any case, with a space, `_` or `-`.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Ended, Invalid> {
        match text.to_ascii_lowercase().replace(['_', '-'], " ").as_str() {
            "cancelled" => Ok(Ended::Cancelled),
            "answered elsewhere" => Ok(Ended::AnsweredElsewhere),
            "declined elsewhere" => Ok(Ended::DeclinedElsewhere),
            _ => {
                Err(Invalid::new("reason", "is none of cancelled, answered elsewhere and declined elsewhere"))
            }
        }
    }

    /// As payloads have it: `cancelled`, `answered_elsewhere` or `declined_elsewhere`.
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Cancelled => "cancelled",
            Ended::AnsweredElsewhere => "answered_elsewhere",
            Ended::DeclinedElsewhere => "declined_elsewhere",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_three_names_and_no_others() {
        for ended in [Ended::Cancelled, Ended::AnsweredElsewhere, Ended::DeclinedElsewhere] {
            assert_eq!(Ended::parse(ended.as_str()), Ok(ended));
        }
        assert_eq!(Ended::parse("Answered elsewhere"), Ok(Ended::AnsweredElsewhere));
        assert_eq!(Ended::parse("busy").unwrap_err().what, "reason");
        assert_eq!(Ended::parse("").unwrap_err().what, "reason");
    }
}
