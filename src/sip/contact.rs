//! The Contact header (RFC 3261 §20.10): a list of addresses with parameters, or `*`.
//!
//! It refuses what the grammar does not have, and more contacts and parameters than any phone sends.

use super::escape::unescape;
use crate::model::Invalid;

/// Most contacts taken from one REGISTER. A phone registers itself, seldom with two transports.
const MAX_CONTACTS: usize = 32;
/// Most parameters taken of one contact, and of its URI.
const MAX_PARAMS: usize = 64;
/// Longest value of a header taken, in bytes; a datagram has no more.
const MAX_LEN: usize = 65_535;
/// What stands for a lifetime that cannot be read (RFC 3261 §20.19).
const UNREADABLE_EXPIRES_S: u32 = 3600;

/// The Contact headers of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Contacts<'a> {
    /// `*`: all bindings of the address, which a REGISTER with `Expires: 0` removes.
    All,
    /// The addresses, in their order; none where the message has no Contact.
    These(Vec<Contact<'a>>),
}

/// One address of a Contact header.
#[derive(PartialEq, Eq)]
pub struct Contact<'a> {
    /// Its URI.
    pub uri: Uri<'a>,
    params: Params<'a>,
}

/// A URI, as far as push is concerned: user and parameters.
#[derive(PartialEq, Eq)]
pub struct Uri<'a> {
    user: &'a [u8],
    params: Params<'a>,
}

/// Parameters in their order, as they stand in the message: name and value.
type Params<'a> = Vec<(&'a [u8], Option<&'a [u8]>)>;

/// They hold tokens, so only their number is shown.
impl std::fmt::Debug for Contact<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "contact({}+{} params)", self.uri.params.len(), self.params.len())
    }
}

impl<'a> Contacts<'a> {
    /// Takes the values of all Contact headers of a message.
    ///
    /// # Errors
    /// What is wrong, by RFC 3261: the answer to such a request is 400.
    pub fn parse(headers: &[&'a [u8]]) -> Result<Contacts<'a>, Invalid> {
        let mut contacts = Vec::new();
        for text in headers {
            if text.trim_ascii() == b"*" {
                let is_alone = headers.len() == 1;
                return if is_alone { Ok(Contacts::All) } else { Err(malformed("has * beside addresses")) };
            }
            if text.len() > MAX_LEN {
                return Err(malformed("is longer than any phone makes it"));
            }
            read_list(text, &mut contacts)?;
        }
        Ok(Contacts::These(contacts))
    }
}

impl<'a> Contact<'a> {
    /// How long it asks to be registered, in seconds; `None` where it leaves that to the Expires header.
    pub fn expires_s(&self) -> Option<u32> {
        self.param("expires").map(|value| seconds(value.unwrap_or_default()))
    }

    /// `+sip.instance` (RFC 5626 §4.1): which phone it is, without the quotes and angle brackets around it. A UUID is in lower
    /// case, as its case does not matter (RFC 4122 §3).
    pub fn instance(&self) -> Option<String> {
        let value = String::from_utf8_lossy(unquoted(self.param("+sip.instance")??)).into_owned();
        let value = value.trim();
        let value = value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap_or(value);
        let is_uuid = value.get(..9).is_some_and(|head| head.eq_ignore_ascii_case("urn:uuid:"));
        let value = if is_uuid { value.to_ascii_lowercase() } else { value.to_owned() };
        Some(value).filter(|value| !value.is_empty())
    }

    /// Whether the phone says that it can wake up by itself to register again (RFC 8599 §4.1.4).
    pub fn wakes_itself(&self) -> bool {
        self.param("+sip.pnsreg").is_some()
    }

    /// Whether the phone asks for a PURR, to be woken for requests within dialogs. RFC 8599 has no such tag and gives a PURR to all.
    pub fn asks_for_purr(&self) -> bool {
        self.param("+sip.pnspurr").is_some()
    }

    fn param(&self, name: &str) -> Option<Option<&'a [u8]>> {
        self.params
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| *value)
    }
}

impl<'a> Uri<'a> {
    /// A parameter's value with its escapes undone; empty where it has none. `None` where there is no such parameter.
    ///
    /// # Errors
    /// It is there twice (RFC 3261 §19.1.1), or an escape is malformed.
    pub fn param(&self, name: &'static str) -> Result<Option<String>, Invalid> {
        let is_named = |known: &[u8]| {
            known.eq_ignore_ascii_case(name.as_bytes())
                || unescape(known).is_some_and(|known| known.eq_ignore_ascii_case(name))
        };
        let mut found = self.params.iter().filter(|(known, _)| is_named(known));
        let Some((_, value)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(malformed(format!("has {name} twice")));
        }
        let value = unescape(value.unwrap_or_default());
        value.map(Some).ok_or_else(|| malformed(format!("has a {name} that is wrongly escaped")))
    }

    /// What is before the `@`, as it stands there; empty where there is none.
    pub fn user(&self) -> &'a [u8] {
        self.user
    }

    /// Reads a URI that stands alone, such as a Request-URI.
    ///
    /// # Errors
    /// It is none.
    pub fn read(text: &'a [u8]) -> Result<Uri<'a>, Invalid> {
        if text.len() > MAX_LEN {
            return Err(malformed("is longer than any phone makes it"));
        }
        Uri::parse(text)
    }

    fn parse(text: &'a [u8]) -> Result<Uri<'a>, Invalid> {
        let colon = text.iter().position(|&byte| byte == b':').ok_or_else(|| malformed("has no URI"))?;
        let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
        let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
        if !is_scheme || rest.iter().any(|byte| byte.is_ascii_control() || b" <>\"".contains(byte)) {
            return Err(malformed("has no URI"));
        }
        if ![&b"sip"[..], b"sips"].iter().any(|sip| scheme.eq_ignore_ascii_case(sip)) {
            return Ok(Uri { user: b"", params: Vec::new() });
        }
        // `;` and `?` may stand before the `@`, which itself stands nowhere else unescaped
        let host_at = rest.iter().position(|&byte| byte == b'@').map_or(0, |at| at + 1);
        let (user, rest) = rest.split_at(host_at);
        let user = user.strip_suffix(b"@").unwrap_or_default();
        if rest.contains(&b'@') {
            return Err(malformed("has a URI with two @"));
        }
        let rest = rest.split(|&byte| byte == b'?').next().unwrap_or_default();
        let mut parts = rest.split(|&byte| byte == b';');
        if parts.next().is_none_or(<[u8]>::is_empty) {
            return Err(malformed("has a URI without a host"));
        }
        Ok(Uri { user, params: parts.map(uri_param).collect::<Result<_, _>>()? }).and_then(few)
    }
}

fn few(uri: Uri<'_>) -> Result<Uri<'_>, Invalid> {
    if uri.params.len() > MAX_PARAMS { Err(malformed("has too many parameters")) } else { Ok(uri) }
}

fn uri_param(text: &[u8]) -> Result<(&[u8], Option<&[u8]>), Invalid> {
    let at = text.iter().position(|&byte| byte == b'=');
    let (name, value) = (&text[..at.unwrap_or(text.len())], at.map(|at| &text[at + 1..]));
    if name.is_empty() { Err(malformed("has a URI parameter without a name")) } else { Ok((name, value)) }
}

fn malformed(why: impl Into<String>) -> Invalid {
    Invalid::new("Contact", why)
}

/// `delta-seconds`, at most 2^32-1 (RFC 3261 §20.19).
pub fn seconds(text: &[u8]) -> u32 {
    let digits = unquoted(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return UNREADABLE_EXPIRES_S;
    }
    let number = std::str::from_utf8(digits).unwrap_or_default().parse();
    number.unwrap_or(u32::MAX)
}

/// The inside of a quoted string, as it stands; other values as they are.
pub(super) fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text)
}

fn read_list<'a>(text: &'a [u8], contacts: &mut Vec<Contact<'a>>) -> Result<(), Invalid> {
    let mut reader = Reader { text, at: 0 };
    loop {
        if contacts.len() == MAX_CONTACTS {
            return Err(malformed(format!("has more than {MAX_CONTACTS} addresses")));
        }
        contacts.push(reader.contact()?);
        match reader.next_mark() {
            None => return Ok(()),
            Some(b',') => {}
            Some(_) => return Err(malformed("has something behind an address that does not belong there")),
        }
    }
}

/// Reads a header's value from its start to its end, each byte once.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn contact(&mut self) -> Result<Contact<'a>, Invalid> {
        self.skip_spaces();
        let uri = Uri::parse(self.address()?)?;
        let mut params = Vec::new();
        while self.peek_mark() == Some(b';') {
            self.at += 1;
            if params.len() == MAX_PARAMS {
                return Err(malformed("has too many parameters"));
            }
            params.push(self.param()?);
        }
        Ok(Contact { uri, params })
    }

    /// `"Bob" <sip:bob@example.org;x=y>`, `Bob <…>`, `<…>` or `sip:bob@example.org`, whose parameters are the header's.
    fn address(&mut self) -> Result<&'a [u8], Invalid> {
        if self.peek() == Some(b'"') {
            self.quoted()?;
            self.skip_spaces();
            if self.peek() != Some(b'<') {
                return Err(malformed("has a name without an address"));
            }
        }
        let before = self.until(b"<;,\"");
        if self.peek() != Some(b'<') {
            return Ok(before.trim_ascii());
        }
        self.at += 1;
        let uri = self.until(b">");
        if self.peek() != Some(b'>') {
            return Err(malformed("has a < without its >"));
        }
        self.at += 1;
        Ok(uri.trim_ascii())
    }

    fn param(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), Invalid> {
        let name = self.until(b"=;,\"").trim_ascii();
        if name.is_empty() || name.iter().any(|byte| byte.is_ascii_whitespace() || b"<>".contains(byte)) {
            return Err(malformed("has a parameter without a name"));
        }
        if self.peek() != Some(b'=') {
            return Ok((name, None));
        }
        self.at += 1;
        self.skip_spaces();
        let value = if self.peek() == Some(b'"') { self.quoted()? } else { self.until(b";,\"").trim_ascii() };
        if value.is_empty() {
            return Err(malformed("has a parameter with = and no value"));
        }
        Ok((name, Some(value)))
    }

    /// A quoted string with its quotes.
    fn quoted(&mut self) -> Result<&'a [u8], Invalid> {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return Ok(&self.text[start..self.at]);
            }
        }
        Err(malformed("has a quoted string without an end"))
    }

    fn until(&mut self, marks: &[u8]) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|byte| marks.contains(byte)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn peek_mark(&mut self) -> Option<u8> {
        self.skip_spaces();
        self.peek()
    }

    fn next_mark(&mut self) -> Option<u8> {
        let mark = self.peek_mark();
        self.at += usize::from(mark.is_some());
        mark
    }

    /// Spaces, and the line breaks of a header that was folded.
    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
