//! What `import` reads twice: a file, or what came through a pipe.
//!
//! It refuses to hold a million devices in memory: a pipe goes into a file without a name first.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::Failure;

/// A file that can be read from its beginning as often as one likes.
pub struct Input(File);

impl Input {
    /// Opens a file; `-` is standard input. A pipe is read to its end, and where its writer has failed, what it did not write is
    /// not known here: compare both ends' counts.
    pub fn open(path: &Path) -> Result<Input, Failure> {
        let broken = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
        if path == Path::new("-") {
            return spooled(&mut io::stdin().lock());
        }
        let mut file = File::open(path).map_err(broken)?;
        if file.metadata().map_err(broken)?.is_file() {
            return Ok(Input(file));
        }
        spooled(&mut file)
    }

    /// From the beginning.
    pub fn reread(&self) -> io::Result<impl Read + '_> {
        let mut file = &self.0;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }
}

/// Copies into a file that has no name, so that nobody else can open it and nothing is left of it.
fn spooled(from: &mut impl Read) -> Result<Input, Failure> {
    let directory = std::env::temp_dir();
    let mut make = || {
        let mut open = OpenOptions::new();
        open.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE | libc::O_EXCL);
        let mut file = open.open(&directory)?;
        io::copy(from, &mut file)?;
        Ok(file)
    };
    make().map(Input).map_err(|error: io::Error| {
        let shown = directory.display();
        Failure::Failed(format!(
            "what comes through a pipe is kept in {shown} until it was looked at: {error}; set TMPDIR to where there is room"
        ))
    })
}
