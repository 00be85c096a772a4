//! The callee's address, as an administrator's script passes it.
//!
//! It refuses to resolve anything: `alice` and `alice@example.org` are two users.

use super::Invalid;
use std::fmt;

/// Longest user that is taken, in bytes. RFC 3261 sets no limit; a longer one is an attack or a mistake.
pub const MAX_USER_LEN: usize = 255;

/// The callee's address: `alice` or `alice@example.org`. A leading `sip:` or `sips:` and URI parameters are dropped,
/// and the host is folded to lower case (RFC 3261 §19.1.4: the user part is case-sensitive, the host is not).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct User(Box<str>);

impl User {
    /// Takes a user from outside.
    ///
    /// # Errors
    /// Empty, longer than 255 bytes, or with a space, a control character or one of `<>"`.
    pub fn parse(text: &str) -> Result<User, Invalid> {
        if is_simple(text) {
            return Ok(User(text.into()));
        }
        let bare = without_scheme(text);
        let bare = bare.split([';', '?']).next().unwrap_or(bare);
        if bare.is_empty() {
            return Err(Invalid::new("user", "is empty"));
        }
        if bare.len() > MAX_USER_LEN {
            return Err(Invalid::new(
                "user",
                format!("is {} bytes long, at most {MAX_USER_LEN} are taken", bare.len()),
            ));
        }
        if !bare.bytes().all(|b| matches!(b, b'!'..=b'~'))
            && bare.chars().any(|c| c.is_control() || c.is_whitespace())
            || bare.contains(['<', '>', '"'])
        {
            return Err(Invalid::new("user", "has a space, a control character or one of < > \""));
        }
        Ok(User(match bare.rsplit_once('@') {
            Some((name, host)) => format!("{name}@{}", host.to_ascii_lowercase()).into(),
            None => bare.into(),
        }))
    }

    /// The address as stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether it is as most users are, with nothing to drop, to fold or to refuse: letters, digits and a few signs, and no host.
fn is_simple(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
    (1..=MAX_USER_LEN).contains(&text.len()) && text.bytes().fold(true, |good, byte| good & is_fine(byte))
}

fn without_scheme(text: &str) -> &str {
    for scheme in ["sip:", "sips:"] {
        if let Some(head) = text.get(..scheme.len())
            && head.eq_ignore_ascii_case(scheme)
        {
            return &text[scheme.len()..];
        }
    }
    text
}

/// A user may be a phone number, so logs show only its end.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user({})", self.shortened())
    }
}

impl User {
    /// The user for a log line: `…612` for `564612`, with the host left as it is. A phone number is not to be read from a log.
    pub fn shortened(&self) -> String {
        let (name, host) = self.0.split_at(self.0.find('@').unwrap_or(self.0.len()));
        let shown = name.chars().count().saturating_sub(3);
        let tail: String = name.chars().skip(shown.max(name.chars().count().div_ceil(2))).collect();
        format!("…{tail}{host}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_parameters_and_the_case_of_the_host_do_not_matter() {
        for text in ["alice@Example.org", "sip:alice@example.ORG", "SIPS:alice@example.org;transport=tls?x=y"]
        {
            assert_eq!(User::parse(text).unwrap().as_str(), "alice@example.org");
        }
        assert_ne!(User::parse("Alice").unwrap(), User::parse("alice").unwrap());
    }

    #[test]
    fn what_cannot_be_a_user_is_refused_by_name() {
        for text in ["", "sip:", "a b", "a\nb", "<alice>", "\0", &"x".repeat(65_536)] {
            assert_eq!(User::parse(text).unwrap_err().what, "user");
        }
    }

    #[test]
    fn logs_show_only_the_end_of_a_number() {
        assert_eq!(User::parse("+4930123456@example.org").unwrap().shortened(), "…456@example.org");
        assert_eq!(User::parse("bob").unwrap().shortened(), "…b");
    }
}
