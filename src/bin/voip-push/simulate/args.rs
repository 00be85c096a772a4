//! The command line of `voip-push simulate` and the checks that one argument alone cannot make.
//!
//! It refuses names that would not pass at Apple or Google, so that a configuration tried here also works there.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::Failure;

/// Stand in for APNs, FCM and Google's token service, without an Apple or Google account.
///
/// Writes throw-away keys, a CA and a ready voip-push.toml into DIR, answers as strictly as the real services,
/// and tells through a small control API what arrived. DIR/simulator.json appears when everything is ready.
#[derive(clap::Args, Debug)]
#[command(after_long_help = super::control::HELP)]
pub struct Args {
    /// Directory for the keys and the ready configuration; made (mode 0700) when missing
    #[arg(long)]
    pub dir: PathBuf,
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen: IpAddr,
    /// Allow an address that other machines can reach (the control API stays on loopback)
    #[arg(long)]
    pub allow_remote: bool,
    /// Port of the APNs production host (0: the kernel chooses)
    #[arg(long, default_value_t = 0)]
    pub apns_port: u16,
    /// Port of the APNs sandbox host (0: the kernel chooses)
    #[arg(long, default_value_t = 0)]
    pub apns_sandbox_port: u16,
    /// Port of FCM and of the OAuth2 token endpoint (0: the kernel chooses)
    #[arg(long, default_value_t = 0)]
    pub google_port: u16,
    /// Port of the control API (0: the kernel chooses)
    #[arg(long, default_value_t = 0)]
    pub control_port: u16,
    /// Shell command to run for each push that reached a phone; VOIP_PUSH_* in its environment tells which
    #[arg(long, value_name = "COMMAND")]
    pub on_push: Option<String>,
    /// Refuse tokens that the control API has not declared
    #[arg(long)]
    pub known_only: bool,
    /// Apple team id
    #[arg(long, default_value = "ABCDE12345", value_parser = apple_id)]
    pub team_id: String,
    /// Apple key id
    #[arg(long, default_value = "KEY1234567", value_parser = apple_id)]
    pub key_id: String,
    /// APNs topic, the bundle id with `.voip` behind it; the bundle id alone is then allowed as well. May be given several times
    #[arg(long = "topic", value_name = "TOPIC", default_value = "org.example.phone.voip", value_parser = voip_topic)]
    pub topics: Vec<String>,
    /// Firebase project id
    #[arg(long, default_value = "sip-phone-voip", value_parser = project_id)]
    pub project: String,
    /// Wait this long before each answer of a push service
    #[arg(long, default_value_t = 0)]
    pub latency_ms: u64,
    /// Let the clock of the push services run this many seconds ahead of ours (negative: behind), in what they check and in Date
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1_000_000_000..=1_000_000_000))]
    pub clock_skew_s: i64,
    /// Print nothing
    #[arg(long)]
    pub quiet: bool,
    /// For benches: check as strictly and count answers, but keep and print no push (GET /pushes stays empty)
    #[arg(long, conflicts_with = "on_push")]
    pub fast: bool,
}

impl Args {
    /// What no single argument can know: whether they fit together.
    pub fn check(&self) -> Result<(), Failure> {
        if !self.listen.is_loopback() && !self.allow_remote {
            return Err(Failure::Usage(format!(
                "--listen {}: other machines can reach this address; add --allow-remote if that is meant",
                self.listen
            )));
        }
        Ok(())
    }

    /// Where the control API listens: never anywhere but loopback.
    pub fn control_address(&self) -> IpAddr {
        if self.listen.is_loopback() { self.listen } else { IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    /// The address that belongs into URLs: nobody can connect to 0.0.0.0.
    pub fn reachable_address(&self) -> IpAddr {
        if self.listen.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.listen }
    }

    /// The delay before each answer of a push service.
    pub fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }
}

/// Apple's team and key ids are ten capital letters and digits; the key id becomes a file name.
fn apple_id(text: &str) -> Result<String, String> {
    let good = text.len() == 10 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if good { Ok(text.to_owned()) } else { Err("ten capital letters and digits are needed".to_owned()) }
}

fn voip_topic(text: &str) -> Result<String, String> {
    let bundle = text.strip_suffix(".voip").ok_or("a VoIP topic ends in .voip")?;
    let good = !bundle.is_empty() && bundle.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    if good { Ok(text.to_owned()) } else { Err("letters, digits, dots and hyphens only".to_owned()) }
}

/// Google Cloud project ids: 6 to 30 lower-case letters, digits and hyphens, a letter first, no hyphen last.
pub fn project_id(text: &str) -> Result<String, String> {
    let good = (6..=30).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good {
        Ok(text.to_owned())
    } else {
        Err("6 to 30 lower-case letters, digits and hyphens, a letter first".to_owned())
    }
}
