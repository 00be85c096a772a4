//! C programs against the real shared library: built as C99 and as C++17, run, and run again under valgrind.
//!
//! It refuses to skip: a missing compiler or valgrind is a failure that says so.

mod support;
#[path = "c_abi/world.rs"]
mod world;

use std::process::Command;
use world::{Language, World};

/// Builds and runs a program in both languages and under valgrind, each with fresh token stores. `-` in the arguments stands
/// for a configuration of its own.
fn check(program: &str, configurations: usize) {
    let world = World::new(program);
    for language in [Language::C99, Language::Cpp17] {
        let executable = world.build(&World::source(program), language);
        let files = world.configurations(language.name(), configurations);
        let done = world.run(Command::new(&executable).args(&files));
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""), "{program} is to be quiet");
    }
    let files = world.configurations("valgrind", configurations);
    world.run(world.valgrind().arg(world.executable(program, Language::C99)).args(&files));
}

/// With every log line that the library has, and still without a user or a token in full.
#[test]
fn bad_input_gets_a_status_and_no_value_is_told() {
    let world = World::new("bad_input");
    let executable = world.build(&World::source("bad_input"), Language::C99);
    for (level, expects_lines) in [("off", false), ("trace", true)] {
        let file = world.configurations(level, 1);
        let done = world.run(Command::new(&executable).env("VOIP_PUSH_LOG", level).args(file));
        assert_eq!((done.stdout.as_str(), done.stderr.is_empty()), ("", !expects_lines));
        for private in ["secret4711", "00fc13adff785122", "bk3RNwTe3H0", "alice"] {
            assert!(!done.stderr.contains(private), "{private} is in the log:\n{}", done.stderr);
        }
    }
    let executable = world.build(&World::source("bad_input"), Language::Cpp17);
    world.run(Command::new(executable).args(world.configurations("cpp17", 1)));
    world.run(
        world
            .valgrind()
            .arg(world.executable("bad_input", Language::C99))
            .args(world.configurations("valgrind", 1)),
    );
}

#[test]
fn buffers_are_filled_whole_or_not_at_all() {
    check("buffers", 1);
}

#[test]
fn devices_are_stored_with_all_that_is_said_of_them() {
    check("devices", 1);
}

#[test]
fn many_threads_add_up() {
    check("threads", 1);
}

#[test]
fn calls_are_pushed_without_waiting() {
    check("async", 1);
}

#[test]
fn children_of_a_fork_work_on() {
    let world = World::new("fork");
    for language in [Language::C99, Language::Cpp17] {
        let executable = world.build(&World::source("fork"), language);
        for when in ["early", "late"] {
            let file = world.configurations(&format!("{}-{when}", language.name()), 1);
            let done = world.run(Command::new(&executable).args(file).arg(when));
            assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
        }
    }
    let executable = world.executable("fork", Language::C99);
    let run = |when, leak_check| {
        let mut valgrind = world.valgrind();
        valgrind.arg(format!("--leak-check={leak_check}")).arg(&executable);
        world.run(valgrind.args(world.configurations(&format!("valgrind-{when}"), 1)).arg(when));
    };
    run("early", "full");
    // What the parent's threads had on their stacks is nobody's in a child: it abandons it on purpose, since it must not touch
    // what belongs to another process.
    run("late", "no");
}

#[test]
fn a_second_life_is_like_the_first() {
    check("reinit", 2);
}

#[test]
fn the_configuration_changes_while_it_runs() {
    let world = World::new("reload");
    for language in [Language::C99, Language::Cpp17] {
        let executable = world.build(&World::source("reload"), language);
        let done = world.run(Command::new(&executable).args(world.configurations(language.name(), 1)));
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    }
    // It forks in full use, as above.
    let mut valgrind = world.valgrind();
    valgrind.arg("--leak-check=no").arg(world.executable("reload", Language::C99));
    world.run(valgrind.args(world.configurations("valgrind", 1)));
}

#[test]
fn the_program_that_a_newcomer_copies_shows_every_function() {
    let world = World::new("smoke");
    let expected = format!(
        "voip_push {}\nvoip_push_init: 0\nregister_token: 0\nlookup_token: 1\n\
         alice's newest device runs ios, its token has 64 bytes\n\
         send_voip_push: 1\nsend_voip_push_to: 1\ncancel_voip_push: 0\ndelete_token: 1\nvoip_push_shutdown: 0\n",
        env!("CARGO_PKG_VERSION")
    );
    for language in [Language::C99, Language::Cpp17] {
        let executable = world.build(&World::source("smoke"), language);
        let done = world.run(Command::new(&executable).args(world.configurations(language.name(), 1)));
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), (expected.as_str(), ""));
    }
    let executable = world.executable("smoke", Language::C99);
    world.run(world.valgrind().arg(executable).args(world.configurations("valgrind", 1)));
}

/// The configuration has one oddity that is warned of once per start, so the warnings count the starts.
#[test]
fn the_first_use_starts_the_library_once_and_a_wrong_file_is_told_each_time() {
    let world = World::new("lazy");
    let odd = |name: &str| {
        let file = world.configurations(name, 1).remove(0);
        world::edit(&file, "ios_push_type", "ios_push_type = \"voip\"");
        [file.clone(), file.with_extension("in-use")]
    };
    for language in [Language::C99, Language::Cpp17] {
        let executable = world.build(&World::source("lazy"), language);
        let done = world.run(Command::new(executable).args(odd(language.name())));
        assert_eq!(done.stdout, "");
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        assert!(
            done.stderr.contains("WARN") && done.stderr.contains("ios_push_type is voip"),
            "{}",
            done.stderr
        );
    }
    let executable = world.executable("lazy", Language::C99);
    let done = world.run(Command::new(&executable).env("VOIP_PUSH_LOG", "off").args(odd("off")));
    assert_eq!(done.stderr, "");
    let done = world.run(Command::new(&executable).env("VOIP_PUSH_LOG", "info").args(odd("info")));
    assert_eq!(done.stderr.matches("registered user=").count(), 8, "{}", done.stderr);
    world.run(world.valgrind().arg(&executable).args(odd("valgrind")));
}

#[test]
fn the_library_exports_its_interface_and_nothing_else() {
    let world = World::bare("exports");
    let listed =
        world.run(Command::new("nm").args(["-D", "--defined-only", "-P"]).arg(support::built_library()));
    let exported = listed.stdout.lines().filter_map(|line| line.split(' ').next());
    // What Kamailio and OpenSIPS look up in a module is not in the header.
    let hosts = ["exports", "_voip_push_exports", "module_version", "module_flags", "mod_register"];
    let mut exported: Vec<&str> = exported.filter(|name| !hosts.contains(name)).collect();
    let mut declared = world::declared_functions();
    exported.sort_unstable();
    declared.sort_unstable();
    assert_eq!(exported, declared);
}

#[test]
fn the_library_has_its_name_binds_its_own_symbols_and_stays_loaded() {
    let world = World::bare("dynamic");
    let dynamic = world.run(Command::new("readelf").arg("-d").arg(support::built_library())).stdout;
    let soname = format!("[libvoip_push.so.{}]", env!("CARGO_PKG_VERSION_MAJOR"));
    for expected in [soname.as_str(), "SYMBOLIC", "NODELETE"] {
        assert!(dynamic.contains(expected), "{expected} is missing:\n{dynamic}");
    }
}
