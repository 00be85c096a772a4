//! What OpenSIPS' event E_UL_CONTACT_REFRESH says: a contact with RFC 8599's parameters, and why its phone is to be woken.
//!
//! It refuses to ring for anything but a new call: a push of this kind makes the phone ring, which a request inside a call or a
//! registration that runs out must not.

use crate::model::Invalid;
use crate::service::{Error, Target};
use crate::sip::{Ask, Contacts, PushDevice};

/// The one cause that rings: the INVITE that begins a call. The others are `ini-` with another method, `mid-` with a method
/// (inside a call), and `reg-refresh`.
const RINGS: &str = "ini-INVITE";

/// Hands the call to `push`, or gives nothing where the phone is not to ring. An empty cause is one that nobody has named.
pub fn with_call<T>(
    [user, contact, cause, caller, call_id]: [&str; 5],
    push: impl FnOnce(&Target<'_>, &str, &str, &str) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    if !cause.is_empty() && !cause.eq_ignore_ascii_case(RINGS) {
        return Ok(None);
    }
    let device = device_of(contact)?;
    let (provider, app) = (device.provider.as_str(), device.app.as_deref().unwrap_or_default());
    push(&Target { provider, token: &device.token, app }, user, caller, call_id).map(Some)
}

/// Says why nothing was pushed.
pub fn no_call(cause: &str) -> String {
    format!("no push for {cause}: only a new call ({RINGS}) lets a phone ring")
}

/// How the phone with this contact is woken: RFC 8599 §4.1.1, and Linphone's ways before it.
fn device_of(contact: &str) -> Result<PushDevice, Invalid> {
    // the bare URI, whose parameters a header would take for its own
    let header = if contact.contains('<') { contact.to_owned() } else { format!("<{contact}>") };
    let Contacts::These(contacts) = Contacts::parse(&[header.as_bytes()])? else {
        return Err(Invalid::new("contact", "is all contacts"));
    };
    let contact = contacts.first().ok_or_else(|| Invalid::new("contact", "is empty"))?;
    match Ask::of(&contact.uri)? {
        Ask::Device(device) => Ok(device),
        Ask::Nothing => Err(Invalid::new("contact", "has no push parameters")),
        Ask::Query(_) => Err(Invalid::new("contact", "has no token (pn-prid)")),
        Ask::Unusable => Err(Invalid::new("contact", "names a push service that cannot be used")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APNS: &str =
        "sip:bob@192.0.2.1:5060;transport=tls;PN-Provider=apns;pn-prid=00%46C;pn-param=ABCDE12345.org.x.voip";

    #[test]
    fn a_contact_is_read_as_its_phone_wrote_it() {
        for contact in [APNS.to_owned(), format!("\"Bob\" <{APNS}>;expires=3")] {
            let device = device_of(&contact).unwrap();
            assert_eq!((device.provider.as_str(), device.token.as_str()), ("apns", "00FC"));
            assert!(device.app.is_some_and(|app| app.starts_with("org.x")));
        }
        for (bad, why) in [
            ("sip:bob@h", "contact: has no push parameters"),
            ("sip:bob@h;pn-provider=apns;pn-param=A.b", "contact: has no token (pn-prid)"),
            ("sip:bob@h;pn-provider=smoke;pn-prid=a", "contact: names a push service that cannot be used"),
            ("*", "Contact: has no URI"),
        ] {
            assert_eq!(device_of(bad).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn only_a_new_call_rings() {
        let push = |cause| with_call(["bob", APNS, cause, "alice", "c1"], |_, _, _, _| Ok(())).unwrap();
        for rings in ["ini-INVITE", ""] {
            assert_eq!(push(rings), Some(()), "{rings}");
        }
        for silent in ["mid-INVITE", "mid-BYE", "ini-MESSAGE", "reg-refresh"] {
            assert_eq!(push(silent), None, "{silent}");
        }
        assert!(with_call(["bob", "sip:x", "ini-INVITE", "", ""], |_, _, _, _| Ok(())).is_err());
    }
}
