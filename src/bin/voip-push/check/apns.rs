//! A key at Apple: its file, its ids, the way to Apple, and what Apple says to it.
//!
//! It refuses to take a refusal of the push for a fault: BadDeviceToken is what a token that no device has must get.

use voip_push::clock::now_s;
use voip_push::config::ApnsCredential;
use voip_push::model::{Outcome, Provider};
use voip_push::service::{Authorization, Probe, Probed};

use super::clock::Clocks;
use super::credential::{push_to_nobody, reach};
use super::files::with_mode;
use super::report::Report;

/// Looks at one `[[apns]]` section; without a probe nobody is asked.
pub fn check(report: &mut Report, clocks: &mut Clocks, credential: &ApnsCredential, probe: Option<&Probe>) {
    let label = format!("apns {} {}", credential.key_id, credential.environment.as_str());
    key(report, &label, credential);
    let Some(probe) = probe else {
        return report.skipped(&format!("{label} connection"), "not tried: --offline".to_owned());
    };
    if !reach(report, &label, probe) {
        return report.skipped(&format!("{label} topics"), "not tried: APNs was not reached".to_owned());
    }
    match probe.authorize() {
        Ok(authorization) => topics(report, clocks, (&label, credential, probe), &authorization),
        Err(outcome) => report.broken(&format!("{label} key"), outcome.reason().to_owned()),
    }
}

fn key(report: &mut Report, label: &str, credential: &ApnsCredential) {
    let about = format!("{label} key");
    let ApnsCredential { key_file, key_id, team_id, .. } = credential;
    // Apple names the file after its key, so another name there is most likely another key.
    let named = key_file.file_stem().and_then(|stem| stem.to_str()?.strip_prefix("AuthKey_"));
    if let Some(named) = named.filter(|named| named.len() == 10 && named != key_id) {
        let shown = key_file.display();
        report.warning(
            &about,
            format!(
                "key_id is {key_id}, but {shown} seems to be key {named}; write the id of that file's key"
            ),
        );
    }
    report.ok(&about, format!("{}, curve P-256, team {team_id}", with_mode(key_file)));
}

fn topics(
    report: &mut Report,
    clocks: &mut Clocks,
    (label, credential, probe): (&str, &ApnsCredential, &Probe),
    authorization: &Authorization,
) {
    let pushes = credential.topics.iter().filter_map(|topic| push_to_nobody(Provider::Apns, topic, now_s()));
    let requests: Result<Vec<_>, _> = pushes.map(|push| probe.request(&push, authorization)).collect();
    let asked = requests.map_err(|outcome| outcome.reason().to_owned());
    let asked = asked.and_then(|requests| probe.ask(&requests).map_err(|error| error.to_string()));
    match asked {
        Ok(answers) => {
            for (topic, answer) in credential.topics.iter().zip(&answers) {
                clocks.note(probe.origin(), answer);
                judge(report, &format!("{label} topic {topic}"), credential, answer);
            }
        }
        Err(why) => report.broken(&format!("{label} topics"), why),
    }
}

fn judge(report: &mut Report, about: &str, credential: &ApnsCredential, answer: &Probed) {
    let status = answer.status.map_or_else(String::new, |status| format!("HTTP {status} "));
    let reason = answer.outcome.reason();
    match &answer.outcome {
        Outcome::Rejected { reason } if reason == "BadDeviceToken" => report.ok(
            about,
            "the key is accepted (BadDeviceToken, as it must be for a token that no device has)".to_owned(),
        ),
        Outcome::TokenGone { .. } => report.ok(about, "the key is accepted".to_owned()),
        Outcome::Accepted => report.warning(
            about,
            "a push to a token that no device has was accepted; is this really APNs?".to_owned(),
        ),
        Outcome::CredentialRefused { .. } => {
            report.broken(about, format!("{status}{reason}; {}", refusal(reason, credential)));
        }
        Outcome::Rejected { .. } if matches!(reason, "TopicDisallowed" | "BadTopic") => {
            let team_id = &credential.team_id;
            report.broken(
                about,
                format!("{status}{reason}; the topic is <bundle id>.voip of an app of team {team_id}"),
            );
        }
        Outcome::Throttled { .. } => {
            report.warning(about, format!("{status}{reason}; wait 20 minutes and check again"));
        }
        Outcome::Rejected { .. } => report.warning(about, format!("{status}{reason}")),
        Outcome::Unavailable { .. } => {
            report.broken(about, format!("{reason}; try again, and look at Apple's system status page"));
        }
    }
}

/// Apple, "Handling notification responses from APNs".
fn refusal(reason: &str, credential: &ApnsCredential) -> String {
    let ApnsCredential { key_id, team_id, environment, .. } = credential;
    match reason {
        "InvalidProviderToken" => format!(
            "Apple does not know this file as key {key_id} of team {team_id}, or the clock is wrong: compare key_id \
             and team_id with Apple's developer page, and see the line on the clock"
        ),
        "ExpiredProviderToken" => {
            "the clock is behind by more than an hour; see the line on the clock".to_owned()
        }
        "BadEnvironmentKeyInToken" | "BadEnvironmentKeyIdInToken" => {
            let environment = environment.as_str();
            format!("the key is not for {environment}; change environment, or make a key for {environment}")
        }
        _ => format!("look at key {key_id} on Apple's developer page"),
    }
}
