//! Numbers by chance that are the same in every run.
//!
//! It refuses a seed of its own: whoever begins a run names it.

use std::f64::consts::TAU;

/// splitmix64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, without 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of so many.
    pub fn one_of(&mut self, many: usize) -> usize {
        (self.share() * many as f64) as usize
    }

    /// Times between events that do not know of each other, and work that is now short and now long.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }

    /// What networks take: the median, and ten times that for one in a hundred.
    pub fn log_normal(&mut self, median: f64) -> f64 {
        // ln 10 by the 99th percentile of the normal distribution.
        const SIGMA: f64 = std::f64::consts::LN_10 / 2.326_35;
        let (a, b) = (1.0 - self.share(), self.share());
        median * (SIGMA * (-2.0 * a.ln()).sqrt() * (TAU * b).cos()).exp()
    }
}
