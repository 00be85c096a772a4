//! The token database: is it there, is it ours, can it be written, and by whom.
//!
//! It refuses to make it: the SIP server does that, as its own user.

use std::fs::{Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use voip_push::service::{Inspection, MadeBy, SCHEMA, SqliteStore};

use super::files::{mode, owner};
use super::report::Report;

const ABOUT: &str = "database";

/// Looks at the file, or at the place where it will be.
pub fn check(report: &mut Report, path: &Path) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(directory_data) = std::fs::metadata(directory) else {
        let shown = directory.display();
        return report.broken(
            ABOUT,
            format!("the directory {shown} does not exist; make it, and give it to the SIP server's user"),
        );
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => not_yet(report, directory, path),
        Err(error) => report.broken(ABOUT, format!("{}: {error}", path.display())),
        Ok(file_data) => there(report, path, &file_data, &directory_data),
    }
}

/// Writing is tried, since only the kernel knows all that may stand against it.
fn not_yet(report: &mut Report, directory: &Path, path: &Path) {
    let trial = directory.join(format!(".voip-push-check.{}", std::process::id()));
    let shown = path.display();
    match OpenOptions::new().write(true).create_new(true).open(&trial) {
        Ok(_) => {
            // It was made a line above; a directory that lets us write lets us take away as well.
            let _ = std::fs::remove_file(&trial);
            report.ok(ABOUT, format!("{shown} is not there yet; the SIP server makes it when it starts"));
        }
        Err(error) => report.broken(
            ABOUT,
            format!("{shown} cannot be made: {error}; give its directory to the SIP server's user"),
        ),
    }
}

fn there(report: &mut Report, path: &Path, file_data: &Metadata, directory_data: &Metadata) {
    let shown = path.display();
    match SqliteStore::inspect(path) {
        Ok(inspection) => inspected(report, path, &inspection, file_data),
        Err(error) => report.broken(ABOUT, format!("{shown}: {error}")),
    }
    if file_data.uid() != directory_data.uid() {
        let (own, other) = (owner(file_data), owner(directory_data));
        report.warning(
            ABOUT,
            format!("{shown} belongs to {own}, but its directory to {other}; run: chown {other} {shown}*"),
        );
    }
    if mode(file_data) & 0o007 != 0 {
        let mode = mode(file_data);
        report.warning(
            ABOUT,
            format!(
                "{shown} has mode {mode:04o}, so everybody can get at the tokens; run: chmod 0640 {shown}*"
            ),
        );
    }
}

fn inspected(report: &mut Report, path: &Path, inspection: &Inspection, file_data: &Metadata) {
    let shown = path.display();
    let Inspection { schema, made_by, journal_mode, devices, not_writable } = inspection;
    if *made_by == MadeBy::Others {
        return report.broken(
            ABOUT,
            format!("{shown} belongs to another program; name a file of its own in [store] url"),
        );
    }
    if *schema > SCHEMA {
        return report.broken(
            ABOUT,
            format!("{shown} has schema {schema}, this voip_push knows up to {SCHEMA}; install a newer one"),
        );
    }
    if let Some(why) = not_writable {
        return report.broken(
            ABOUT,
            format!("{shown} cannot be written: {why}; give it and its directory to the SIP server's user"),
        );
    }
    if *made_by == MadeBy::Us && journal_mode != "wal" {
        report.warning(
            ABOUT,
            format!("{shown} has journal mode {journal_mode}, in which writers block readers; the SIP server sets wal when it starts"),
        );
    }
    let schema = match made_by {
        MadeBy::Us if *schema == SCHEMA => format!("schema {schema}"),
        MadeBy::Us => format!("schema {schema}, which becomes {SCHEMA} when the SIP server starts"),
        MadeBy::Nobody => "empty".to_owned(),
        MadeBy::Seed | MadeBy::Others => {
            "the seed's table, which is taken over when the SIP server starts".to_owned()
        }
    };
    let (owner, mode) = (owner(file_data), mode(file_data));
    report.ok(
        ABOUT,
        format!("{shown}, owner {owner}, mode {mode:04o}, {schema}, {journal_mode}, {devices} devices"),
    );
}
