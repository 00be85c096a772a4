//! What administrators see: the counters for Prometheus, as JSON, and a page of one's own that draws them.
//!
//! It refuses to show users, tokens or keys, and the page fetches nothing from elsewhere.

use super::Response;
use super::route::View;
use crate::model::Provider;
use crate::service::{KeyAge, Service};
use crate::stats::{Minute, OUTCOMES, Reading, WAKE_BOUNDS_MS};
use serde_json::{Map, Value, json};

const PAGE: &str = include_str!("page.html");
/// Nothing from elsewhere runs or is loaded, no other site may frame the page, and no cache keeps it.
const HEADERS: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'; base-uri 'none'; \
    form-action 'none'\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n";

pub(super) fn show(service: &Service, view: View) -> Response {
    let response = match view {
        View::Page => Response::ok("text/html; charset=utf-8", PAGE.to_owned()),
        View::Json => Response::json(200, &numbers(service)),
        View::Prometheus => Response::ok(
            "text/plain; version=0.0.4; charset=utf-8",
            service.stats().prometheus_with(service.readings()),
        ),
    };
    response.with_headers(HEADERS)
}

fn numbers(service: &Service) -> Value {
    let stats = service.stats();
    let readings = stats.read();
    let plain = readings.iter().filter(|reading| reading.labels.is_empty());
    let pushes = readings.iter().filter(|reading| reading.name == "pushes_total");
    let plain: Map<String, Value> =
        plain.map(|reading| (reading.name.to_owned(), reading.value.into())).collect();
    let (minutes, wakes) = hour(&stats.last_hour());
    let failures = stats.last_failures().into_iter().map(|failure| {
        json!({
            "at_ms": failure.at_ms,
            "provider": failure.provider.as_str(),
            "outcome": failure.outcome,
            "reason": failure.reason,
        })
    });
    let keys = service.key_ages().into_iter().map(|KeyAge { provider, key, age_s }| {
        json!({ "provider": provider.as_str(), "key": key, "age_seconds": age_s })
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "at_ms": crate::clock::now_ms(),
        "numbers": plain,
        "pushes": pushes.map(pushes_of_app).collect::<Vec<_>>(),
        "hour": { "minutes": minutes, "wake_bounds_ms": WAKE_BOUNDS_MS, "wakes": wakes },
        "failures": failures.collect::<Vec<_>>(),
        "keys": keys.collect::<Vec<_>>(),
    })
}

/// `{provider="apns",app="a.voip",outcome="accepted"}` as an object, and its number.
fn pushes_of_app(reading: &Reading) -> Value {
    let mut words = reading.labels.trim_matches(['{', '}']).split('"');
    let mut object = Map::new();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        object.insert(name.trim_matches([',', '=']).to_owned(), value.into());
    }
    object.insert("count".to_owned(), reading.value.into());
    object.into()
}

fn hour(minutes: &[Minute]) -> (Vec<Value>, Vec<u64>) {
    let mut wakes = vec![0; WAKE_BOUNDS_MS.len() + 1];
    for minute in minutes {
        wakes.iter_mut().zip(minute.wakes).for_each(|(sum, wakes)| *sum += wakes);
    }
    let rows = minutes.iter().map(|minute| {
        let mut row = Map::new();
        row.insert("at_ms".to_owned(), (minute.minute * 60_000).into());
        for (provider, pushes) in Provider::ALL.into_iter().zip(minute.pushes) {
            let outcomes: Map<String, Value> =
                OUTCOMES.iter().zip(pushes).map(|(name, count)| ((*name).to_owned(), count.into())).collect();
            row.insert(provider.as_str().to_owned(), outcomes.into());
        }
        row.into()
    });
    (rows.collect(), wakes)
}
