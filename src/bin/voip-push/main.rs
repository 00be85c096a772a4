//! `voip-push`, the administrator's command: one subcommand per task.
//!
//! It refuses to be vague about how it ended: exit code 0 is success, 2 is wrong usage, and 1 is a failure
//! that one line on standard error explains.

mod key;
mod man;
mod simulate;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// VoIP pushes for SIP servers: try them, look at them, check them.
#[derive(Parser)]
#[command(name = "voip-push", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Simulate(Box<simulate::Args>),
    #[command(subcommand)]
    Key(key::Args),
    #[command(hide = true)]
    Man(man::Args),
}

/// Why a subcommand did not succeed; the text is one line without secrets.
#[derive(Debug)]
pub enum Failure {
    /// The arguments make no sense together: exit code 2.
    Usage(String),
    /// The arguments were fine, the work was not possible: exit code 1.
    Failed(String),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Failed(_) => ExitCode::from(1),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(text) | Failure::Failed(text)) = self;
        out.write_str(text)
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Simulate(args) => simulate::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Man(args) => man::run(&args, Cli::command()),
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    // Nobody is left to be told when standard error is gone, hence the ignored result.
    let _ = writeln!(std::io::stderr(), "voip-push: {failure}");
    failure.exit_code()
}
