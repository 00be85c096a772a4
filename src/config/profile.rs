//! What the pushes to an app hold: the `[[app]]` sections.
//!
//! It refuses an app that no credential is for: a slip of the pen in its name would leave the app without its payload.

use super::template::Template;
use super::{ConfigError, Settings, raw};
use crate::model::Provider;
use std::path::Path;
use std::sync::Arc;

/// Largest VoIP payload for APNs, in bytes (Apple, "Generating a remote notification").
pub const MAX_APNS_LEN: usize = 5120;
/// Largest data of an FCM message, and largest APNs payload that is not VoIP, in bytes (Google, "About FCM messages"; Apple, as
/// above).
pub const MAX_FCM_LEN: usize = 4096;

/// How the payload of a push is written; which app reads what, `payload` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Profile {
    /// flutter_callkit_incoming, react-native-voip-push-notification with callkeep, and the seed's fields.
    #[default]
    Callkit,
    /// Apps made with the Linphone SDK.
    Linphone,
    /// Sylk.
    Sylk,
    /// The seed's fields and nothing else.
    Seed,
    /// An id, and nothing about who calls whom.
    Minimal,
    /// What the administrator wrote.
    Template(Arc<Template>),
}

impl Profile {
    /// Whether an Android app with this profile is told by a push that a message waits.
    pub fn tells_of_messages(&self) -> bool {
        !matches!(self, Profile::Seed | Profile::Template(_))
    }

    /// Whether an app with this profile is told by a push that a call is over.
    pub fn tells_of_ends(&self) -> bool {
        match self {
            Profile::Callkit | Profile::Sylk | Profile::Minimal | Profile::Seed => true,
            // Its apps register at every push, and are told by INVITE and CANCEL.
            Profile::Linphone => false,
            Profile::Template(template) => template.cancel().is_some(),
        }
    }
}

const NAMES: &str = "callkit, linphone, sylk, seed, minimal, template";

/// Gives every credential the profiles of its apps.
pub(super) fn apply(file: &Path, apps: &[raw::App], settings: &mut Settings) -> Result<(), ConfigError> {
    for (at, app) in apps.iter().enumerate() {
        let refuse =
            |key: &str, why: String| ConfigError::new(file, format!("[[app]] {} {key}", app.name), why);
        if apps[..at].iter().any(|earlier| earlier.name == app.name) {
            return Err(refuse("name", "stands in two [[app]] sections; keep one".to_owned()));
        }
        let mut places = places(settings, &app.name);
        let Some((provider, _)) = places.first() else {
            return Err(refuse("name", unknown(settings)));
        };
        let profile = profile(app, *provider).map_err(|(key, why)| refuse(key, why))?;
        for (_, place) in &mut places {
            **place = profile.clone();
        }
    }
    Ok(())
}

/// Where the profile of this app is to stand: one topic may be of several credentials.
fn places<'a>(settings: &'a mut Settings, name: &str) -> Vec<(Provider, &'a mut Profile)> {
    let topics = settings.apns.iter_mut().flat_map(|apns| apns.topics.iter().zip(&mut apns.profiles));
    let of_topics = topics.filter(|(topic, _)| *topic == name).map(|(_, place)| (Provider::Apns, place));
    let projects = settings.fcm.iter_mut().filter(|fcm| fcm.project_id == name);
    of_topics.chain(projects.map(|fcm| (Provider::Fcm, &mut fcm.profile))).collect()
}

fn unknown(settings: &Settings) -> String {
    let mut known: Vec<String> = settings.apps().into_iter().map(|(_, app)| app).collect();
    known.dedup();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!(
        "is neither a topic of an [[apns]] section nor the project of an [[fcm]] section; there are: {known}"
    )
}

fn profile(app: &raw::App, provider: Provider) -> Result<Profile, (&'static str, String)> {
    for (key, text) in [("template", &app.template), ("cancel_template", &app.cancel_template)] {
        if app.profile != "template" && text.is_some() {
            let why = format!("is not used by the profile {}; set profile = \"template\"", app.profile);
            return Err((key, why));
        }
    }
    Ok(match app.profile.as_str() {
        "callkit" => Profile::Callkit,
        "linphone" => Profile::Linphone,
        "sylk" => Profile::Sylk,
        "seed" => Profile::Seed,
        "minimal" => Profile::Minimal,
        "template" => {
            let missing = || ("template", "is missing; give the payload as JSON".to_owned());
            let text = app.template.as_deref().ok_or_else(missing)?;
            let template = Template::compile(text, provider).map_err(|why| ("template", why))?;
            Profile::Template(Arc::new(match app.cancel_template.as_deref() {
                None => template,
                Some(text) => template.with_cancel(text, provider).map_err(|why| ("cancel_template", why))?,
            }))
        }
        _ => return Err(("profile", format!("is none of {NAMES}"))),
    })
}
