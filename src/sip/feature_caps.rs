//! The Feature-Caps header (RFC 6809), with which a proxy says which push services it serves (RFC 8599 §5.4).
//!
//! It refuses to be strict with others: OpenSIPS leaves out the `*;` at the start.

use super::contact::unquoted;
use crate::model::Provider;

/// How long before the end of its registration a phone that can wake up by itself is to register again (`+sip.pnsreg`), in
/// seconds; more than 120 (RFC 8599 §5.6.1.1).
pub type PnsReg = u32;

/// The header's line for one provider, with CRLF; for a phone that can wake up by itself, with when it is to; and with the PURR that
/// it is to put into the Contacts of its dialogs (RFC 8599 §6.2.1).
pub fn feature_caps_line(provider: Provider, pnsreg: Option<PnsReg>, purr: Option<&str>) -> String {
    let pnsreg = pnsreg.map(|seconds| format!(";+sip.pnsreg=\"{seconds}\"")).unwrap_or_default();
    let purr = purr.map(|purr| format!(";+sip.pnspurr=\"{purr}\"")).unwrap_or_default();
    format!("Feature-Caps: *;+sip.pns=\"{}\"{pnsreg}{purr}\r\n", provider.as_str())
}

/// The push services that other proxies say they serve, in lower case: the values of `+sip.pns`.
pub fn push_services_of(headers: &[&[u8]]) -> Vec<String> {
    headers.iter().flat_map(|text| pieces(text)).filter_map(push_service).collect()
}

fn push_service(piece: &[u8]) -> Option<String> {
    let at = piece.iter().position(|&byte| byte == b'=').unwrap_or(piece.len());
    if !piece[..at].trim_ascii().eq_ignore_ascii_case(b"+sip.pns") {
        return None;
    }
    let value = piece.get(at + 1..).unwrap_or_default().trim_ascii();
    Some(String::from_utf8_lossy(unquoted(value)).to_ascii_lowercase())
}

/// The text cut at each `;` and `,` outside of quotes.
fn pieces(text: &[u8]) -> Vec<&[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(|&byte| {
        let is_cut = !is_quoted && b";,".contains(&byte);
        is_quoted ^= byte == b'"' && !is_escaped;
        is_escaped = is_quoted && byte == b'\\' && !is_escaped;
        is_cut
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_proxies_are_understood_however_they_write_it() {
        let own = feature_caps_line(Provider::Apns, Some(130), None);
        assert_eq!(own, "Feature-Caps: *;+sip.pns=\"apns\";+sip.pnsreg=\"130\"\r\n");
        let with_purr = feature_caps_line(Provider::Fcm, None, Some("Ab_-9"));
        assert_eq!(with_purr, "Feature-Caps: *;+sip.pns=\"fcm\";+sip.pnspurr=\"Ab_-9\"\r\n");
        let headers: [&[u8]; 4] = [
            b"*;+sip.pns=\"apns\"",
            b"+sip.pns=\"FCM\"",
            b"*;+g.3gpp.x=\"a;+sip.pns=b\", * ; +SIP.PNS = webpush",
            b"",
        ];
        assert_eq!(push_services_of(&headers), ["apns", "fcm", "webpush"]);
        assert!(push_services_of(&[b"*;+sip.pnsreg=\"130\";+sip.pnspurr"]).is_empty());
    }
}
