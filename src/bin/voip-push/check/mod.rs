//! `voip-push check`: the doctor. It looks at everything that must be right before a phone can ring, and says what is.
//!
//! It refuses to change anything, to reach any phone, and to check in another way than the module would: configuration, requests
//! and connections are the library's own.

mod apns;
mod clock;
mod credential;
mod database;
mod engine;
mod fcm;
mod files;
mod module;
mod opened;
mod report;
mod server_user;

use std::path::PathBuf;

use voip_push::config::{ConfigError, Settings};
use voip_push::service::Probe;

use crate::Failure;
use crate::config_file::ConfigFile;
use clock::Clocks;
pub use opened::{Args as OpenModule, run as open_module};
use report::Report;

/// Look whether everything is in order for phones to ring, and say what is not and what to do.
///
/// One line for each thing: ok, skipped, warning or broken. Each provider is asked with a push that reaches nobody. Run it as
/// the SIP server's user (sudo -u kamailio voip-push check), so that it sees what the server sees.
#[derive(clap::Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Ask no provider and no Redis: look at files only
    #[arg(long)]
    offline: bool,
    /// The module's file [default: voip_push.so where the SIP server looks for modules]
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The SIP server's program [default: kamailio and opensips, as far as they are installed]
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// Print one JSON object, for monitoring
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "\
Exit codes: 0 all is right, 1 something is broken, 2 wrong usage, 3 there are warnings only.";

/// Looks, and ends with the code that says how it stands.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut report = Report::new(args.json);
    let file = args.config.path();
    let settings = match Settings::examine(&file) {
        Ok((settings, faults)) => {
            settings_read(&mut report, &settings, &faults);
            Some(settings)
        }
        Err(fault) => {
            report.broken("configuration", fault.to_string());
            None
        }
    };
    if let Some(settings) = &settings {
        server_user::check(&mut report, settings);
        providers(&mut report, settings, args.offline);
        if let Some(path) = settings.store.sqlite() {
            database::check(&mut report, path);
        }
        if let Some(engine) = settings.store.engine() {
            engine::check(&mut report, engine, args.offline);
        }
    }
    let module = module::check(&mut report, args.server.as_deref(), args.module.as_deref());
    if let (Some(settings), Some(module)) = (&settings, module) {
        server_user::check_module(&mut report, settings, &module);
    }
    report.finish()
}

fn settings_read(report: &mut Report, settings: &Settings, faults: &[ConfigError]) {
    if faults.is_empty() {
        report.ok("configuration", settings.file.display().to_string());
    }
    for fault in faults {
        report.broken("configuration", fault.to_string());
    }
    for warning in &settings.warnings {
        report.warning("configuration", warning.clone());
    }
}

fn providers(report: &mut Report, settings: &Settings, is_offline: bool) {
    let probes = match Probe::all(settings) {
        Ok(probes) => probes,
        Err(fault) => return report.broken("configuration", fault.to_string()),
    };
    let mut clocks = Clocks::default();
    // In the order of the sections: first all [[apns]], then all [[fcm]].
    let (apns_probes, fcm_probes) = probes.split_at(settings.apns.len());
    for (credential, probe) in settings.apns.iter().zip(apns_probes) {
        apns::check(report, &mut clocks, credential, (!is_offline).then_some(probe));
    }
    for (credential, probe) in settings.fcm.iter().zip(fcm_probes) {
        fcm::check(report, &mut clocks, credential, (!is_offline).then_some(probe));
    }
    if !is_offline {
        clocks.check(report);
    }
}
