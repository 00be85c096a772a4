//! Takes push parameters out of URIs and Contact headers (RFC 8599 §13: they must not become known to other users).
//!
//! It refuses to depend on good grammar: a Contact that no parser takes must not carry a token to the other side either. What it
//! leaves is `pn-purr`, which is made for other users to see (§6).

use super::escape::unescape;
use std::ops::Range;

/// The push parameters of a Contact header's value, each with the `;` before it: of its URIs, and beside them.
pub fn push_params_of_header(text: &[u8]) -> Vec<Range<usize>> {
    find(text, false)
}

/// The same of a URI that stands alone, such as a Request-URI.
pub fn push_params_of_uri(text: &[u8]) -> Vec<Range<usize>> {
    find(text, true)
}

/// The text without these parts of it, which are in their order.
pub fn hidden(text: &[u8], parts: &[Range<usize>]) -> Vec<u8> {
    let (mut left, mut from) = (Vec::with_capacity(text.len()), 0);
    for part in parts {
        left.extend_from_slice(&text[from..part.start]);
        from = part.end;
    }
    left.extend_from_slice(&text[from..]);
    left
}

/// What a parameter is, going by its name.
#[derive(PartialEq, Eq)]
enum Kind {
    Push,
    /// `app-id`: alone it may be anything; beside push parameters it is Linphone's.
    App,
    Other,
}

fn find(text: &[u8], is_uri: bool) -> Vec<Range<usize>> {
    let mut found: Vec<(Kind, Range<usize>)> = Vec::new();
    let mut is_inside = is_uri;
    let mut at = if is_uri { behind_user(text, 0) } else { 0 };
    while let Some(&byte) = text.get(at) {
        match byte {
            b';' => {
                let part = at..end_of_param(text, at + 1, is_inside);
                at = part.end;
                found.push((kind(&text[part.start + 1..part.end]), part));
            }
            b'"' if !is_inside => at = end_of_quoted(text, at),
            b'<' if !is_inside => (at, is_inside) = (behind_user(text, at + 1), true),
            b'>' => (at, is_inside) = (at + 1, is_uri),
            _ => at += 1,
        }
    }
    let hides_apps = found.iter().any(|(kind, _)| *kind == Kind::Push);
    let is_hidden = |kind: &Kind| *kind == Kind::Push || hides_apps && *kind == Kind::App;
    found.into_iter().filter(|(kind, _)| is_hidden(kind)).map(|(_, part)| part).collect()
}

/// Behind the `@` of a URI that starts here: what is before it may look like a parameter and is somebody's name.
fn behind_user(text: &[u8], start: usize) -> usize {
    let len = text[start..].iter().position(|&byte| byte == b'>').unwrap_or(text.len() - start);
    let user = text[start..start + len].iter().position(|&byte| byte == b'@');
    user.map_or(start, |at| start + at + 1)
}

fn end_of_param(text: &[u8], start: usize, is_inside: bool) -> usize {
    let marks: &[u8] = if is_inside { b";>?" } else { b";,<" };
    let mut at = start;
    while let Some(byte) = text.get(at).filter(|byte| !marks.contains(byte)) {
        at = if *byte == b'"' && !is_inside { end_of_quoted(text, at) } else { at + 1 };
    }
    // the spaces and line breaks of a folded header belong to what follows
    start + text[start..at].trim_ascii_end().len()
}

fn end_of_quoted(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = text.get(at) {
        at += if byte == b'\\' { 2 } else { 1 };
        if byte == b'"' {
            break;
        }
    }
    at.min(text.len())
}

fn kind(param: &[u8]) -> Kind {
    let name = param.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
    let name =
        unescape(name).unwrap_or_else(|| String::from_utf8_lossy(name).into_owned()).to_ascii_lowercase();
    match name.as_str() {
        "pn-purr" => Kind::Other,
        "app-id" => Kind::App,
        name if name.starts_with("pn-") => Kind::Push,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(text: &str) -> String {
        String::from_utf8(hidden(text.as_bytes(), &push_params_of_header(text.as_bytes()))).unwrap()
    }

    #[test]
    fn push_parameters_go_and_everything_else_stays() {
        let cases = [
            (
                "<sip:b@h:5;pn-provider=apns;transport=tcp;pn-prid=a:voip&b:remote;ob>;q=1",
                "<sip:b@h:5;transport=tcp;ob>;q=1",
            ),
            ("\"a;pn-x=1\" <sip:b@h;PN-PRID=x;pn%2Dparam=y?h=1>", "\"a;pn-x=1\" <sip:b@h?h=1>"),
            (
                "<sip:a@h;pn-prid=1>;expires=5, <sip:b@h;pn-tok=2;app-id=3;pn-silent>",
                "<sip:a@h>;expires=5, <sip:b@h>",
            ),
            ("sip:b@h;pn-prid=1;q=1,\r\n sip:c@h ; pn-prid = 2 ;q=1", "sip:b@h;q=1,\r\n sip:c@h  ;q=1"),
            ("<sip:a;pn-x=1@h;pn-purr=p;app-id=x>", "<sip:a;pn-x=1@h;pn-purr=p;app-id=x>"),
            ("<sip:h;pn-prid=\"x;y>;pn-type=\"a\\\";b\";q=1", "<sip:h;y>;q=1"),
            ("*", "*"),
            ("", ""),
        ];
        for (from, to) in cases {
            assert_eq!(header(from), to, "{from}");
        }
        let uri = b"sip:b;pn-1@h;transport=tls;pn-prid=x;pn-provider";
        assert_eq!(hidden(uri, &push_params_of_uri(uri)), b"sip:b;pn-1@h;transport=tls");
    }

    #[test]
    fn a_long_header_takes_no_long_time() {
        for piece in ["<", ";", ";pn-x", "\"", "\\", "<;", "<sip:@"] {
            let text = piece.repeat(65_536);
            let started = std::time::Instant::now();
            header(&text);
            assert!(started.elapsed().as_secs() < 5, "{piece}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_hide_a_second_time(text in "[<>;,\"\\\\@=? a-cpn%27D-]{0,60}") {
            let once = header(&text);
            prop_assert!(once.len() <= text.len());
            if !once.contains('"') {
                prop_assert!(push_params_of_header(once.as_bytes()).is_empty(), "{once}");
            }
        }

        #[test]
        fn any_bytes_are_borne(text in prop::collection::vec(any::<u8>(), 0..200)) {
            hidden(&text, &push_params_of_header(&text));
            hidden(&text, &push_params_of_uri(&text));
        }
    }
}
