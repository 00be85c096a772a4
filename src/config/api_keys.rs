//! The keys of the REST API: a file with a line for each, `NAME SCOPE[,SCOPE] sha256:HASH`.
//!
//! It refuses to keep a key: only hashes are in memory, and in a file that `voip-push key` wrote. A single fast hash is right
//! here, since keys are made by machines: a key has 256 random bits, and no table and no guessing reaches it. (A password's
//! slow hash defends what people choose.)

use super::ConfigError;
use super::credential::beside;
use super::files::Files;
use crate::model::{Invalid, Scope};
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use std::fmt::Write as _;
use std::path::Path;
use subtle::{Choice, ConstantTimeEq};

/// A key in plain text that is shorter than this can be guessed.
const MIN_PLAIN_LEN: usize = 16;
/// Longest name of a key, in bytes.
const MAX_NAME_LEN: usize = 64;
const PREFIX: &str = "sha256:";

/// One key, as far as we know it.
#[derive(Debug, Clone)]
pub struct ApiKey {
    name: String,
    scopes: Vec<Scope>,
    hash: [u8; SHA256_OUTPUT_LEN],
    is_plain: bool,
}

/// All keys of the file; at least one.
#[derive(Debug, Clone)]
pub struct ApiKeys(Vec<ApiKey>);

impl ApiKey {
    /// A key that somebody has made. `name` is for logs and for people.
    ///
    /// # Errors
    /// A name that cannot stand in the file, no scope, or a key that can be guessed.
    pub fn new(name: &str, scopes: &[Scope], key: &str) -> Result<ApiKey, Invalid> {
        check_name(name)?;
        if scopes.is_empty() {
            return Err(Invalid::new("scope", "is missing; give register, read, delete or admin"));
        }
        if key.len() < MIN_PLAIN_LEN || key.chars().any(|c| c.is_control() || c.is_whitespace()) {
            let why = format!("is shorter than {MIN_PLAIN_LEN} characters, or has a space in it");
            return Err(Invalid::new("key", why));
        }
        Ok(ApiKey { name: name.to_owned(), scopes: scopes.to_vec(), hash: hashed(key), is_plain: false })
    }

    /// Its line for the file, without the line's end.
    pub fn line(&self) -> String {
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        let mut line = format!("{} {} {PREFIX}", self.name, scopes.join(","));
        for byte in self.hash {
            let _ = write!(line, "{byte:02x}");
        }
        line
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may be used for this.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    fn parse(number: usize, line: &str) -> Result<ApiKey, String> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields.as_slice() {
            [key] => plain(number, key),
            [name, scopes, hash] => {
                let wrong = |invalid: Invalid| format!("line {number}: {invalid}");
                check_name(name).map_err(wrong)?;
                let scopes = scopes.split(',').map(Scope::parse).collect::<Result<_, _>>().map_err(wrong)?;
                let hash = from_hex(hash).ok_or_else(|| {
                    format!("line {number}: the hash is not {PREFIX} and 64 hexadecimal digits")
                })?;
                Ok(ApiKey { name: (*name).to_owned(), scopes, hash, is_plain: false })
            }
            _ => Err(format!(
                "line {number} is not NAME SCOPE[,SCOPE] {PREFIX}HASH; `voip-push key add` writes such lines"
            )),
        }
    }
}

impl ApiKeys {
    pub(super) fn load(files: &Files, named: &Path) -> Result<ApiKeys, ConfigError> {
        let path = beside(files.main(), named);
        let refuse = |why: String| ConfigError::new(files.main(), "[rest] api_keys_file", why);
        let text = files.secret(named).map_err(refuse)?;
        let shown = path.display();
        let keys = ApiKeys::parse(text.expose()).map_err(|why| refuse(format!("{shown}: {why}")))?;
        if keys.0.is_empty() {
            return Err(refuse(format!(
                "{shown} has no key; make one with: voip-push key add NAME --scope register --file {shown}"
            )));
        }
        Ok(keys)
    }

    /// Reads a file's text; empty lines and those that begin with # are left out.
    ///
    /// # Errors
    /// The first line that is wrong, by its number, or two keys of one name.
    pub fn parse(text: &str) -> Result<ApiKeys, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(|(at, line)| ApiKey::parse(at + 1, line)).collect::<Result<Vec<_>, _>>()?;
        for (at, key) in keys.iter().enumerate() {
            if keys[..at].iter().any(|other| other.name == key.name) {
                return Err(format!("two keys have the name {}", key.name));
            }
        }
        Ok(ApiKeys(keys))
    }

    /// The key that somebody shows. Every known key is compared with, and every byte of it, whatever the first ones gave; and
    /// what is compared are hashes, which say nothing about how much of a guess was right.
    pub fn find(&self, key: &str) -> Option<&ApiKey> {
        let hash = hashed(key);
        let matches: Vec<Choice> = self.0.iter().map(|known| known.hash.ct_eq(&hash)).collect();
        self.0.iter().zip(matches).find(|(_, same)| bool::from(*same)).map(|(known, _)| known)
    }

    /// The key of this name.
    pub fn named(&self, name: &str) -> Option<&ApiKey> {
        self.0.iter().find(|key| key.name == name)
    }

    /// What an administrator should know about them.
    pub(super) fn warnings(&self, file: &Path) -> Vec<String> {
        let plain = self.0.iter().filter(|key| key.is_plain).map(|key| &key.name);
        let warning = |name: &String| {
            format!(
                "{}: [rest] api_keys_file: {name} is in plain text and may do everything; put a hash in its place: cut \
                 the line out, and give the key to `voip-push key hash NAME --scope register` on its standard input",
                file.display()
            )
        };
        plain.map(warning).collect()
    }
}

/// What files had before there were hashes: a line that is the key itself.
fn plain(number: usize, key: &str) -> Result<ApiKey, String> {
    if key.len() < MIN_PLAIN_LEN {
        return Err(format!(
            "line {number} is a key shorter than {MIN_PLAIN_LEN} characters, which can be guessed"
        ));
    }
    let name = format!("the key in line {number}");
    Ok(ApiKey { name, scopes: vec![Scope::Admin], hash: hashed(key), is_plain: true })
}

fn check_name(name: &str) -> Result<(), Invalid> {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
    if name.is_empty() || name.len() > MAX_NAME_LEN || !name.bytes().all(known) {
        let why = format!("is not 1 to {MAX_NAME_LEN} letters, digits and - _ . @");
        return Err(Invalid::new("name", why));
    }
    Ok(())
}

fn hashed(key: &str) -> [u8; SHA256_OUTPUT_LEN] {
    digest(&SHA256, key.as_bytes()).as_ref().try_into().expect("a SHA-256 hash has its length")
}

fn from_hex(text: &str) -> Option<[u8; SHA256_OUTPUT_LEN]> {
    let digits = text.strip_prefix(PREFIX)?;
    if digits.len() != 2 * SHA256_OUTPUT_LEN || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; SHA256_OUTPUT_LEN];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected value from sha256sum: printf %s test-key-0123456789abcdef | sha256sum.
    const LINE: &str = "app register,read \
        sha256:0813ba6d30f7bbf925ab2a50f5a407feaa885309426af0dd201e046cf5f0c3be";

    #[test]
    fn a_line_is_a_name_its_scopes_and_a_hash() {
        let key = ApiKey::new("app", &[Scope::Register, Scope::Read], "test-key-0123456789abcdef").unwrap();
        assert_eq!(key.line(), LINE);
        let keys = ApiKeys::parse(&format!("# made by hand\n\n  {LINE}\nplain-key-0123456789\n")).unwrap();
        let found = keys.find("test-key-0123456789abcdef").unwrap();
        assert_eq!(found.name(), "app");
        assert_eq!(Scope::ALL.map(|scope| found.allows(scope)), [true, true, false, false, false]);
        let plain = keys.find("plain-key-0123456789").unwrap();
        assert_eq!(Scope::ALL.map(|scope| plain.allows(scope)), [true; 5]);
        assert_eq!(keys.warnings(Path::new("x.toml")).len(), 1);
        for wrong in ["", "test-key-0123456789abcde", "test-key-0123456789abcdef ", LINE, "app"] {
            assert!(keys.find(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_line_that_is_wrong_is_named_and_never_shown() {
        let hash = &LINE[LINE.find("sha256").unwrap()..];
        for (text, said) in [
            ("short".to_owned(), "line 1 is a key shorter than 16"),
            (format!("\napp regster {hash}"), "line 2: scope: is none of"),
            (format!("app  {hash}"), "line 1 is not NAME"),
            (format!("a/b read {hash}"), "line 1: name: "),
            (format!("app read {}", &hash[..hash.len() - 1]), "line 1: the hash is not"),
            ("two words".to_owned(), "line 1 is not NAME"),
            ("a secret-key-0123456789 of four".to_owned(), "line 1 is not NAME"),
            (format!("{LINE}\n{LINE}"), "two keys have the name app"),
        ] {
            let why = ApiKeys::parse(&text).unwrap_err();
            assert!(why.contains(said) && !why.contains("secret-key"), "{why}");
        }
        assert!(ApiKeys::parse("# none\n").unwrap().0.is_empty());
    }
}
