//! A call that wants to ring: who calls whom, and the id that both ends know.
//!
//! It refuses nothing but an empty Call-ID: a strange caller name is made harmless, not rejected, since the call is
//! what matters.

use super::name_uuid::name_uuid;
use super::text::is_plain;
use super::{Caller, Invalid, Media, User};
use std::sync::OnceLock;
use uuid::Uuid;

/// Longest Call-ID taken, in bytes; longer ones are refused as RFC 3261 leaves it to us.
pub const MAX_CALL_ID_LEN: usize = 512;

/// A namespace of our own: uuid5(NAMESPACE_URL, "sip:call-id"). A constant, since a hash of it costs as much as one of a Call-ID.
const NAMESPACE: Uuid = Uuid::from_u128(0x0661_7bac_56e9_5d5b_81fd_cf80_1e57_c455);

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whom it is for.
    pub callee: User,
    /// Who calls.
    pub caller: Caller,
    /// The SIP Call-ID. Not to be changed once the UUID was asked for.
    pub call_id: String,
    /// Audio or video.
    pub media: Media,
    uuid: OnceLock<Uuid>,
}

impl PartialEq for Call {
    fn eq(&self, other: &Call) -> bool {
        let Call { callee, caller, call_id, media, uuid: _ } = self;
        (callee, caller, call_id, media) == (&other.callee, &other.caller, &other.call_id, &other.media)
    }
}

impl Eq for Call {}

impl Call {
    /// Takes an audio call from a routing script; what `caller` may be, [`Caller::parse`] says.
    ///
    /// # Errors
    /// As [`Call::new`].
    pub fn parse(user: &str, caller: &str, call_id: &str) -> Result<Call, Invalid> {
        Call::new(user, Caller::parse(caller), call_id, Media::Audio)
    }

    /// Takes a call whose caller is known.
    ///
    /// # Errors
    /// The user (see [`User::parse`]) or the Call-ID: empty, longer than 512 bytes, or with control characters.
    pub fn new(user: &str, caller: Caller, call_id: &str, media: Media) -> Result<Call, Invalid> {
        let callee = User::parse(user)?;
        if call_id.is_empty() {
            return Err(Invalid::new("call_id", "is empty"));
        }
        if call_id.len() > MAX_CALL_ID_LEN {
            let why = format!("is {} bytes long, at most {MAX_CALL_ID_LEN} are taken", call_id.len());
            return Err(Invalid::new("call_id", why));
        }
        if !is_plain(call_id) && call_id.chars().any(char::is_control) {
            return Err(Invalid::new("call_id", "has a control character"));
        }
        Ok(Call { callee, caller, call_id: call_id.to_owned(), media, uuid: OnceLock::new() })
    }

    /// The id that CallKit knows this call by; see [`call_uuid`].
    pub fn uuid(&self) -> Uuid {
        *self.uuid.get_or_init(|| call_uuid(&self.call_id))
    }
}

/// The UUID (version 5, RFC 9562 §5.5) of a Call-ID: the same call has the same id on every device and in every push, so an app
/// can tell a repeated push from a second call.
pub fn call_uuid(call_id: &str) -> Uuid {
    name_uuid(&NAMESPACE, [call_id])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected value from Python: uuid5(uuid5(NAMESPACE_URL, "sip:call-id"), "a84b4c76e66710@pc33.atlanta.com").
    #[test]
    fn the_same_call_has_the_same_uuid() {
        let id = call_uuid("a84b4c76e66710@pc33.atlanta.com").to_string();
        assert_eq!(id, "53b9fe04-4cbf-54fd-8a6b-a53e4c054198");
    }

    #[test]
    fn the_namespace_is_what_it_says() {
        assert_eq!(NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_URL, b"sip:call-id"));
    }

    #[test]
    fn a_caller_cannot_inject_lines_and_a_call_id_must_be_one() {
        let call = Call::parse("bob", "Eve\r\nX: y", "c1").unwrap();
        assert_eq!(call.caller.shown(), "Eve  X: y");
        assert_eq!(Call::parse("bob", "a", "").unwrap_err().what, "call_id");
        assert_eq!(Call::parse("bob", "a", "x\r\ny").unwrap_err().what, "call_id");
        assert_eq!(Call::parse("bob", "a", &"x".repeat(513)).unwrap_err().what, "call_id");
        assert_eq!(Call::parse("bob", &"é".repeat(1000), "c").unwrap().caller.shown().len(), 256);
    }
}
