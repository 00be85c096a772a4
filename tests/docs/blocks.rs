//! The fenced blocks of the documents, and what the words behind their opening fence say about them.
//!
//! It refuses a block that does not say how it is tested, or why it is not.

use std::path::{Path, PathBuf};

/// How a block is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `sh run`: run by a shell, after those before it in the same document; `until=PATH` or
    /// `until=tcp:PORT` waits for a file or for somebody who listens.
    Run { until: Option<String> },
    /// `text output`: lines that the block before it has printed; `…` is any text.
    Output,
    /// `toml`: part of the settings.
    Settings,
    /// `cfg routes`: part of a Kamailio configuration, outside of its routes.
    Routes,
    /// `cfg request_route`: statements of Kamailio's request_route.
    Statements,
    /// `cfg opensips`: lines of the OpenSIPS sample, which is run where there is an OpenSIPS.
    OpensipsSample,
    /// `json apns=PROFILE`, `json fcm=PROFILE`: the payload of a push for a call.
    Payload { provider: String, profile: String },
    /// `… not-run: REASON`: not runnable here.
    NotRun,
}

/// A fenced block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its document.
    pub file: PathBuf,
    /// The line of its opening fence.
    pub line: usize,
    /// How it is tested.
    pub kind: Kind,
    /// What stands in it.
    pub text: String,
}

impl Block {
    /// `docs/x.md:12`
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// The blocks of a document, or what is wrong with one.
pub fn of(file: &Path, text: &str) -> Result<Vec<Block>, String> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (open, fence) {
            (true, Some(_)) => open = false,
            (true, None) => blocks.last_mut().expect("one is open").text += &format!("{line}\n"),
            (false, Some(info)) => {
                let (file, line) = (file.to_owned(), number + 1);
                let kind = kind(info).map_err(|why| format!("{}:{line}: {why}", file.display()))?;
                blocks.push(Block { file, line, kind, text: String::new() });
                open = true;
            }
            (false, None) => {}
        }
    }
    if open { Err(format!("{}: a block does not end", file.display())) } else { Ok(blocks) }
}

fn kind(info: &str) -> Result<Kind, String> {
    if let Some((_language, reason)) = info.split_once(" not-run:") {
        return if reason.trim().is_empty() { Err("not-run: why?".to_owned()) } else { Ok(Kind::NotRun) };
    }
    match info.split_whitespace().collect::<Vec<_>>()[..] {
        ["sh", "run"] => Ok(Kind::Run { until: None }),
        ["sh", "run", until] if until.starts_with("until=") => {
            Ok(Kind::Run { until: Some(until["until=".len()..].to_owned()) })
        }
        ["text", "output"] => Ok(Kind::Output),
        ["toml"] => Ok(Kind::Settings),
        ["cfg", "routes"] => Ok(Kind::Routes),
        ["cfg", "request_route"] => Ok(Kind::Statements),
        ["cfg", "opensips"] => Ok(Kind::OpensipsSample),
        ["json", payload] => {
            let (provider, profile) = payload.split_once('=').ok_or("json apns=PROFILE or fcm=PROFILE")?;
            Ok(Kind::Payload { provider: provider.to_owned(), profile: profile.to_owned() })
        }
        _ => Err(format!("nobody tests a block ```{info}, and it does not say `not-run: REASON`")),
    }
}
