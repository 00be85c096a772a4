//! What an administrator is shown of devices, test pushes and the quarantine, the same in each SIP server's own form.
//!
//! It refuses to show a token whole.

use crate::clock::now_ms;
use crate::model::{Device, PushResult, utc};
use crate::service::{Error, Service};
use crate::stats::Ward;

/// A number or a text.
pub enum Fact {
    Number(u64),
    Text(String),
}

/// What there is to say about one thing, in this order.
pub type Facts = Vec<(&'static str, Fact)>;

/// A test push: what became of it, and one list for each answer.
pub struct Tried {
    pub call: Facts,
    pub answers: Vec<Facts>,
}

/// Each device of a user.
///
/// # Errors
/// As [`Service::lookup`].
pub fn devices(service: &Service, user: &str) -> Result<Vec<Facts>, Error> {
    Ok(service.lookup(user)?.iter().map(device).collect())
}

fn device(device: &Device) -> Facts {
    let registered_ms = u64::try_from(device.registered_at_ms).unwrap_or(0);
    vec![
        ("platform", text(device.platform.as_str())),
        ("provider", text(device.provider().as_str())),
        ("app", text(device.app.as_deref().unwrap_or_default())),
        ("device_id", text(&device.device_id)),
        ("token", text(&format!("{:?}", device.token))),
        ("registered", text(&time(registered_ms))),
        ("registered_unix_ms", Fact::Number(registered_ms)),
    ]
}

/// Pushes a call to a user's devices and waits for the answers, as long as `call.wait_ms` says. An empty call id becomes one of its own.
///
/// # Errors
/// As [`Service::send`], where no provider has answered anything.
pub fn send(service: &Service, user: &str, caller: &str, call_id: &str) -> Result<Tried, Error> {
    let test_call = || format!("voip-push-test-{}", now_ms());
    let call_id = if call_id.is_empty() { test_call() } else { call_id.to_owned() };
    let report = match service.send(user, caller, &call_id) {
        Ok(report)
        | Err(Error::AllRejected(report) | Error::NoAnswer(report) | Error::CredentialRefused(report)) => {
            report
        }
        Err(error) => return Err(error),
    };
    let unanswered = report.devices - report.results.len();
    let call = vec![
        ("devices", Fact::Number(report.devices as u64)),
        ("accepted", Fact::Number(report.accepted() as u64)),
        ("unanswered", Fact::Number(unanswered as u64)),
        ("call_id", Fact::Text(call_id)),
    ];
    Ok(Tried { call, answers: report.results.iter().map(answer).collect() })
}

fn answer(result: &PushResult) -> Facts {
    vec![
        ("provider", text(result.provider.as_str())),
        ("outcome", text(result.outcome.name())),
        ("reason", text(result.outcome.reason())),
        ("attempts", Fact::Number(result.attempts.into())),
    ]
}

/// Each credential's quarantine.
pub fn wards(service: &Service) -> Vec<Facts> {
    service.stats().wards().iter().map(ward).collect()
}

fn ward(ward: &Ward) -> Facts {
    let mut facts = vec![
        ("credential", text(&ward.credential)),
        ("state", text(if ward.closed_since_ms.is_some() { "closed" } else { "open" })),
        ("tokens", Fact::Number(ward.held)),
    ];
    facts.extend(ward.closed_since_ms.map(|since_ms| ("since", text(&time(since_ms)))));
    facts
}

fn text(text: &str) -> Fact {
    Fact::Text(text.to_owned())
}

fn time(unix_ms: u64) -> String {
    utc(i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX))
}
