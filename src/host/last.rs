//! What `$push(...)` shows: the result of the last function that ran in this process.
//!
//! It refuses to hand out text that lives shorter than until the next function: a server keeps the pointer, not a copy.

use crate::model::{Device, Report};
use crate::rest::Response;
use crate::service::{Error, Service, installed};
use std::ffi::CStr;
use std::sync::{Mutex, PoisonError};

/// A result.
#[derive(Default)]
pub(super) struct Last {
    /// What the script gets back; 0 only where it is to stop, see [`Last::stop`].
    pub code: i32,
    /// `$push(status)`: the same number, or the HTTP status.
    status: i32,
    devices: usize,
    accepted: usize,
    texts: [Option<Text>; TEXTS],
    /// What the texts are parts of: most results have several, and are made for each call.
    bytes: Vec<u8>,
}

/// The names inside `$push(...)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Status,
    Devices,
    Accepted,
    /// `[call] wake_seconds`, in milliseconds, so that scripts that hold calls need not repeat it.
    WakeMs,
    Text(usize),
}

const REASON: usize = 0;
const TOKEN: usize = 1;
const PLATFORM: usize = 2;
const PROVIDER: usize = 3;
const APP: usize = 4;
const DEVICE_ID: usize = 5;
const TYPE: usize = 6;
const BODY: usize = 7;
const HEADERS: usize = 8;
const USER: usize = 9;
const CALL_ID: usize = 10;
const TEXTS: usize = 11;

/// Every name, in the order of its number.
const FIELDS: [(&str, Field); 15] = [
    ("status", Field::Status),
    ("devices", Field::Devices),
    ("accepted", Field::Accepted),
    ("reason", Field::Text(REASON)),
    ("token", Field::Text(TOKEN)),
    ("platform", Field::Text(PLATFORM)),
    ("provider", Field::Text(PROVIDER)),
    ("app", Field::Text(APP)),
    ("device_id", Field::Text(DEVICE_ID)),
    ("type", Field::Text(TYPE)),
    ("body", Field::Text(BODY)),
    ("headers", Field::Text(HEADERS)),
    ("user", Field::Text(USER)),
    ("call_id", Field::Text(CALL_ID)),
    ("wake_ms", Field::WakeMs),
];

impl Field {
    /// The number of the field with this name.
    pub fn number(name: &str) -> Option<usize> {
        FIELDS.iter().position(|(known, _)| *known == name)
    }

    /// The field with this number.
    pub fn numbered(number: usize) -> Option<Field> {
        FIELDS.get(number).map(|(_, field)| *field)
    }

    /// All names, for an error message.
    pub fn names() -> String {
        FIELDS.map(|(name, _)| name).join(", ")
    }
}

/// A text, with a NUL after it that is not counted: some of a server's own modules take it for a C string.
#[derive(Clone, Copy)]
enum Text {
    /// The reason of every success.
    Ok,
    /// Part of the result's bytes.
    Part { at: usize, len: usize },
}

/// The reason of every success.
const OK: &CStr = c"ok";

/// The value of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing: no function has run in this process, or it has no such result.
    Null,
    /// A number.
    Number(i32),
    /// Text, valid until the next [`set`] in this process; a NUL follows its last byte.
    Text { start: *const u8, len: usize },
}

impl Last {
    /// A success.
    pub fn new(code: i32) -> Last {
        let mut last = Last { code, status: code, ..Last::default() };
        last.texts[REASON] = Some(Text::Ok);
        last
    }

    /// The call is held: the script stops here, and goes on elsewhere.
    pub fn stop() -> Last {
        Last::default()
    }

    /// Nothing was there to be done, which a script sees as false.
    pub fn nothing(reason: &str) -> Last {
        Last { code: -1, status: -1, ..Last::default() }.with(REASON, reason)
    }

    /// What the sender's process tells a route.
    pub fn told(code: i32, reason: &str) -> Last {
        Last { code, status: code, ..Last::default() }.with(REASON, reason)
    }

    /// A failure.
    pub fn of_error(code: i32, error: &Error) -> Last {
        let last = Last { code, status: code, ..Last::default() }.with(REASON, &error.to_string());
        match error.report() {
            Some(report) => last.with_report(report),
            None => last,
        }
    }

    /// The answer to an HTTP request.
    pub fn of_response(response: &Response) -> Last {
        Last { code: 1, status: i32::from(response.status), ..Last::default() }
            .with(REASON, response.reason)
            .with(TYPE, response.content_type)
            .with(HEADERS, &response.headers)
            .with(BODY, &response.body)
    }

    /// How many devices it was about.
    pub fn devices(&self) -> usize {
        self.devices
    }

    /// The SIP request in hand is to be answered with this: false for the script, the number in `$push(status)`.
    pub fn refusal(status: u16, reason: &str) -> Last {
        Last { code: -6, status: i32::from(status), ..Last::default() }.with(REASON, reason)
    }

    /// Adds header lines for an answer.
    pub fn with_headers(self, headers: &str) -> Last {
        self.with(HEADERS, headers)
    }

    /// Adds how many devices it was about.
    pub fn with_devices(self, devices: usize) -> Last {
        Last { devices, ..self }
    }

    /// Adds how many devices were pushed to, and for how many the provider accepted.
    pub fn with_report(self, report: &Report) -> Last {
        Last { devices: report.devices, accepted: report.accepted(), ..self }
    }

    /// Adds how many devices were pushed to, and for how many the provider accepted.
    pub fn with_counts(self, devices: usize, accepted: usize) -> Last {
        Last { devices, accepted, ..self }
    }

    /// Adds which call it is about.
    pub fn with_call(self, user: &str, call_id: &str) -> Last {
        self.with(USER, user).with(CALL_ID, call_id)
    }

    /// Adds what is known about a device.
    pub fn with_device(mut self, device: &Device) -> Last {
        let texts = [
            (TOKEN, device.token.expose()),
            (PLATFORM, device.platform.as_str()),
            (PROVIDER, device.provider().as_str()),
            (APP, device.app.as_deref().unwrap_or_default()),
            (DEVICE_ID, &device.device_id),
        ];
        self.bytes.reserve(texts.iter().map(|(_, text)| text.len() + 1).sum());
        texts.into_iter().fold(self, |last, (field, text)| last.with(field, text))
    }

    fn with(mut self, field: usize, text: &str) -> Last {
        self.texts[field] = Some(Text::Part { at: self.bytes.len(), len: text.len() });
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self
    }

    fn value(&self, field: Field) -> Value {
        let count = |count: usize| Value::Number(i32::try_from(count).unwrap_or(i32::MAX));
        match field {
            Field::Status => Value::Number(self.status),
            Field::Devices => count(self.devices),
            Field::Accepted => count(self.accepted),
            Field::WakeMs => wake_ms(),
            Field::Text(at) => match self.texts[at] {
                None => Value::Null,
                Some(Text::Ok) => Value::Text { start: OK.as_ptr().cast(), len: OK.count_bytes() },
                Some(Text::Part { at, len }) => Value::Text { start: self.bytes[at..].as_ptr(), len },
            },
        }
    }
}

/// Only the host's own thread comes here, so nobody ever waits for this lock.
static LAST: Mutex<Option<Last>> = Mutex::new(None);

/// Makes a result the last one of this process.
pub(super) fn set(last: Last) {
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
}

/// A field of the last result; a setting is there before the first one, too.
pub(super) fn get(field: Field) -> Value {
    if field == Field::WakeMs {
        return wake_ms();
    }
    LAST.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(Value::Null, |last| last.value(field))
}

fn wake_ms() -> Value {
    let wake_ms = |service: &Service| i32::try_from(service.settings().wake.as_millis()).unwrap_or(i32::MAX);
    installed().map_or(Value::Null, |service| Value::Number(wake_ms(service)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_number_is_a_field() {
        for (at, (name, field)) in FIELDS.iter().enumerate() {
            assert_eq!(Field::number(name), Some(at));
            assert_eq!(Field::numbered(at), Some(*field));
        }
        assert_eq!((Field::number("statu"), Field::numbered(FIELDS.len())), (None, None));
    }

    #[test]
    fn text_is_followed_by_a_nul_that_does_not_count() {
        let last = Last::of_error(-1, &Error::NoDevice);
        assert_eq!(
            (last.value(Field::Status), last.value(Field::Text(TOKEN))),
            (Value::Number(-1), Value::Null)
        );
        let Value::Text { start, len } = last.value(Field::Text(REASON)) else { panic!("there is a reason") };
        // SAFETY: `last` is still there, and its text is `len` bytes and a NUL.
        let bytes = unsafe { std::slice::from_raw_parts(start, len + 1) };
        assert_eq!(bytes, b"no device for this user\0");
    }
}
