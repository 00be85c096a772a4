//! Secrets: read from files that only the server may read, and never shown.
//!
//! It refuses files that everybody on the machine can read or that others can change.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A text that is never printed, logged or serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: String) -> Self {
        Secret(text)
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("secret")
    }
}

/// Reads a file with a secret in it.
///
/// # Errors
/// What is wrong and what to do, without the content.
pub fn read_secret(path: &Path) -> Result<Secret, String> {
    let text = read_public(path)?;
    let mode = fs::metadata(path).map_err(|error| cannot_read(path, &error))?.mode() & 0o777;
    if mode & 0o027 != 0 {
        let shown = path.display();
        return Err(format!(
            "{shown} has mode {mode:04o}, so others can get at the secret in it; run: chmod 0640 {shown}"
        ));
    }
    Ok(Secret(text))
}

/// Reads a file that anybody may see, such as a CA certificate.
pub(super) fn read_public(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| cannot_read(path, &error))
}

fn cannot_read(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("{shown} does not exist; put the file there or correct the path")
        }
        std::io::ErrorKind::PermissionDenied => {
            format!(
                "{shown} cannot be read by this user; make it readable for the SIP server's user or group"
            )
        }
        std::io::ErrorKind::InvalidData => format!("{shown} is not a text file"),
        _ => format!("{shown} cannot be read: {error}"),
    }
}
