//! `voip-push token import`: the devices of a file into the database, beside a running server.
//!
//! It refuses to write anything before every line was looked at: one bad line in a million, and nothing has happened.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use voip_push::clock::now_ms;
use voip_push::service::{Imported, ToImport, TokenStore};

use super::Database;
use super::checksum::Checksum;
use super::format::Format;
use super::input::Input;
use super::record::Record;
use crate::Failure;
use crate::progress::Progress;

/// So many devices are written in one transaction: some milliseconds, for which the server's writers wait.
const BATCH: usize = 500;

/// `import`.
#[derive(clap::Args, Debug)]
#[command(after_help = COLUMNS)]
pub struct Import {
    /// Where from; - is standard input, which goes into a file without a name in TMPDIR first
    #[arg(default_value = "-")]
    file: PathBuf,
    /// How [default: as the file's name ends: .csv or .jsonl; JSON lines on standard input]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Look at every line and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Begin at this line of the file, to go on after an import that was broken off
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    from_line: u64,
    #[command(flatten)]
    database: Database,
}

const COLUMNS: &str = "\
Columns of CSV (the first line names them, in any order) and names in JSON lines:
  user, token, platform (ios or android)           must be there
  provider, device_id, app, environment, alert_token, alert_app   as in a registration; empty is absent
  registered_at_ms, expires_at_ms                  ms since 1970; absent is now, and never

All lines are looked at before anything is written; a bad one is told by its number. Then 500 devices at a time are
written, all or none of each 500. What has registered later than the file says stays as it is, so that an import can be
repeated at any time.";

/// Looks at every line, then writes.
pub fn run(args: &Import) -> Result<(), Failure> {
    let format = Format::of(args.format, &args.file)?;
    let mut job = Job {
        input: Input::open(&args.file)?,
        format,
        shown: args.file.display().to_string(),
        from_line: args.from_line,
        now_ms: now_ms(),
        makes_room: true,
    };
    let sum = job.look()?;
    if args.dry_run {
        return super::edit::say(&format!("{}: {sum}; all are in order; nothing was written", job.shown));
    }
    let settings = args.database.settings()?;
    job.makes_room = settings.sqlite().is_some();
    let Imported { new, renewed, left } = job.write(&mut *super::opened(&settings)?, sum.count)?;
    super::edit::say(&format!("{}: {sum}: {new} new, {renewed} renewed, {left} left as they were", job.shown))
}

/// Every device of a file, with its line, or what is wrong there.
pub fn devices<'a>(
    input: &'a Input,
    format: Format,
    shown: &Path,
) -> Result<impl Iterator<Item = (u64, Result<ToImport, String>)> + 'a, Failure> {
    let read = input.reread();
    let read = read.map_err(|error| Failure::Failed(format!("{}: {error}", shown.display())))?;
    let now_ms = now_ms();
    Ok(format.read(read).map(move |(line, record)| (line, checked(record, now_ms))))
}

fn checked(record: Result<Record, String>, now_ms: i64) -> Result<ToImport, String> {
    record.and_then(|record| record.check(now_ms).map_err(|invalid| invalid.to_string()))
}

struct Job {
    input: Input,
    format: Format,
    shown: String,
    from_line: u64,
    now_ms: i64,
    /// Whether other writers of the store wait while a batch is written.
    makes_room: bool,
}

impl Job {
    /// Every device of the file, with its line, or what is wrong there.
    fn lines(&self) -> Result<impl Iterator<Item = (u64, Result<ToImport, String>)> + '_, Failure> {
        let input = self.input.reread();
        let input = input.map_err(|error| Failure::Failed(format!("{}: {error}", self.shown)))?;
        let lines = self.format.read(input).filter(|(line, read)| *line >= self.from_line || read.is_err());
        Ok(lines.map(|(line, record)| (line, checked(record, self.now_ms))))
    }

    /// How many devices there are and their checksum, where every line is in order.
    fn look(&self) -> Result<Checksum, Failure> {
        let mut progress = Progress::of_unknown("looked at");
        let (mut sum, mut bad, mut first) = (Checksum::default(), 0u64, None);
        for (line, device) in self.lines()? {
            match device {
                Ok(device) => sum.add(&Record::of_import(&device)),
                Err(why) => {
                    bad += 1;
                    first.get_or_insert((line, why));
                }
            }
            progress.at(sum.count + bad);
        }
        drop(progress);
        let Some((line, why)) = first else { return Ok(sum) };
        let more = match bad {
            1 => "the only bad line".to_owned(),
            _ => format!("the first of {bad} bad lines"),
        };
        Err(Failure::Failed(format!("{}: line {line}: {why} ({more}); nothing was imported", self.shown)))
    }

    fn write(&self, store: &mut dyn TokenStore, count: u64) -> Result<Imported, Failure> {
        let mut progress = Progress::new("imported", count);
        let mut total = Imported::default();
        let mut batch = Vec::with_capacity(BATCH);
        let (mut first_line, mut done) = (None, 0);
        for (line, device) in self.lines()? {
            // Every line was in order when it was looked at.
            let device = device.map_err(|why| self.broken_off(line, &why))?;
            first_line.get_or_insert(line);
            batch.push(device);
            if batch.len() == BATCH {
                self.flush(store, &mut batch, first_line.take(), &mut total)?;
                done += BATCH as u64;
                progress.at(done);
            }
        }
        self.flush(store, &mut batch, first_line, &mut total)?;
        Ok(total)
    }

    /// Writes a batch, and leaves an SQLite file to others for a while: who waits for its lock looks for it only now and then.
    fn flush(
        &self,
        store: &mut dyn TokenStore,
        batch: &mut Vec<ToImport>,
        first_line: Option<u64>,
        total: &mut Imported,
    ) -> Result<(), Failure> {
        let Some(first_line) = first_line else { return Ok(()) };
        let start = Instant::now();
        let done = store.import(batch).map_err(|error| self.broken_off(first_line, &error.to_string()))?;
        total.new += done.new;
        total.renewed += done.renewed;
        total.left += done.left;
        batch.clear();
        if self.makes_room {
            std::thread::sleep((start.elapsed() / 2).min(Duration::from_millis(100)));
        }
        Ok(())
    }

    fn broken_off(&self, line: u64, why: &str) -> Failure {
        let shown = &self.shown;
        Failure::Failed(format!(
            "{shown}: {why}; everything before line {line} is imported, nothing from there on: go on with --from-line {line}"
        ))
    }
}
