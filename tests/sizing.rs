//! The page docs/sizing.md shows what the simulation beside the benches prints, and the simulation is one that can be trusted.
//!
//! It refuses a page that was edited by hand: `make sizing WRITE=1` writes its tables.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

#[path = "../benches/sizing/model.rs"]
mod model;

use model::assumed;
use model::knee::{Resource, Spread, resources};
use model::network;
use model::paper::{self, Demand};
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_page_shows_what_the_simulation_prints() {
    let page = fs::read_to_string(root().join("docs/sizing.md")).unwrap();
    let (_, shown, _) = model::parts(&page).expect("the page has the lines between which the tables stand");
    let tables = model::tables();
    for (number, (shown, printed)) in shown.lines().zip(tables.lines()).enumerate() {
        assert_eq!(shown, printed, "line {number} of the tables; run make sizing WRITE=1");
    }
    assert_eq!(shown.lines().count(), tables.lines().count());
}

/// What queueing theory says of the simplest queues: M/M/1 and M/D/1.
#[test]
fn a_single_queue_waits_as_theory_says() {
    let resource =
        |spread| Resource { name: "", servers: 1, mean_us: 100.0, spread, full_at_calls: 0.0, then: "" };
    // M/M/1: a share of 1 - load waits not at all, the others exponentially, on average mean / (1 - load).
    let load: f64 = 0.8;
    let p99_us = 100.0 / (1.0 - load) * (load / 0.01).ln();
    let waits_us = resource(Spread::Script).wait_us(load);
    assert!((waits_us / p99_us - 1.0).abs() < 0.15, "{waits_us} beside {p99_us}");
    // M/D/1 waits half as long on average.
    let same_us = resource(Spread::None).wait_us(load);
    assert!((0.4..0.65).contains(&(same_us / waits_us)), "{same_us} beside {waits_us}");
}

#[test]
fn the_whole_service_is_as_busy_as_on_paper_and_gives_way_where_it_is_full() {
    let demand = Demand::of(1e8);
    let plan = paper::plan(&demand);
    let run = network::run(&demand, &plan);
    let cores = plan.sip_cores / (plan.nodes as f64 * assumed::CORES.value);
    assert!((run.busy[0] / cores - 1.0).abs() < 0.1, "{run:?} beside {cores}");
    assert!(run.push_ms[1] < 10.0 && run.wake_ms[1] < 10.0 && run.refused == 0.0, "{run:?}");
    let first = resources(&demand, &plan).into_iter().map(|resource| resource.full_at_calls);
    let first = first.fold(f64::INFINITY, f64::min);
    let over = Demand::of(demand.devices * 1.3 * first / demand.calls);
    let over = network::run(&over, &plan);
    assert!(over.push_ms[1].max(over.wake_ms[1]) > 50.0, "{over:?}");
}

#[test]
fn what_is_taken_from_the_source_is_as_it_stands_there() {
    let has = |file: &str, text: &str| {
        let source = fs::read_to_string(root().join(file)).unwrap();
        assert!(source.contains(text), "{file} does not say {text}");
    };
    has("src/http2/client.rs", &format!("const MAX_CONNECTIONS: usize = {};", assumed::CONNECTIONS.value));
    has("README.md", &format!("| `[sender] max_queued` | 1 to 1000000 | {} |", assumed::MAX_QUEUED.value));
}
