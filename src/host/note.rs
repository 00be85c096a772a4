//! What a worker wants the sender's process to do: one message each, as text with NULs between its parts.
//!
//! It refuses what it does not understand: both ends are the same file in the same server, so that would be a bug.

/// The server's name for a call that is suspended, or that can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CallId {
    /// Row of the transaction in the server's table.
    pub index: u32,
    /// Its number in that row.
    pub label: u32,
}

/// What is to be done in the sender's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// A call was queued: its report is for the event route, and for the call itself where it is parked.
    Queued { user: String, sip_call_id: String, id: Option<CallId> },
    /// A call was suspended until its report is there: it goes on in this route.
    Async { user: String, sip_call_id: String, id: CallId, route: String },
}

impl Note {
    /// The note as bytes. None of its texts has a NUL in it: arguments are checked for that.
    pub fn encode(&self) -> Vec<u8> {
        let text = match self {
            Note::Queued { user, sip_call_id, id } => {
                let id = id.map(|id| id.words()).unwrap_or_default();
                ["queued", user, sip_call_id, &id].join("\0")
            }
            Note::Async { user, sip_call_id, id, route } => {
                ["async", user, sip_call_id, &id.words(), route].join("\0")
            }
        };
        text.into_bytes()
    }

    /// The note that these bytes are, if they are one.
    pub fn decode(bytes: &[u8]) -> Option<Note> {
        let text = std::str::from_utf8(bytes).ok()?;
        let parts: Vec<&str> = text.split('\0').collect();
        Some(match parts.as_slice() {
            ["queued", user, call, ""] => {
                Note::Queued { user: owned(user), sip_call_id: owned(call), id: None }
            }
            ["queued", user, call, id] => {
                Note::Queued { user: owned(user), sip_call_id: owned(call), id: Some(CallId::parse(id)?) }
            }
            ["async", user, call, id, route] => Note::Async {
                user: owned(user),
                sip_call_id: owned(call),
                id: CallId::parse(id)?,
                route: owned(route),
            },
            _ => return None,
        })
    }
}

fn owned(text: &str) -> String {
    text.to_owned()
}

impl CallId {
    fn words(self) -> String {
        format!("{} {}", self.index, self.label)
    }

    fn parse(words: &str) -> Option<CallId> {
        let (index, label) = words.split_once(' ')?;
        Some(CallId { index: index.parse().ok()?, label: label.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_arrives_as_it_was_sent() {
        let id = CallId { index: 65_535, label: u32::MAX };
        let (user, sip_call_id) = ("bob".to_owned(), "a b@c".to_owned());
        for note in [
            Note::Queued { user: user.clone(), sip_call_id: sip_call_id.clone(), id: None },
            Note::Queued { user: user.clone(), sip_call_id: sip_call_id.clone(), id: Some(id) },
            Note::Async { user, sip_call_id, id, route: "PUSHED".into() },
        ] {
            assert_eq!(Note::decode(&note.encode()), Some(note));
        }
        for garbage in [&b"queued"[..], b"", b"\xff", b"async\0u\0c\0x 1\0R", b"queued\0u\0c\0-1 2"] {
            assert_eq!(Note::decode(garbage), None);
        }
    }
}
