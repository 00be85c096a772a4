//! Why a verb did not do its work, and the judgement over a call's answers.
//!
//! It refuses to carry a token, a key or a number in its text.

use crate::config::ConfigError;
use crate::model::{Invalid, Outcome, Report};
use crate::sender::Refused;
use crate::store::StoreError;
use std::fmt;

/// Turns the answers into success or the one reason why no phone will ring: a credential problem is named first, since
/// somebody must act on it; "rejected" only when every device was.
pub(super) fn judge(report: Report) -> Result<Report, Error> {
    if report.accepted() > 0 {
        return Ok(report);
    }
    let is_final =
        |outcome: &Outcome| matches!(outcome, Outcome::TokenGone { .. } | Outcome::Rejected { .. });
    if report.results.iter().any(|result| matches!(result.outcome, Outcome::CredentialRefused { .. })) {
        return Err(Error::CredentialRefused(report));
    }
    if report.results.len() == report.devices && report.results.iter().all(|result| is_final(&result.outcome))
    {
        return Err(Error::AllRejected(report));
    }
    Err(Error::NoAnswer(report))
}

/// Why a verb did not do its work. `Display` is one line without tokens, keys or numbers.
#[derive(Debug)]
pub enum Error {
    /// What came in is not usable.
    Argument(Invalid),
    /// The configuration is wrong.
    Config(ConfigError),
    /// The user has as many devices as `[limits] devices_per_user` lets one have.
    TooManyDevices {
        /// How many that is.
        limit: u32,
    },
    /// The token store cannot be reached.
    Store(StoreError),
    /// The user has no device.
    NoDevice,
    /// Every provider rejected the push, or every token is dead.
    AllRejected(Report),
    /// No provider answered in time.
    NoAnswer(Report),
    /// Our credential was refused, is paused, or there is none for this app.
    CredentialRefused(Report),
    /// Too many pushes are waiting.
    QueueFull,
    /// The sender is not there.
    SenderGone,
    /// A bug, or the system refuses its resources.
    Internal(String),
}

impl Error {
    /// The answers of the providers, where there were any.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Error::AllRejected(report) | Error::NoAnswer(report) | Error::CredentialRefused(report) => {
                Some(report)
            }
            Error::Argument(_)
            | Error::Config(_)
            | Error::TooManyDevices { .. }
            | Error::Store(_)
            | Error::NoDevice
            | Error::QueueFull
            | Error::SenderGone
            | Error::Internal(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Argument(invalid) => write!(f, "{invalid}"),
            Error::Config(error) => write!(f, "{error}"),
            Error::TooManyDevices { limit } => {
                write!(f, "the user has {limit} devices already and can have no more; delete one first")
            }
            Error::Store(error) => write!(f, "the token store cannot be reached: {error}"),
            Error::NoDevice => write!(f, "no device for this user"),
            Error::AllRejected(report) => write!(f, "every push was rejected: {}", reasons(report)),
            Error::NoAnswer(report) => write!(f, "no provider accepted in time: {}", reasons(report)),
            Error::CredentialRefused(report) => write!(f, "our credential was refused: {}", reasons(report)),
            Error::QueueFull => write!(f, "too many pushes are waiting"),
            Error::SenderGone => write!(f, "the sender is not there"),
            Error::Internal(why) => write!(f, "internal error: {why}"),
        }
    }
}

impl std::error::Error for Error {}

fn reasons(report: &Report) -> String {
    let silent = report.devices - report.results.len();
    let mut parts: Vec<String> = report
        .results
        .iter()
        .map(|result| match result.outcome.reason() {
            "" => format!("{} {}", result.provider.as_str(), result.outcome.name()),
            reason => format!("{} {} ({reason})", result.provider.as_str(), result.outcome.name()),
        })
        .collect();
    if silent > 0 {
        parts.push(format!("{silent} not answered yet"));
    }
    parts.join(", ")
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Error::Argument(invalid)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::Store(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::QueueFull => Error::QueueFull,
            Refused::Gone => Error::SenderGone,
        }
    }
}
