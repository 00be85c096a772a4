//! Kamailio as another Debian suite has it, unpacked under `target/` and run with that suite's own C library.
//!
//! It refuses to install anything, and to know a mirror by heart: it asks this machine's apt.

use super::kamailio::Installation;
use super::{run, target_dir};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian 12, which has Kamailio 5.6: this machine's own where it is one.
pub fn bookworm() -> Installation {
    match own_release().as_str() {
        "bookworm" => Installation::of_this_machine(),
        _ => unpacked("bookworm"),
    }
}

/// Debian 13, which has Kamailio 6.0: this machine's own where it is one.
pub fn trixie() -> Installation {
    match own_release().as_str() {
        "trixie" => Installation::of_this_machine(),
        _ => unpacked("trixie"),
    }
}

/// Debian unstable, which has Kamailio 6.1 today.
pub fn sid() -> Installation {
    unpacked("sid")
}

/// Prometheus' own tool for rules and metrics. The server beside it is not installed: it would start with the machine.
pub fn promtool() -> PathBuf {
    let place = once("promtool", |place| {
        let apt = Apt::new(place, &own_release());
        run(apt.get().args(["-qq", "update"]), "apt");
        run(apt.get().args(["-qq", "download", "prometheus"]).current_dir(place), "apt");
        let found =
            fs::read_dir(place).expect("it was made just now").filter_map(|entry| Some(entry.ok()?.path()));
        let package = found.into_iter().find(|path| name_of(path).starts_with("prometheus_"));
        let package = package.expect("apt has downloaded it");
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(place.join("root")), "dpkg");
    });
    place.join("root/usr/bin/promtool")
}

fn unpacked(suite: &str) -> Installation {
    let place = once(suite, |place| {
        let apt = Apt::new(place, suite);
        apt.download();
        apt.unpack();
    });
    installation(&place.join("root"))
}

/// Fills a directory once; `target/debian/<name>/complete` says that it was done. Delete the directory to do it again.
fn once(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let all = target_dir().join("debian");
    fs::create_dir_all(&all).expect("target/ is ours");
    let lock = File::create(all.join(format!("{name}.lock"))).expect("target/ is ours");
    lock.lock().expect("a file can be locked");
    let place = all.join(name);
    let complete = place.join("complete");
    if !complete.is_file() {
        let _ = fs::remove_dir_all(&place);
        fill(&place);
        File::create(&complete).expect("target/ is ours");
    }
    place
}

/// How the suite's Kamailio is run: by the suite's own loader with the suite's own libraries.
fn installation(root: &Path) -> Installation {
    let lib = root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    let loader = ["ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"].map(|name| lib.join(name));
    let loader = loader.into_iter().find(|path| path.is_file()).expect("libc6 has a loader");
    let command = [
        loader.into(),
        OsString::from("--library-path"),
        lib.clone().into(),
        root.join("usr/sbin/kamailio").into(),
    ];
    Installation { command: command.into(), modules: lib.join("kamailio/modules") }
}

/// apt with a state of its own, in which nothing is installed.
struct Apt {
    place: PathBuf,
}

impl Apt {
    fn new(place: &Path, suite: &str) -> Apt {
        for directory in ["state/lists/partial", "cache/archives/partial", "root"] {
            fs::create_dir_all(place.join(directory)).expect("target/ is ours");
        }
        fs::write(place.join("status"), "").expect("target/ is ours");
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let source = format!("deb [signed-by={keys}] {} {suite} main\n", mirror());
        fs::write(place.join("sources.list"), source).expect("target/ is ours");
        Apt { place: place.to_owned() }
    }

    fn get(&self) -> Command {
        let mut apt_get = Command::new("apt-get");
        let paths = [
            ("Dir::State", "state"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourcelist", "sources.list"),
        ];
        for (name, path) in paths {
            apt_get.arg("-o").arg(format!("{name}={}", self.place.join(path).display()));
        }
        // No other sources; and no change to another user, who could not write here.
        apt_get.args(["-o", "Dir::Etc::sourceparts=-", "-o", "APT::Sandbox::User="]);
        // Nothing of the machine's own is touched, so nothing is to be done after it either.
        apt_get.args(["-o", "APT::Keep-Downloaded-Packages=true"]);
        apt_get
    }

    fn download(&self) {
        run(self.get().args(["-qq", "update"]), "apt");
        run(
            self.get().args([
                "-qq",
                "-y",
                "--no-install-recommends",
                "--download-only",
                "install",
                "kamailio",
            ]),
            "apt",
        );
    }

    fn unpack(&self) {
        let archives = fs::read_dir(self.place.join("cache/archives")).expect("apt has made it");
        let packages: Vec<PathBuf> = archives
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb") && is_needed(path))
            .collect();
        assert!(
            packages.iter().any(|path| name_of(path).starts_with("kamailio_")),
            "apt has downloaded no kamailio"
        );
        for package in packages {
            run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(self.place.join("root")), "dpkg");
        }
        for done in ["cache", "state"] {
            let _ = fs::remove_dir_all(self.place.join(done));
        }
    }
}

/// Kamailio itself and libraries; not the programs around it.
fn is_needed(package: &Path) -> bool {
    let name = name_of(package);
    name.starts_with("kamailio_") || name.starts_with("lib") || name.starts_with("zlib")
}

fn name_of(package: &Path) -> String {
    package.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Where this machine's apt has its own release from.
fn mirror() -> String {
    let mut apt_get = Command::new("apt-get");
    apt_get.args(["indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]);
    let targets = String::from_utf8_lossy(&run(&mut apt_get, "apt").stdout).into_owned();
    let release = own_release();
    let line = targets.lines().find_map(|line| line.strip_prefix(&format!("{release} main ")));
    line.unwrap_or_else(|| panic!("apt has no source for {release} main:\n{targets}")).trim().to_owned()
}

fn own_release() -> String {
    let text = fs::read_to_string("/etc/os-release").expect("the tests run on Debian");
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("Debian's os-release has a code name").trim_matches('"').to_owned()
}
