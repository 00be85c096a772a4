//! The module's file as the SIP server's dynamic linker sees it: the machine, the glibc that it needs, and whether it opens.
//!
//! It refuses to open it in this process: a file that ends its process there only ends a child.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use voip_push::process::{libc_version, try_open};

use crate::Failure;

/// What Kamailio and OpenSIPS look up.
const LOOKED_UP: [&CStr; 3] = [c"exports", c"module_version", c"module_flags"];
/// Where an ELF file says how wide its words are, in which order its bytes are, and which machine it is for.
const CLASS_AND_ORDER: std::ops::Range<usize> = 4..6;
const MACHINE: std::ops::Range<usize> = 18..20;
/// What the versions of glibc's symbols begin with.
const GLIBC: &[u8] = b"GLIBC_2.";

/// Open a module's file, for voip-push check.
#[derive(clap::Args, Debug)]
pub struct Args {
    file: PathBuf,
}

/// What `voip-push check` starts for [`opens`]: prints why it cannot be opened.
pub fn run(args: &Args) -> Result<(), Failure> {
    let Err(why) = try_open(&args.file, &LOOKED_UP) else { return Ok(()) };
    // Nobody is left to be told when standard output is gone.
    let _ = std::io::stdout().write_all(why.as_bytes());
    Err(Failure::Told(1))
}

/// Looks whether a server on this machine could open the module, whose bytes these are.
///
/// # Errors
/// What is wrong, and what to do.
pub fn check(module: &Path, bytes: &[u8]) -> Result<String, String> {
    let own = own_header().map_err(|error| format!("cannot be judged: {error}"))?;
    let part = |bytes: &[u8], part| bytes.get(part).map(<[u8]>::to_vec);
    if [CLASS_AND_ORDER, MACHINE].into_iter().any(|range| part(bytes, range.clone()) != part(&own, range)) {
        return Err("is for another machine; take the package of this one's architecture".to_owned());
    }
    let (needed, here) = (needed_glibc(bytes), libc_version());
    if number(&needed) > number(&here) {
        return Err(format!(
            "needs glibc {needed}, this system has {here}; build it on a system as old as this"
        ));
    }
    opens(module)?;
    Ok(format!("needs glibc {needed}, {here} is here"))
}

/// How this command's own file begins.
fn own_header() -> std::io::Result<[u8; MACHINE.end]> {
    let mut header = [0; MACHINE.end];
    File::open(std::env::current_exe()?)?.read_exact(&mut header)?;
    Ok(header)
}

fn opens(module: &Path) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program);
    child.arg("open-module").arg(module).stdin(Stdio::null()).stderr(Stdio::null());
    let ended = child.output().map_err(|error| format!("cannot be tried: {error}"))?;
    match (ended.status.success(), ended.status.signal()) {
        (true, _) => Ok(()),
        (false, Some(signal)) => {
            Err(format!("ends the process that opens it, with signal {signal}; install it again"))
        }
        (false, None) => {
            let why = String::from_utf8_lossy(&ended.stdout).replace('\n', " ");
            Err(format!("cannot be opened: {why}; install what is missing, or the module again"))
        }
    }
}

/// The newest glibc that any symbol asks for, as `2.34`.
fn needed_glibc(bytes: &[u8]) -> String {
    let versions = bytes.split(|byte| *byte == 0).filter_map(|text| text.strip_prefix(GLIBC));
    // 2.3.4 was before 2.4.
    let minor = |version: &[u8]| std::str::from_utf8(version).ok()?.split('.').next()?.parse::<u32>().ok();
    format!("2.{}", versions.filter_map(minor).max().unwrap_or(0))
}

/// `2.36` as a number that grows with it.
fn number(version: &str) -> u32 {
    let minor = version.split(['.', '-']).nth(1);
    minor.and_then(|minor| minor.parse().ok()).unwrap_or(0)
}
