//! Makes `include/voip_push.h` from `src/c_api` and gives the shared library its name and its linker's manners.
//!
//! It refuses to write without need: the committed header is replaced only when it is stale, and a source tree that cannot
//! be written (docs.rs, a package cache) is left as it is. With VOIP_PUSH_CHECK_HEADER=1 a stale header fails the build and
//! nothing is written; that is for CI.
#![allow(clippy::print_stdout, reason = "this is how a build script talks to cargo")]

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The files that hold the C interface, in the header's order.
const SOURCES: [&str; 7] =
    ["status.rs", "life.rs", "tokens.rs", "devices.rs", "push.rs", "later.rs", "tools.rs"];
const COMMITTED: &str = "include/voip_push.h";
const CHECK: &str = "VOIP_PUSH_CHECK_HEADER";

fn main() {
    for input in ["build.rs", "Cargo.toml", "cbindgen.toml", "src/c_api", COMMITTED] {
        println!("cargo::rerun-if-changed={input}");
    }
    println!("cargo::rerun-if-env-changed={CHECK}");
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    match header(&root).and_then(|text| deliver(&root, &text)) {
        Ok(()) => link_arguments(),
        Err(why) => println!("cargo::error={why}"),
    }
}

/// The header's text.
fn header(root: &Path) -> Result<String, String> {
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    config.after_includes = Some(version_macros());
    let builder = cbindgen::Builder::new().with_config(config);
    let sources = SOURCES.map(|name| root.join("src/c_api").join(name));
    let bindings = sources.iter().fold(builder, cbindgen::Builder::with_src).generate();
    let mut text = Vec::new();
    bindings.map_err(|error| format!("cbindgen: {error}"))?.write(&mut text);
    let text = String::from_utf8(text).map_err(|error| format!("cbindgen wrote {error}"))?;
    // cbindgen takes the pointers of cbindgen.toml for names and puts a space behind them.
    Ok(text.replace("char * ", "char *").replace("size_t * ", "size_t *").replace("device * ", "device *"))
}

/// The version that a program was compiled for, from Cargo.toml and from nowhere else.
fn version_macros() -> String {
    let line = |part: &str| {
        format!("#define VOIP_PUSH_VERSION_{part} {}\n", variable(&format!("CARGO_PKG_VERSION_{part}")))
    };
    let lines = ["MAJOR", "MINOR", "PATCH"].map(line).concat();
    format!("\n/** The version of this header; voip_push_version tells the running library's. */\n{lines}")
}

/// A copy goes to OUT_DIR, where the tests compare it; the committed header is checked or brought up to date.
fn deliver(root: &Path, text: &str) -> Result<(), String> {
    let copy = PathBuf::from(variable("OUT_DIR")).join("voip_push.h");
    fs::write(&copy, text).map_err(|error| format!("{}: {error}", copy.display()))?;
    let committed = root.join(COMMITTED);
    if fs::read_to_string(&committed).is_ok_and(|before| before == text) {
        return Ok(());
    }
    if env::var_os(CHECK).is_some_and(|value| value == "1") {
        return Err(format!(
            "{COMMITTED} is stale; build once without {CHECK}=1, which rewrites it, and commit it"
        ));
    }
    if let Err(error) = fs::write(&committed, text) {
        println!("cargo::warning={COMMITTED} is stale and cannot be written ({error})");
    }
    Ok(())
}

/// A name that C programs record (a new one for each major version), our own symbols before any of the same name in the
/// host, and no unloading: threads and thread-local values of ours would be left without their code.
fn link_arguments() {
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    let soname = format!("-soname,libvoip_push.so.{}", variable("CARGO_PKG_VERSION_MAJOR"));
    for argument in [soname.as_str(), "-Bsymbolic", "-z,nodelete"] {
        println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}
