//! Who calls: the name, the number and the host that a routing script has for the caller.
//!
//! It refuses nothing: a header that makes no sense is shown as the text that it is, since the call is what matters.

use super::{clean_line, cut_to};
use percent_encoding::percent_decode_str;

/// Longest name or number of a caller, in bytes; cut at a character.
pub const MAX_CALLER_LEN: usize = 256;
/// Longest host, in bytes (RFC 1035 §2.3.4).
pub const MAX_HOST_LEN: usize = 255;

/// Who calls. Each part is one harmless line; which parts are there depends on what the script passed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// Name, number (empty where it is the name) and host, one behind the other: each push under way holds one of these.
    text: Box<str>,
    name_len: u16,
    number_len: u16,
}

impl Caller {
    /// Takes what a script has: the value of a From header (`"Alice" <sip:+4930123@example.org>;tag=x`), a SIP or tel URI
    /// (`sip:alice@example.org`), or plain text, which stays as it is and is name and number at once.
    pub fn parse(text: &str) -> Caller {
        let text = text.trim();
        // No address is without one.
        if !text.contains(':') {
            return Caller::new(text, "", "");
        }
        let parsed = match name_addr(text) {
            Some((name, uri)) => from_uri(name, uri),
            // RFC 3261 §20.10: without the angle brackets, parameters belong to the header.
            None => from_uri(String::new(), text),
        };
        parsed.unwrap_or_else(|| Caller::new(text, "", ""))
    }

    /// A caller from its parts: the name, the user part of the address, its host. Without a number the name is the number, too.
    pub fn new(name: &str, number: &str, host: &str) -> Caller {
        let name = clean_line(name, MAX_CALLER_LEN);
        let number = Some(clean_line(number, MAX_CALLER_LEN)).filter(|number| *number != name);
        let (number, host) = (number.unwrap_or_default(), clean_line(host, MAX_HOST_LEN));
        let text = [&*name, &number, &host].concat().into();
        // Both are at most MAX_CALLER_LEN.
        Caller { text, name_len: name.len() as u16, number_len: number.len() as u16 }
    }

    /// What the phone shows: the name, or the number of a caller that has none.
    pub fn shown(&self) -> &str {
        let [name, number, _] = self.parts();
        if name.is_empty() { number } else { name }
    }

    /// The display name; empty where a From header or URI has none.
    pub fn name(&self) -> &str {
        self.parts()[0]
    }

    /// The number, or the user part of the address; the plain text where that is all there is.
    pub fn number(&self) -> &str {
        let [name, number, _] = self.parts();
        if number.is_empty() { name } else { number }
    }

    /// The host, in lower case and without port; empty where it is not known.
    pub fn host(&self) -> &str {
        self.parts()[2]
    }

    /// `number@host`, or the number where no host is known.
    pub fn address(&self) -> String {
        let (number, host) = (self.number(), self.host());
        if host.is_empty() { number.to_owned() } else { format!("{number}@{host}") }
    }

    /// What [`Caller::new`] makes the same caller of.
    pub fn parts(&self) -> [&str; 3] {
        let (name, rest) = self.text.split_at(usize::from(self.name_len));
        let (number, host) = rest.split_at(usize::from(self.number_len));
        [name, number, host]
    }

    /// How many bytes of text it holds.
    pub fn text_len(&self) -> usize {
        self.text.len()
    }
}

/// Splits `display-name <uri>` (RFC 3261 §25.1 `name-addr`); `None` for anything else.
fn name_addr(text: &str) -> Option<(String, &str)> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted)?,
        None => {
            let (name, rest) = text.split_at(text.find('<')?);
            (name.trim().to_owned(), rest)
        }
    };
    let (uri, _) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    Some((name, uri))
}

/// The inside of a quoted string (RFC 3261 §25.1), its escapes taken away, and what follows it. Encoded words (RFC 2047) do
/// not exist in SIP.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((name, &text[at + 1..])),
            '\\' => name.push(chars.next()?.1),
            _ => name.push(c),
        }
    }
    None
}

fn from_uri(name: String, uri: &str) -> Option<Caller> {
    let (scheme, rest) = uri.trim().split_once(':')?;
    let (user, host) = match scheme.to_ascii_lowercase().as_str() {
        "sip" | "sips" => sip_parts(rest),
        "tel" => (before(rest, &[';', '?']), ""),
        _ => return None,
    };
    let decoded = percent_decode_str(user).decode_utf8_lossy();
    let host = host.to_ascii_lowercase();
    // An address without a user is a server's own; its name is all that can be shown.
    let number = if decoded.is_empty() { host.as_str() } else { &decoded };
    if number.is_empty() { None } else { Some(Caller::new(&name, number, &host)) }
}

/// User part and host of what follows `sip:`. A user part may have `;` and `?` in it, an `@` only escaped.
fn sip_parts(rest: &str) -> (&str, &str) {
    let (user, rest) = rest.split_once('@').unwrap_or(("", rest));
    let host = before(rest, &[';', '?', '>', ',']).trim();
    let host = match host.find(']') {
        Some(end) if host.starts_with('[') => cut_to(host, end + 1),
        _ => before(host, &[':']),
    };
    let user = before(user, &[':']);
    // A telephone number may carry parameters there (RFC 3261 §19.1.6); in a name a `;` is a letter like any other.
    let is_number = user.starts_with('+') || user.starts_with(|c: char| c.is_ascii_digit());
    (if is_number { before(user, &[';']) } else { user }, host)
}

fn before<'a>(text: &'a str, ends: &[char]) -> &'a str {
    text.split(ends).next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn assert_parts(text: &str, [name, number, host]: [&str; 3]) {
        let caller = Caller::parse(text);
        assert_eq!([caller.name(), caller.number(), caller.host()], [name, number, host], "{text}");
    }

    #[test]
    fn a_from_header_is_taken_apart() {
        for (text, parts) in [
            (
                "\"Alice Müller\" <sip:+4930123@example.org>;tag=x",
                ["Alice Müller", "+4930123", "example.org"],
            ),
            (
                "Alice Liddell <sips:alice@Example.ORG:5061;transport=tls>",
                ["Alice Liddell", "alice", "example.org"],
            ),
            ("<sip:alice@example.org>;tag=1", ["", "alice", "example.org"]),
            ("sip:alice@example.org;tag=1", ["", "alice", "example.org"]),
            ("SIP:alice:secret@[2001:DB8::1]:5060", ["", "alice", "[2001:db8::1]"]),
            ("\"a \\\"b\\\" \\\\c <sip:x@y>\" <sip:d@e>", ["a \"b\" \\c <sip:x@y>", "d", "e"]),
            ("\"\" <sip:j%C3%BCrgen%40home@example.org>", ["", "jürgen@home", "example.org"]),
            ("<sip:+4930123;phone-context=x@example.org;user=phone>", ["", "+4930123", "example.org"]),
            ("<sip:alice;day=tuesday@example.org>", ["", "alice;day=tuesday", "example.org"]),
            ("Bob <tel:+4930123;ext=5>", ["Bob", "+4930123", ""]),
            ("<sip:gateway.example.org>", ["", "gateway.example.org", "gateway.example.org"]),
        ] {
            assert_parts(text, parts);
        }
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in [
            "Alice",
            "+4930123",
            "alice@example.org",
            "I <3 SIP",
            "a: b",
            "\"Alice",
            "Alice <alice@example.org>",
            "\"open <sip:a@b",
            "sip:",
            "<>",
        ] {
            assert_parts(text, [text, text, ""]);
        }
        assert_eq!(Caller::parse("Alice").shown(), "Alice");
    }

    #[test]
    fn what_is_shown_and_who_it_is() {
        let alice = Caller::parse("\"Alice\" <sip:+4930123@example.org>");
        assert_eq!((alice.shown(), alice.address().as_str()), ("Alice", "+4930123@example.org"));
        let nameless = Caller::parse("sip:+4930123@example.org");
        assert_eq!((nameless.shown(), nameless.name()), ("+4930123", ""));
        assert_eq!(Caller::parse("Alice").address(), "Alice");
    }

    #[test]
    fn control_characters_and_overrides_do_not_get_through() {
        assert_parts("\"A\u{202e}b\r\nc\" <sip:%00x%0d%0ay%ff@h\u{7f}>", ["A b  c", "x  y\u{fffd}", "h"]);
    }

    proptest! {
        #[test]
        fn every_part_is_one_short_line(text in any::<String>(), name in any::<String>(), user in any::<String>()) {
            for text in [text, format!("\"{name}\" <sip:{user}@host>;tag=1"), format!("sip:{user}")] {
                let caller = Caller::parse(&text);
                for part in [caller.name(), caller.number(), caller.host(), caller.shown()] {
                    prop_assert!(part.len() <= MAX_CALLER_LEN);
                    prop_assert!(!part.chars().any(char::is_control));
                }
            }
        }
    }
}
