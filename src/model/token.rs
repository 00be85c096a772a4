//! What a provider calls a device: validated, and never printed whole.
//!
//! It refuses what no provider would have handed out, so that a typing mistake is seen at registration and not at the
//! first call.

use super::{Invalid, Provider};
use std::fmt;

/// Shortest and longest APNs token in hexadecimal digits. Today's are 64; Apple asks not to rely on it and has
/// announced up to 100 bytes (Apple, "Registering your app with APNs").
const APNS_LEN: std::ops::RangeInclusive<usize> = 64..=200;
/// Registration tokens seen in the field have 140 to 180 characters; room both ways.
const FCM_LEN: std::ops::RangeInclusive<usize> = 64..=4096;
/// A Firebase installation id has exactly 22 characters of base64url.
const FID_LEN: usize = 22;

/// A validated token (RFC 8599: `pn-prid`). Hexadecimal APNs tokens are kept in lower case, so that one device is one
/// token. It has no `Display` and no `Serialize`; `Debug` shows the last four characters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token {
    provider: Provider,
    text: Box<str>,
}

impl Token {
    /// Takes a token from outside.
    ///
    /// # Errors
    /// The reason, without the token: wrong length or alphabet for this provider.
    pub fn parse(provider: Provider, text: &str) -> Result<Token, Invalid> {
        match provider {
            Provider::Apns => check_apns(text)?,
            Provider::Fcm => check_fcm(text)?,
        }
        let text = if provider == Provider::Apns { text.to_ascii_lowercase() } else { text.to_owned() };
        Ok(Token { provider, text: text.into() })
    }

    /// The provider that a token must be from, going by its looks alone: only hexadecimal digits means APNs. An FCM registration
    /// token always has characters beyond that.
    pub fn guess_provider(text: &str) -> Provider {
        if check_apns(text).is_ok() { Provider::Apns } else { Provider::Fcm }
    }

    /// The whole token, for the request to its provider and for the store. Never for a log.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The provider that it was validated for.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// True for a Firebase installation id, which an FCM message names as `fid` (FCM v1 reference, revision of October 2026).
    pub fn is_fid(&self) -> bool {
        self.provider == Provider::Fcm && self.text.len() == FID_LEN
    }

    /// For logs: the last four characters.
    pub fn shortened(&self) -> String {
        format!("…{}", &self.text[self.text.len() - 4..])
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token({} {})", self.provider.as_str(), self.shortened())
    }
}

fn check_apns(text: &str) -> Result<(), Invalid> {
    let len = text.len();
    // All of them are looked at, good or bad: the compiler makes sixteen steps one of that, and each lookup comes by here.
    if !text.bytes().fold(true, |good, b| good & b.is_ascii_hexdigit()) {
        return Err(Invalid::new("token", "an APNs token has hexadecimal digits only"));
    }
    if !APNS_LEN.contains(&len) || !len.is_multiple_of(2) {
        return Err(Invalid::new(
            "token",
            format!("an APNs token has 64 to 200 hexadecimal digits, this one has {len}"),
        ));
    }
    Ok(())
}

fn check_fcm(text: &str) -> Result<(), Invalid> {
    let len = text.len();
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_:".contains(&b)) {
        return Err(Invalid::new("token", "an FCM token has letters, digits and - _ : only"));
    }
    if len != FID_LEN && !FCM_LEN.contains(&len) {
        let why = format!(
            "an FCM registration token has 64 to 4096 characters and an installation id 22, this one has {len}"
        );
        return Err(Invalid::new("token", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apns_tokens_are_hexadecimal_of_a_sensible_length_and_kept_in_lower_case() {
        let token = Token::parse(Provider::Apns, &"AB".repeat(32)).unwrap();
        assert_eq!(token.expose(), "ab".repeat(32));
        for bad in ["", "zz", &"ab".repeat(31), &"a".repeat(65), &"ab".repeat(101), &"é".repeat(32)] {
            assert_eq!(Token::parse(Provider::Apns, bad).unwrap_err().what, "token");
        }
    }

    #[test]
    fn fcm_tokens_and_installation_ids() {
        let token = Token::parse(Provider::Fcm, &format!("d1e2f3:APA91b{}", "x".repeat(130))).unwrap();
        assert!(!token.is_fid());
        assert!(Token::parse(Provider::Fcm, "cAbCdEfGhIjKlMnOpQrStU").unwrap().is_fid());
        for bad in ["fcm_token_here", "with space", &"x".repeat(4097), "a\nb"] {
            let refused = Token::parse(Provider::Fcm, bad).unwrap_err().to_string();
            assert!(!refused.contains(bad) || bad.is_empty(), "{refused}");
        }
    }

    #[test]
    fn debug_never_shows_the_token() {
        let text = "0123456789abcdef".repeat(4);
        let shown = format!("{:?}", Token::parse(Provider::Apns, &text).unwrap());
        assert_eq!(shown, "token(apns …cdef)");
    }
}
