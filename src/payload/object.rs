//! A JSON object that is written straight, for what stands on the way of every call: serde escapes each key anew, which was a
//! tenth of a push's work.
//!
//! It refuses to check keys: they are ours and need no escaping.

/// An object under way.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    /// Begins one.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Object<'a> {
        out.push(b'{');
        Object { out, is_empty: true }
    }

    /// A member whose value is a text.
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.out.push(b'"');
        escape(self.out, value);
        self.out.push(b'"');
    }

    /// A member whose value is JSON as it stands.
    pub(super) fn json(&mut self, key: &'static str, value: &'static str) {
        self.key(key);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// Ends it.
    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &'static str) {
        let is_first = std::mem::replace(&mut self.is_empty, false);
        self.out.extend_from_slice(if is_first { b"\"" } else { b",\"" });
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// Adds the inside of a JSON string (RFC 8259 §7). The model has taken control characters out, but for the day that it does not
/// they become spaces here.
pub(super) fn escape(out: &mut Vec<u8>, text: &str) {
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let mut rest = text.as_bytes();
    // Hardly any text has one. Looking at all bytes, and not until the first that is special, is what a processor does in one go.
    if !rest.iter().fold(false, |found, byte| found | is_special(byte)) {
        return out.extend_from_slice(rest);
    }
    while let Some(at) = rest.iter().position(is_special) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        match special[0] {
            quoted @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', quoted]),
            _ => out.push(b' '),
        }
        rest = &special[1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn members_stand_in_their_order() {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.json("aps", "{}");
        object.text("name", "a");
        object.json("flag", "true");
        object.end();
        assert_eq!(out, br#"{"aps":{},"name":"a","flag":true}"#);
        out.clear();
        Object::new(&mut out).end();
        assert_eq!(out, b"{}");
    }

    proptest! {
        #[test]
        fn every_text_is_read_back(text in "\\PC{0,40}") {
            let mut out = Vec::new();
            let mut object = Object::new(&mut out);
            object.text("key", &text);
            object.end();
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), json!({ "key": text }));
        }

        #[test]
        fn no_text_breaks_the_object(text in any::<String>()) {
            let mut out = Vec::new();
            let mut object = Object::new(&mut out);
            object.text("key", &text);
            object.end();
            prop_assert!(serde_json::from_slice::<Value>(&out).is_ok());
        }
    }
}
