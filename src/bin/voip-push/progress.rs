//! A line on standard error that tells how far long work has come.
//!
//! It refuses to appear where nobody watches, and to slow the work down: it is drawn ten times a second.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const REDRAW: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

/// How far it has come. It is wiped out when the value is dropped.
pub struct Progress {
    what: &'static str,
    total: Option<u64>,
    start: Instant,
    drawn: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// So much is to be done.
    pub fn new(what: &'static str, total: u64) -> Self {
        Progress {
            what,
            total: Some(total),
            start: Instant::now(),
            drawn: None,
            is_shown: std::io::stderr().is_terminal(),
        }
    }

    /// Nobody knows how much.
    pub fn of_unknown(what: &'static str) -> Self {
        Progress { total: None, ..Progress::new(what, 0) }
    }

    /// So much is done.
    pub fn at(&mut self, done: u64) {
        // Looking at the clock is dear beside reading a line; most calls end here.
        if !self.is_shown || !done.is_multiple_of(100) {
            return;
        }
        let last = self.drawn.unwrap_or(self.start);
        if last.elapsed() >= REDRAW {
            self.drawn = Some(Instant::now());
            let line = line(self.what, done, self.total, self.start.elapsed());
            // A terminal that went away is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(what: &str, done: u64, total: Option<u64>, took: Duration) -> String {
    let rate = done as f64 / took.as_secs_f64().max(0.001);
    let Some(total) = total.filter(|total| *total > 0) else {
        return format!("{what} {done}, {rate:.0}/s");
    };
    let full = usize::try_from(WIDTH * done.min(total) / total).unwrap_or(0);
    let bar = format!("{}{}", "=".repeat(full), " ".repeat(WIDTH as usize - full));
    let left_s = (total.saturating_sub(done) as f64 / rate.max(1.0)).ceil();
    format!("{what} [{bar}] {done}/{total}, {rate:.0}/s, {left_s:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_its_part_and_the_time_that_is_left() {
        let half = line("imported", 500, Some(1000), Duration::from_secs(5));
        assert_eq!(
            half,
            format!("imported [{}{}] 500/1000, 100/s, 5 s left", "=".repeat(15), " ".repeat(15))
        );
        assert_eq!(line("looked at", 500, None, Duration::from_secs(5)), "looked at 500, 100/s");
        assert!(line("imported", 1001, Some(1000), Duration::ZERO).contains("1001/1000"));
    }
}
