//! Our clock beside those of the providers, as their answers tell it.
//!
//! It refuses to ask anybody for the time; what was asked for other reasons must do.

use voip_push::config::Origin;
use voip_push::service::Probed;

use super::report::Report;

/// Nobody minds so much.
const FINE_S: u64 = 30;
/// Apple's and Google's tokens carry the time; more than this is refused by one of them.
const TOO_MUCH_S: u64 = 300;

/// What the providers' answers have told.
#[derive(Default)]
pub struct Clocks {
    told: Vec<(String, i64)>,
}

impl Clocks {
    /// Takes the time from an answer that has it.
    pub fn note(&mut self, origin: &Origin, answer: &Probed) {
        if let Some(ahead_s) = answer.clock_ahead_s() {
            self.told.push((origin.host.clone(), ahead_s));
        }
    }

    /// Says how far the one that differs most is from ours.
    pub fn check(&self, report: &mut Report) {
        let Some((host, ahead_s)) = self.told.iter().max_by_key(|(_, ahead_s)| ahead_s.unsigned_abs()) else {
            return report.skipped("clock", "no provider has told its time".to_owned());
        };
        let off_s = ahead_s.unsigned_abs();
        if off_s <= FINE_S {
            return report.ok("clock", format!("within {FINE_S} s of {host}"));
        }
        let way = if *ahead_s > 0 { "behind" } else { "ahead of" };
        let found = format!("{} {way} {host}; set it, and let chrony or ntpd keep it", time(off_s));
        if off_s <= TOO_MUCH_S {
            report.warning("clock", found);
        } else {
            report.broken("clock", found);
        }
    }
}

/// In the unit that tells enough.
fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", (seconds + 30) / 60),
        _ => format!("{} hours", (seconds + 1800) / 3600),
    }
}
