//! The README's examples. They are indented and not fenced, so they are known by what they look like: parts of settings, statements of
//! Kamailio's script, and command lines, whose options must exist.
//!
//! It refuses to guess about the rest, such as pictures and what is OpenSIPS' own.

use super::blocks::{Block, Kind};
use super::support::run;
use std::path::Path;
use std::process::Command;

/// The indented blocks that are settings or script, each with how it is tested.
pub fn parts(file: &Path, text: &str) -> Vec<Block> {
    let mut parts = Vec::new();
    for (heading, line, text) in indented(text) {
        if let Some(kind) = kind(&heading, &text) {
            parts.push(Block { file: file.to_owned(), line, kind, text });
        }
    }
    parts
}

/// Every line that runs the command or make.
pub fn command_lines(text: &str) -> Vec<String> {
    let lines = indented(text)
        .into_iter()
        .flat_map(|(_, _, text)| text.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>());
    let bare = lines.filter_map(|line| line.split(" #").next().map(|line| line.trim().to_owned()));
    bare.filter(|line| line.starts_with("voip-push ") || line.starts_with("make ")).collect()
}

/// The command has this subcommand with these options, make this target.
pub fn exists(line: &str) {
    let mut words = line.split_whitespace();
    if words.next() == Some("make") {
        let target = words.find(|word| !word.contains('=')).expect("a target");
        run(
            Command::new("make")
                .args(["-n", "-C", env!("CARGO_MANIFEST_DIR"), target])
                .env_remove("MAKEFLAGS"),
            "make",
        );
        return;
    }
    let is_name = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase()) && !word.is_empty();
    let words: Vec<&str> = words.collect();
    let has = |names: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_voip-push")).args(names).arg("--help").output().unwrap()
    };
    let mut names: Vec<&str> = words.iter().copied().take_while(is_name).collect();
    while !has(&names).status.success() && names.len() > 1 {
        names.pop(); // an argument
    }
    let help = has(&names);
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(help.status.success(), "{line}: there is no such subcommand");
    for option in words.iter().filter(|word| word.starts_with("--")) {
        let option = option.split('=').next().unwrap_or_default();
        assert!(text.contains(option), "{line}: {names:?} has no {option}");
    }
}

/// Heading, line and text of each block after an empty line.
fn indented(text: &str) -> Vec<(String, usize, String)> {
    let (mut heading, mut blocks, mut before) = (String::new(), Vec::<(String, usize, String)>::new(), "");
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.to_owned();
        }
        if line.starts_with("    ") && (open || before.is_empty()) {
            if !open {
                blocks.push((heading.clone(), number + 1, String::new()));
            }
            open = true;
            blocks.last_mut().expect("one is open").2 += &format!("{}\n", line.trim_start_matches("    "));
        } else {
            open = false;
        }
        before = line;
    }
    blocks
}

fn kind(heading: &str, text: &str) -> Option<Kind> {
    if text.starts_with('[') {
        return Some(Kind::Settings);
    }
    if !heading.contains("Kamailio") || text.contains("...") {
        return None;
    }
    if text.starts_with("event_route[") || text.starts_with("modparam(") {
        return Some(Kind::Routes);
    }
    let is_statement = text.starts_with("if (") || text.trim_end().ends_with(';');
    is_statement.then_some(Kind::Statements)
}
