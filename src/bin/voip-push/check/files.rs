//! Modes and owners of files, in words.
//!
//! It refuses to open them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `/etc/voip-push/key.p8, mode 0640`.
pub fn with_mode(path: &Path) -> String {
    match std::fs::metadata(path) {
        Ok(metadata) => format!("{}, mode {:04o}", path.display(), mode(&metadata)),
        Err(_) => path.display().to_string(),
    }
}

/// The lower nine bits and what is above them.
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// The owner's name; its number where nobody has it.
pub fn owner(metadata: &Metadata) -> String {
    let uid = metadata.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or(uid)
}
