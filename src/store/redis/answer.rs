//! What a script has answered, read from its beginning to its end.
//!
//! It refuses to fail: what is not there is nothing, and the caller's own check says the rest.

use crate::engine::Value;

pub(super) struct Answer {
    parts: std::vec::IntoIter<Value>,
}

impl Answer {
    pub(super) fn of(value: Value) -> Answer {
        let parts = match value {
            Value::Array(parts) => parts,
            one => vec![one],
        };
        Answer { parts: parts.into_iter() }
    }

    pub(super) fn number(&mut self) -> i64 {
        match self.parts.next() {
            Some(Value::Int(number)) => number,
            Some(other) => Answer::text(&other).and_then(|text| text.parse().ok()).unwrap_or_default(),
            None => 0,
        }
    }

    pub(super) fn word(&mut self) -> Option<String> {
        self.parts.next().and_then(|part| Answer::text(&part))
    }

    pub(super) fn text(value: &Value) -> Option<String> {
        match value {
            Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
            Value::SimpleString(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }
}
