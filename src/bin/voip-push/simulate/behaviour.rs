//! Behaviours: misconduct on request, for one token or for a whole service, used up in order.
//!
//! It refuses unknown keys, so that a misspelt behaviour is told and not silently normal.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::host::Service;

/// What to do instead of, or besides, the normal answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// How often; 0 = for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Status of the answer; without it the normal answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Apple's reason, FCM's errorCode or OAuth2's error; without it the usual one of the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Value of a Retry-After header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// Wait before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// `timestamp` in the body of a 410 (APNs).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_ms: Option<u64>,
    /// Send GOAWAY after the answer and let the open streams end.
    #[serde(skip_serializing_if = "is_false")]
    pub goaway: bool,
    /// Reset the stream instead of an answer.
    #[serde(skip_serializing_if = "is_false")]
    pub reset: bool,
    /// HTTP/2 error code of the reset; without it 2, INTERNAL_ERROR (RFC 9113 §7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_code: Option<u32>,
    /// Never answer.
    #[serde(skip_serializing_if = "is_false")]
    pub stall: bool,
    /// Body of the answer as it is, for example a proxy's HTML page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Behaviour {
    /// What cannot be done, in words for the one who asked for it.
    pub fn check(&self) -> Result<(), String> {
        match self.status {
            Some(status) if !(200..=599).contains(&status) => {
                Err(format!("status {status}: 200 to 599 is possible"))
            }
            None if self.body.is_some() || self.reason.is_some() => {
                Err("reason and body need a status".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// A list that is used up in order.
#[derive(Clone, Debug, Default)]
pub struct Behaviours(VecDeque<Behaviour>);

impl Behaviours {
    /// A list in the order of use.
    pub fn new(list: Vec<Behaviour>) -> Self {
        Behaviours(list.into())
    }

    /// The next behaviour, if one is left.
    pub fn take(&mut self) -> Option<Behaviour> {
        let first = self.0.front_mut()?;
        let taken = first.clone();
        match first.times {
            Some(0) => {}
            Some(times) if times > 1 => first.times = Some(times - 1),
            _ => drop(self.0.pop_front()),
        }
        Some(taken)
    }

    /// What is left.
    pub fn list(&self) -> Vec<&Behaviour> {
        self.0.iter().collect()
    }
}

/// One list per service.
#[derive(Default)]
pub struct ServiceBehaviours([Mutex<Behaviours>; 4]);

impl ServiceBehaviours {
    fn of(&self, service: Service) -> MutexGuard<'_, Behaviours> {
        self.0[service.index()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next behaviour of a service, if one is left.
    pub fn take(&self, service: Service) -> Option<Behaviour> {
        self.of(service).take()
    }

    /// Replaces the list of a service.
    pub fn set(&self, service: Service, list: Vec<Behaviour>) {
        *self.of(service) = Behaviours::new(list);
    }
}
