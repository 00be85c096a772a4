//! `voip-push token list` and `show`: devices as an administrator reads them.
//!
//! It refuses to show whole tokens without `--full`.

use std::io::Write;

use voip_push::model::{Device, Provider, User, utc};

use super::record::Record;
use super::{Database, failed};
use crate::Failure;

/// `list`.
#[derive(clap::Args, Debug)]
pub struct List {
    /// Only this user's devices
    user: Option<String>,
    /// Only those of this provider: apns or fcm
    #[arg(long, value_parser = provider)]
    provider: Option<Provider>,
    /// Only those of this topic or project
    #[arg(long)]
    app: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "NUMBER")]
    limit: Option<usize>,
    /// Show whole tokens
    #[arg(long)]
    full: bool,
    /// A JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

/// `show`.
#[derive(clap::Args, Debug)]
pub struct Show {
    /// Whose devices
    user: String,
    /// Show whole tokens
    #[arg(long)]
    full: bool,
    /// A JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

fn provider(text: &str) -> Result<Provider, String> {
    Provider::parse(text).map_err(|invalid| invalid.why)
}

/// Prints the devices as they are read.
pub fn list(args: &List) -> Result<(), Failure> {
    let mut store = args.database.open()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut left, mut written) = (args.limit.unwrap_or(usize::MAX), Ok(()));
    if !args.json {
        written = writeln!(
            out,
            "{}",
            columns(["USER", "DEVICE", "PLATFORM", "PROVIDER", "APP", "TOKEN", "REGISTERED"])
        );
    }
    let is_wanted = |device: &Device| {
        args.provider.is_none_or(|provider| device.provider() == provider)
            && args.app.as_ref().is_none_or(|app| device.app.as_ref() == Some(app))
    };
    let mut tell = |device: &Device| {
        if is_wanted(device) && left > 0 && written.is_ok() {
            left -= 1;
            written =
                if args.json { json(&mut out, device, args.full) } else { line(&mut out, device, args.full) };
        }
        left > 0 && written.is_ok()
    };
    match &args.user {
        Some(user) => store.devices(&parsed(user)?, i64::MIN).map_err(failed)?.iter().for_each(|device| {
            tell(device);
        }),
        None => store.each_device(&mut |device| tell(&device)).map_err(failed)?,
    }
    written.and_then(|()| out.flush()).or_else(quiet_when_nobody_reads)
}

/// Prints one user's devices, all that is known.
pub fn show(args: &Show) -> Result<(), Failure> {
    let user = parsed(&args.user)?;
    let devices = args.database.open()?.devices(&user, i64::MIN).map_err(failed)?;
    if devices.is_empty() {
        return Err(Failure::Failed(format!("{} has no device", user.as_str())));
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = devices.iter().try_for_each(|device| match args.json {
        true => json(&mut out, device, args.full),
        false => paragraph(&mut out, device, args.full),
    });
    written.and_then(|()| out.flush()).or_else(quiet_when_nobody_reads)
}

/// Takes a user as registrations do.
pub fn parsed(user: &str) -> Result<User, Failure> {
    User::parse(user).map_err(|invalid| Failure::Usage(invalid.to_string()))
}

fn json(out: &mut impl Write, device: &Device, is_full: bool) -> std::io::Result<()> {
    super::format::Format::Jsonl.writer(out).write(&Record::of(device, is_full))
}

fn line(out: &mut impl Write, device: &Device, is_full: bool) -> std::io::Result<()> {
    let Record { user, token, platform, .. } = Record::of(device, is_full);
    let dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    let registered = utc(device.registered_at_ms / 1000);
    let (device_id, app) = (dash(Some(&device.device_id)), dash(device.app.as_deref()));
    let provider = device.provider().as_str();
    writeln!(out, "{}", columns([&*user, &*device_id, &*platform, provider, &*app, &*token, &*registered]))
}

/// Wide enough for most, and one space apart in any case, so that awk finds its fields.
fn columns([user, device_id, platform, provider, app, token, registered]: [&str; 7]) -> String {
    format!("{user:<24} {device_id:<20} {platform:<8} {provider:<8} {app:<28} {token:<8} {registered}")
}

fn paragraph(out: &mut impl Write, device: &Device, is_full: bool) -> std::io::Result<()> {
    let record = Record::of(device, is_full);
    let time = |ms: Option<i64>| ms.map(|ms| utc(ms / 1000));
    let rows = [
        ("device", Some(record.device_id.unwrap_or_else(|| "(the one without a name)".to_owned()))),
        ("platform", Some(record.platform)),
        ("provider", record.provider),
        ("app", record.app.or_else(|| Some("the configuration's first".to_owned()))),
        ("environment", record.environment),
        ("token", Some(record.token)),
        ("registered", time(record.registered_at_ms)),
        ("expires", time(record.expires_at_ms).or_else(|| Some("never".to_owned()))),
        ("alert token", record.alert_token),
        ("alert app", record.alert_app),
    ];
    writeln!(out, "{}", record.user)?;
    for (name, value) in rows {
        if let Some(value) = value {
            writeln!(out, "  {name:<12} {value}")?;
        }
    }
    Ok(())
}

/// `voip-push token list | head` is no failure.
pub fn quiet_when_nobody_reads(error: std::io::Error) -> Result<(), Failure> {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::Failed(format!("standard output cannot be written: {error}"))),
    }
}
