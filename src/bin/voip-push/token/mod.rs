//! `voip-push token`: the token database by hand, beside a running server.
//!
//! It refuses to show a whole token unless it is asked to, and to hold the database for longer than a moment.

mod checksum;
mod csv;
mod edit;
mod export;
mod format;
mod import;
mod input;
mod record;
mod show;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;
use voip_push::config::{Settings, StoreSettings};
use voip_push::service::{StoreError, TokenStore, open_store, prepare_store};

use crate::Failure;
use crate::config_file::ConfigFile;

/// Look at registered devices, add and delete them, and carry them over from and to files; a server may run meanwhile.
#[derive(Subcommand, Debug)]
#[command(after_help = EXIT_CODES)]
pub enum Args {
    /// List devices, those of all users or of one, a line each
    List(show::List),
    /// Show all that is known of one user's devices
    Show(show::Show),
    /// Register a device, as its app would
    Add(edit::Add),
    /// Forget one device of a user, or all
    Delete(edit::Delete),
    /// Register the devices of a CSV or JSON lines file
    Import(import::Import),
    /// Write all devices to a file, or a pipe, that import takes
    Export(export::Export),
    /// Tell how many devices there are and their checksum, beside those of an export
    Verify(verify::Verify),
}

const EXIT_CODES: &str = "\
Exit codes: 0 it was done, 1 it was not (one line on standard error says why; also: no such device), 2 wrong usage.";

/// Which database a subcommand is about.
#[derive(clap::Args, Debug)]
pub struct Database {
    #[command(flatten)]
    config: ConfigFile,
    /// The database itself, where there is no configuration: an SQLite file, or the URL of a Redis or Valkey without a password
    #[arg(long, value_name = "FILE|URL", conflicts_with = "config")]
    database: Option<PathBuf>,
}

impl Database {
    /// Opens it, making it where it is not there yet.
    pub fn open(&self) -> Result<Box<dyn TokenStore>, Failure> {
        opened(&self.settings()?)
    }

    /// The same, and what it is called.
    pub fn open_named(&self) -> Result<(Box<dyn TokenStore>, String), Failure> {
        let settings = self.settings()?;
        Ok((opened(&settings)?, settings.to_string()))
    }

    /// What it is.
    pub fn settings(&self) -> Result<StoreSettings, Failure> {
        let Some(named) = &self.database else { return Ok(self.configured()?.store) };
        match named.to_str() {
            Some(url) if url.starts_with("redis") && url.contains("://") => {
                StoreSettings::of_url(url).map_err(|error| Failure::Usage(format!("{url} {}", error.why())))
            }
            _ => Ok(StoreSettings::Sqlite(named.clone())),
        }
    }

    /// Keys that are not in order are no reason to refuse a look at the tokens.
    fn configured(&self) -> Result<Settings, Failure> {
        let read = Settings::examine(&self.config.path());
        let (settings, _) = read.map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(settings)
    }

    /// How many users may have one token: one, where there is no configuration.
    pub fn users_per_token(&self) -> Result<u32, Failure> {
        if self.database.is_some() { Ok(1) } else { Ok(self.configured()?.users_per_token) }
    }
}

/// Opens a store, making it where it is not there yet.
fn opened(settings: &StoreSettings) -> Result<Box<dyn TokenStore>, Failure> {
    prepare_store(settings).and_then(|()| open_store(settings)).map_err(failed)
}

/// Does it.
pub fn run(args: &Args) -> Result<(), Failure> {
    match args {
        Args::List(list) => show::list(list),
        Args::Show(user) => show::show(user),
        Args::Add(device) => edit::add(device),
        Args::Delete(which) => edit::delete(which),
        Args::Import(file) => import::run(file),
        Args::Export(file) => export::run(file),
        Args::Verify(file) => verify::run(file),
    }
}

fn failed(error: StoreError) -> Failure {
    Failure::Failed(error.to_string())
}
