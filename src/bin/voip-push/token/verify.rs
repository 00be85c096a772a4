//! `voip-push token verify`: how many devices a store has and their checksum, beside those of a file.
//!
//! It refuses to say which devices differ: that would be a list of tokens.

use std::path::PathBuf;

use super::checksum::Checksum;
use super::format::Format;
use super::input::Input;
use super::record::Record;
use super::{Database, failed, import};
use crate::Failure;
use crate::progress::Progress;

/// `verify`.
#[derive(clap::Args, Debug)]
#[command(after_help = MEANING)]
pub struct Verify {
    /// An export that the database is compared with; - is standard input
    file: Option<PathBuf>,
    /// How that is written [default: as the file's name ends: .csv or .jsonl; JSON lines on standard input]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    database: Database,
}

const MEANING: &str = "\
The checksum is a sum over all devices that does not depend on their order: two stores with the same devices have the same one.
Phones that register meanwhile change it.";

/// Prints count and checksum; with a file, fails where they are not the file's.
pub fn run(args: &Verify) -> Result<(), Failure> {
    let expected = args.file.as_ref().map(|file| of_file(args, file)).transpose()?;
    let (mut store, shown) = args.database.open_named()?;
    let mut progress = Progress::new("read", store.count().map_err(failed)?);
    let mut sum = Checksum::default();
    let mut tell = |device| {
        sum.add(&Record::of(&device, true));
        progress.at(sum.count);
        true
    };
    store.each_device(&mut tell).map_err(failed)?;
    drop(progress);
    match (&args.file, expected) {
        (Some(file), Some(expected)) if expected != sum => {
            Err(Failure::Failed(format!("{} has {expected}; {shown} has {sum}", file.display())))
        }
        _ => super::edit::say(&format!("{shown}: {sum}")),
    }
}

fn of_file(args: &Verify, file: &std::path::Path) -> Result<Checksum, Failure> {
    let format = Format::of(args.format, file)?;
    let mut progress = Progress::of_unknown("looked at");
    let mut sum = Checksum::default();
    for (line, device) in import::devices(&Input::open(file)?, format, file)? {
        let device =
            device.map_err(|why| Failure::Failed(format!("{}: line {line}: {why}", file.display())))?;
        sum.add(&Record::of_import(&device));
        progress.at(sum.count);
    }
    Ok(sum)
}
