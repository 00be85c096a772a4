//! What OpenSIPS' event E_UL_CONTACT_REFRESH says: a contact with RFC 8599's parameters, and why its phone is to be woken.
//!
//! It refuses to ring for anything but a new call: a request inside a call or a registration that runs out wakes a phone silently,
//! or not at all.

use super::arguments::Msg;
use super::body::media_of;
use crate::host::last::Last;
use crate::model::{Invalid, Media};
use crate::service::{Error, Ready, Service, Wake};
use crate::sip::{Ask, Contacts, PushDevice};

/// What is to be pushed, or the result of a push that there is none of.
pub enum Found {
    Ready(Ready),
    Nothing(Box<Last>),
}

/// Looks what the phone with this contact is to be told. An empty cause is a call, of which nobody has said so.
///
/// # Safety
/// On OpenSIPS' own thread, with the message in hand.
pub unsafe fn look(
    service: &Service,
    msg: Msg,
    [user, contact, cause, caller, call_id, media]: [&str; 6],
) -> Result<Found, Error> {
    // SAFETY: the caller's word.
    let wake = wake_for(cause, unsafe { media_of(msg, media)? });
    match service.ready_contact(&device_of(contact)?, wake, [user, caller, call_id]) {
        Err(Error::NoDevice) => {
            let why = format!("no push for {cause}: this phone takes none but for calls");
            log::info!("{why}");
            Ok(Found::Nothing(Box::new(Last::nothing(&why))))
        }
        ready => ready.map(Found::Ready),
    }
}

/// `ini-` and a method is a request that begins something, `mid-` one inside a call, `reg-refresh` the end of a registration.
fn wake_for(cause: &str, media: Media) -> Wake {
    match cause.to_ascii_lowercase().as_str() {
        "" | "ini-invite" => Wake::Call(media),
        "ini-message" => Wake::Message,
        _ => Wake::Refresh,
    }
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
        for rings in ["ini-INVITE", ""] {
            assert_eq!(wake_for(rings, Media::Video), Wake::Call(Media::Video), "{rings}");
        }
        assert_eq!(wake_for("ini-MESSAGE", Media::Audio), Wake::Message);
        for silent in ["mid-INVITE", "mid-BYE", "ini-SUBSCRIBE", "reg-refresh", "something new"] {
            assert_eq!(wake_for(silent, Media::Audio), Wake::Refresh, "{silent}");
        }
    }
}
