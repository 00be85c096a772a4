//! A SIP message as bytes, taken apart as far as a small UAC needs it (RFC 3261 §7).
//!
//! It refuses to be strict and to grow: what it does not understand it leaves alone, and what is too large is no message.

/// Largest message that is looked at, in bytes: the largest datagram.
const MAX_MESSAGE_LEN: usize = 65_535;
/// Most headers that are looked at.
const MAX_HEADERS: usize = 256;
/// Most entries of a route set; a request has passed at most so many proxies (RFC 3261: Max-Forwards is 70 by default).
const MAX_ROUTES: usize = 70;

/// A message, and its parts within it.
#[derive(Debug, Clone)]
pub(super) struct Message<'a> {
    /// The first line.
    pub start: &'a str,
    pub headers: Vec<Header<'a>>,
    pub body: &'a [u8],
}

/// One header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    name: &'a str,
    /// All of it, folded as it was, without the end of the line.
    pub line: &'a [u8],
    value: &'a [u8],
}

impl Header<'_> {
    /// Whether this is the header of that (long) name.
    pub fn is(&self, name: &str) -> bool {
        long_name(self.name).eq_ignore_ascii_case(name)
    }
}

/// The long form of a compact name (RFC 3261 §7.3.3), for the headers that we look for.
fn long_name(name: &str) -> &str {
    match name {
        "v" | "V" => "Via",
        "f" | "F" => "From",
        "t" | "T" => "To",
        "i" | "I" => "Call-ID",
        "m" | "M" => "Contact",
        "l" | "L" => "Content-Length",
        _ => name,
    }
}

impl<'a> Message<'a> {
    /// Takes a message apart. `None` where it is none, or too large.
    pub fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        if bytes.len() > MAX_MESSAGE_LEN {
            return None;
        }
        let bytes = &bytes[bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()..];
        let (start, mut rest) = take_line(bytes);
        let start = std::str::from_utf8(start).ok()?;
        let mut headers = Vec::new();
        while !matches!(rest, [] | [b'\n', ..] | [b'\r', b'\n', ..]) {
            if headers.len() == MAX_HEADERS {
                return None;
            }
            let (line, after) = take_folded(rest);
            rest = after;
            headers.extend(header(line));
        }
        let body = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")).unwrap_or_default();
        let mut message = Message { start, headers, body };
        let len = message.first("Content-Length").and_then(|len| len.parse::<usize>().ok());
        message.body = &body[..len.unwrap_or(body.len()).min(body.len())];
        Some(message)
    }

    /// The value of the first header of this name, on one line.
    pub fn first(&self, name: &str) -> Option<String> {
        self.headers.iter().find(|header| header.is(name)).map(|header| one_line(header.value))
    }

    /// The values of all headers of this name, each taken apart at its commas.
    fn list(&self, name: &str) -> impl Iterator<Item = String> {
        let values = self.headers.iter().filter(move |header| header.is(name));
        values.flat_map(|header| split_at_commas(&one_line(header.value)))
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        let digits = self.start.strip_prefix("SIP/2.0 ")?.get(..3)?;
        digits.parse().ok().filter(|status| (100..700).contains(status))
    }

    /// The first word of a request.
    pub fn method(&self) -> Option<&'a str> {
        let (method, rest) = self.start.split_once(' ')?;
        (rest.ends_with(" SIP/2.0") && !method.is_empty()).then_some(method)
    }

    /// Number and method of the CSeq.
    pub fn cseq(&self) -> Option<(u32, String)> {
        let value = self.first("CSeq")?;
        let (number, method) = value.split_once(|c: char| c.is_ascii_whitespace())?;
        Some((number.parse().ok()?, method.trim().to_owned()))
    }

    /// The `branch` of the topmost Via.
    pub fn branch(&self) -> Option<String> {
        let via = self.list("Via").next()?;
        let mut params = via.split(';').skip(1).filter_map(|param| param.split_once('='));
        let (_, branch) = params.find(|(name, _)| name.trim().eq_ignore_ascii_case("branch"))?;
        Some(branch.trim().to_owned())
    }

    /// Where requests within the dialog go: the URI of the Contact, if it can be one.
    pub fn remote_target(&self) -> Option<String> {
        let contact = self.list("Contact").next()?;
        let uri = match after_display_name(&contact).split_once('<') {
            Some((_, rest)) => rest.split_once('>')?.0,
            None => contact.split(';').next()?.trim(),
        };
        is_sip_uri(uri).then(|| uri.to_owned())
    }

    /// The route set of a UAC: what the Record-Route headers say, from the last to the first (RFC 3261 §12.1.2).
    pub fn route_set(&self) -> Vec<String> {
        let mut routes: Vec<String> = self.list("Record-Route").take(MAX_ROUTES).collect();
        routes.retain(|route| route.contains('<') && route.contains('>'));
        routes.reverse();
        routes
    }
}

/// Whether a text can stand as a request's URI: one word of printable ASCII that begins with `sip:` or `sips:`.
pub(super) fn is_sip_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_word = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
    is_word && matches!(scheme.as_deref(), Some("sip" | "sips"))
}

/// The first line and what follows it.
fn take_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (line, rest) = end.map_or((bytes, &bytes[bytes.len()..]), |end| (&bytes[..end], &bytes[end + 1..]));
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

/// The first line with the lines that continue it (RFC 3261 §7.3.1), and what follows.
fn take_folded(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut rest = take_line(bytes).1;
    while matches!(rest, [b' ' | b'\t', ..]) {
        rest = take_line(rest).1;
    }
    let line = &bytes[..bytes.len() - rest.len()];
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

fn header(line: &[u8]) -> Option<Header<'_>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?.trim_end();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    let is_name = !name.is_empty() && name.bytes().all(is_token);
    is_name.then(|| Header { name, line, value: line[colon + 1..].trim_ascii() })
}

/// A value without the ends of lines in it, or any other control character.
fn one_line(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What follows a quoted display name; the whole text where there is none.
fn after_display_name(text: &str) -> &str {
    if !text.trim_start().starts_with('"') {
        return text;
    }
    let mut quoted = Quoting::default();
    let end = text.char_indices().skip_while(|(_, c)| *c != '"').find(|(at, c)| {
        let was_open = quoted.is_open;
        quoted.step(*c);
        *at > 0 && was_open && !quoted.is_open
    });
    end.map_or(text, |(at, _)| &text[at + 1..])
}

fn split_at_commas(value: &str) -> Vec<String> {
    let (mut parts, mut quoted, mut in_brackets) = (vec![String::new()], Quoting::default(), false);
    for c in value.chars() {
        quoted.step(c);
        if !quoted.is_open {
            in_brackets = (in_brackets || c == '<') && c != '>';
        }
        match parts.last_mut() {
            Some(part) if c != ',' || quoted.is_open || in_brackets => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Whether we are within a quoted string (RFC 3261 §25.1: `quoted-string`).
#[derive(Default)]
struct Quoting {
    is_open: bool,
    is_escaped: bool,
}

impl Quoting {
    fn step(&mut self, c: char) {
        match c {
            _ if self.is_escaped => self.is_escaped = false,
            '\\' if self.is_open => self.is_escaped = true,
            '"' => self.is_open = !self.is_open,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OK: &[u8] = b"SIP/2.0 200 OK\r\n\
        v: SIP/2.0/UDP 127.0.0.1:9 ;\r\n rport ; branch = z9hG4bKx, SIP/2.0/TCP 10.0.0.1;branch=z9hG4bKother\r\n\
        Record-Route: <sip:10.0.0.1;lr;r2=on>, <sip:10.0.0.2;transport=tcp;lr>\r\n\
        record-route: <sip:10.0.0.3;lr>\r\n\
        From: \"A, B\" <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\nCall-ID: c\r\nCSeq: 7   INVITE\r\n\
        Contact: \"B <x> \\\" \" <sip:b@10.0.0.9:5060;transport=tcp>;expires=3\r\nContent-Length: 3\r\n\r\nabcdef";

    #[test]
    fn a_response_is_read_with_folding_compact_names_and_quotes() {
        let ok = Message::parse(OK).unwrap();
        assert_eq!((ok.status(), ok.method(), ok.body), (Some(200), None, &b"abc"[..]));
        assert_eq!(ok.branch().as_deref(), Some("z9hG4bKx"));
        assert_eq!(ok.cseq(), Some((7, "INVITE".to_owned())));
        assert_eq!(ok.remote_target().as_deref(), Some("sip:b@10.0.0.9:5060;transport=tcp"));
        let routes = ["<sip:10.0.0.3;lr>", "<sip:10.0.0.2;transport=tcp;lr>", "<sip:10.0.0.1;lr;r2=on>"];
        assert_eq!(ok.route_set(), routes);
        assert_eq!(ok.first("to").as_deref(), Some("<sip:b@x>;tag=2"));
    }

    #[test]
    fn a_contact_that_is_no_sip_uri_is_none() {
        for contact in ["*", "<sip:a b@x>", "<tel:1>", "<sip:a@x", "", "<>", "<sip:a@x\u{e9}>"] {
            let text = format!("SIP/2.0 200 OK\r\nContact: {contact}\r\n\r\n");
            assert_eq!(Message::parse(text.as_bytes()).unwrap().remote_target(), None, "{contact}");
        }
        let bare = Message::parse(b"SIP/2.0 200 OK\nm: SIPS:a@x;q=1\n\n").unwrap();
        assert_eq!(bare.remote_target().as_deref(), Some("SIPS:a@x"));
    }

    #[test]
    fn requests_and_responses_are_told_apart_and_others_are_neither() {
        let kind = |start: &str| {
            let message = Message::parse(start.as_bytes()).unwrap();
            (message.status(), message.method().map(str::to_owned))
        };
        assert_eq!(kind("BYE sip:a@x SIP/2.0\r\n\r\n"), (None, Some("BYE".to_owned())));
        assert_eq!(kind("SIP/2.0 099 No\r\n\r\n"), (None, None));
        assert_eq!(kind("SIP/2.0 2\u{e9}0\r\n\r\n"), (None, None));
        assert_eq!(kind(" sip:a SIP/2.0"), (None, None));
        assert_eq!(kind(""), (None, None));
        assert!(Message::parse(&vec![b'a'; MAX_MESSAGE_LEN + 1]).is_none());
        assert!(Message::parse("a: b\r\n".repeat(MAX_HEADERS + 2).as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            read_everything(&bytes);
        }

        #[test]
        fn no_change_to_a_real_response_makes_it_panic(
            at in 0..OK.len(), what in proptest::collection::vec(any::<u8>(), 0..4), skipped in 0usize..20,
        ) {
            let mut bytes = OK[..at].to_vec();
            bytes.extend(what);
            bytes.extend(OK.get(at + skipped..).unwrap_or_default());
            read_everything(&bytes);
        }
    }

    fn read_everything(bytes: &[u8]) {
        if let Some(message) = Message::parse(bytes) {
            let routes = message.route_set();
            assert!(routes.iter().all(|route| !route.contains(['\r', '\n'])));
            let target = message.remote_target().unwrap_or_default();
            assert!(!target.contains([' ', '\r', '\n']));
            let _ = (message.status(), message.method(), message.branch(), message.cseq());
        }
    }
}
