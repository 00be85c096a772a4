//! `voip-push completions`: what a shell needs to complete our subcommands and options.
//!
//! It refuses to install it: every system has its own place for that.

use std::io::Write;

use clap_complete::Shell;

use crate::Failure;

/// Print the completions for a shell, for instance into /usr/share/bash-completion/completions/voip-push.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints them.
pub fn run(args: &Args, mut command: clap::Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "voip-push", &mut text);
    let printed = std::io::stdout().write_all(&text);
    printed.map_err(|error| Failure::Failed(format!("standard output cannot be written: {error}")))
}
