//! How Linphone spells push parameters where it does not follow RFC 8599 to the letter: two tokens in one `pn-prid`, and the names
//! of before the RFC.
//!
//! It refuses to guess what a token is for: that is written beside it, or there is only the one.

use super::push::PushDevice;
use crate::model::{Environment, Provider};

/// What a token of Apple's is for. `voip` is PushKit, `remote` an alert.
struct Tokens {
    voip: Option<String>,
    remote: Option<String>,
}

/// `pn-param=TEAM.bundle.voip&remote` and `pn-prid=a:voip&b:remote`; also RFC 8599's plain `TEAM.topic` with one token. `None` where
/// something is missing.
pub(super) fn apple(param: &str, prid: &str, environment: Option<Environment>) -> Option<PushDevice> {
    let (team, topic) =
        param.split_once('.').filter(|(team, topic)| !team.is_empty() && !topic.is_empty())?;
    let device = apple_topic(topic, prid, environment)?;
    Some(PushDevice { team: Some(team.to_owned()), ..device })
}

fn apple_topic(topic: &str, prid: &str, environment: Option<Environment>) -> Option<PushDevice> {
    let (bundle, services) = match topic.rsplit_once('.') {
        Some((bundle, last)) if last.split('&').all(|one| matches!(one, "voip" | "remote")) => (bundle, last),
        _ => (topic, "remote"),
    };
    let mut services = services.split('&');
    let is_for_calls = services.any(|service| service == "voip");
    let tokens = tokens(prid, if is_for_calls { "voip" } else { "remote" })?;
    let (token, alert_token, app) = if is_for_calls {
        (tokens.voip?, tokens.remote, format!("{bundle}.voip"))
    } else {
        (tokens.remote?, None, bundle.to_owned())
    };
    Some(PushDevice { provider: Provider::Apns, team: None, app: Some(app), environment, token, alert_token })
}

fn tokens(prid: &str, alone: &str) -> Option<Tokens> {
    let mut tokens = Tokens { voip: None, remote: None };
    for part in prid.split('&') {
        let (token, service) = part.split_once(':').unwrap_or((part, alone));
        let place = match service {
            "voip" => &mut tokens.voip,
            "remote" => &mut tokens.remote,
            _ => return None,
        };
        if token.is_empty() || place.replace(token.to_owned()).is_some() {
            return None;
        }
    }
    Some(tokens)
}

/// `app-id`, `pn-type` and `pn-tok`, from before RFC 8599. `None` where something is missing or nobody can serve it.
pub(super) fn before_rfc_8599(app_id: &str, kind: &str, token: &str) -> Option<PushDevice> {
    if app_id.is_empty() || token.is_empty() {
        return None;
    }
    match kind.to_ascii_lowercase().as_str() {
        "apple" => {
            let (topic, environment) = match app_id.rsplit_once('.') {
                Some((topic, "dev")) => (topic, Some(Environment::Sandbox)),
                Some((topic, "prod")) => (topic, None),
                _ => (app_id, None),
            };
            apple_topic(topic, token, environment)
        }
        "firebase" | "google" | "android" | "fcm" => Some(PushDevice {
            provider: Provider::Fcm,
            team: None,
            app: Some(app_id.to_owned()),
            environment: None,
            token: token.to_owned(),
            alert_token: None,
        }),
        _ => None,
    }
}
