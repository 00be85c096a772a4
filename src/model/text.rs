//! Making text from outside harmless: no control characters, no more than so many bytes.
//!
//! It refuses to guess encodings; whoever calls it has valid UTF-8 in hand.

use std::borrow::Cow;
use std::fmt;

/// Why a value from outside was refused: which value, and what is wrong with it. Never the value itself, since it may
/// be a token or a phone number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What was refused, in the words of the API: `user`, `token`, `platform`, …
    pub what: &'static str,
    /// What is wrong with it and what is expected.
    pub why: String,
}

impl Invalid {
    /// Names the refused value and the reason.
    pub fn new(what: &'static str, why: impl Into<String>) -> Self {
        Invalid { what, why: why.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Invalid {}

/// Cuts `text` to at most `max_len` bytes without splitting a character.
pub fn cut_to(text: &str, max_len: usize) -> &str {
    if text.len() <= max_len {
        return text;
    }
    let end = (0..=max_len).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

/// The text in lower case; most are already.
pub fn folded(text: &str) -> Cow<'_, str> {
    let is_folded = text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_folded { Cow::Borrowed(text) } else { Cow::Owned(text.to_lowercase()) }
}

/// Whether it has nothing but printable ASCII. All bytes are looked at, good or bad: the compiler makes sixteen steps one of that, and each
/// call comes by here.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |good, byte| good & matches!(byte, b' '..=b'~'))
}

/// One harmless line: control characters (line breaks too, so that nothing can inject a header or a log line) become
/// spaces, the ends are trimmed, and the rest is cut to `max_len` bytes at a character boundary.
pub fn clean_line(text: &str, max_len: usize) -> String {
    if text.is_empty() {
        return String::new();
    }
    // What nearly all callers are needs no second look.
    if is_plain(text) {
        return cut_to(text.trim(), max_len).trim_end().to_owned();
    }
    let spaced: String = text.chars().map(|c| if is_unprintable(c) { ' ' } else { c }).collect();
    cut_to(spaced.trim(), max_len).trim_end().to_owned()
}

/// Control characters, and the invisible characters that turn the reading direction round in a log or on a screen.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn line_breaks_cannot_inject() {
        assert_eq!(clean_line("Eve\r\nVia: x\0y", 100), "Eve  Via: x y");
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        assert_eq!(cut_to("aé", 2), "a");
        assert_eq!(cut_to("aé", 3), "aé");
        assert_eq!(cut_to("é", 0), "");
    }

    proptest! {
        #[test]
        fn a_clean_line_is_short_and_printable(text in any::<String>(), max_len in 0usize..80) {
            let line = clean_line(&text, max_len);
            prop_assert!(line.len() <= max_len);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
