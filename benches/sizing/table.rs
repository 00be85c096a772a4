//! The tables as Markdown.
//!
//! It refuses digits that say nothing: at most three of them count.

use super::measured::Figure;
use super::paper::{self, Demand, Plan};
use super::{assumed, knee, measured, network};
use std::fmt::Write as _;

const SIZES: [f64; 4] = [1e5, 1e6, 1e7, 1e8];
const LARGEST: f64 = 1e8;

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn head(text: &mut String, title: &str, columns: &[String]) {
    let _ = writeln!(text, "### {title}\n");
    line(text, columns);
    let _ = writeln!(text, "|{}", "---|".repeat(columns.len()));
}

fn strings(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// Three digits, and commas between thousands.
fn number(value: f64) -> String {
    if value == 0.0 || value.is_nan() {
        return if value.is_nan() { "-".to_owned() } else { "0".to_owned() };
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    if digits > 0 {
        let text = format!("{value:.*}", digits.min(4) as usize);
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
    }
    let unit = 10f64.powi(-digits);
    commas(((value / unit).round() * unit) as u64)
}

fn commas(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.01 { "< 1 %".to_owned() } else { format!("{:.0} %", share * 100.0) }
}

/// What goes in.
pub fn figures(text: &mut String) {
    let mut table = |title: &str, figures: &[Figure], why: &str| {
        head(text, title, &strings(&["figure", "value", why]));
        for Figure { what, value, source } in figures {
            line(text, &[(*what).to_owned(), number(*value), (*source).to_owned()]);
        }
        text.push('\n');
    };
    table("Measured", &measured::ALL, "where");
    table("Assumed", &assumed::ALL, "why");
}

/// One row of the plan: what it is, and what it is for a size.
type Row = (&'static str, fn(&Demand, &Plan) -> String);

const PLAN: &[Row] = &[
    ("calls/s, each with a push", |demand, _| number(demand.calls)),
    ("REGISTERs/s that renew", |demand, _| number(demand.refreshes())),
    ("REGISTERs/s in all", |demand, _| number(demand.registers())),
    ("lookups/s", |demand, _| number(demand.calls)),
    ("tokens written/s", |demand, _| number(demand.registers())),
    ("SIP servers, cores of work", |_, plan| number(plan.sip_cores)),
    ("**SIP servers**, one of which may fail", |_, plan| format!("**{}**", plan.nodes)),
    ("held calls at a time", |demand, _| number(held(demand))),
    ("shared memory for them in each, MB", |demand, plan| {
        number(held(demand) * assumed::HELD_BYTES.value / 1e6 / plan.nodes as f64)
    }),
    ("pushes/s of each sender", |demand, plan| number(demand.calls / plan.nodes as f64)),
    ("a sender, share of a core", |demand, plan| {
        percent(demand.calls / plan.nodes as f64 * measured::SENDER_US.value / 1e6)
    }),
    ("pushes under way to APNs + FCM", |demand, _| {
        let [apns, fcm] = paper::under_way(demand);
        format!("{} + {}", number(apns), number(fcm))
    }),
    ("connections of each sender to APNs + FCM", |demand, plan| {
        let [apns, fcm] = connections(demand, plan);
        format!("{apns} + {fcm}")
    }),
    ("of all senders together", |demand, plan| {
        let [apns, fcm] = connections(demand, plan);
        format!("{} + {}", apns * plan.nodes as f64, fcm * plan.nodes as f64)
    }),
    ("FCM's quota of one project", |demand, _| {
        percent(demand.calls * (1.0 - assumed::APNS_SHARE.value) / assumed::FCM_QUOTA.value)
    }),
    ("tokens in the engine, GB", |_, plan| number(plan.token_gb)),
    ("engine, cores of work", |_, plan| number(plan.engine_cores)),
    ("**masters**, and as many replicas", |_, plan| format!("**{}**", plan.masters)),
    ("memory of each master with its reserve, GB", |_, plan| {
        number(2.0 * plan.token_gb / plan.masters as f64)
    }),
    ("words/s in the stream, and read by all SIP servers", |demand, plan| {
        let words = paper::words(demand);
        format!("{}, {}", number(words), number(words * plan.nodes as f64))
    }),
    ("the stream, share of its master's core", |demand, plan| {
        percent(paper::stream_core(demand, plan.nodes))
    }),
];

fn held(demand: &Demand) -> f64 {
    demand.calls * assumed::WAKE_S.value
}

fn connections(demand: &Demand, plan: &Plan) -> [f64; 2] {
    let [apns, fcm] = paper::under_way(demand);
    let of = |under_way, streams| paper::connections(under_way, streams, plan.nodes);
    [of(apns, assumed::APNS_STREAMS.value), of(fcm, assumed::FCM_STREAMS.value)]
}

/// The plan for each size.
pub fn paper(text: &mut String) {
    let sizes = SIZES.map(|devices| (Demand::of(devices), paper::plan(&Demand::of(devices))));
    let names = SIZES.map(|devices| format!("{} devices", number(devices)));
    head(text, "On paper", &[vec!["".to_owned()], names.to_vec()].concat());
    for (what, of) in PLAN {
        let cells = sizes.iter().map(|(demand, plan)| of(demand, plan));
        line(text, &std::iter::once((*what).to_owned()).chain(cells).collect::<Vec<_>>());
    }
    text.push('\n');
}

/// What the interval between REGISTERs does to the largest.
pub fn intervals(text: &mut String) {
    let columns = ["interval", "REGISTERs/s", "SIP servers", "masters", "engine, cores"];
    head(
        text,
        "The interval of registrations, at 100,000,000 devices and 10,000 calls/s",
        &strings(&columns),
    );
    for (name, interval_s) in [
        ("10 minutes", 600.0),
        ("1 hour", 3600.0),
        ("6 hours", 21_600.0),
        ("1 day", 86_400.0),
        ("1 week", 604_800.0),
    ] {
        let demand = Demand { interval_s, ..Demand::of(LARGEST) };
        let plan = paper::plan(&demand);
        line(
            text,
            &[
                name.to_owned(),
                number(demand.registers()),
                plan.nodes.to_string(),
                plan.masters.to_string(),
                number(plan.engine_cores),
            ],
        );
    }
    text.push('\n');
}

/// The largest service as planned, in the simulation.
pub fn loads(text: &mut String) {
    let planned = Demand::of(LARGEST);
    let plan = paper::plan(&planned);
    let title = format!(
        "Simulated: {} SIP servers and {} masters, as planned for 10,000 calls/s",
        plan.nodes, plan.masters
    );
    let mut columns = strings(&[
        "calls/s",
        "INVITE to push, ms, p50 / p99",
        "REGISTER to call, ms, p50 / p99",
        "pushes refused",
    ]);
    columns.extend(network::KINDS.iter().map(|kind| format!("{kind}, busy")));
    head(text, &title, &columns);
    for part in [0.5, 1.0, 1.5, 2.0, 2.5, 2.8, 3.0, 3.3] {
        // Everything grows with the calls.
        let demand = Demand::of(LARGEST * part);
        let run = network::run(&demand, &plan);
        let both = |[p50, p99]: [f64; 2]| format!("{} / {}", number(p50), number(p99));
        let mut cells =
            vec![number(demand.calls), both(run.push_ms), both(run.wake_ms), percent(run.refused)];
        cells.extend(run.busy.iter().map(|share| percent(*share)));
        line(text, &cells);
    }
    text.push('\n');
}

/// Each resource of it alone.
pub fn knees(text: &mut String) {
    let planned = Demand::of(LARGEST);
    let plan = paper::plan(&planned);
    let mut columns = strings(&["resource", "full at calls/s"]);
    columns.extend(knee::PARTS.iter().map(|part| format!("p99 wait at {:.0} %, ms", part * 100.0)));
    columns.push("then".to_owned());
    head(text, "Where each resource is full, and how long work waits before that", &columns);
    let mut all = knee::resources(&planned, &plan);
    all.sort_by(|a, b| a.full_at_calls.total_cmp(&b.full_at_calls));
    for resource in all {
        let mut cells = vec![resource.name.to_owned(), number(resource.full_at_calls)];
        cells.extend(knee::PARTS.iter().map(|part| number(resource.wait_us(*part) / 1e3)));
        cells.push(resource.then.to_owned());
        line(text, &cells);
    }
    text.push('\n');
}
