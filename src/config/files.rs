//! The files that a configuration is made of: itself, and those that it names. Read from the disk, each once; or taken out of what
//! another process has read, so that both get the same settings.
//!
//! It refuses files with a secret that everybody on the machine can read or that others can change, and to look at the disk where
//! another process has done so.

use super::Secret;
use super::credential::beside;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The texts of all files of one configuration. They hold secrets, so there is no `Debug`.
pub(super) struct Files {
    main: PathBuf,
    texts: RefCell<BTreeMap<PathBuf, Text>>,
    is_handed_over: bool,
}

#[derive(Clone)]
struct Text {
    text: String,
    mode: u32,
    /// When it was last changed, in ns since 1970; 0 where nobody knows.
    changed_at_ns: u64,
}

/// Reads a file with a secret in it that is no part of the configuration.
///
/// # Errors
/// What is wrong and what to do, without the content.
pub fn read_secret(path: &Path) -> Result<Secret, String> {
    Files::on_disk(Path::new("")).secret(path)
}

impl Files {
    /// The configuration in this file, to be read from the disk.
    pub(super) fn on_disk(main: &Path) -> Files {
        Files { main: main.to_owned(), texts: RefCell::default(), is_handed_over: false }
    }

    /// The configuration's own path.
    pub(super) fn main(&self) -> &Path {
        &self.main
    }

    /// The configuration's own text.
    pub(super) fn main_text(&self) -> Result<String, String> {
        self.read(&self.main).map(|read| read.text)
    }

    /// A file that anybody may see, such as a CA certificate; relative paths are meant from where the configuration is.
    pub(super) fn public(&self, named: &Path) -> Result<String, String> {
        self.read(&beside(&self.main, named)).map(|read| read.text)
    }

    /// A file with a secret in it. The error is what is wrong and what to do, without the content.
    pub(super) fn secret(&self, named: &Path) -> Result<Secret, String> {
        let path = beside(&self.main, named);
        let Text { text, mode, .. } = self.read(&path)?;
        if mode & 0o027 != 0 {
            let shown = path.display();
            return Err(format!(
                "{shown} has mode {mode:04o}, so others can get at the secret in it; run: chmod 0640 {shown}"
            ));
        }
        Ok(Secret::new(text))
    }

    /// When a file that was read had last been changed.
    pub(super) fn changed_at(&self, named: &Path) -> Option<SystemTime> {
        let path = beside(&self.main, named);
        let at_ns = self.texts.borrow().get(&path)?.changed_at_ns;
        (at_ns > 0).then(|| UNIX_EPOCH + Duration::from_nanos(at_ns))
    }

    fn read(&self, path: &Path) -> Result<Text, String> {
        if let Some(known) = self.texts.borrow().get(path) {
            return Ok(known.clone());
        }
        if self.is_handed_over {
            return Err(format!("{} was not handed over", path.display()));
        }
        let read = from_disk(path).map_err(|error| cannot_read(path, &error))?;
        self.texts.borrow_mut().insert(path.to_owned(), read.clone());
        Ok(read)
    }

    /// All that was read, for another process.
    pub(super) fn hand_over(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.main.as_os_str().as_bytes());
        for (path, Text { text, mode, changed_at_ns }) in self.texts.borrow().iter() {
            put(&mut out, path.as_os_str().as_bytes());
            put(&mut out, &mode.to_ne_bytes());
            put(&mut out, &changed_at_ns.to_ne_bytes());
            put(&mut out, text.as_bytes());
        }
        out
    }

    /// What another process has read; `None` where it was not made by [`Files::hand_over`].
    pub(super) fn handed_over(mut from: &[u8]) -> Option<Files> {
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        let main = path(take(&mut from)?);
        let mut texts = BTreeMap::new();
        while !from.is_empty() {
            let path = path(take(&mut from)?);
            let mode = u32::from_ne_bytes(take(&mut from)?.try_into().ok()?);
            let changed_at_ns = u64::from_ne_bytes(take(&mut from)?.try_into().ok()?);
            let text = String::from_utf8(take(&mut from)?.to_vec()).ok()?;
            texts.insert(path, Text { text, mode, changed_at_ns });
        }
        Some(Files { main, texts: RefCell::new(texts), is_handed_over: true })
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_ne_bytes());
    out.extend_from_slice(bytes);
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = from.split_first_chunk()?;
    let (bytes, rest) = rest.split_at_checked(usize::try_from(u64::from_ne_bytes(*len)).ok()?)?;
    *from = rest;
    Some(bytes)
}

/// Text and mode of the same file, even where another takes its name meanwhile.
fn from_disk(path: &Path) -> io::Result<Text> {
    let mut file = File::open(path)?;
    let data = file.metadata()?;
    let since_1970 =
        data.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let changed_at_ns = u64::try_from(since_1970.as_nanos()).unwrap_or(0);
    Ok(Text { text, mode: data.permissions().mode() & 0o777, changed_at_ns })
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{shown} does not exist; put the file there or correct the path")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "{shown} cannot be read by this user; make it readable for the SIP server's user or group"
            )
        }
        io::ErrorKind::InvalidData => format!("{shown} is not a text file"),
        _ => format!("{shown} cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_the_same_and_a_part_of_it_is_nothing() {
        let text = |text: &str| Text { text: text.to_owned(), mode: 0o640, changed_at_ns: 7_000_000_000 };
        let texts = [("/etc/x.toml", "main"), ("/etc/key.p8", "k\u{e4}y"), ("/etc/empty", "")];
        let texts = texts.map(|(path, content)| (PathBuf::from(path), text(content)));
        let files =
            Files { main: "/etc/x.toml".into(), texts: RefCell::new(texts.into()), is_handed_over: false };
        let bytes = files.hand_over();
        let there = Files::handed_over(&bytes).unwrap();
        assert_eq!((there.main(), there.main_text().as_deref()), (Path::new("/etc/x.toml"), Ok("main")));
        assert_eq!(there.secret(Path::new("key.p8")).unwrap().expose(), "k\u{e4}y");
        assert_eq!(there.changed_at(Path::new("key.p8")), Some(UNIX_EPOCH + Duration::from_secs(7)));
        assert!(there.public(Path::new("/proc/version")).unwrap_err().contains("was not handed over"));
        assert!(there.hand_over() == bytes);
        assert!(Files::handed_over(&bytes[..bytes.len() - 1]).is_none());
    }
}
