//! `voip-push`, the administrator's command: one subcommand per task.
//!
//! It refuses to be vague about how it ended: exit code 0 is success, 2 is wrong usage, and 1 is a failure
//! that one line on standard error explains.

mod call;
mod check;
mod completions;
mod config_file;
mod key;
mod man;
mod progress;
mod send;
mod serve;
mod simulate;
mod token;
mod watch;

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
    Call(call::CallArgs),
    User(call::UserArgs),
    Check(check::Args),
    Send(Box<send::Args>),
    Watch(watch::Args),
    Simulate(Box<simulate::Args>),
    #[command(subcommand)]
    Key(key::Args),
    #[command(subcommand)]
    Token(token::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
    Serve(serve::Args),
    #[command(hide = true)]
    OpenModule(check::OpenModule),
}

/// Why a subcommand did not succeed; the text is one line without secrets.
#[derive(Debug)]
pub enum Failure {
    /// The arguments make no sense together: exit code 2.
    Usage(String),
    /// The arguments were fine, the work was not possible: exit code 1.
    Failed(String),
    /// What is wrong was told on standard output: this exit code.
    Told(u8),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Failed(_) => ExitCode::from(1),
            Failure::Told(code) => ExitCode::from(*code),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Failed(text) => out.write_str(text),
            Failure::Told(code) => write!(out, "exit code {code}"),
        }
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Call(args) => call::call(&args),
        Command::User(args) => call::user(&args),
        Command::Check(args) => check::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Simulate(args) => simulate::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Man(args) => man::run(&args, Cli::command()),
        Command::Serve(args) => serve::run(&args),
        Command::OpenModule(args) => check::open_module(&args),
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    if matches!(failure, Failure::Told(_)) {
        return failure.exit_code();
    }
    // Nobody is left to be told when standard error is gone, hence the ignored result.
    let _ = writeln!(std::io::stderr(), "voip-push: {failure}");
    failure.exit_code()
}
