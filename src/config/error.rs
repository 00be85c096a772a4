//! What is wrong with a configuration, as one line for whoever started the server.
//!
//! It refuses to carry a secret: only names of files and keys, and advice.

use std::fmt;
use std::path::{Path, PathBuf};

/// One line: the file, the key, what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    key: String,
    why: String,
}

impl ConfigError {
    pub(super) fn new(file: &Path, key: impl Into<String>, why: impl Into<String>) -> Self {
        ConfigError { file: file.to_owned(), key: key.into(), why: why.into() }
    }

    /// The key that it is about, as `[store] url`, or the line.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong and what to do.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Turns what the TOML reader says into our one line; see the module on unknown keys.
    pub(super) fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        ConfigError::new(file, format!("line {line}"), plain_words(error.message()))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file.display(), self.key, self.why)
    }
}

impl std::error::Error for ConfigError {}

/// serde names the unknown key and all known ones between backticks; an administrator wants the nearest known one.
/// A message of another shape is passed on as it is.
fn plain_words(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match (message, names.as_slice()) {
        (text, [unknown, known @ ..]) if text.starts_with("unknown field") => match nearest(unknown, known) {
            Some(near) => format!("unknown key {unknown}; did you mean {near}?"),
            None => format!("unknown key {unknown}; known here: {}", known.join(", ")),
        },
        (text, [missing]) if text.starts_with("missing field") => format!("the key {missing} is missing"),
        _ => message.lines().next().unwrap_or_default().to_owned(),
    }
}

fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = |name: &&&str| distance(unknown, name) <= name.len().max(unknown.len()).div_ceil(2);
    known.iter().filter(close).min_by_key(|name| distance(unknown, name)).copied()
}

/// Levenshtein's distance, in bytes; key names are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            let next = changed.min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_key() {
        let message =
            "unknown field `rinq_seconds`, expected one of `ring_seconds`, `wait_ms`, `wake_seconds`";
        assert_eq!(plain_words(message), "unknown key rinq_seconds; did you mean ring_seconds?");
        let message = "unknown field `xyzzy`, expected `url`";
        assert_eq!(plain_words(message), "unknown key xyzzy; known here: url");
    }
}
