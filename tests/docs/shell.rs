//! Runs the commands of a document in a machine of its own: namespaces for mounts, network and processes.
//!
//! It refuses to let a document change the machine that tests it, or to hang.

use super::blocks::{Block, Kind};
use super::support::{built_library, ends_with_us, poll, target_dir};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(240);

/// Runs the blocks of one document in one shell, one after the other, and compares what they print with what the document says.
#[allow(clippy::print_stderr, reason = "what was not run must be seen")]
pub fn run(name: &str, blocks: &[Block]) {
    let out = target_dir().join("docs").join(format!("{name}-{}", std::process::id()));
    prepare(&out);
    fs::write(out.join("script"), script(blocks)).unwrap();
    let mut child = command(&out).spawn().expect("needs Debian's package util-linux");
    let ended = poll(DEADLINE, || child.try_wait().unwrap());
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let at = fs::read_to_string(out.join("at")).unwrap_or_default();
    let said = fs::read_to_string(out.join("log")).unwrap() + &printed(&out, at.trim());
    if ended.is_some_and(|status| status.code() == Some(77)) || said.starts_with("unshare: ") {
        eprintln!("not run: {name}, since this machine lets nobody make namespaces or mount: {said}");
        return;
    }
    assert!(ended.is_some_and(|status| status.success()), "{at}: {ended:?} (None: too slow)\n{said}");
    for pair in blocks.windows(2) {
        if let [Block { kind: Kind::Run { .. }, .. }, Block { kind: Kind::Output, .. }] = pair {
            compare(&pair[1], &printed(&out, &pair[0].line.to_string()));
        }
    }
    fs::remove_dir_all(&out).unwrap();
}

/// What was built, under the names that packaging/install looks for, and a place to mount on.
fn prepare(out: &Path) {
    fs::create_dir_all(out.join("build")).unwrap();
    fs::create_dir(out.join("layer")).unwrap();
    symlink(built_library(), out.join("build/libvoip_push.so")).unwrap();
    symlink(env!("CARGO_BIN_EXE_voip-push"), out.join("build/voip-push")).unwrap();
}

fn script(blocks: &[Block]) -> String {
    let mut script = format!("set -eu -o pipefail\n{}", include_str!("world.sh"));
    for block in blocks {
        if let Kind::Run { until } = &block.kind {
            let (line, text) = (block.line, &block.text);
            let wait = until.as_ref().map(|path| format!("await {path}\n")).unwrap_or_default();
            script += &format!("echo {line} > /mnt/at\n{{\n{text}{wait}}} > /mnt/{line} 2>&1\n");
        }
    }
    script
}

/// Root makes namespaces; whoever is not root asks sudo, as tests/setup does.
fn command(out: &Path) -> Command {
    // SAFETY: geteuid has no preconditions.
    let is_root = unsafe { libc::geteuid() } == 0;
    let mut command = Command::new(if is_root { "env" } else { "sudo" });
    command.arg(format!("OUT={}", out.display())).arg(format!("ROOT={}", env!("CARGO_MANIFEST_DIR")));
    command.arg(format!("BUILD={}/build", out.display()));
    command.args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    let log = File::create(out.join("log")).unwrap();
    command.args(["bash", "script"]).current_dir(out).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    ends_with_us(&mut command);
    command
}

fn printed(out: &Path, line: &str) -> String {
    let path: PathBuf = out.join(line);
    if path.is_file() {
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    } else {
        String::new()
    }
}

/// Every line of the document is one of the output's.
fn compare(block: &Block, output: &str) {
    for expected in block.text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "…") {
        let found = output.lines().any(|line| fits(expected, line.trim()));
        assert!(found, "{}: no line {expected:?} in:\n{output}", block.place());
    }
}

/// Whether a line is the expected one, where `…` is any text.
pub fn fits(expected: &str, line: &str) -> bool {
    let Some((start, others)) = expected.split_once('…') else { return expected == line };
    let (between, end) = others.rsplit_once('…').unwrap_or(("", others));
    let Some(middle) = line.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)) else { return false };
    let find = |rest: &'_ str, part: &str| rest.find(part).map(|at| at + part.len());
    let mut at = 0;
    between.split('…').all(|part| find(&middle[at..], part).map(|past| at += past).is_some())
}
