//! The module's file and the SIP server that is to load it.
//!
//! It refuses to load the one or to start the other: a server is only asked for its version.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use voip_push::host::check_version;

use super::opened;
use super::report::Report;

/// Where programs of a system administrator are, beside PATH: a user's often lacks them.
const PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];
/// Where OpenSIPS looks for modules; it does not tell.
const OPENSIPS_MODULES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/opensips/modules",
    "/usr/lib64/opensips/modules",
    "/usr/lib/opensips/modules",
    "/usr/local/lib64/opensips/modules",
];
/// What stands before the version in our module's `module_version`.
const MARK: &[u8] = b"voip_push ";

/// Looks at the named server, or at those that are installed, and at their module; gives back one that is there.
pub fn check(report: &mut Report, server: Option<&Path>, module: Option<&Path>) -> Option<PathBuf> {
    let servers = match server {
        Some(named) => vec![named.to_owned()],
        None => ["kamailio", "opensips"].iter().filter_map(|name| installed(name)).collect(),
    };
    if servers.is_empty() {
        report.skipped("server", "neither kamailio nor opensips is installed; --server names one".to_owned());
    }
    let places: Vec<PathBuf> = servers.iter().filter_map(|server| look_at(report, server)).collect();
    let modules: Vec<PathBuf> = match module {
        Some(module) => vec![module.to_owned()],
        None => places.iter().map(|place| place.join("voip_push.so")).collect(),
    };
    if modules.is_empty() {
        report.skipped("module", "not looked for; --module names its file".to_owned());
    }
    for path in &modules {
        if module.is_some() { file(report, path) } else { in_place(report, path) }
    }
    modules.into_iter().find(|path| path.is_file())
}

fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(PLACES.map(PathBuf::from));
    places.map(|place| place.join(name)).find(|program| program.is_file())
}

/// Asks a server for its version, and gives the directory of its modules where that is known.
fn look_at(report: &mut Report, server: &Path) -> Option<PathBuf> {
    let shown = server.display();
    // Both know it. OpenSIPS' -v is another option, with which it would start.
    let version = said(server, "-V").and_then(|text| version_line(&text));
    let Some(version) = version else {
        report.broken("server", format!("{shown} does not tell its version; is it kamailio or opensips?"));
        return None;
    };
    match check_version(&version) {
        Ok(()) => report.ok("server", format!("{shown}, {version}")),
        Err(why) => report.broken("server", format!("{shown}: {why}")),
    }
    if version.starts_with("opensips") {
        return OPENSIPS_MODULES.iter().map(PathBuf::from).find(|place| place.is_dir());
    }
    let internals = said(server, "-I")?;
    let place = internals.lines().find_map(|line| line.trim().strip_prefix("Default paths to modules: "))?;
    Some(PathBuf::from(place.split(':').next()?))
}

fn version_line(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("version: ")).map(|version| version.trim().to_owned())
}

fn said(server: &Path, option: &str) -> Option<String> {
    let output = Command::new(server).arg(option).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn in_place(report: &mut Report, module: &Path) {
    if module.exists() {
        return file(report, module);
    }
    let shown = module.display();
    report.warning(
        "module",
        format!("{shown} is not there; install it, or say with --module what loadmodule names"),
    );
}

fn file(report: &mut Report, module: &Path) {
    let shown = module.display();
    let read = std::fs::metadata(module).and_then(|metadata| Ok((metadata.mode(), std::fs::read(module)?)));
    let (mode, bytes) = match read {
        Ok(read) => read,
        Err(error) => return report.broken("module", format!("{shown}: {error}; install it there")),
    };
    let ours = env!("CARGO_PKG_VERSION");
    match version(&bytes) {
        None => report
            .broken("module", format!("{shown} is not a voip_push module; name libvoip_push.so or its copy")),
        Some(theirs) if theirs != ours => report.broken(
            "module",
            format!(
                "{shown} is version {theirs}, this command is {ours}; install both from the same package"
            ),
        ),
        Some(_) if mode & 0o022 != 0 => report.broken(
            "module",
            format!(
                "{shown} has mode {:04o}, so others can change it; run: chmod 0644 {shown}",
                mode & 0o7777
            ),
        ),
        Some(_) => match opened::check(module, &bytes) {
            Ok(found) => report.ok("module", format!("{shown}, version {ours}, {found}")),
            Err(why) => report.broken("module", format!("{shown} {why}")),
        },
    }
}

/// The version in a module's file.
fn version(bytes: &[u8]) -> Option<String> {
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let mut at = 0;
    while let Some(found) = bytes.get(at..)?.windows(MARK.len()).position(|window| window == MARK) {
        at += found + MARK.len();
        let text: Vec<u8> = bytes[at..].iter().copied().take(32).take_while(|byte| *byte != 0).collect();
        let is_version = text.len() < 32
            && text.first().is_some_and(u8::is_ascii_digit)
            && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(byte));
        if is_version {
            return String::from_utf8(text).ok();
        }
    }
    None
}
