//! The header is a product: fresh, complete as a manual, and fit for stricter compilers than anybody's.
//!
//! It refuses to trust the build, which repairs a stale header in passing: what counts is what is committed.
#![allow(clippy::unwrap_used, reason = "a missing part of the header is a failure of the test")]

mod support;
#[path = "c_abi/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use world::{Language, World};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const HEADER: &str = include_str!("../include/voip_push.h");
const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/voip_push.h"));

const FIVE_LINES: [&str; 5] = [" * Ownership: ", " * Threads: ", " * Fork: ", " * Blocks: ", " * Errors: "];

/// The build writes the header anew when src/c_api has changed, so on a machine that has just cloned the project a stale
/// header differs from what git has. (With VOIP_PUSH_CHECK_HEADER=1 the build itself fails.)
#[test]
fn the_committed_header_is_fresh() {
    assert!(HEADER == GENERATED, "include/voip_push.h is not what build.rs makes; is it read-only?");
    if !Path::new(ROOT).join(".git").exists() {
        return; // an unpacked release; the comparison above is all there is
    }
    let git = Command::new("git").args(["-C", ROOT, "show", ":./include/voip_push.h"]).output();
    let git = git.expect("git is needed for this test");
    assert!(git.status.success(), "git: {}", String::from_utf8_lossy(&git.stderr));
    assert!(
        git.stdout == GENERATED.as_bytes(),
        "include/voip_push.h in git is stale; the build has just rewritten it: git add include/voip_push.h"
    );
}

#[test]
fn every_function_ends_its_page_with_the_same_five_lines() {
    let pages = pages();
    assert_eq!(pages.len(), world::declared_functions().len());
    for (function, page) in pages {
        let lines: Vec<&str> = page.lines().collect();
        let at = FIVE_LINES.map(|start| lines.iter().position(|line| line.starts_with(start)));
        assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{function}: {at:?}\n{page}");
        let after_errors = lines.iter().skip(at[4].unwrap()).any(|line| *line == " *");
        assert!(!after_errors, "{function}: Errors is not the end");
        assert!(page.contains("\n * Returns "), "{function} does not say what it returns");
    }
}

#[test]
fn every_status_that_a_page_names_exists() {
    let known = statuses();
    for (function, page) in pages() {
        let errors = page.split(" * Errors: ").nth(1).unwrap();
        let words = errors.split(|c: char| !c.is_ascii_uppercase() && c != '_' && c != '8');
        for word in words.filter(|word| word.len() > 3) {
            assert!(known.contains_key(format!("VOIP_PUSH_ERR_{word}").as_str()), "{function}: {word}");
        }
    }
}

#[test]
fn every_status_has_a_number_of_its_own_and_its_name() {
    let statuses = statuses();
    let mut numbers: Vec<i32> = statuses.values().copied().collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(statuses.len() == numbers.len() && statuses.len() >= 14, "{statuses:?}");
    assert!(numbers.iter().all(|number| *number <= -101));
    let world = World::bare("status-names");
    let lines: String = statuses
        .keys()
        .map(|name| format!("    bad += strcmp(voip_push_status_name({name}), \"{name}\") != 0;\n"))
        .collect();
    let text = format!(
        "#include <string.h>\n#include <voip_push.h>\nint main(void)\n{{\n    int bad = 0;\n{lines}    return bad;\n}}\n"
    );
    let program = world.write("names.c", &text);
    world.run(&mut Command::new(world.build(&program, Language::C99)));
}

#[test]
fn the_header_alone_passes_the_strictest_flags() {
    let world = World::bare("header-only");
    let source = format!("{ROOT}/tests/c/header_only.c");
    let both = ["-Wshadow", "-Wconversion", "-Wundef", "-Wcast-qual", "-Wredundant-decls", "-Wcomment"];
    let only_c =
        ["-Wstrict-prototypes", "-Wmissing-prototypes", "-Wold-style-definition", "-pedantic-errors"];
    for standard in ["-std=c99", "-std=c11", "-std=gnu17"] {
        let mut compiler = Language::C99.compiler();
        world.run(compiler.args(both).args(only_c).args([standard, "-fsyntax-only"]).arg(&source));
    }
    for standard in ["-std=c++98", "-std=c++11", "-std=c++17"] {
        let mut compiler = Language::Cpp17.compiler();
        world.run(compiler.args(both).args([standard, "-fsyntax-only"]).arg(&source));
    }
}

/// The program on the header's first page is compiled as it stands there.
#[test]
fn the_example_compiles_and_links() {
    let world = World::bare("example");
    let code = HEADER.split(" * A COMPLETE PROGRAM\n").nth(1).unwrap().split(" *     cc ").next().unwrap();
    let code: String =
        code.lines().map(|line| line.strip_prefix(" *     ").unwrap_or_default().to_owned() + "\n").collect();
    assert!(code.contains("int main(void)"), "{code}");
    let program = world.write("example.c", &code);
    for language in [Language::C99, Language::Cpp17] {
        world.build(&program, language);
    }
}

/// Every function with the comment before it.
fn pages() -> BTreeMap<&'static str, &'static str> {
    let page = |function: &str| {
        let declared = HEADER.rfind(&format!("{function}(")).unwrap();
        HEADER[..declared].rsplit("/**\n").next().unwrap()
    };
    world::declared_functions().into_iter().map(|function| (function, page(function))).collect()
}

fn statuses() -> BTreeMap<&'static str, i32> {
    let defines = HEADER.lines().filter_map(|line| line.strip_prefix("#define "));
    let pairs = defines.filter_map(|line| line.split_once(' '));
    pairs
        .filter(|(name, _)| name.starts_with("VOIP_PUSH_ERR_"))
        .map(|(name, number)| (name, number.parse().unwrap()))
        .collect()
}
