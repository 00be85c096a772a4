//! The other half of the soak: a C program with a sender in each of its workers, which it kills at random.
//!
//! It refuses to guess what became of the calls of a killed worker: each may have ended in any way, or not at all.

use super::support::{Scratch, built_library, run};
use super::{Must, Sums, World, lines_of, verdict};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What did not hold.
pub fn soak(pushes: u64) -> Vec<String> {
    println!("\na C program, with a sender in each of its workers:");
    let world = World::new("soak-in-c", &[("wait_ms = 800", "wait_ms = 10000")]);
    let program = build(&world.scratch);
    let mut running = Command::new(program)
        .arg(&world.config)
        .arg(pushes.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, counters) = lines_of(&mut running);
    let worker: libc::pid_t = lines.recv().unwrap().parse().unwrap();
    let ran =
        world.while_it_runs(worker, || lines.recv().ok().and_then(|line| serde_json::from_str(&line).ok()));
    let (told, requests, memory, took): (Option<Value>, _, _, _) = ran;
    assert!(running.wait().unwrap().success(), "the program has said why it failed");
    let told = told.expect("the program says what came of it");
    let counters = counters.join().unwrap();
    println!("{pushes} pushes in {:.0} s\n{told:#}", took.as_secs_f64());
    verdict(|must| {
        let sums = Sums { pushes, told: &told, requests: &requests };
        check(&sums, &counters, must);
        super::check_rates(&sums, must);
        super::check_memory(pushes, &memory, must);
    })
}

fn build(scratch: &Scratch) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (library, executable) = (built_library(), scratch.path().join("program"));
    let soname = format!("libvoip_push.so.{}", env!("CARGO_PKG_VERSION_MAJOR"));
    for link in ["libvoip_push.so", &soname] {
        std::os::unix::fs::symlink(&library, scratch.path().join(link)).unwrap();
    }
    let dir = scratch.path().display();
    let mut compiler = Command::new("gcc");
    compiler.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread"]);
    compiler.arg(format!("-I{}", here.join("include").display()));
    compiler.arg(here.join("benches/soak/program.c")).arg("-o").arg(&executable);
    compiler.args([format!("-L{dir}"), format!("-Wl,-rpath,{dir}"), "-lvoip_push".to_owned()]);
    run(&mut compiler, "gcc");
    executable
}

fn check(sums: &Sums<'_>, counters: &str, must: &mut Must<'_>) {
    let told = |name| sums.told(name);
    let (taken, unknown) = (told("taken"), told("unknown"));
    let ended = told("accepted") + told("rejected") + told("unanswered");
    must(
        ended <= taken && taken <= ended + unknown,
        &format!(
            "every call of a worker that lived ended once: {ended} of {taken}, {unknown} died with their workers"
        ),
    );
    must(told("killed") >= sums.pushes / 50_000, &format!("workers were killed: {}", told("killed")));
    for (outcome, answered) in [("accepted", "accepted"), ("token_gone", "rejected")] {
        let (counted, answered) = (counter(counters, outcome), told(answered));
        let most = answered + unknown + told("unanswered");
        must(
            answered <= counted && counted <= most,
            &format!("the counters are those of the ends: {outcome} {counted}, from {answered} to {most}"),
        );
    }
    for outcome in ["rejected", "credential_refused"] {
        must(
            counter(counters, outcome) == 0,
            &format!("no push ended as {outcome}, which no fault explains"),
        );
    }
    must(counter(counters, "accepted") <= sums.answered("200"), "nothing was accepted without a 200");
    must(counter(counters, "token_gone") <= sums.answered("410"), "no token died without a 410");
    must(told("wrongly_gone") == 0, "no token is gone that was not answered with 410");
    must(told("wrongly_there") == 0, "every token that was answered with 410 is gone");
}

/// Pushes of all apps that ended so.
fn counter(counters: &str, outcome: &str) -> u64 {
    let label = format!("outcome=\"{outcome}\"");
    let is_it = |line: &&str| line.starts_with("voip_push_pushes_total{") && line.contains(&label);
    let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<u64>().ok());
    counters.lines().filter(is_it).filter_map(value).sum()
}
