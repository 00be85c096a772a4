//! Where figures go: a Markdown table for people, a flat JSON object for programs.
//!
//! It refuses keys that were not measured; a missing one is told with its reason.

use crate::Effort;
use crate::support::target_dir;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;

/// Everything measured so far.
pub struct Report {
    text: String,
    keys: Map<String, Value>,
    missing: Vec<(String, String)>,
    failures: Vec<String>,
    /// CPU per push of the bare client at 32 in flight without latency, in microseconds; other sections compare with it.
    pub bare_cpu_us: Option<f64>,
    /// The same of the client with prepared requests.
    pub prepared_cpu_us: Option<f64>,
}

impl Report {
    /// An empty report that says where and how it was made.
    pub fn new(effort: Effort) -> Report {
        let mut text = String::from("# What it costs\n\n");
        let how = if effort.quick { "quick run, fewer and shorter repetitions" } else { "full run" };
        let _ = writeln!(text, "{}; {how}.", surroundings());
        Report {
            text,
            keys: Map::new(),
            missing: Vec::new(),
            failures: Vec::new(),
            bare_cpu_us: None,
            prepared_cpu_us: None,
        }
    }

    /// A section.
    pub fn title(&mut self, title: &str) {
        let _ = writeln!(self.text, "\n## {title}\n");
    }

    /// A line between tables.
    pub fn note(&mut self, note: &str) {
        let _ = writeln!(self.text, "\n{note}");
    }

    /// The head of a table.
    pub fn columns(&mut self, names: &[&str]) {
        let _ = writeln!(self.text, "| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()));
    }

    /// A row of the table.
    pub fn row(&mut self, cells: &[String]) {
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }

    /// A figure for programs.
    pub fn key(&mut self, name: &str, value: f64) {
        // Four digits say more than any of these figures is worth.
        self.keys.insert(name.to_owned(), json!((value * 1000.0).round() / 1000.0));
    }

    /// A figure that cannot be given, and why.
    pub fn missing(&mut self, names: &[&str], why: &str) {
        self.missing.extend(names.iter().map(|name| ((*name).to_owned(), why.to_owned())));
    }

    /// Something was lost, so the figures beside it are worth nothing and the bench has failed.
    pub fn failure(&mut self, what: String) {
        self.failures.push(what);
    }

    /// Prints the table and writes both files; the program ends as a failure where there was one.
    pub fn finish(mut self) -> ExitCode {
        if !self.missing.is_empty() {
            self.title("Not measured");
            for (name, why) in &self.missing {
                let _ = writeln!(self.text, "- `{name}`: {why}");
            }
        }
        let directory = target_dir().join("bench");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("bench.md"), &self.text).unwrap();
        let json = format!("{:#}\n", Value::Object(self.keys));
        fs::write(directory.join("bench.json"), &json).unwrap();
        println!("{}\n```json\n{json}```", self.text);
        for failure in &self.failures {
            eprintln!("bench: FAILED: {failure}");
        }
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The middle of some numbers; NaN of none.
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

/// The median of measurements that are given in whole units, finer than one of them: each stands for what lies within half a unit of it.
pub fn median_of_whole(numbers: &[f64]) -> f64 {
    let middle = median(numbers.iter().copied()).floor();
    let below = numbers.iter().filter(|number| **number < middle).count() as f64;
    let equal = numbers.iter().filter(|number| **number == middle).count() as f64;
    middle - 0.5 + (numbers.len() as f64 / 2.0 - below) / equal
}

fn surroundings() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown CPU");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = std::process::Command::new("date").arg("+%-d %B %Y").env("LC_ALL", "C").output();
    let date =
        date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    format!("{date}, {cpus} CPUs ({}), Linux {}", model.trim_start_matches(['\t', ' ', ':']), kernel.trim())
}
