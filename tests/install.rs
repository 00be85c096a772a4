//! `make install` and `make uninstall` as an administrator runs them, and what is installed as its users find it: a C program by
//! pkg-config, Kamailio in its module directory, a reader by man. And the one version in everything that carries one.
//!
//! It refuses to write outside of its own directory: whatever is installed goes under DESTDIR.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::kamailio::Installation;
use support::simulator::Simulator;
use support::{Scratch, built_library, run};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const COMMAND: &str = env!("CARGO_BIN_EXE_voip-push");
const HEADER: &str = include_str!("../include/voip_push.h");
const CHANGELOG: &str = include_str!("../CHANGELOG.md");
const OVERVIEW: &str = include_str!("../packaging/voip_push.7.in");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What was installed under a directory.
struct Installed {
    scratch: Scratch,
}

impl Installed {
    fn put(name: &str, variables: &[&str]) -> Installed {
        let installed = Installed { scratch: Scratch::new(name) };
        let build = installed.scratch.path().join("build");
        fs::create_dir(&build).unwrap();
        symlink(built_library(), build.join("libvoip_push.so")).unwrap();
        symlink(COMMAND, build.join("voip-push")).unwrap();
        installed.make("install", variables);
        installed
    }

    fn make(&self, target: &str, variables: &[&str]) {
        let set = |name: &str, dir: &str| format!("{name}={}", self.scratch.path().join(dir).display());
        let mut make = Command::new("make");
        make.arg("-C").arg(root()).args(["-s", target, &set("DESTDIR", "root"), &set("BUILD", "build")]);
        // `make test` passes its own switches on.
        run(make.args(variables).env_remove("MAKEFLAGS").env_remove("MAKEOVERRIDES"), "make");
    }

    fn path(&self, path: &str) -> PathBuf {
        self.scratch.path().join("root").join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}")).permissions().mode()
            & 0o7777
    }

    /// Every file and link, without those of whole directories.
    fn files(&self) -> Vec<String> {
        let root = self.path("");
        let find =
            run(Command::new("find").arg(&root).args(["!", "-type", "d", "-printf", "/%P\n"]), "findutils");
        let mut files: Vec<String> =
            String::from_utf8(find.stdout).unwrap().lines().map(str::to_owned).collect();
        files.sort();
        files
    }
}

#[test]
fn what_is_installed_is_taken_away_again_but_for_settings_and_tokens() {
    let installed = Installed::put("install", &["OPENSIPS_MODDIR=/usr/lib/opensips/modules"]);
    let modules = Installation::of_this_machine().modules;
    for (path, mode) in [
        ("/usr/local/bin/voip-push", 0o755),
        (modules.join("voip_push.so").to_str().unwrap(), 0o644),
        ("/usr/lib/opensips/modules/voip_push.so", 0o644),
        ("/usr/local/lib/libvoip_push.so", 0o644),
        ("/usr/local/include/voip_push.h", 0o644),
        ("/usr/local/share/voip-push/kamailio/voip-push.cfg", 0o644),
        ("/usr/local/share/voip-push/opensips/voip-push.cfg", 0o644),
        ("/usr/local/share/doc/voip-push/README.md", 0o644),
        ("/usr/local/lib/systemd/system/voip-push-serve.service", 0o644),
        ("/usr/local/share/man/man1/voip-push.1", 0o644),
        ("/usr/local/share/man/man7/voip_push.7", 0o644),
        ("/etc/voip-push", 0o750),
        ("/etc/voip-push/voip-push.toml", 0o640),
        ("/var/lib/voip-push", 0o750),
    ] {
        assert_eq!(format!("{:o}", installed.mode(path)), format!("{mode:o}"), "{path}");
    }

    fs::write(installed.path("/etc/voip-push/voip-push.toml"), "# mine").unwrap();
    fs::write(installed.path("/var/lib/voip-push/tokens.db"), "").unwrap();
    let variables = ["OPENSIPS_MODDIR=/usr/lib/opensips/modules"];
    installed.make("install", &variables);
    assert_eq!(installed.read("/etc/voip-push/voip-push.toml"), "# mine", "settings are not overwritten");
    installed.make("uninstall", &variables);
    assert_eq!(installed.files(), ["/etc/voip-push/voip-push.toml", "/var/lib/voip-push/tokens.db"]);
    assert!(!installed.path("/usr/local/share/voip-push").exists());
}

#[test]
fn a_c_program_finds_the_library_by_pkg_config_and_records_its_soname() {
    let installed = Installed::put("pkg-config", &["PREFIX=/usr", "LIBDIR=/usr/lib/here", "MODDIR=none"]);
    let flags = pkg_config(&installed, &["--cflags", "--libs", "voip_push"]);
    let program = installed.scratch.path().join("smoke");
    let mut compiler = Command::new("gcc");
    compiler.arg(root().join("tests/c/smoke.c")).args(flags.split_whitespace()).arg("-o").arg(&program);
    run(&mut compiler, "gcc");
    let needed = run(Command::new("objdump").arg("-p").arg(&program), "binutils");
    let soname = format!("libvoip_push.so.{}", env!("CARGO_PKG_VERSION_MAJOR"));
    let needed = String::from_utf8(needed.stdout).unwrap();
    assert!(needed.lines().any(|line| line.split_whitespace().eq(["NEEDED", soname.as_str()])), "{needed}");

    let simulator = Simulator::start(&installed.scratch, &[]);
    let mut smoke = Command::new(program);
    smoke.env("VOIP_PUSH_CONFIG", simulator.config());
    run(smoke.env("LD_LIBRARY_PATH", installed.path("/usr/lib/here")), "voip-push");
}

fn pkg_config(installed: &Installed, args: &[&str]) -> String {
    let mut command = Command::new("pkg-config");
    command.args(args).env("PKG_CONFIG_LIBDIR", installed.path("/usr/lib/here/pkgconfig"));
    let output = run(command.env("PKG_CONFIG_SYSROOT_DIR", installed.path("")), "pkgconf");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn kamailio_takes_the_installed_sample_with_the_installed_module() {
    let installed = Installed::put("moddir", &["PREFIX=/usr"]);
    let server = Installation::of_this_machine();
    let modules = format!(
        "{}:{}",
        installed.path(server.modules.to_str().unwrap()).display(),
        server.modules.display()
    );
    let mut check = Command::new(&server.command[0]);
    check
        .args(["-c", "-E", "-L", &modules, "-f"])
        .arg(installed.path("/usr/share/voip-push/kamailio/kamailio.cfg"));
    let log = run(&mut check, "kamailio").stderr;
    let log = String::from_utf8_lossy(&log);
    assert!(!log.contains("WARNING:") && !log.contains("ERROR:"), "{log}");
}

/// The version is that of Cargo.toml, which cargo has given to this test.
#[test]
fn everything_that_carries_the_version_carries_the_same() {
    let installed = Installed::put("version", &["PREFIX=/usr", "LIBDIR=/usr/lib/here", "MODDIR=none"]);
    let said =
        run(Command::new(root().join("packaging/version")).env_clear().env("PATH", "/usr/bin:/bin"), "sed");
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), VERSION);
    let said = run(Command::new(installed.path("/usr/bin/voip-push")).arg("--version"), "voip-push").stdout;
    assert_eq!(String::from_utf8_lossy(&said).trim(), format!("voip-push {VERSION}"));
    assert_eq!(pkg_config(&installed, &["--modversion", "voip_push"]), VERSION);
    for page in ["man1/voip-push.1", "man7/voip_push.7"] {
        let page = installed.read(&format!("/usr/share/man/{page}"));
        let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
        assert!(title.contains(&format!(" {VERSION}\"")), "{title}");
    }
    let macros = ["MAJOR", "MINOR", "PATCH"].map(|part| {
        let start = format!("#define VOIP_PUSH_VERSION_{part} ");
        HEADER.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap()
    });
    assert_eq!(macros.join("."), VERSION);
    let library = installed.path(&format!("/usr/lib/here/libvoip_push.so.{VERSION}"));
    let soname = run(Command::new("objdump").arg("-p").arg(&library), "binutils").stdout;
    assert!(
        String::from_utf8_lossy(&soname)
            .contains(&format!("SONAME               libvoip_push.so.{}\n", macros[0]))
    );
    let newest = CHANGELOG.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    assert_eq!(newest.split(' ').next(), Some(VERSION), "the first chapter of CHANGELOG.md");
}

#[test]
fn the_changelog_names_every_symbol_of_the_header() {
    let functions =
        HEADER.lines().filter(|line| line.starts_with("int32_t ") || line.starts_with("const char *"));
    let functions = functions.map(|line| line.split('(').next().unwrap().rsplit([' ', '*']).next().unwrap());
    let macros = HEADER.lines().filter_map(|line| line.strip_prefix("#define ")?.split(' ').next());
    let structures =
        HEADER.lines().filter_map(|line| line.strip_prefix("typedef struct ")?.split(' ').next());
    let symbols: Vec<&str> =
        functions.chain(macros).chain(structures).filter(|name| *name != "VOIP_PUSH_H").collect();
    assert!(symbols.len() > 30, "{symbols:?}");
    for symbol in symbols {
        assert!(CHANGELOG.contains(&format!("`{symbol}`")), "CHANGELOG.md does not name {symbol}");
    }
}

/// Its pages have every argument that its help has.
#[test]
fn the_manual_of_the_command_says_what_its_help_says() {
    let scratch = Scratch::new("man");
    run(Command::new(COMMAND).arg("man").arg("--dir").arg(scratch.path()), "voip-push");
    let pages: Vec<PathBuf> =
        fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(pages.len() > 4, "{pages:?}");
    let mut shown = 0;
    for page in pages {
        let words = page.file_stem().unwrap().to_str().unwrap().strip_prefix("voip-push").unwrap().to_owned();
        let help =
            run(Command::new(COMMAND).args(words.split('-').skip(1)).arg("--help"), "voip-push").stdout;
        let text = squeezed(&read_as_text(&page));
        for line in String::from_utf8(help).unwrap().lines().map(str::trim) {
            let option = line.split(' ').find(|word| word.starts_with("--"));
            shown += usize::from(option.is_some());
            let option = option.unwrap_or_default().trim_end_matches(']');
            assert!(text.contains(&squeezed(option)), "{} has no {option}", page.display());
        }
    }
    assert!(shown > 20, "{shown}");
}

/// As man shows it, without what it hyphenates and fills.
fn read_as_text(page: &Path) -> String {
    let mut groff = Command::new("groff");
    groff.args(["-man", "-Tutf8", "-ww", "-rHY=0", "-P-c", "-P-b", "-P-u"]).arg(page);
    let output = run(&mut groff, "groff-base");
    assert!(output.stderr.is_empty(), "{}: {}", page.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect::<String>().replace(['‐', '‑', '−'], "-")
}

#[test]
fn the_overview_names_every_script_function_and_rpc_command() {
    let names = |source: &'static str, start: &'static str| {
        source.split(start).skip(1).filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>()
    };
    let functions = include_str!("../src/host/kamailio/functions.rs");
    let rows = ["row(c\"", "suspending(c\"", "parking(c\"", "reaching(c\""];
    let mut all: Vec<&str> = rows.into_iter().flat_map(|start| names(functions, start)).collect();
    assert!(all.len() > 20, "{all:?}");
    all.extend(names(include_str!("../src/host/kamailio/rpc.rs"), "row(c\""));
    for name in all {
        assert!(OVERVIEW.contains(name), "voip_push(7) does not name {name}");
    }
    let scratch = Scratch::new("man7");
    let page = scratch.write("voip_push.7", OVERVIEW);
    assert!(read_as_text(&page).contains("kamcmd voip_push.stats"));
}
