//! `voip-push man`, for the build of a package: writes the manual pages of the command.
//!
//! It refuses to know anything about the command: all text comes from where `--help` has it, so the two cannot disagree.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use crate::Failure;

/// Write the manual pages of this command into a directory.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where they go; made when missing
    #[arg(long)]
    dir: PathBuf,
}

/// Writes `voip-push.1` and a page for each subcommand that `--help` shows.
pub fn run(args: &Args, command: Command) -> Result<(), Failure> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let written = fs::create_dir_all(&args.dir).and_then(|()| write_all(&args.dir, &command));
    written.map_err(|error| Failure::Failed(format!("{}: {error}", args.dir.display())))
}

fn write_all(dir: &Path, command: &Command) -> std::io::Result<()> {
    for shown in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write_all(dir, shown)?;
    }
    let page = Man::new(command.clone()).manual("voip_push");
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(dir.join(page.get_filename()), with_notes_as_they_stand(&String::from_utf8_lossy(&text)))
}

/// What stands after the options in `--help` has a layout of its own, which troff would fill up to paragraphs.
fn with_notes_as_they_stand(page: &str) -> String {
    let Some((before, notes)) = page.split_once("\n.SH EXTRA\n") else { return page.to_owned() };
    let (notes, after) = notes.split_once("\n.SH ").unwrap_or((notes.trim_end(), ""));
    let after = if after.is_empty() { String::new() } else { format!(".SH {after}") };
    format!("{before}\n.SH NOTES\n.nf\n{notes}\n.fi\n{after}")
}
