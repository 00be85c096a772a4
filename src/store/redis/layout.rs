//! Under which keys everything stands, as docs/store-layout.md describes it.
//!
//! It refuses to let anybody's name choose where it goes: what lies together is decided by a digest.

use crate::model::{Provider, Token, User};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The layout that this version reads and writes, and what its marker holds.
pub(super) const VERSION: u32 = 1;
pub(super) const MARKER: &str = "voip-push ";

/// Users are divided into so many buckets; all of a bucket lies in one slot. It can never change within a layout.
pub(super) const BUCKETS: u16 = 1024;
/// Plans to ask phones are divided into so many.
pub(super) const SHARDS: u16 = 16;
/// So much of a token's digest names its key: 16 bytes.
const DIGEST_LEN: usize = 16;

/// The keys of a store.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Keys {
        Keys { prefix: prefix.to_owned() }
    }

    /// What version of the layout is there.
    pub(super) fn marker(&self) -> Vec<u8> {
        format!("{}:layout", self.prefix).into_bytes()
    }

    /// A user's devices.
    pub(super) fn user(&self, user: &User) -> Vec<u8> {
        let bucket = bucket_of(user);
        format!("{}:{{{bucket}}}:u:{}", self.prefix, user.as_str()).into_bytes()
    }

    /// What a key of [`Keys::user`] says of its user.
    pub(super) fn user_of<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?;
        std::str::from_utf8(rest).ok()?.split_once("}:u:").map(|(_, user)| user)
    }

    /// A glob of all users' keys.
    pub(super) fn all_users(&self) -> String {
        let mut glob = String::new();
        for c in self.prefix.chars() {
            if "*?[]\\".contains(c) {
                glob.push('\\');
            }
            glob.push(c);
        }
        glob + ":{*}:u:*"
    }

    /// What is still to be done for users of this bucket.
    pub(super) fn notes(&self, bucket: u16) -> Vec<u8> {
        format!("{}:{{{bucket}}}:n", self.prefix).into_bytes()
    }

    /// A token's owners.
    pub(super) fn token(&self, provider: Provider, token: &str) -> Vec<u8> {
        let whole = digest(&SHA256, format!("{} {token}", letter(provider)).as_bytes());
        let short = URL_SAFE_NO_PAD.encode(&whole.as_ref()[..DIGEST_LEN]);
        format!("{}:t:{short}", self.prefix).into_bytes()
    }

    pub(super) fn owners(&self, token: &Token) -> Vec<u8> {
        self.token(token.provider(), token.expose())
    }

    /// Phones by when they are due, and what is known of them.
    pub(super) fn refreshes(&self, shard: u16) -> [Vec<u8>; 2] {
        ["due", "of"].map(|part| format!("{}:{{r{shard}}}:{part}", self.prefix).into_bytes())
    }
}

/// FNV-1a of the user, 32 bits (draft-eastlake-fnv-21).
pub(super) fn bucket_of(user: &User) -> u16 {
    (fnv(user.as_str().as_bytes()) % u32::from(BUCKETS)) as u16
}

pub(super) fn shard_of(phone: &str) -> u16 {
    (fnv(phone.as_bytes()) % u32::from(SHARDS)) as u16
}

fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// How a provider is written in values.
pub(super) fn letter(provider: Provider) -> &'static str {
    match provider {
        Provider::Apns => "a",
        Provider::Fcm => "f",
    }
}

pub(super) fn provider_of(letter: &str) -> Option<Provider> {
    Provider::ALL.into_iter().find(|provider| self::letter(*provider) == letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a layout is: whoever changes this makes another layout.
    #[test]
    fn keys_never_change() {
        let keys = Keys::new("voip-push");
        let text = |key: Vec<u8>| String::from_utf8(key).unwrap();
        let user = User::parse("{alice}@example.org").unwrap();
        assert_eq!(text(keys.user(&user)), "voip-push:{295}:u:{alice}@example.org");
        assert_eq!(text(keys.notes(295)), "voip-push:{295}:n");
        assert_eq!(keys.user_of(&keys.user(&user)), Some("{alice}@example.org"));
        let token = Token::parse(Provider::Apns, &"ab".repeat(32)).unwrap();
        assert_eq!(text(keys.owners(&token)), "voip-push:t:BiMU8giFDOxsVOJS0_9Rug");
        assert_eq!(Keys::new("a*").all_users(), "a\\*:{*}:u:*");
        // The test vector of draft-eastlake-fnv-21 for "foobar".
        assert_eq!(fnv(b"foobar"), 0xbf9c_f968);
    }
}
