//! Every command and every snippet in `docs/` and the README is run, or given to what reads the real thing, or says why it is
//! not; links lead somewhere.
//!
//! It refuses fenced blocks that do not say how they are tested: see [`blocks::Kind`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

#[path = "docs/blocks.rs"]
mod blocks;
#[path = "docs/readme.rs"]
mod readme;
#[path = "docs/shell.rs"]
mod shell;
#[path = "docs/snippets.rs"]
mod snippets;
mod support;

use blocks::{Block, Kind};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents, by their paths from the root of the tree.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    let mut all: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    all.sort();
    all.push("README.md".into());
    all
}

fn text(document: &Path) -> String {
    fs::read_to_string(root().join(document)).unwrap()
}

fn blocks_of(document: &Path) -> Vec<Block> {
    blocks::of(document, &text(document)).unwrap_or_else(|why| panic!("{why}"))
}

fn all_blocks() -> Vec<Block> {
    let fenced = documents().into_iter().flat_map(|document| blocks_of(&document));
    let readme = Path::new("README.md");
    fenced.chain(readme::parts(readme, &text(readme))).collect()
}

#[test]
fn every_block_says_how_it_is_tested() {
    let blocks = all_blocks();
    let run = blocks.iter().filter(|block| block.kind != Kind::NotRun).count();
    assert!(run > 20, "only {run} of {} are tested", blocks.len());
}

#[test]
fn the_commands_of_every_document_work_one_after_the_other() {
    for document in documents() {
        let blocks = blocks_of(&document);
        if blocks.iter().any(|block| matches!(block.kind, Kind::Run { .. })) {
            shell::run(document.file_stem().unwrap().to_str().unwrap(), &blocks);
        }
    }
}

#[test]
fn parts_of_settings_are_taken() {
    all_blocks().iter().filter(|block| block.kind == Kind::Settings).for_each(snippets::settings);
}

#[test]
fn parts_of_a_kamailio_configuration_are_taken() {
    let parts = all_blocks();
    let parts = parts.iter().filter(|block| [Kind::Routes, Kind::Statements].contains(&block.kind));
    let parts: Vec<&Block> = parts.collect();
    assert!(parts.len() > 15, "{}", parts.len());
    parts.into_iter().for_each(snippets::kamailio);
}

#[test]
fn parts_of_an_opensips_configuration_are_the_samples() {
    let parts = all_blocks();
    let parts: Vec<&Block> = parts.iter().filter(|block| block.kind == Kind::OpensipsSample).collect();
    assert!(parts.len() > 5, "{}", parts.len());
    parts.into_iter().for_each(snippets::opensips);
}

#[test]
fn payloads_are_as_they_are_sent() {
    for block in all_blocks() {
        if let Kind::Payload { provider, profile } = &block.kind {
            snippets::payload(&block, provider, profile);
        }
    }
}

#[test]
fn the_readme_names_commands_that_exist() {
    let lines = readme::command_lines(&text(Path::new("README.md")));
    assert!(lines.len() > 8, "{lines:?}");
    lines.iter().for_each(|line| readme::exists(line));
}

#[test]
fn links_lead_somewhere() {
    for document in documents() {
        let text = text(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            if path.contains("://") {
                continue;
            }
            let target =
                if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let there = root().join(&target);
            assert!(there.exists(), "{}: {link}", document.display());
            let is_known = anchor.is_empty()
                || anchors(&fs::read_to_string(&there).unwrap()).contains(&anchor.to_owned());
            assert!(is_known, "{}: {link}", document.display());
        }
    }
}

#[test]
fn a_block_that_nobody_tests_is_refused() {
    let kind_of = |info: &str| {
        blocks::of(Path::new("x.md"), &format!("```{info}\ntrue\n```\n")).map(|all| all[0].kind.clone())
    };
    for info in ["", "sh", "text", "json", "cfg", "sh not-run:", "sh run later", "toml run"] {
        assert!(kind_of(info).is_err(), "{info}");
    }
    assert_eq!(kind_of("sh run until=/tmp/x"), Ok(Kind::Run { until: Some("/tmp/x".to_owned()) }));
    assert_eq!(kind_of("dart not-run: needs Flutter"), Ok(Kind::NotRun));
    assert!(blocks::of(Path::new("x.md"), "```toml\n").is_err());
}

#[test]
fn output_fits_only_what_was_printed() {
    for (expected, printed) in [("a", "a"), ("…", ""), ("a…c", "abc"), ("…b…", "abc"), ("a…b…c", "a-b-b-c")]
    {
        assert!(shell::fits(expected, printed), "{expected} {printed}");
    }
    for (expected, printed) in
        [("a", "ab"), ("a…c", "abcd"), ("…b", "bc"), ("b…", "ab"), ("a…b…c", "a-c"), ("ab…b", "ab")]
    {
        assert!(!shell::fits(expected, printed), "{expected} {printed}");
    }
}

/// The anchors that a forge gives to the headings.
fn anchors(text: &str) -> Vec<String> {
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |heading: &str| {
        let kept = heading
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>();
        kept.replace(' ', "-")
    };
    headings.map(slug).collect()
}
