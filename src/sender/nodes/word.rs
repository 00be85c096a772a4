//! What one sender tells the others.
//!
//! It refuses what it does not understand: another machine may run another version.

use super::super::stops::Needless;
use crate::model::Ended;

/// A word for all other senders. It holds no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Word {
    /// Something that the SIP server's part tells its like: see [`Host::heard`](super::super::Host::heard).
    Host(Vec<u8>),
    /// What was not sent yet of a call's pushes is needed no more.
    GiveUp { user: String, call_id: String, why: Needless },
    /// A call is over, and whoever has pushed for it tells the devices.
    Ended { user: String, call_id: String, ended: Ended },
}

const HOST: u8 = b'h';
const CALL_OVER: u8 = b'o';
const PHONE_CAME: u8 = b'p';
const ENDED: u8 = b'e';

impl Word {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, text) = match self {
            Word::Host(bytes) => return [&[HOST], &bytes[..]].concat(),
            Word::GiveUp { user, call_id, why: Needless::CallOver } => (CALL_OVER, [user, call_id, ""]),
            Word::GiveUp { user, call_id, why: Needless::PhoneCame } => (PHONE_CAME, [user, call_id, ""]),
            Word::Ended { user, call_id, ended } => (ENDED, [user, call_id, ended.as_str()]),
        };
        [&[kind], text.join("\0").as_bytes()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Word> {
        let (kind, rest) = bytes.split_first()?;
        if *kind == HOST {
            return Some(Word::Host(rest.to_vec()));
        }
        let mut parts = std::str::from_utf8(rest).ok()?.split('\0').map(str::to_owned);
        let (user, call_id, more) = (parts.next()?, parts.next()?, parts.next()?);
        Some(match *kind {
            CALL_OVER => Word::GiveUp { user, call_id, why: Needless::CallOver },
            PHONE_CAME => Word::GiveUp { user, call_id, why: Needless::PhoneCame },
            ENDED => Word::Ended { user, call_id, ended: Ended::parse(&more).ok()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_arrives_as_it_was_said() {
        let (user, call_id) = ("bob".to_owned(), "a b@c".to_owned());
        for word in [
            Word::Host(b"\0\xffx".to_vec()),
            Word::GiveUp { user: user.clone(), call_id: call_id.clone(), why: Needless::CallOver },
            Word::GiveUp { user: user.clone(), call_id: call_id.clone(), why: Needless::PhoneCame },
            Word::Ended { user, call_id, ended: Ended::AnsweredElsewhere },
        ] {
            assert_eq!(Word::decode(&word.encode()), Some(word));
        }
        for garbage in [&b""[..], b"x", b"obob", b"zbob\0c\0", b"ebob\0c\0never", b"o\xff\0c\0"] {
            assert_eq!(Word::decode(garbage), None);
        }
    }
}
