//! What comes back to a worker: the report of the pushes that it has handed over.
//!
//! It refuses to be taken for another order's: it has that one's number.

use super::bytes::{Garbled, Reader, Writer, code, known};
use crate::model::{Outcome, Provider, PushResult, Report};
use std::time::Duration;

/// What comes back.
#[derive(Debug, Clone)]
pub(in crate::sender) struct Reply {
    /// The number of the order.
    pub id: u64,
    /// `None`: the queue was full, and nothing was sent.
    pub report: Option<Report>,
}

impl Reply {
    pub(in crate::sender) fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(64);
        let mut out = Writer(&mut message);
        out.u64(self.id);
        let Some(report) = &self.report else {
            out.u8(0);
            return message;
        };
        out.u8(1);
        out.u32(report.devices as u32);
        out.u32(report.results.len() as u32);
        for result in &report.results {
            out.u8(code(&Provider::ALL, &result.provider));
            out.u32(result.attempts);
            encode_outcome(&mut out, &result.outcome);
        }
        message
    }

    pub(in crate::sender) fn decode(message: &[u8]) -> Result<Reply, Garbled> {
        let mut from = Reader(message);
        let id = from.u64()?;
        let report = match from.u8()? {
            0 => None,
            _ => Some(decode_report(&mut from)?),
        };
        from.end()?;
        Ok(Reply { id, report })
    }
}

fn decode_report(from: &mut Reader<'_>) -> Result<Report, Garbled> {
    let devices = from.u32()? as usize;
    let count = from.u32()?;
    let mut result = || {
        let provider = known(&Provider::ALL, from.u8()?)?;
        Ok(PushResult { provider, attempts: from.u32()?, outcome: decode_outcome(from)? })
    };
    Ok(Report { devices, results: (0..count).map(|_| result()).collect::<Result<_, Garbled>>()? })
}

fn encode_outcome(out: &mut Writer<'_>, outcome: &Outcome) {
    // The optional number: since when, or retry after how many ms; -1 is none.
    let (kind, number) = match outcome {
        Outcome::Accepted => (0, -1),
        Outcome::TokenGone { since_ms } => (1, since_ms.unwrap_or(-1)),
        Outcome::Rejected { .. } => (2, -1),
        Outcome::Throttled { retry_after, .. } => (3, retry_after.map_or(-1, |wait| wait.as_millis() as i64)),
        Outcome::Unavailable { .. } => (4, -1),
        Outcome::CredentialRefused { .. } => (5, -1),
    };
    out.u8(kind);
    out.u64(number as u64);
    out.text(outcome.reason());
}

fn decode_outcome(from: &mut Reader<'_>) -> Result<Outcome, Garbled> {
    let kind = from.u8()?;
    let number = from.u64()? as i64;
    let reason = from.text()?.to_owned();
    let given = (number >= 0).then_some(number);
    Ok(match kind {
        0 => Outcome::Accepted,
        1 => Outcome::TokenGone { since_ms: given },
        2 => Outcome::Rejected { reason },
        3 => Outcome::Throttled { retry_after: given.map(|ms| Duration::from_millis(ms as u64)), reason },
        4 => Outcome::Unavailable { reason },
        5 => Outcome::CredentialRefused { reason },
        _ => return Err(Garbled),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reply_arrives_as_it_was_sent() {
        let reason = || "reason".to_owned();
        let outcomes = [
            Outcome::Accepted,
            Outcome::TokenGone { since_ms: Some(5) },
            Outcome::TokenGone { since_ms: None },
            Outcome::Rejected { reason: reason() },
            Outcome::Throttled { retry_after: Some(Duration::from_secs(3)), reason: reason() },
            Outcome::Throttled { retry_after: None, reason: reason() },
            Outcome::Unavailable { reason: reason() },
            Outcome::CredentialRefused { reason: reason() },
        ];
        let results = outcomes.map(|outcome| PushResult { provider: Provider::Fcm, outcome, attempts: 2 });
        let report = Report { devices: 9, results: results.to_vec() };
        let got = Reply::decode(&Reply { id: 3, report: Some(report) }.encode()).unwrap().report.unwrap();
        assert_eq!(got.devices, 9);
        for (sent, got) in results.iter().zip(&got.results) {
            assert_eq!(
                (&sent.outcome, sent.provider, sent.attempts),
                (&got.outcome, got.provider, got.attempts)
            );
        }
        assert!(Reply::decode(&Reply { id: 3, report: None }.encode()).unwrap().report.is_none());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Reply::decode(&garbage);
        }
    }
}
