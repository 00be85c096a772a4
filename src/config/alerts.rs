//! `[alerts]`: the words of alerts that iPhones show, for calls that were missed and messages that wait.
//!
//! It refuses to translate: a key makes the app do that, in the language of its user.

use super::{ConfigError, raw};
use std::path::Path;

/// Longest text or key, in bytes: an alert must fit beside a name.
const MAX_LEN: usize = 200;

/// The settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertWords {
    /// `missed_call` or `missed_call_loc_key`: the title of a missed call's alert.
    pub missed_call: Words,
    /// `message` or `message_loc_key`: the body of a waiting message's alert.
    pub message: Words,
}

/// Words in an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// As they are shown.
    Text(String),
    /// A key in the app's `Localizable.strings` (Apple, "Generating a remote notification": `title-loc-key`, `loc-key`).
    Key(String),
}

impl Words {
    /// The text, unless the app has it.
    pub fn text(&self) -> Option<&str> {
        match self {
            Words::Text(text) => Some(text),
            Words::Key(_) => None,
        }
    }

    /// The key, where the app has the text.
    pub fn key(&self) -> Option<&str> {
        match self {
            Words::Text(_) => None,
            Words::Key(key) => Some(key),
        }
    }
}

impl Default for AlertWords {
    fn default() -> Self {
        let text = |text: &str| Words::Text(text.to_owned());
        AlertWords { missed_call: text("Missed call"), message: text("New message") }
    }
}

impl AlertWords {
    pub(super) fn from_raw(file: &Path, raw: raw::Alerts) -> Result<AlertWords, ConfigError> {
        let default = AlertWords::default();
        let refuse = |(key, why): (&str, &str)| ConfigError::new(file, format!("[alerts] {key}"), why);
        Ok(AlertWords {
            missed_call: words(
                ("missed_call", raw.missed_call),
                ("missed_call_loc_key", raw.missed_call_loc_key),
                default.missed_call,
            )
            .map_err(refuse)?,
            message: words(
                ("message", raw.message),
                ("message_loc_key", raw.message_loc_key),
                default.message,
            )
            .map_err(refuse)?,
        })
    }
}

type Named = (&'static str, Option<String>);

fn words(text: Named, key: Named, default: Words) -> Result<Words, (&'static str, &'static str)> {
    let ((name, given), is_key) = match (text, key) {
        ((_, Some(_)), (name, Some(_))) => return Err((name, "is given beside the text; keep one")),
        (text @ (_, Some(_)), _) => (text, false),
        (_, key) => (key, true),
    };
    let Some(given) = given else { return Ok(default) };
    if given.is_empty() || given.len() > MAX_LEN || given.chars().any(char::is_control) {
        return Err((name, "is empty, longer than 200 bytes, or has control characters"));
    }
    Ok(if is_key { Words::Key(given) } else { Words::Text(given) })
}
