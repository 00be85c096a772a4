//! What a C program needs around it: the library, a compiler, a configuration, and a simulator in the place of Apple and Google.
//!
//! It refuses to let a program hang, and keeps its directory when a test fails.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "only tests use this, and each a part")]

use crate::support::simulator::Simulator;
use crate::support::{Scratch, built_library, poll};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longer than the slowest program takes under valgrind on a busy machine.
const DEADLINE: Duration = Duration::from_secs(600);

const HEADER: &str = include_str!("../../include/voip_push.h");

/// As what a program is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    C99,
    Cpp17,
}

impl Language {
    pub fn name(self) -> &'static str {
        match self {
            Language::C99 => "c99",
            Language::Cpp17 => "cpp17",
        }
    }

    pub fn compiler(self) -> Command {
        let (program, flags) = match self {
            Language::C99 => ("gcc", ["-std=c99", "-xc"]),
            Language::Cpp17 => ("g++", ["-std=c++17", "-xc++"]),
        };
        let mut compiler = Command::new(program);
        compiler.args(flags).args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-pthread"]);
        compiler.arg(format!("-I{}/include", env!("CARGO_MANIFEST_DIR")));
        compiler
    }
}

/// How a program ended well, and what it said.
pub struct Done {
    pub stdout: String,
    pub stderr: String,
}

/// A directory with the library, and whatever else a program needs and leaves behind. Fields are dropped in their order.
pub struct World {
    simulator: Option<Simulator>,
    scratch: Scratch,
}

impl World {
    /// The library and a compiler, without configuration and provider.
    pub fn bare(name: &str) -> World {
        let scratch = Scratch::new(name);
        let soname = format!("libvoip_push.so.{}", env!("CARGO_PKG_VERSION_MAJOR"));
        for link in ["libvoip_push.so", &soname] {
            symlink(built_library(), scratch.path().join(link)).unwrap();
        }
        World { simulator: None, scratch }
    }

    /// Everything, with keys and configuration as the simulator writes them.
    pub fn new(name: &str) -> World {
        let mut world = World::bare(name);
        world.simulator = Some(Simulator::start(&world.scratch, &[]));
        world
    }

    /// The source of a program in tests/c.
    pub fn source(program: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(program).with_extension("c")
    }

    /// A source of the test's own.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        self.scratch.write(name, text)
    }

    /// Compiles a program and links it to the shared library.
    pub fn build(&self, source: &Path, language: Language) -> PathBuf {
        let program = source.file_stem().unwrap().to_str().unwrap();
        let executable = self.executable(program, language);
        let dir = self.scratch.path().display();
        let mut compiler = language.compiler();
        compiler.arg(source).arg("-o").arg(&executable);
        compiler.args([format!("-L{dir}"), format!("-Wl,-rpath,{dir}"), "-lvoip_push".to_owned()]);
        self.run(&mut compiler);
        executable
    }

    pub fn executable(&self, program: &str, language: Language) -> PathBuf {
        self.scratch.path().join(format!("{program}-{}", language.name()))
    }

    /// Valgrind, made to fail on errors and on memory that is lost for good. What the library keeps on purpose stays
    /// reachable and does not count.
    pub fn valgrind(&self) -> Command {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--error-exitcode=99", "--fair-sched=yes", "--num-callers=40"]);
        valgrind.args([
            "--leak-check=full",
            "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite",
        ]);
        // The first push may not be answered in time there; see check.h.
        valgrind.env("PATIENCE", "20");
        valgrind
    }

    /// Configurations that differ in their token store.
    pub fn configurations(&self, name: &str, how_many: usize) -> Vec<PathBuf> {
        let written = self.simulator.as_ref().expect("a bare world has no configuration").config();
        let one = |number| {
            let file = written.with_file_name(format!("{name}-{number}.toml"));
            fs::copy(&written, &file).unwrap();
            edit(&file, "url = \"sqlite:", &format!("url = \"sqlite:{name}-{number}.db\""));
            // A program under valgrind needs time to shake hands.
            edit(&file, "wait_ms", "wait_ms = 10000");
            // Budgets have tests of their own; here many pushes go to one device.
            let no_budget = "\n[limits]\ndevice_per_minute = 0\ncaller_per_minute = 0\n";
            File::options().append(true).open(&file).unwrap().write_all(no_budget.as_bytes()).unwrap();
            file
        };
        (0..how_many).map(one).collect()
    }

    /// Runs a command to its good end.
    pub fn run(&self, command: &mut Command) -> Done {
        let mut streams = [self.stream("stdout"), self.stream("stderr")];
        command.env_remove("VOIP_PUSH_CONFIG").stdin(Stdio::null());
        command.stdout(streams[0].try_clone().unwrap()).stderr(streams[1].try_clone().unwrap());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{:?} is needed for this test: {error}", command.get_program()));
        let status = poll(DEADLINE, || child.try_wait().unwrap());
        if status.is_none() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let [stdout, stderr] = streams.each_mut().map(text);
        let ended_well = status.is_some_and(|status| status.success());
        assert!(ended_well, "{command:?} ended with {status:?} (None: too slow)\n{stdout}\n{stderr}");
        Done { stdout, stderr }
    }

    /// A file, since a program that fills a pipe would wait for us, who wait for it.
    fn stream(&self, name: &str) -> File {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = self.scratch.path().join(format!("{number}.{name}"));
        File::options().read(true).append(true).create_new(true).open(file).unwrap()
    }
}

/// The functions of the header.
pub fn declared_functions() -> Vec<&'static str> {
    let code = HEADER.lines().filter(|line| line.starts_with("int32_t ") || line.starts_with("const char *"));
    code.map(|line| line.split('(').next().unwrap().rsplit([' ', '*']).next().unwrap()).collect()
}

/// Puts a line in the place of the one that starts so.
pub fn edit(file: &Path, start: &str, line: &str) {
    let before = fs::read_to_string(file).unwrap();
    assert_eq!(
        before.lines().filter(|old| old.starts_with(start)).count(),
        1,
        "{start} in {}",
        file.display()
    );
    let after = before.lines().map(|old| if old.starts_with(start) { line } else { old });
    fs::write(file, after.collect::<Vec<_>>().join("\n")).unwrap();
}

fn text(stream: &mut File) -> String {
    let mut bytes = Vec::new();
    stream.rewind().unwrap();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
