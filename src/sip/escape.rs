//! Percent-escapes in SIP URIs (RFC 3261 §25.1).
//!
//! It refuses an escape that is none: a percent sign without two hexadecimal digits behind it.

/// The text with its escapes undone; `None` where an escape is malformed or the result is no UTF-8 or has a control character,
/// which no provider, app or token has.
pub fn unescape(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        bytes.push(hex_digit(digits[0])? << 4 | hex_digit(digits[1])?);
        rest = behind;
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_undone_in_either_case_and_wrong_ones_are_refused() {
        assert_eq!(unescape(b"abc%3A9%3a/%25"), Some("abc:9:/%".to_owned()));
        assert_eq!(unescape("%C3%A9é".as_bytes()), Some("éé".to_owned()));
        for bad in ["%", "%3", "%3g", "%+1", "a%", "%00", "%0d%0a", "%C3"] {
            assert_eq!(unescape(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_was_escaped_comes_back(text in "\\PC{0,40}") {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(unescape(escaped.as_bytes()), Some(text));
        }
    }
}
