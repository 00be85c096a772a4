//! What a push costs: `make bench` runs this program, which measures, prints a table and writes it to `target/bench/`.
//!
//! It refuses to invent: a figure that cannot be measured here is left out, with the reason in its place.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is how a bench fails and reports"
)]
#![allow(clippy::print_stderr, reason = "progress goes there, so that standard output is the table alone")]

mod caller;
mod engine;
#[allow(dead_code, reason = "the soak uses the rest")]
mod machine;
mod memory;
mod raw;
mod report;
mod server;
mod sip;
#[path = "../../tests/support/mod.rs"]
mod support;
mod tokens;
mod worker;

use report::Report;
use std::process::ExitCode;
use std::time::Instant;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Everything in some five minutes.
    pub quick: bool,
}

fn main() -> ExitCode {
    // `cargo bench` adds --bench; roles are this program started by itself.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["role", "ours", job @ ..] => raw::ours::run(&raw::Job::parse(job)),
        ["role", "in-flight", job @ ..] => raw::ours::tell_memory(&raw::Job::parse(job)),
        ["role", "bare", job @ ..] => raw::bare::run(&raw::Job::parse(job)),
        ["role", "prepared", job @ ..] => raw::prepared::run(&raw::Job::parse(job)),
        ["role", "writer", job @ ..] => engine::registrations::write(job),
        sections => return measure(sections),
    }
    ExitCode::SUCCESS
}

/// Measures the named sections, or all of them.
fn measure(sections: &[&str]) -> ExitCode {
    let effort = Effort { quick: std::env::var("QUICK").is_ok_and(|value| !matches!(&*value, "" | "0")) };
    let mut report = Report::new(effort);
    type Part = fn(Effort, &mut Report);
    let all: [(&str, Part); 7] = [
        ("raw", raw::measure),
        ("sip", sip::measure),
        ("handover", worker::hand_over),
        ("lookup", worker::lookup),
        ("engine", engine::measure),
        ("engine-cost", engine::cost::measure),
        ("memory", memory::measure),
    ];
    for (name, section) in all {
        if sections.is_empty() || sections.contains(&name) {
            eprintln!("bench: {name}");
            let start = Instant::now();
            section(effort, &mut report);
            eprintln!("bench: {name} took {} s", start.elapsed().as_secs());
        }
    }
    report.finish()
}
