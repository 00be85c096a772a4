//! What arrived: `/pushes` and `/stats`.
//!
//! It refuses to wait longer than [`MAX_WAIT_MS`] in one request; ask again with the same `after`.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::Sim;
use super::super::on_push::OnPush;
use super::{Answered, bad_request};

const MAX_WAIT_MS: u64 = 60_000;

/// `GET /pushes?after=N&wait_ms=M`
pub async fn list(sim: &Sim, query: &str) -> Answered {
    let (mut after, mut wait_ms) = (0, 0);
    for (name, value) in
        query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| pair.split_once('='))
    {
        let number = value.parse().map_err(|_| bad_request(format!("{name} must be a whole number")))?;
        match name {
            "after" => after = number,
            "wait_ms" => wait_ms = number,
            _ => return Err(bad_request(format!("unknown parameter {name}; there are after and wait_ms"))),
        }
    }
    let wait = Duration::from_millis(wait_ms.min(MAX_WAIT_MS));
    let (pushes, last) = sim.journal.after(after, wait).await;
    let pushes: Vec<Value> = pushes.iter().map(|push| push.to_json()).collect();
    Ok(json!({ "pushes": pushes, "last": last }))
}

/// `DELETE /pushes`
pub fn clear(sim: &Sim) -> Answered {
    sim.journal.clear();
    Ok(json!({}))
}

/// `GET /stats`
pub fn stats(sim: &Sim) -> Answered {
    Ok(json!({
        "connections": sim.connections.counts(),
        "requests": sim.journal.counts(),
        "faults": sim.journal.faults(),
        "violations": sim.violations.counts(),
        "oauth_exchanges": sim.google.exchanges(),
        "distinct_provider_jwts": sim.apns.distinct_jwts(),
        "on_push_dropped": sim.on_push.as_ref().map_or(0, OnPush::dropped),
    }))
}
