//! What Kamailio's registrar says of contacts: which ones a user has, what it calls them, and which one the request in hand goes to.
//!
//! It refuses to look into the registrar's table: `save()` and `lookup()` leave it in variables.

use super::functions::Msg;
use super::layout::{PARAM_STR, Str};
use super::park::text;
use super::pseudo;
use super::symbols::core;
use crate::host::note::ruid_of;
use std::ffi::CStr;
use std::sync::OnceLock;

/// All contacts of the user as `save()` leaves them, where the registrar is told to, and how many of them, which are the first,
/// stand in the REGISTER in hand.
///
/// # Safety
/// On Kamailio's own thread, with the message that it has in hand.
pub unsafe fn contacts(msg: Msg, header: &str) -> (Vec<String>, usize) {
    // SAFETY: the caller's word.
    let (placed, registered) = unsafe { placed_contacts(msg, header) };
    (placed.iter().map(|contact| ruid_of(contact).to_owned()).collect(), registered)
}

/// The same with their places: see [`placed`].
///
/// # Safety
/// As for [`contacts`].
pub unsafe fn placed_contacts(msg: Msg, header: &str) -> (Vec<String>, usize) {
    let read = |name: &'static str| {
        // SAFETY: the caller's word.
        let value = unsafe { pseudo::read(msg, name) }.ok().flatten()?;
        String::from_utf8(value).ok()
    };
    let each = contact_names().iter().map_while(|[ruid, uri]| {
        let (ruid, uri) = (read(ruid)?, read(uri).unwrap_or_default());
        Some((placed(&ruid, &uri), has_uri(header, &uri)))
    });
    let (registered, others): (Vec<_>, Vec<_>) = each.partition(|(_, is_registered)| *is_registered);
    let len = registered.len();
    let all: Vec<String> = registered.into_iter().chain(others).map(|(contact, _)| contact).collect();
    // Where the script has changed the Contact before save(), it may be any of them.
    let registered = if len == 0 { all.len() } else { len };
    (all, registered)
}

/// A contact by the registrar's name and where it is. A phone with an instance (RFC 5626) that comes back on another connection
/// keeps its name, and its old connection, which may look open for minutes, had the call already.
fn placed(ruid: &str, uri: &str) -> String {
    let after_user = uri.rsplit_once('@').map_or(uri, |(_, host)| host);
    let host = after_user.split([';', '?', '>']).next().unwrap_or_default();
    format!("{ruid} {}", host.to_ascii_lowercase())
}

/// The contact that the request in hand goes to, with its place; `None` where it goes to none of the registrar's.
///
/// # Safety
/// On Kamailio's own thread, with the message that it has in hand.
pub unsafe fn contact_in_hand(msg: Msg) -> Option<String> {
    // SAFETY: the caller's word.
    let (ruid, uri) = unsafe { (text(msg, "$ruid").ok()?, text(msg, "$ru").ok()?) };
    (!ruid.is_empty()).then(|| placed(&ruid, &uri))
}

/// What a phone says of itself in its Contact and does not change when it wakes: its instance (RFC 5626 §4.1) or its token
/// (RFC 8599 §4.1.2).
pub fn phone(header: &str) -> Option<&str> {
    let after = |name: &str| {
        let at = header.to_ascii_lowercase().find(name)? + name.len();
        let value = header[at..].trim_start_matches('"').split(['"', ';', '>', ',', '?', ' ']).next()?;
        Some(value).filter(|value| !value.is_empty())
    };
    after("+sip.instance=").or_else(|| after("pn-prid="))
}

/// Whether a Contact header has this very URI.
fn has_uri(header: &str, uri: &str) -> bool {
    let mut found = header.match_indices(uri);
    let ends = |rest: &str| rest.chars().next().is_none_or(|next| ">;, \t\r\n".contains(next));
    !uri.is_empty() && found.any(|(at, _)| ends(&header[at + uri.len()..]))
}

/// Whether the registrar says which contacts a user has.
pub fn tells_contacts() -> bool {
    !contact_names().is_empty()
}

/// Whether it could say so and is not told to.
pub fn keeps_contacts_to_itself() -> bool {
    !tells_contacts() && module_text(c"registrar", c"xavp_rcd").is_some()
}

/// The variables that have ruid and URI of each: with `modparam("registrar", "xavp_rcd", "ulrcd")` they are
/// `$xavp(ulrcd=>ruid[0])`, `$xavp(ulrcd=>contact[0])` and so on.
fn contact_names() -> &'static [[&'static str; 2]] {
    /// tm rings at most so many contacts of a call (`max_branches` is 12 and at most 31).
    const MOST: usize = 31;
    static NAMES: OnceLock<Vec<[&'static str; 2]>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let name = module_text(c"registrar", c"xavp_rcd").unwrap_or_default();
        let variable = |at, what: &str| &*format!("$xavp({name}=>{what}[{at}])").leak();
        if name.is_empty() {
            Vec::new()
        } else {
            (0..MOST).map(|at| [variable(at, "ruid"), variable(at, "contact")]).collect()
        }
    })
}

/// A text that the configuration has set with modparam for another module; empty where that module is loaded and the text not set.
fn module_text(module: &CStr, name: &CStr) -> Option<String> {
    let core = core();
    let mut kind = 0;
    // SAFETY: C strings; the result is null or points to the module's `str`, which the parser has filled.
    unsafe {
        let module = (core.find_module_by_name)(module.as_ptr());
        if module.is_null() {
            return None;
        }
        let text = (core.find_param_export)(module, name.as_ptr(), PARAM_STR, &raw mut kind).cast::<Str>();
        Some(
            text.as_ref()
                .map(|text| String::from_utf8_lossy(pseudo::bytes(text)).into_owned())
                .unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_known_by_its_instance_or_its_token() {
        let instance = "<sip:b@h;pn-prid=tok>;+sip.instance=\"<urn:uuid:1>\";expires=3";
        assert_eq!(phone(instance), Some("<urn:uuid:1"));
        assert_eq!(phone("<sip:b@h;PN-PRID=a:voip&b:remote;x>;expires=3"), Some("a:voip&b:remote"));
        assert_eq!(phone("<sip:b@h;pn-prid=>"), None);
        assert_eq!(phone("*"), None);
    }

    #[test]
    fn a_uri_is_found_whole_or_not_at_all() {
        let header = "<sip:b@192.0.2.1:5060;transport=tcp>;q=1, sip:b@192.0.2.2";
        assert!(has_uri(header, "sip:b@192.0.2.1:5060;transport=tcp") && has_uri(header, "sip:b@192.0.2.2"));
        assert!(
            !has_uri(header, "sip:b@192.0.2.1:506")
                && !has_uri(header, "")
                && !has_uri(header, "sip:b@192.0.2")
        );
    }
}
