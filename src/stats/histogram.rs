//! How long things took: a histogram of each kind, in shared memory.
//!
//! It refuses to keep single times: a time becomes one number more in a bucket.

use crate::model::Provider;
use crate::process::SharedCounters;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Upper bounds of the buckets, in ms. A push ends within 30 s as a rule, and so does the wait for a phone.
pub const BOUNDS_MS: [u64; 15] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000];
/// Numbers of one histogram: its buckets, the one above all bounds, and the sum in µs.
const HISTOGRAM_LEN: usize = BOUNDS_MS.len() + 2;

/// What took its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// A push, from its hand-over to its end.
    Push(Provider),
    /// From the first push of a call that a provider accepted to the REGISTER that let the call go on.
    WakeToRegister,
    /// The same to the INVITE that went out to the phone.
    WakeToInvite,
}

/// One family of metrics, and the histograms in it.
struct Family {
    name: &'static str,
    help: &'static str,
    members: &'static [(Timing, &'static str)],
}

const FAMILIES: [Family; 3] = [
    Family {
        name: "voip_push_push_seconds",
        help: "From hand-over to the end of a push",
        members: &[
            (Timing::Push(Provider::Apns), "provider=\"apns\""),
            (Timing::Push(Provider::Fcm), "provider=\"fcm\""),
        ],
    },
    Family {
        name: "voip_push_wake_register_seconds",
        help: "From the first accepted push of a held call to the REGISTER that let it go on",
        members: &[(Timing::WakeToRegister, "")],
    },
    Family {
        name: "voip_push_wake_invite_seconds",
        help: "From the first accepted push of a held call to its INVITE to the phone",
        members: &[(Timing::WakeToInvite, "")],
    },
];

/// All histograms.
pub(super) struct Histograms(SharedCounters);

impl Histograms {
    pub fn new() -> io::Result<Histograms> {
        let how_many: usize = FAMILIES.iter().map(|family| family.members.len()).sum();
        Ok(Histograms(SharedCounters::new(how_many * HISTOGRAM_LEN)?))
    }

    pub fn note(&self, timing: Timing, took: Duration) {
        let numbers = &self.0.as_slice()[start_of(timing)..][..HISTOGRAM_LEN];
        numbers[bucket_of(took)].fetch_add(1, Ordering::Relaxed);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        numbers[HISTOGRAM_LEN - 1].fetch_add(took_us, Ordering::Relaxed);
    }

    /// As Prometheus' text format, version 0.0.4.
    pub fn write(&self, text: &mut String) {
        for Family { name, help, members } in &FAMILIES {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
            for (timing, label) in *members {
                self.write_one(text, name, *timing, label);
            }
        }
    }

    fn write_one(&self, text: &mut String, name: &str, timing: Timing, label: &str) {
        let value = |at: usize| self.0.as_slice()[start_of(timing) + at].load(Ordering::Relaxed);
        let (before, labels) = match label {
            "" => (String::new(), String::new()),
            label => (format!("{label},"), format!("{{{label}}}")),
        };
        let mut sum = 0;
        for (at, bound_ms) in BOUNDS_MS.iter().enumerate() {
            sum += value(at);
            let bound = Duration::from_millis(*bound_ms).as_secs_f64();
            let _ = writeln!(text, "{name}_bucket{{{before}le=\"{bound}\"}} {sum}");
        }
        sum += value(BOUNDS_MS.len());
        let seconds = Duration::from_micros(value(HISTOGRAM_LEN - 1)).as_secs_f64();
        let _ = writeln!(text, "{name}_bucket{{{before}le=\"+Inf\"}} {sum}");
        let _ = writeln!(text, "{name}_sum{labels} {seconds}");
        let _ = writeln!(text, "{name}_count{labels} {sum}");
    }
}

/// Which bucket a time falls into; the last is that above all bounds.
pub(super) fn bucket_of(took: Duration) -> usize {
    let bucket = BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
    bucket.unwrap_or(BOUNDS_MS.len())
}

fn start_of(timing: Timing) -> usize {
    let members = FAMILIES.iter().flat_map(|family| family.members);
    let at = members.map(|(known, _)| *known).position(|known| known == timing);
    at.expect("every timing is in a family, as a test shows") * HISTOGRAM_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timing_has_its_own_numbers() {
        let timings = [Timing::WakeToRegister, Timing::WakeToInvite];
        let timings = Provider::ALL.map(Timing::Push).into_iter().chain(timings);
        let mut starts: Vec<usize> = timings.map(start_of).collect();
        let len = starts.len();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), len);
        assert_eq!(starts.last(), Some(&((len - 1) * HISTOGRAM_LEN)));
    }

    #[test]
    fn a_family_without_labels_has_no_empty_braces() {
        let histograms = Histograms::new().unwrap();
        histograms.note(Timing::WakeToRegister, Duration::from_millis(1500));
        let mut text = String::new();
        histograms.write(&mut text);
        for line in [
            "voip_push_wake_register_seconds_bucket{le=\"1\"} 0",
            "voip_push_wake_register_seconds_bucket{le=\"2\"} 1",
            "voip_push_wake_register_seconds_sum 1.5",
            "voip_push_wake_register_seconds_count 1",
            "voip_push_wake_invite_seconds_count 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
