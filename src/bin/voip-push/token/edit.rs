//! `voip-push token add` and `delete`.
//!
//! It refuses to forget all devices of all users: that is what the file itself is for.

use std::io::{Read, Write};

use voip_push::clock::now_ms;
use voip_push::model::{Extra, NewDevice};
use voip_push::service::{Limits, Registered};

use super::show::parsed;
use super::{Database, failed};
use crate::Failure;

/// Longest token taken on standard input, in bytes.
const MAX_TOKEN_LEN: u64 = 8192;

/// `add`.
#[derive(clap::Args, Debug)]
pub struct Add {
    /// Whose phone it is: alice, or alice@example.org
    user: String,
    /// What the provider calls it; - reads it from standard input, where ps does not show it
    token: String,
    /// ios or android
    platform: String,
    /// apns or fcm [default: told by the looks of the token]
    #[arg(long)]
    provider: Option<String>,
    /// Which of the user's phones it is
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Topic or project [default: the configuration's first]
    #[arg(long)]
    app: Option<String>,
    /// production or sandbox
    #[arg(long)]
    environment: Option<String>,
    /// For how many seconds the registration is good [default: for ever]
    #[arg(long, value_name = "SECONDS")]
    expires_s: Option<i64>,
    /// The ordinary token of an iPhone, for alerts
    #[arg(long, value_name = "TOKEN")]
    alert_token: Option<String>,
    /// Its topic or project
    #[arg(long, value_name = "APP")]
    alert_app: Option<String>,
    #[command(flatten)]
    database: Database,
}

/// `delete`.
#[derive(clap::Args, Debug)]
pub struct Delete {
    /// Whose
    user: String,
    /// Only this device
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    #[command(flatten)]
    database: Database,
}

/// Registers a device now.
pub fn add(args: &Add) -> Result<(), Failure> {
    let token = if args.token == "-" { read_token()? } else { args.token.clone() };
    let extra = Extra {
        provider: args.provider.as_deref(),
        device_id: args.device.as_deref(),
        app: args.app.as_deref(),
        environment: args.environment.as_deref(),
        expires_s: args.expires_s,
        alert_token: args.alert_token.as_deref(),
        alert_app: args.alert_app.as_deref(),
    };
    let device = NewDevice::parse(&args.user, token.trim(), &args.platform, &extra)
        .map_err(|invalid| Failure::Usage(invalid.to_string()))?;
    let limits = Limits { devices_per_user: u32::MAX, users_per_token: args.database.users_per_token()? };
    let registered = args.database.open()?.register(&device, now_ms(), limits).map_err(failed)?;
    let done = if registered == Some(Registered::Renewed) { "renewed" } else { "added" };
    say(&format!("{} {}: {done}", device.user.as_str(), device.token.shortened()))
}

fn read_token() -> Result<String, Failure> {
    let mut token = String::new();
    let read = std::io::stdin().take(MAX_TOKEN_LEN).read_to_string(&mut token);
    read.map_err(|error| Failure::Failed(format!("the token cannot be read from standard input: {error}")))?;
    Ok(token)
}

/// Forgets.
pub fn delete(args: &Delete) -> Result<(), Failure> {
    let user = parsed(&args.user)?;
    let deleted = args.database.open()?.delete(&user, args.device.as_deref()).map_err(failed)?;
    let user = user.as_str();
    match (deleted, &args.device) {
        (0, Some(device)) => Err(Failure::Failed(format!("{user} has no device {device}"))),
        (0, None) => Err(Failure::Failed(format!("{user} has no device"))),
        (1, _) => say(&format!("{user}: 1 device deleted")),
        (more, _) => say(&format!("{user}: {more} devices deleted")),
    }
}

/// One line on standard output.
pub fn say(line: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}").or_else(super::show::quiet_when_nobody_reads)
}
