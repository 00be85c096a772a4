//! A service account at Google: its file, the access token, and a message that Google only looks at.
//!
//! It refuses to take a refusal of the made-up token for a fault.

use std::time::Duration;

use voip_push::clock::now_s;
use voip_push::config::FcmCredential;
use voip_push::model::{Outcome, Provider};
use voip_push::service::{Authorization, Probe, Probed};

use super::clock::Clocks;
use super::credential::{push_to_nobody, reach};
use super::files::with_mode;
use super::report::Report;

/// Looks at one `[[fcm]]` section; without a probe nobody is asked.
pub fn check(report: &mut Report, clocks: &mut Clocks, credential: &FcmCredential, probe: Option<&Probe>) {
    let label = format!("fcm {}", credential.project_id);
    account(report, &label, credential);
    let Some(probe) = probe else {
        return report.skipped(&format!("{label} connection"), "not tried: --offline".to_owned());
    };
    let message = format!("{label} message");
    let is_reached = reach(report, &label, probe);
    let authorization = probe.authorize();
    access_token(report, &label, credential, authorization.as_ref().err());
    match authorization {
        Ok(_) if !is_reached => report.skipped(&message, "not tried: FCM was not reached".to_owned()),
        Ok(authorization) => match ask(probe, credential, &authorization) {
            Ok(answer) => {
                clocks.note(probe.origin(), &answer);
                judge(report, &message, credential, &answer);
            }
            Err(why) => report.broken(&message, why),
        },
        Err(_) => {
            if is_reached {
                tell_time(clocks, credential, probe);
            }
            report.skipped(&message, "not tried: there is no access token".to_owned());
        }
    }
}

fn account(report: &mut Report, label: &str, credential: &FcmCredential) {
    let about = format!("{label} service account");
    let FcmCredential { account_file, client_email, project_id, .. } = credential;
    // Google makes them name@project.iam.gserviceaccount.com; another project's may have been given the role.
    let home =
        client_email.split_once('@').and_then(|(_, domain)| domain.strip_suffix(".iam.gserviceaccount.com"));
    if let Some(home) = home.filter(|home| home != project_id) {
        report.warning(
            &about,
            format!("project_id is {project_id}, but the account is of project {home}; take the file as Firebase gave it"),
        );
    }
    report.ok(&about, format!("{}, {client_email}", with_mode(account_file)));
}

fn access_token(report: &mut Report, label: &str, credential: &FcmCredential, refused: Option<&Outcome>) {
    let about = format!("{label} access token");
    let uri = &credential.token_uri;
    match refused {
        None => report.ok(&about, format!("given by {uri}")),
        Some(outcome @ Outcome::CredentialRefused { .. }) => report.broken(
            &about,
            format!(
                "{uri}: {}; the account or its key was deleted, or the clock is wrong: make a new key in Firebase \
                 (Project settings, Service accounts), and see the line on the clock",
                outcome.reason()
            ),
        ),
        Some(outcome) => {
            report.broken(&about, format!("{uri}: {} (it must be reachable from here)", outcome.reason()));
        }
    }
}

fn ask(probe: &Probe, credential: &FcmCredential, authorization: &Authorization) -> Result<Probed, String> {
    let push =
        push_to_nobody(Provider::Fcm, &credential.project_id, now_s()).ok_or("there is no such push")?;
    let request = probe.request(&push, authorization).map_err(|outcome| outcome.reason().to_owned())?;
    let request = probe.dry(&request).ok_or("there is no dry run")?;
    let mut answers = probe.ask(&[request]).map_err(|error| error.to_string())?;
    answers.pop().ok_or_else(|| "no answer".to_owned())
}

/// A message without a credential is refused, but the answer has a date.
fn tell_time(clocks: &mut Clocks, credential: &FcmCredential, probe: &Probe) {
    let none = Authorization::new("Bearer none", Duration::ZERO, Duration::ZERO);
    if let Ok(Ok(answer)) = none.map(|none| ask(probe, credential, &none)) {
        clocks.note(probe.origin(), &answer);
    }
}

fn judge(report: &mut Report, about: &str, credential: &FcmCredential, answer: &Probed) {
    let status = answer.status.map_or_else(String::new, |status| format!("HTTP {status} "));
    let reason = answer.outcome.reason();
    let project = &credential.project_id;
    match &answer.outcome {
        Outcome::Accepted => report.ok(about, "accepted (validate_only)".to_owned()),
        Outcome::TokenGone { .. } => report
            .ok(about, "accepted but for the token, which no device has (validate_only)".to_owned()),
        Outcome::Rejected { .. } if reason == "SENDER_ID_MISMATCH" => report
            .ok(about, "accepted but for the token, which no device has (validate_only)".to_owned()),
        Outcome::CredentialRefused { .. } if reason == "PERMISSION_DENIED" => report.broken(
            about,
            format!(
                "{status}{reason}; the account may not send for project {project}: is project_id right, is the Firebase \
                 Cloud Messaging API (V1) enabled, and does the account have the role Firebase Cloud Messaging API Admin?"
            ),
        ),
        Outcome::CredentialRefused { .. } => {
            report.broken(about, format!("{status}{reason}; there is no project {project} for this account"));
        }
        Outcome::Throttled { .. } => report.warning(about, format!("{status}{reason}; check again later")),
        Outcome::Rejected { .. } => report.warning(about, format!("{status}{reason}")),
        Outcome::Unavailable { .. } => {
            report.broken(about, format!("{reason}; try again, and look at Firebase's status page"));
        }
    }
}
