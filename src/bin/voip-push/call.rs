//! `voip-push call` and `voip-push user`: why a phone did, or did not, ring.
//!
//! It refuses to show a token: a device is its token's last characters.

use std::io::Write;

use voip_push::clock::now_ms;
use voip_push::config::Settings;
use voip_push::model::{Event, Happening, User, utc};
use voip_push::service::{TimelineFile, open_store, verdict};

use crate::Failure;
use crate::config_file::ConfigFile;

/// Tell what happened to a call, step by step, and why its phone did or did not ring.
///
/// The timelines are kept by the SIP server for [timeline] keep_hours.
#[derive(clap::Args, Debug)]
pub struct CallArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The call's Call-ID, as SIP has it
    call_id: String,
}

/// Tell which phones a user has and what became of the last calls to him.
#[derive(clap::Args, Debug)]
pub struct UserArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The user, as tokens are registered for him
    user: String,
    /// So many calls
    #[arg(long, value_name = "N", default_value_t = 10)]
    calls: u32,
}

/// Prints one call's timeline.
pub fn call(args: &CallArgs) -> Result<(), Failure> {
    let settings = load(&args.config)?;
    let file = timelines(&settings)?;
    let happenings = file.of_call(&args.call_id).map_err(|error| Failure::Failed(error.to_string()))?;
    let Some(first) = happenings.first() else {
        return Err(Failure::Failed(format!(
            "nothing is known of the call {}: it went to a user without a token, it is older than [timeline] keep_hours, or it has \
             just begun (timelines are written twice a second)",
            args.call_id
        )));
    };
    let mut text = format!("call {} to {}, {}\n\n", args.call_id, first.user, utc(first.at_ms / 1000));
    for happening in &happenings {
        let after_s = (happening.at_ms - first.at_ms) as f64 / 1000.0;
        text += format!("{after_s:>9.3} s  {:<12}  {}", what(happening.event), shown(happening)).trim_end();
        text.push('\n');
    }
    print(&format!("{text}\n{}\n", verdict(&happenings)))
}

/// Prints a user's devices and his last calls.
pub fn user(args: &UserArgs) -> Result<(), Failure> {
    let settings = load(&args.config)?;
    let user = User::parse(&args.user).map_err(|invalid| Failure::Usage(invalid.to_string()))?;
    let mut text = devices(&settings, &user)?;
    match timelines(&settings) {
        Ok(file) => text += &calls(&file, &user, args.calls)?,
        Err(Failure::Failed(why)) => text += &format!("\n{why}\n"),
        Err(other) => return Err(other),
    }
    print(&text)
}

fn devices(settings: &Settings, user: &User) -> Result<String, Failure> {
    let failed = |error: voip_push::service::StoreError| Failure::Failed(error.to_string());
    let devices = open_store(&settings.store).and_then(|mut store| store.devices(user, now_ms()));
    let devices = devices.map_err(failed)?;
    if devices.is_empty() {
        return Ok(format!(
            "{} has no device: no app has registered a token, or the last one is dead\n",
            user.as_str()
        ));
    }
    let mut text = format!("{} has {} device(s)\n", user.as_str(), devices.len());
    for device in devices {
        let app = device.app.as_deref().unwrap_or("the default app");
        let since = utc(device.registered_at_ms / 1000);
        text += &format!("    {:?} for {app}, registered {since}\n", device.token);
    }
    Ok(text)
}

fn calls(file: &TimelineFile, user: &User, most: u32) -> Result<String, Failure> {
    let failed = |error: voip_push::service::StoreError| Failure::Failed(error.to_string());
    let calls = file.calls_of(user.as_str(), most).map_err(failed)?;
    let mut text = String::from(if calls.is_empty() { "\nno call to him is known\n" } else { "\n" });
    for (call_id, _) in calls {
        let happenings = file.of_call(&call_id).map_err(failed)?;
        let Some(first) = happenings.first() else { continue };
        text += &format!("{}  call {call_id}\n    {}\n", utc(first.at_ms / 1000), verdict(&happenings));
    }
    Ok(text)
}

fn load(config: &ConfigFile) -> Result<Settings, Failure> {
    Settings::load(&config.path()).map_err(|error| Failure::Failed(error.to_string()))
}

fn timelines(settings: &Settings) -> Result<TimelineFile, Failure> {
    let Some(kept) = &settings.timeline else {
        return Err(Failure::Failed("no timelines are kept: [timeline] keep_hours is 0".to_owned()));
    };
    let file = TimelineFile::open_to_read(&kept.file).map_err(|error| Failure::Failed(error.to_string()))?;
    file.ok_or_else(|| {
        Failure::Failed(format!("{} does not exist: no call was pushed for yet", kept.file.display()))
    })
}

fn what(event: Event) -> &'static str {
    match event {
        Event::HandedOver => "push",
        Event::Spared => "no push",
        Event::Retried => "again",
        Event::PushEnded => "pushed",
        Event::Parked => "held",
        Event::Registered => "REGISTER",
        Event::WentOn => "goes on",
        Event::Invited => "INVITE",
        Event::Rings => "rings",
        Event::Answered => "answered",
        Event::Cancelled => "cancelled",
        Event::Failed => "ended",
        Event::Late => "late",
    }
}

/// The details in words.
fn shown(happening: &Happening) -> String {
    let value = |name: &str| happening.value(name).unwrap_or_default();
    let push = || format!("{} to {}", value("kind"), value("device"));
    let why = |reason: String| if reason.is_empty() { reason } else { format!(" ({reason})") };
    match happening.event {
        Event::HandedOver => push(),
        Event::Retried => format!("{}: {}{}", push(), value("outcome"), why(value("reason"))),
        Event::PushEnded if value("outcome") == "elsewhere" => {
            format!("{}: another machine has this call, too, and has sent it", push())
        }
        Event::PushEnded => format!(
            "{}: {}{}, {} attempt(s), {} ms, id {}",
            push(),
            value("outcome"),
            why(value("reason")),
            value("attempts"),
            value("ms"),
            value("id")
        ),
        Event::Spared => format!("{} device(s) seem to be there", value("devices")),
        Event::Parked => format!("for at most {} s", value("seconds")),
        Event::Registered if value("at") == "another_machine" => {
            "a phone of the user is there, at another machine".to_owned()
        }
        Event::Registered => "a phone of the user is there".to_owned(),
        Event::WentOn => match value("why").as_str() {
            "woken" => "a phone has registered",
            "time_is_over" => "nobody has registered in time",
            "hopeless" => "no push can reach a phone",
            _ => "the server stops",
        }
        .to_owned(),
        Event::Invited => format!("to {} contact(s)", value("contacts")),
        Event::Cancelled => format!("by the caller{}", why(value("reason"))),
        Event::Failed => format!("with {}", value("status")),
        Event::Late => "the phone is told that the call is over".to_owned(),
        Event::Rings | Event::Answered => String::new(),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| Failure::Failed(format!("standard output: {error}")))
}
