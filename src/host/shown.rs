//! Our numbers as a SIP server's own statistics: which there were when it started, and what they are now.
//!
//! It refuses to count anything: it only shows. What a reload adds is not shown here, since no server takes new statistics then.

use crate::service::{Service, installed};
use crate::stats::Reading;
use once_cell::sync::OnceCell;

/// Names and labels, in the order in which the server was told of them.
static SHOWN: OnceCell<Vec<(&'static str, String)>> = OnceCell::new();

/// Tells the server of every number; it asks for one by its position. Before the fork.
pub fn tell(service: &Service, tell: impl Fn(usize, &Reading)) {
    let readings = service.readings();
    readings.iter().enumerate().for_each(|(at, reading)| tell(at, reading));
    SHOWN.get_or_init(|| readings.into_iter().map(|reading| (reading.name, reading.labels)).collect());
}

/// The number at this position as it is now.
pub fn value_at(position: usize) -> u64 {
    let value = || {
        let (name, labels) = SHOWN.get()?.get(position)?;
        let readings = installed()?.readings();
        let found = readings.into_iter().find(|it| it.name == *name && it.labels == *labels);
        found.map(|reading| reading.value)
    };
    value().unwrap_or(0)
}
