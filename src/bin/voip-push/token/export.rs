//! `voip-push token export`: all devices into a file that `import` takes.
//!
//! It refuses to leave half a file, or one that others can read: the tokens in it are whole.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use voip_push::service::TokenStore;

use super::checksum::Checksum;
use super::format::Format;
use super::record::Record;
use super::{Database, failed};
use crate::Failure;
use crate::progress::Progress;

/// `export`.
#[derive(clap::Args, Debug)]
pub struct Export {
    /// Where to; replaced where it is there, readable by its owner only. - is standard output
    #[arg(default_value = "-")]
    file: PathBuf,
    /// How [default: as the file's name ends: .csv or .jsonl; JSON lines on standard output]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    database: Database,
}

/// Writes them all.
pub fn run(args: &Export) -> Result<(), Failure> {
    let format = Format::of(args.format, &args.file)?;
    let mut store = args.database.open()?;
    if args.file == Path::new("-") {
        let sum = write(&mut *store, format, std::io::stdout().lock(), "standard output")?;
        // The devices stand on standard output; an administrator at the terminal gets to see this all the same.
        let _ = writeln!(std::io::stderr(), "exported: {sum}");
        return Ok(());
    }
    let shown = args.file.display().to_string();
    let broken = |error: std::io::Error| Failure::Failed(format!("{shown}: {error}"));
    let draft = draft_of(&args.file);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(broken)?;
    let written = write(&mut *store, format, file, &shown);
    let placed = written.and_then(|sum| {
        std::fs::rename(&draft, &args.file).map_err(broken)?;
        Ok(sum)
    });
    match placed {
        Ok(sum) => super::edit::say(&format!("{shown}: {sum}")),
        Err(failure) => {
            // What could not be finished is of no use to anybody.
            let _ = std::fs::remove_file(&draft);
            Err(failure)
        }
    }
}

fn draft_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    PathBuf::from(name)
}

fn write(
    store: &mut dyn TokenStore,
    format: Format,
    out: impl Write,
    shown: &str,
) -> Result<Checksum, Failure> {
    let mut progress = Progress::new("exported", store.count().map_err(failed)?);
    let mut writer = format.writer(BufWriter::with_capacity(1 << 16, out));
    let (mut sum, mut written) = (Checksum::default(), Ok(()));
    store
        .each_device(&mut |device| {
            let record = Record::of(&device, true);
            written = writer.write(&record);
            sum.add(&record);
            progress.at(sum.count);
            written.is_ok()
        })
        .map_err(failed)?;
    let finished = written.and_then(|()| writer.finish());
    finished.map_err(|error| Failure::Failed(format!("{shown}: {error}")))?;
    Ok(sum)
}
