//! `voip-push watch`: what a running server counts, as it happens.
//!
//! It refuses to look into the server's memory: the server's own tools, kamcmd and opensips-cli, ask it.

mod ask;
mod view;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use voip_push::clock::now_s;
use voip_push::model::utc;

use crate::Failure;
use ask::{Numbers, Server};

/// Show counters and latency of a running server, again and again.
#[derive(clap::Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// Who is asked [default: opensips-cli where it is installed and kamcmd is not, else kamcmd]
    #[arg(long, value_enum)]
    server: Option<Tool>,
    /// The program, where it is not in PATH
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Kamailio's control socket, as for kamcmd -s [default: kamcmd's own]
    #[arg(long, value_name = "SOCKET")]
    socket: Option<String>,
    /// How often, in seconds
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Print the numbers once and end
    #[arg(long)]
    once: bool,
    /// Print all numbers once, as one JSON object
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "\
Ctrl-C ends it. Exit codes: 0 it was shown, 1 the server could not be asked, 2 wrong usage.";

/// Which server's tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    /// kamcmd asks Kamailio; it needs ctl.so there
    Kamailio,
    /// opensips-cli asks OpenSIPS; it needs mi_fifo.so there
    Opensips,
}

/// Shows it until somebody has seen enough.
pub fn run(args: &Args) -> Result<(), Failure> {
    let server = Server::new(args.server, args.program.clone(), args.socket.clone());
    let first = server.ask().map_err(Failure::Failed)?;
    if args.json {
        return print(&first.json());
    }
    if args.once {
        return print(&view::page(&first, None));
    }
    show(&server, first, Duration::from_secs(args.every))
}

fn show(server: &Server, first: Numbers, every: Duration) -> Result<(), Failure> {
    let is_terminal = std::io::stdout().is_terminal();
    let (mut last, mut at) = (first, Instant::now());
    print(&page(server, &last, None, is_terminal))?;
    loop {
        std::thread::sleep(every);
        let text = match server.ask() {
            Ok(now) => {
                let text = page(server, &now, Some((&last, at.elapsed())), is_terminal);
                (last, at) = (now, Instant::now());
                text
            }
            // A server that is restarted comes back.
            Err(why) => format!("{why}; asked again in {} s", every.as_secs()),
        };
        print(&text)?;
    }
}

/// On a terminal, each page takes the place of the last.
fn page(server: &Server, now: &Numbers, before: Option<(&Numbers, Duration)>, is_terminal: bool) -> String {
    let start = if is_terminal { "\x1b[H\x1b[2J" } else { "" };
    let time = utc(now_s());
    format!("{start}voip_push, asked by {}, {time}\n\n{}", server.name(), view::page(now, before))
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}")
        .map_err(|error| Failure::Failed(format!("standard output cannot be written: {error}")))
}
