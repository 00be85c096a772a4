//! What a payload can hold of a push, as text.
//!
//! It refuses to copy: all but the UUID is borrowed from the push.

use crate::model::{Call, Push};
use std::time::Duration;
use uuid::fmt::Hyphenated;

/// What the payload is written from.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub call: &'a Call,
    /// Who calls, as the phone shows it; may be shortened.
    pub name: &'a str,
    id: [u8; Hyphenated::LENGTH],
    pub ring: Duration,
    /// When the push was handed over, in seconds since 1970.
    pub sent_at_s: i64,
}

impl<'a> Values<'a> {
    pub fn new(push: &'a Push) -> Values<'a> {
        let mut id = [0; Hyphenated::LENGTH];
        push.call.uuid().hyphenated().encode_lower(&mut id);
        Values {
            call: &push.call,
            name: push.call.caller.shown(),
            id,
            ring: push.ring,
            sent_at_s: push.expires_at_s - push.ring.as_secs() as i64,
        }
    }

    /// The same with another name.
    pub fn named(&self, name: &'a str) -> Values<'a> {
        Values { name, ..*self }
    }

    /// The call's UUID, in lower case: the same in every profile and on every device.
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.id).expect("a hyphenated UUID is ASCII")
    }

    pub fn number(&self) -> &'a str {
        self.call.caller.number()
    }

    pub fn host(&self) -> &'a str {
        self.call.caller.host()
    }

    pub fn user(&self) -> &'a str {
        self.call.callee.as_str()
    }

    pub fn is_video(&self) -> bool {
        self.call.media.is_video()
    }

    /// `true` or `false`, where only text is taken.
    pub fn video_text(&self) -> &'static str {
        if self.is_video() { "true" } else { "false" }
    }

    /// Room for any of our profiles without growing, as long as few characters need escaping.
    pub fn expected_len(&self) -> usize {
        const KEYS_LEN: usize = 640;
        KEYS_LEN + 2 * self.call.call_id.len() + 5 * self.call.caller.text_len() + self.user().len()
    }
}
