//! `--config`: which configuration a subcommand is about.
//!
//! It refuses to search: the option, then `VOIP_PUSH_CONFIG` as for C programs, then the package's place.

use std::path::PathBuf;

const DEFAULT: &str = "/etc/voip-push/voip-push.toml";

/// The option that most subcommands have.
#[derive(clap::Args, Debug)]
pub struct ConfigFile {
    /// The configuration [default: $VOIP_PUSH_CONFIG, or /etc/voip-push/voip-push.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        let named =
            || std::env::var_os("VOIP_PUSH_CONFIG").filter(|name| !name.is_empty()).map(PathBuf::from);
        self.config.clone().or_else(named).unwrap_or_else(|| PathBuf::from(DEFAULT))
    }
}
