//! Numbers that nobody can predict exactly and nobody's safety hangs on: for pauses that must differ.
//!
//! It refuses to be used for keys, ids or anything that an attacker must not guess.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number from 0 up to 1. The standard library's hasher is seeded by the system for each thread and changes with each use.
pub(crate) fn fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_differ_and_lie_between_0_and_1() {
        let some: Vec<f64> = (0..100).map(|_| fraction()).collect();
        assert!(some.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(some.iter().any(|number| *number < 0.5) && some.iter().any(|number| *number >= 0.5));
    }
}
