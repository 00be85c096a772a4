//! PURRs (RFC 8599 §6.2.1): the text that a phone puts into the Contacts of its dialogs, and that says to us, and to nobody else,
//! which device is to be woken for a request within such a dialog.
//!
//! It refuses to keep any: a PURR is the sealed name of its device, so there is none to be looked up, forgotten or handed to another
//! process. Each registration gets a new one, nobody can tell two of one device from two of two, and old ones hold as long as
//! their key and their device.

use crate::config::read_secret;
use crate::process::is_root;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::Path;

const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
/// Names are filled up to a multiple of this, so that the length of a PURR hardly tells whose it is.
const BLOCK_LEN: usize = 32;
/// Longest name of a user and a device that is sealed: a longer PURR would make a Contact too long for a datagram.
const MAX_NAME_LEN: usize = 224;
/// What a sealed name is good for, so that the same key can seal other things one day.
const PURPOSE: &[u8] = b"voip_push purr 1\0";

/// The keys that make and read PURRs. It has no `Debug`.
pub(super) struct Purrs {
    /// The first makes them, all read them; at least one.
    keys: Vec<RandomizedNonceKey>,
}

/// Which device a PURR stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub user: String,
    pub device_id: String,
}

impl Purrs {
    /// Reads the keys, 64 hexadecimal digits on a line each; makes a file with one where there is none.
    ///
    /// # Errors
    /// One line that says what is wrong with the file and what to do.
    pub fn load(path: &Path) -> Result<Purrs, String> {
        let shown = path.display();
        if !path.exists() {
            make_key_file(path).map_err(|error| format!("{shown} cannot be made: {error}"))?;
        }
        let text = read_secret(path)?;
        Purrs::parse(text.expose()).map_err(|why| format!("{shown}: {why}"))
    }

    fn parse(text: &str) -> Result<Purrs, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let key = |(at, line): (usize, &str)| {
            let bytes = from_hex(line).filter(|bytes| bytes.len() == KEY_LEN);
            let key = bytes.and_then(|bytes| RandomizedNonceKey::new(&AES_256_GCM_SIV, &bytes).ok());
            key.ok_or_else(|| format!("line {} is not a key of 64 hexadecimal digits", at + 1))
        };
        let keys = lines.map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("there is no key in it; remove the file and a new one is made".to_owned());
        }
        Ok(Purrs { keys })
    }

    /// A new PURR for a device, good in Contacts with this user part. `None` where the names are too long for one.
    pub fn make(&self, named: &Named, contact_user: &[u8]) -> Option<String> {
        let mut sealed = named.pack()?;
        let aad = Aad::from([PURPOSE, contact_user].concat());
        let nonce = self.keys.first()?.seal_in_place_append_tag(aad, &mut sealed).ok()?;
        let mut whole = nonce.as_ref().to_vec();
        whole.append(&mut sealed);
        Some(URL_SAFE_NO_PAD.encode(whole))
    }

    /// The device that a PURR of ours stands for in a Contact with this user part.
    pub fn read(&self, purr: &str, contact_user: &[u8]) -> Option<Named> {
        const MAX_LEN: usize = NONCE_LEN + MAX_NAME_LEN + TAG_LEN;
        if purr.len() > MAX_LEN.div_ceil(3) * 4 {
            return None;
        }
        let whole = URL_SAFE_NO_PAD.decode(purr).ok()?;
        let (nonce, sealed) = whole.split_at_checked(NONCE_LEN)?;
        self.keys.iter().find_map(|key| {
            let (nonce, mut sealed) = (Nonce::try_assume_unique_for_key(nonce).ok()?, sealed.to_vec());
            let aad = Aad::from([PURPOSE, contact_user].concat());
            Named::unpack(key.open_in_place(nonce, aad, &mut sealed).ok()?)
        })
    }
}

impl Named {
    /// The length of the user, user, device, and zeros.
    fn pack(&self) -> Option<Vec<u8>> {
        let mut packed = vec![u8::try_from(self.user.len()).ok()?];
        packed.extend_from_slice(self.user.as_bytes());
        packed.extend_from_slice(self.device_id.as_bytes());
        packed.resize(packed.len().next_multiple_of(BLOCK_LEN), 0);
        (packed.len() <= MAX_NAME_LEN).then_some(packed)
    }

    fn unpack(packed: &[u8]) -> Option<Named> {
        let (&len, names) = packed.split_first()?;
        let (user, device_id) = names.split_at_checked(len.into())?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        // Neither has control characters in it.
        let device_id = text(device_id)?.trim_end_matches('\0').to_owned();
        Some(Named { user: text(user)?, device_id })
    }
}

/// Whole or not at all, and by one of several processes: a link to a file that is written already.
fn make_key_file(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_LEN];
    rand::fill(&mut key).map_err(|_| io::Error::other("no random numbers"))?;
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!(
        "# The key of the PURRs that phones get (RFC 8599 section 6): the first line makes them, all lines read them.\n{hex}\n"
    );
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let unfinished = Path::new(&name);
    let done = write_secret(unfinished, &text).and_then(|()| match fs::hard_link(unfinished, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    let removed = fs::remove_file(unfinished);
    done.and(removed)
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if is_root() {
        // The SIP server will run as somebody else: whoever the directory belongs to.
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let owner = fs::metadata(directory.unwrap_or(Path::new(".")))?;
        chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests;
