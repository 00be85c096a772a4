//! What was found, a line each: at once for people, at the end for programs.
//!
//! It refuses to colour what nobody looks at: pipes, files, and terminals whose owner has set `NO_COLOR`.

use std::io::{IsTerminal, Write};

use serde_json::json;

use crate::Failure;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Not looked at, and why.
    Skipped,
    /// Calls go on, but somebody should look.
    Warning,
    /// Phones will not ring.
    Broken,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Skipped => "skipped",
            Verdict::Warning => "warning",
            Verdict::Broken => "broken",
        }
    }

    /// The colour's number (ECMA-48 §8.3.117, SGR).
    fn colour(self) -> u8 {
        match self {
            Verdict::Ok => 32,
            Verdict::Skipped => 2,
            Verdict::Warning => 33,
            Verdict::Broken => 31,
        }
    }
}

struct Finding {
    verdict: Verdict,
    about: String,
    found: String,
}

/// All findings of one run.
pub struct Report {
    is_json: bool,
    is_coloured: bool,
    findings: Vec<Finding>,
}

impl Report {
    /// For people, or as JSON.
    pub fn new(is_json: bool) -> Self {
        let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_coloured = wants_colour && std::io::stdout().is_terminal();
        Report { is_json, is_coloured, findings: Vec::new() }
    }

    /// It is as it should be.
    pub fn ok(&mut self, about: &str, found: String) {
        self.add(Verdict::Ok, about, found);
    }

    /// It was not looked at.
    pub fn skipped(&mut self, about: &str, found: String) {
        self.add(Verdict::Skipped, about, found);
    }

    /// Somebody should look.
    pub fn warning(&mut self, about: &str, found: String) {
        self.add(Verdict::Warning, about, found);
    }

    /// Phones will not ring.
    pub fn broken(&mut self, about: &str, found: String) {
        self.add(Verdict::Broken, about, found);
    }

    /// Adds a finding, and shows it at once where people look.
    pub fn add(&mut self, verdict: Verdict, about: &str, found: String) {
        if !self.is_json {
            let word = format!("{:<8}", verdict.as_str());
            let word =
                if self.is_coloured { format!("\x1b[{}m{word}\x1b[0m", verdict.colour()) } else { word };
            // A reader that went away is told by the exit code.
            let _ = writeln!(std::io::stdout(), "{word} {about}: {found}");
        }
        self.findings.push(Finding { verdict, about: about.to_owned(), found });
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// The last line, or the JSON, and the exit code.
    pub fn finish(self) -> Result<(), Failure> {
        let (broken, warnings) = (self.count(Verdict::Broken), self.count(Verdict::Warning));
        let text = if self.is_json { self.json() } else { summary(broken, warnings) };
        let _ = writeln!(std::io::stdout(), "{text}");
        match (broken, warnings) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::Told(3)),
            _ => Err(Failure::Told(1)),
        }
    }

    fn json(&self) -> String {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|Finding { verdict, about, found }| {
                json!({ "verdict": verdict.as_str(), "about": about, "found": found })
            })
            .collect();
        let worst = self.findings.iter().map(|finding| finding.verdict);
        let worst = worst.filter(|verdict| *verdict != Verdict::Skipped).max().unwrap_or(Verdict::Ok);
        let version = env!("CARGO_PKG_VERSION");
        format!("{:#}", json!({ "verdict": worst.as_str(), "version": version, "findings": findings }))
    }
}

fn summary(broken: usize, warnings: usize) -> String {
    let warned = match warnings {
        1 => "1 warning".to_owned(),
        more => format!("{more} warnings"),
    };
    match (broken, warnings) {
        (0, 0) => "all is right".to_owned(),
        (0, _) => warned,
        (_, 0) => format!("{broken} broken"),
        _ => format!("{broken} broken, {warned}"),
    }
}
