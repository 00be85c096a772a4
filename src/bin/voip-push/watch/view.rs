//! A server's numbers as a page: what has happened at all and how often of late, what is the case now, and how long things take.
//!
//! It refuses to show what has never happened: fifty zeros hide the one that matters.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ask::Numbers;

/// The page; with the numbers before and how long ago that was, also how many a second.
pub fn page(now: &Numbers, before: Option<(&Numbers, Duration)>) -> String {
    let mut lines = vec![format!("{:<64} {:>12} {:>10}", "counter", "total", "per second")];
    let happened = now.0.iter().filter(|(name, value)| is_counter(name) && **value > 0);
    let rows: Vec<String> = happened.map(|(name, value)| counter(name, *value, before)).collect();
    if rows.is_empty() {
        lines.push("nothing has happened yet".to_owned());
    }
    lines.extend(rows);
    lines.push(String::new());
    lines.push(format!("{:<64} {:>12}", "level", "now"));
    let levels = now.0.iter().filter(|(name, value)| is_shown_level(name, **value));
    lines.extend(levels.map(|(name, value)| format!("{:<64} {value:>12}", plain(name))));
    lines.extend(latencies(now, before.map(|(before, _)| before)));
    lines.join("\n")
}

/// The age of each key and the end of each certificate change too slowly to be watched, and of each credential only a quarantine that
/// holds something.
fn is_shown_level(name: &str, value: u64) -> bool {
    let is_of_time = || name.contains("_bucket{") || name.contains("_seconds{");
    !is_counter(name) && !is_of_time() && (value > 0 || !name.contains('{'))
}

fn is_counter(name: &str) -> bool {
    name.split('{').next().is_some_and(|stem| stem.ends_with("_total"))
}

fn counter(name: &str, value: u64, before: Option<(&Numbers, Duration)>) -> String {
    let rate = before.map(|(before, ago)| {
        // A server that was started anew counts from 0.
        let more = value.saturating_sub(before.0.get(name).copied().unwrap_or(0));
        format!("{:.1}", more as f64 / ago.as_secs_f64().max(0.001))
    });
    format!("{:<64} {value:>12} {:>10}", plain(name), rate.unwrap_or_default()).trim_end().to_owned()
}

/// `pushes_total{provider="apns",outcome="accepted"}` without the quotes.
fn plain(name: &str) -> String {
    name.replace('"', "")
}

/// One histogram: how many were not slower than each bound, in seconds.
type Histogram = Vec<(f64, u64)>;

fn latencies(now: &Numbers, before: Option<&Numbers>) -> Vec<String> {
    let (all, old) = (histograms(now), before.map(histograms).unwrap_or_default());
    let rows = all.iter().filter_map(|(name, histogram)| {
        let of_late = old.get(name).map(|old| difference(histogram, old));
        let of_late = of_late.filter(|of_late| count(of_late) > 0);
        let when = if of_late.is_some() { "of late" } else { "since the start" };
        let shown = of_late.as_ref().unwrap_or(histogram);
        (count(shown) > 0).then(|| {
            let [half, most, nearly_all] = [0.5, 0.95, 0.99].map(|part| quantile(shown, part));
            format!("{name:<40} {half:>8} {most:>8} {nearly_all:>8} {:>8}  {when}", count(shown))
        })
    });
    let rows: Vec<String> = rows.collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let title = format!("{:<40} {:>8} {:>8} {:>8} {:>8}", "not slower than", "50 %", "95 %", "99 %", "of");
    [vec![String::new(), title], rows].concat()
}

/// By name, without the bound.
fn histograms(numbers: &Numbers) -> BTreeMap<String, Histogram> {
    let mut found: BTreeMap<String, Histogram> = BTreeMap::new();
    for (name, value) in &numbers.0 {
        let Some((family, labels)) = name.strip_suffix('}').and_then(|name| name.split_once("_bucket{"))
        else {
            continue;
        };
        let Some((other, bound)) = labels.rsplit_once("le=") else { continue };
        let bound = bound.trim_matches('"');
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap_or(f64::INFINITY) };
        let other = plain(other.trim_end_matches(','));
        let name = if other.is_empty() { family.to_owned() } else { format!("{family}{{{other}}}") };
        found.entry(name).or_default().push((bound, *value));
    }
    found.values_mut().for_each(|histogram| histogram.sort_by(|one, other| one.0.total_cmp(&other.0)));
    found
}

fn difference(now: &Histogram, before: &Histogram) -> Histogram {
    now.iter().zip(before).map(|((bound, now), (_, before))| (*bound, now.saturating_sub(*before))).collect()
}

fn count(histogram: &Histogram) -> u64 {
    histogram.last().map_or(0, |(_, count)| *count)
}

/// The bound that so many were not slower than.
fn quantile(histogram: &Histogram, part: f64) -> String {
    let needed = (count(histogram) as f64 * part).ceil() as u64;
    let bound =
        histogram.iter().find(|(_, count)| *count >= needed).map_or(f64::INFINITY, |(bound, _)| *bound);
    match bound {
        bound if bound.is_infinite() => "more".to_owned(),
        bound if bound < 1.0 => format!("{:.0} ms", bound * 1000.0),
        bound => format!("{bound:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_shown_where_it_says_something_of_this_moment() {
        for (name, value, is_shown) in [
            ("queued", 0, true),
            ("credential_quarantine{provider=\"apns\",credential=\"a\"}", 0, false),
            ("credential_quarantine{provider=\"apns\",credential=\"a\"}", 3, true),
            ("key_age_seconds{provider=\"apns\",key=\"a\"}", 90, false),
            (
                "provider_certificate_expiry_timestamp_seconds{provider=\"apns\",endpoint=\"a:443\"}",
                90,
                false,
            ),
            ("push_seconds_bucket{provider=\"apns\",le=\"0.1\"}", 1, false),
            ("calls_total", 1, false),
        ] {
            assert_eq!(is_shown_level(name, value), is_shown, "{name}");
        }
    }

    fn numbers(rows: &[(&str, u64)]) -> Numbers {
        Numbers(rows.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect())
    }

    fn histogram(counts: [u64; 3]) -> Numbers {
        let bounds =
            ["0.01", "2", "+Inf"].map(|le| format!("push_seconds_bucket{{provider=\"apns\",le=\"{le}\"}}"));
        Numbers(bounds.into_iter().zip(counts).collect())
    }

    #[test]
    fn what_never_happened_is_not_shown_and_rates_are() {
        let before = numbers(&[("calls_total", 10), ("panics_total", 0), ("queued", 5)]);
        let now = numbers(&[("calls_total", 30), ("panics_total", 0), ("queued", 2)]);
        let page = page(&now, Some((&before, Duration::from_secs(2))));
        let rows: Vec<Vec<&str>> = page.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(
            rows.contains(&vec!["calls_total", "30", "10.0"]) && rows.contains(&vec!["queued", "2"]),
            "{page}"
        );
        assert!(!page.contains("panics"));
    }

    #[test]
    fn a_server_that_was_started_anew_has_no_negative_rate() {
        let page = page(
            &numbers(&[("calls_total", 1)]),
            Some((&numbers(&[("calls_total", 9)]), Duration::from_secs(1))),
        );
        assert!(page.lines().any(|line| line.ends_with(" 0.0")), "{page}");
    }

    #[test]
    fn quantiles_are_of_late_where_something_was() {
        let (before, now) = (histogram([90, 90, 90]), histogram([90, 99, 100]));
        let row = |page: String| {
            page.lines()
                .find(|line| line.starts_with("push_seconds"))
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        let late = row(page(&now, Some((&before, Duration::from_secs(1)))));
        assert_eq!(late, "push_seconds{provider=apns} 2 s more more 10 of late");
        let whole = row(page(&now, Some((&now, Duration::from_secs(1)))));
        assert_eq!(whole, "push_seconds{provider=apns} 10 ms 2 s 2 s 100 since the start");
        assert!(!page(&histogram([0, 0, 0]), None).contains("push_seconds"));
    }
}
