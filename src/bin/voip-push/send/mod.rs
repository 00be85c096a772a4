//! `voip-push send`: one push by hand, with what is sent, what comes back and what the sender would do next.
//!
//! It refuses to do what the sender would do next: no token is deleted, and nothing is tried again.

mod next;
mod shown;

use voip_push::clock::now_ms;
use voip_push::model::{
    Call, Caller, Device, Ended, Environment, Extra, Kind, Media, NewDevice, Outcome, Push, Show,
};
use voip_push::service::{Authorization, Error, Probe, Service};

use crate::Failure;
use crate::config_file::ConfigFile;
use shown::Shown;

/// Send a test push to a user's phones, and show the request, the answer and what the sender would do next.
///
/// It opens a connection of its own, beside a running server's, and deletes nothing. A call that is only pushed rings until the
/// app finds no INVITE; iPhones show it whatever the app does.
#[derive(clap::Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    /// Whose phones: alice, or alice@example.org
    user: String,
    /// Only this one of the user's devices
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Who calls: a name, an address, or a From header's value
    #[arg(long, default_value = "voip-push test <sip:test@voip-push.invalid>")]
    caller: String,
    /// The Call-ID [default: a new one]
    #[arg(long)]
    call_id: Option<String>,
    /// audio or video
    #[arg(long, default_value = "audio", value_parser = media)]
    media: Media,
    /// call, cancelled, answered_elsewhere, declined_elsewhere, missed, message, message_background or refresh
    #[arg(long, default_value = "call", value_parser = kind)]
    kind: Kind,
    /// Push to this token instead of those in the database; - is not read from standard input here
    #[arg(long, requires = "platform")]
    token: Option<String>,
    /// ios or android, with --token
    #[arg(long, requires = "token")]
    platform: Option<String>,
    /// apns or fcm, with --token [default: told by its looks]
    #[arg(long, requires = "token")]
    provider: Option<String>,
    /// Topic or project, with --token [default: the configuration's first]
    #[arg(long, requires = "token")]
    app: Option<String>,
    /// production or sandbox, with --token
    #[arg(long, requires = "token")]
    environment: Option<String>,
    /// Show the request and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Let the provider look at the push without delivering it (FCM only; APNs has no such thing)
    #[arg(long, conflicts_with = "dry_run")]
    validate_only: bool,
    /// Show whole tokens
    #[arg(long)]
    full: bool,
    /// A JSON object a device
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

const EXIT_CODES: &str = "\
Exit codes: 0 every push was accepted (or, with --dry-run, shown), 1 at least one was not, or there is no device, 2 wrong usage.";

fn media(text: &str) -> Result<Media, String> {
    Media::parse(text).map_err(|invalid| invalid.why)
}

fn kind(text: &str) -> Result<Kind, String> {
    match text {
        "call" => Ok(Kind::Call),
        "missed" => Ok(Kind::Missed),
        "message" => Ok(Kind::Message(Show::Alert)),
        "message_background" => Ok(Kind::Message(Show::Background)),
        "refresh" => Ok(Kind::Refresh),
        other => Ended::parse(other).map(Kind::Ended).map_err(|_| "there is no such kind".to_owned()),
    }
}

/// Sends it.
pub fn run(args: &Args) -> Result<(), Failure> {
    let service = Service::prepare(&args.config.path()).map_err(failed)?;
    let probes = Probe::all(&service.settings()).map_err(|error| Failure::Failed(error.to_string()))?;
    let call_id = args.call_id.clone().unwrap_or_else(|| format!("voip-push-send-{}", now_ms()));
    let call = Call::new(&args.user, Caller::parse(&args.caller), &call_id, args.media);
    let call = call.map_err(|invalid| Failure::Usage(invalid.to_string()))?;
    let mut is_good = true;
    for device in devices(args, &service)? {
        is_good &= one(args, &service, &probes, (&call, device))?;
    }
    if is_good { Ok(()) } else { Err(Failure::Told(1)) }
}

fn failed(error: Error) -> Failure {
    match error {
        Error::Argument(invalid) => Failure::Usage(invalid.to_string()),
        other => Failure::Failed(other.to_string()),
    }
}

fn devices(args: &Args, service: &Service) -> Result<Vec<Device>, Failure> {
    if let Some(token) = &args.token {
        return Ok(vec![named(args, token)?]);
    }
    let all = match service.lookup(&args.user) {
        Err(Error::NoDevice) => Vec::new(),
        found => found.map_err(failed)?,
    };
    let is_wanted = |device: &Device| args.device.as_ref().is_none_or(|wanted| *wanted == device.device_id);
    let wanted: Vec<Device> = all.into_iter().filter(is_wanted).collect();
    match (wanted.is_empty(), &args.device) {
        (false, _) => Ok(wanted),
        (true, None) => Err(Failure::Failed(format!("{} has no device", args.user))),
        (true, Some(device)) => Err(Failure::Failed(format!("{} has no device {device}", args.user))),
    }
}

/// The device that the options describe.
fn named(args: &Args, token: &str) -> Result<Device, Failure> {
    let extra = Extra {
        provider: args.provider.as_deref(),
        app: args.app.as_deref(),
        environment: args.environment.as_deref(),
        ..Extra::default()
    };
    let platform = args.platform.as_deref().unwrap_or_default();
    let new = NewDevice::parse(&args.user, token, platform, &extra);
    let NewDevice { user, device_id, platform, token, app, environment, .. } =
        new.map_err(|invalid| Failure::Usage(invalid.to_string()))?;
    let environment: Option<Environment> = environment;
    Ok(Device {
        user,
        device_id,
        platform,
        token,
        app,
        environment,
        registered_at_ms: 0,
        expires_at_ms: None,
        alert: None,
    })
}

/// One device's push; false where it was not accepted.
fn one(
    args: &Args,
    service: &Service,
    probes: &[Probe],
    (call, device): (&Call, Device),
) -> Result<bool, Failure> {
    let mut shown = Shown::new(&device, args.full, args.json);
    let is_good = match service.trial(call, device, args.kind) {
        None => {
            shown.note("next", "nothing is sent: this device is not told of that (an iPhone needs a token for alerts, an Android app a profile with a word for it)");
            false
        }
        Some(push) => push_one(args, service, probes, &push, &mut shown)?,
    };
    shown.print()?;
    Ok(is_good)
}

fn push_one(
    args: &Args,
    service: &Service,
    probes: &[Probe],
    push: &Push,
    shown: &mut Shown,
) -> Result<bool, Failure> {
    let Some(probe) = probes.iter().find(|probe| probe.serves(&push.device)) else {
        let app = push.device.app.as_deref().unwrap_or("the default app");
        shown.note("next", &format!("nothing is sent: no credential in the configuration serves {app}"));
        return Ok(false);
    };
    shown.note("by", &format!("{}, for {}", probe.name(), probe.app(&push.device)));
    let authorization = match authorize(args, probe) {
        Ok(authorization) => authorization,
        Err(outcome) => {
            shown.outcome(&outcome);
            shown.note("next", &next::words(probe, &service.settings(), push, &outcome));
            return Ok(false);
        }
    };
    let request = match probe.request(push, &authorization) {
        Ok(request) => request,
        Err(outcome) => {
            shown.outcome(&outcome);
            shown.note("next", "nothing is sent: there is no such push to this device");
            return Ok(false);
        }
    };
    let request = if args.validate_only {
        probe.dry(&request).ok_or_else(|| {
            Failure::Usage("--validate-only: APNs has no such thing; see voip-push check".to_owned())
        })?
    } else {
        request
    };
    shown.request(&request, &push.device.token);
    if args.dry_run {
        return Ok(true);
    }
    let answers = probe.ask(&[request]).map_err(|error| Failure::Failed(error.to_string()))?;
    let Some(answer) = answers.first() else { return Ok(false) };
    shown.answer(answer);
    shown.outcome(&answer.outcome);
    shown.note("next", &next::words(probe, &service.settings(), push, &answer.outcome));
    Ok(answer.outcome == Outcome::Accepted)
}

/// Without sending, nobody is asked for an access token either.
fn authorize(args: &Args, probe: &Probe) -> Result<Authorization, Outcome> {
    if args.dry_run {
        let hour = std::time::Duration::from_secs(3600);
        return Authorization::new("bearer (made when it is sent)", hour, hour);
    }
    probe.authorize()
}
