//! `application/x-www-form-urlencoded` and percent-encoding (WHATWG URL §5, RFC 3986 §2.1).
//!
//! It refuses broken escapes and text that is not UTF-8 instead of guessing.

/// The value of a field of a form; none when absent or broken.
pub fn field(form: &str, name: &str) -> Option<String> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(key, _)| percent_decoded(key).as_deref() == Some(name))?;
    percent_decoded(&value.replace('+', " "))
}

/// Text without percent-escapes; none when an escape is broken.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            decoded.push(first);
            continue;
        }
        let digits = rest.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        decoded.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(decoded).ok()
}
