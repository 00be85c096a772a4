//! The fuzz target's claims, tried with any toolchain: its corpus, bent and cut at random for a while, the same way each time.

#![allow(clippy::unwrap_used, reason = "this is how a test fails")]

#[path = "../fuzz/claims.rs"]
mod claims;

use std::path::Path;
use std::time::{Duration, Instant};

/// Enough to bend each seed in every way; a fuzzer takes over where this ends.
const ROUNDS: usize = 60_000;

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }
}

fn bend(text: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const MARKS: &[u8] = b"<>;,=\"\\%@?:& \r\n*\0p";
    let (at, from) = (random.below(text.len()), random.below(other.len()));
    match random.below(5) {
        0 => text.insert(at.min(text.len()), MARKS[random.below(MARKS.len())]),
        1 if !text.is_empty() => drop(text.remove(at)),
        2 if !text.is_empty() => text[at] = random.below(256) as u8,
        3 => text.truncate(at),
        _ => drop(text.splice(at..at, other[from..].iter().copied()).collect::<Vec<u8>>()),
    }
}

#[test]
fn no_header_breaks_a_claim() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/contact");
    let mut seeds: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    seeds.sort();
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(seeds.len() >= 5);
    seeds.iter().for_each(|seed| claims::hold(seed));
    let (mut random, started) = (Random(0x5EED), Instant::now());
    for round in 0..ROUNDS {
        let mut text = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(6) {
            let other = random.below(seeds.len());
            bend(&mut text, &seeds[other], &mut random);
        }
        claims::hold(&text);
    }
    assert!(started.elapsed() < Duration::from_secs(120), "a header takes too long to read");
}
