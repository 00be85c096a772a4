//! `voip-push key`: makes keys of the REST API.
//!
//! It refuses to take a key as an argument, where `ps` would show it, and to write one to a disk: a new key is printed once,
//! and its hash is kept.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use voip_push::config::{ApiKey, ApiKeys};
use voip_push::model::Scope;

use crate::Failure;
use crate::simulate::random_key;

/// Longest key taken on standard input, in bytes.
const MAX_KEY_LEN: u64 = 4096;

/// Make keys of the REST API; the SIP server reads their file when it starts.
#[derive(Subcommand, Debug)]
pub enum Args {
    /// Make a key, print it once, and append its hash to the file
    Add {
        /// Whom it is for: letters, digits and - _ . @
        name: String,
        /// What it may be used for: register, read, delete or admin (everything); may be given several times
        #[arg(long = "scope", required = true, value_delimiter = ',', value_parser = scope)]
        scopes: Vec<Scope>,
        /// The file that [rest] api_keys_file names; made when missing
        #[arg(long, default_value = "/etc/voip-push/api-keys")]
        file: PathBuf,
    },
    /// Read a key from standard input and print the line that stands for it in the file
    Hash {
        /// Whom it is for: letters, digits and - _ . @
        name: String,
        /// What it may be used for: register, read, delete or admin (everything); may be given several times
        #[arg(long = "scope", required = true, value_delimiter = ',', value_parser = scope)]
        scopes: Vec<Scope>,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).map_err(|invalid| invalid.why)
}

/// Does it.
pub fn run(args: &Args) -> Result<(), Failure> {
    match args {
        Args::Add { name, scopes, file } => add(name, scopes, file),
        Args::Hash { name, scopes } => print(&made(name, scopes, read_key()?.trim())?.line()),
    }
}

fn add(name: &str, scopes: &[Scope], file: &Path) -> Result<(), Failure> {
    let key = random_key();
    let line = made(name, scopes, &key)?.line();
    let there = match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| failed(file, &error))?,
    };
    let keys = ApiKeys::parse(&there).map_err(|why| Failure::Failed(format!("{}: {why}", file.display())))?;
    if keys.named(name).is_some() {
        let shown = file.display();
        return Err(Failure::Failed(format!(
            "{shown} has a key {name} already; take its line out, or another name"
        )));
    }
    let gap = if there.is_empty() || there.ends_with('\n') { "" } else { "\n" };
    let mut opened = OpenOptions::new();
    let opened = opened.append(true).create(true).mode(0o640).open(file);
    // In one piece: whoever reads or appends meanwhile sees whole lines.
    let written = opened.and_then(|mut file| file.write_all(format!("{gap}{line}\n").as_bytes()));
    written.map_err(|error| failed(file, &error))?;
    print(&key)
}

fn made(name: &str, scopes: &[Scope], key: &str) -> Result<ApiKey, Failure> {
    ApiKey::new(name, scopes, key).map_err(|invalid| Failure::Usage(invalid.to_string()))
}

fn read_key() -> Result<String, Failure> {
    let mut key = String::new();
    let read = std::io::stdin().take(MAX_KEY_LEN).read_to_string(&mut key);
    read.map_err(|error| Failure::Failed(format!("the key cannot be read from standard input: {error}")))?;
    Ok(key)
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|error| Failure::Failed(format!("standard output cannot be written: {error}")))
}

fn failed(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", file.display()))
}
