//! The histograms as names and numbers, for those who ask a server by RPC.
//!
//! It refuses to know which histograms there are: the text for Prometheus has them all.

use super::Stats;

impl Stats {
    /// Every bucket as `push_seconds_bucket{provider="apns",le="0.005"}` and how many were not slower; each counts those before it.
    pub fn timings(&self) -> Vec<(String, u64)> {
        let text = self.prometheus();
        let buckets = text.lines().filter(|line| line.contains("_bucket{"));
        let bucket = |line: &str| {
            let (name, value) = line.strip_prefix("voip_push_")?.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        buckets.filter_map(bucket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Outcome, Provider};
    use std::time::Duration;

    #[test]
    fn every_bucket_has_a_name_and_a_number() {
        let stats = Stats::new(crate::stats::Counted::default()).unwrap();
        stats.push_ended(Provider::Apns, "", &Outcome::Accepted, Duration::from_millis(7));
        let timings = stats.timings();
        let of = |name: &str| timings.iter().find(|(known, _)| known == name).unwrap().1;
        assert_eq!(of("push_seconds_bucket{provider=\"apns\",le=\"0.005\"}"), 0);
        assert_eq!(of("push_seconds_bucket{provider=\"apns\",le=\"0.01\"}"), 1);
        assert_eq!(of("push_seconds_bucket{provider=\"apns\",le=\"+Inf\"}"), 1);
        assert_eq!(of("push_seconds_bucket{provider=\"fcm\",le=\"+Inf\"}"), 0);
    }
}
