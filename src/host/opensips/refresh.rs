//! What OpenSIPS' event E_UL_CONTACT_REFRESH says: a contact with RFC 8599's parameters, and why its phone is to be woken.
//!
//! It refuses to ring for anything but a new call: a push of this kind makes the phone ring, which a request inside a call or a
//! registration that runs out must not.

use crate::model::Invalid;
use crate::service::{Error, Target};
use percent_encoding::percent_decode_str;

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
    let contact = Contact::parse(contact)?;
    let Contact { provider, token, app } = &contact;
    push(&Target { provider, token, app }, user, caller, call_id).map(Some)
}

/// Says why nothing was pushed.
pub fn no_call(cause: &str) -> String {
    format!("no push for {cause}: only a new call ({RINGS}) lets a phone ring")
}

/// A contact of a phone that can be woken (RFC 8599 §4.1.1).
#[derive(Debug, PartialEq, Eq)]
struct Contact {
    provider: String,
    token: String,
    app: String,
}

impl Contact {
    /// Takes `sip:bob@host;pn-provider=apns;pn-prid=…;pn-param=…`.
    fn parse(uri: &str) -> Result<Contact, Invalid> {
        let uri = uri.trim().trim_start_matches('<');
        let uri = uri.split(['>', '?']).next().unwrap_or(uri);
        // a user may have a `;` in it
        let rest = uri.rsplit_once('@').map_or(uri, |(_user, rest)| rest);
        let parameter = |name: &'static str| {
            let mut all = rest.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
            let found = all.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
            percent_decode_str(found.1.trim()).decode_utf8().ok().map(|value| value.into_owned())
        };
        let needed = |name| {
            parameter(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| Invalid::new("contact", format!("has no {name}")))
        };
        let (provider, token) = (needed("pn-provider")?, needed("pn-prid")?);
        let app = app(&provider, &parameter("pn-param").unwrap_or_default()).to_owned();
        Ok(Contact { provider, token, app })
    }
}

/// Apple's topic from `TEAMID1234.org.example.phone.voip` (RFC 8599 §9); anything else is taken as it is.
fn app<'a>(provider: &str, param: &'a str) -> &'a str {
    /// Length of Apple's team ids.
    const TEAM_ID_LEN: usize = 10;
    let is_team = |text: &str| {
        text.len() == TEAM_ID_LEN && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    match param.split_once('.') {
        Some((team, topic)) if provider.eq_ignore_ascii_case("apns") && is_team(team) => topic,
        _ => param,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APNS: &str =
        "sip:bob@192.0.2.1:5060;transport=tls;PN-Provider=apns;pn-prid=00%46C;pn-param=ABCDE12345.org.x.voip";

    #[test]
    fn a_contact_is_read_as_its_phone_wrote_it() {
        let contact = Contact::parse(APNS).unwrap();
        assert_eq!(contact.provider, "apns");
        assert_eq!((contact.token.as_str(), contact.app.as_str()), ("00FC", "org.x.voip"));
        let contact =
            Contact::parse("<sip:c@h;pn-provider=fcm;pn-param=proj.1;pn-prid=a:b>;expires=3").unwrap();
        assert_eq!((contact.token.as_str(), contact.app.as_str()), ("a:b", "proj.1"));
        for (bad, why) in [
            ("sip:bob;pn-provider=fcm@h;pn-prid=a", "contact: has no pn-provider"),
            ("sip:bob@h", "contact: has no pn-provider"),
            ("sip:bob@h;pn-provider=apns;pn-prid", "contact: has no pn-prid"),
            ("sip:bob@h;pn-provider=apns;pn-prid=%ff", "contact: has no pn-prid"),
        ] {
            assert_eq!(Contact::parse(bad).unwrap_err().to_string(), why);
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
