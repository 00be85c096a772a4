//! CSV and JSON lines: how records are read from a file and written to one.
//!
//! It refuses columns and names that it does not know, so that a slip of the pen does not drop a column of a million lines.

use std::io::{BufRead, Read, Write};
use std::path::Path;

use super::csv::{self, Header};
use super::record::Record;
use crate::Failure;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated values (RFC 4180) with a first line that names the columns
    Csv,
    /// A JSON object a line
    Jsonl,
}

impl Format {
    /// The one that was asked for, or the one that the file's name ends in; JSON lines through a pipe.
    pub fn of(asked: Option<Format>, file: &Path) -> Result<Format, Failure> {
        if file == Path::new("-") {
            return Ok(asked.unwrap_or(Format::Jsonl));
        }
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match (asked, ending.to_ascii_lowercase().as_str()) {
            (Some(format), _) => Ok(format),
            (None, "csv") => Ok(Format::Csv),
            (None, "jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
            (None, _) => Err(Failure::Usage("add --format csv or --format jsonl".to_owned())),
        }
    }

    /// Reads records, each with the number of its line; an error is what is wrong with that line.
    pub fn read<'a>(self, input: impl Read + 'a) -> Box<dyn Iterator<Item = Line> + 'a> {
        match self {
            Format::Csv => Box::new(csv_lines(input)),
            Format::Jsonl => Box::new(json_lines(input)),
        }
    }

    /// What writes records.
    pub fn writer<W: Write>(self, out: W) -> Writer<W> {
        match self {
            Format::Csv => Writer::Csv { out, has_header: false },
            Format::Jsonl => Writer::Jsonl(out),
        }
    }
}

/// What every fault of CSV's first line begins with.
const HEADER_FAULT: &str = "the first line";

/// A line's number, from 1, and what stands there.
pub type Line = (u64, Result<Record, String>);

/// Both formats have a record a line; empty lines are passed over.
fn lines(
    input: impl Read,
    mut parse: impl FnMut(&str) -> Option<Result<Record, String>>,
) -> impl Iterator<Item = Line> {
    let mut reader = std::io::BufReader::with_capacity(1 << 16, input);
    let (mut text, mut number) = (Vec::new(), 0);
    std::iter::from_fn(move || {
        loop {
            text.clear();
            number += 1;
            match reader.read_until(b'\n', &mut text) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some((number, Err(format!("cannot be read: {error}")))),
            }
            let line = match std::str::from_utf8(&text) {
                Ok(line) => line.trim_end_matches(['\n', '\r']),
                Err(_) => return Some((number, Err("is not UTF-8".to_owned()))),
            };
            if line.trim().is_empty() {
                continue;
            }
            if let Some(read) = parse(line) {
                return Some((number, read));
            }
        }
    })
}

/// Where the first line is wrong, that is all there is to say.
fn csv_lines<'a>(input: impl Read + 'a) -> impl Iterator<Item = Line> + 'a {
    let (mut header, mut is_over) = (None, false);
    let lines = lines(input, move |line| match &header {
        Some(header) => Some(Header::record(header, line)),
        None => match Header::parse(line) {
            Ok(parsed) => {
                header = Some(parsed);
                None
            }
            Err(why) => Some(Err(why)),
        },
    });
    let mut is_first = true;
    lines.take_while(move |(_, read)| {
        let is_told = !is_over;
        is_over =
            std::mem::take(&mut is_first) && read.as_ref().is_err_and(|why| why.starts_with(HEADER_FAULT));
        is_told
    })
}

fn json_lines<'a>(input: impl Read + 'a) -> impl Iterator<Item = Line> + 'a {
    lines(input, |line| Some(serde_json::from_str(line).map_err(|error| json_words(&error))))
}

/// serde_json names fields, types and columns; where it quotes a value, only the type is told.
fn json_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let is_safe =
        ["missing field", "unknown field", "duplicate field", "EOF", "expected", "trailing", "control"];
    if is_safe.iter().any(|start| text.starts_with(start)) {
        return format!("{text} (column {})", error.column());
    }
    format!("is not a JSON object of texts and times (column {})", error.column())
}

/// Writes records in one format.
pub enum Writer<W: Write> {
    Csv { out: W, has_header: bool },
    Jsonl(W),
}

impl<W: Write> Writer<W> {
    /// Writes one.
    pub fn write(&mut self, record: &Record) -> std::io::Result<()> {
        match self {
            Writer::Csv { out, has_header } => {
                if !std::mem::replace(has_header, true) {
                    csv::write_header(out)?;
                }
                csv::write(out, record)
            }
            Writer::Jsonl(out) => {
                let mut fields = serde_json::to_value(record).map_err(std::io::Error::other)?;
                if let Some(fields) = fields.as_object_mut() {
                    fields.retain(|_, value| !value.is_null());
                }
                writeln!(out, "{fields}")
            }
        }
    }

    /// The last bytes; for CSV the header, where there was no record to bring it.
    pub fn finish(self) -> std::io::Result<()> {
        match self {
            Writer::Csv { mut out, has_header } => {
                if !has_header {
                    csv::write_header(&mut out)?;
                }
                out.flush()
            }
            Writer::Jsonl(mut out) => out.flush(),
        }
    }
}
