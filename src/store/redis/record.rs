//! A device as a value: ten words with one space between them, an absent word empty. scripts/record.lua reads the same.
//!
//! It refuses to guess: what it cannot read is left out of lookups, and left where it is.

use super::layout::{letter, provider_of};
use crate::model::{Alert, Device, Environment, NewDevice, Platform, Provider, Token, User};

/// The version of values.
const VERSION: &str = "1";

/// Why a value is left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Odd {
    /// A later version of voip_push has written it.
    Newer,
    /// Somebody else has.
    Unreadable,
}

/// What a registration is, as the script's arguments want it.
pub(super) struct Words<'a> {
    pub(super) platform: &'static str,
    pub(super) environment: &'static str,
    pub(super) provider: &'static str,
    pub(super) token: &'a str,
    pub(super) app: &'a str,
    pub(super) alert: [&'a str; 3],
}

impl<'a> Words<'a> {
    pub(super) fn of(device: &'a NewDevice) -> Words<'a> {
        let alert = device.alert.as_deref().map(|alert| {
            let app = alert.app.as_deref().unwrap_or_default();
            [letter(alert.token.provider()), alert.token.expose(), app]
        });
        Words {
            platform: match device.platform {
                Platform::Ios => "i",
                Platform::Android => "a",
            },
            environment: device.environment.map_or("-", environment),
            provider: letter(device.token.provider()),
            token: device.token.expose(),
            app: device.app.as_deref().unwrap_or_default(),
            alert: alert.unwrap_or_default(),
        }
    }
}

pub(super) fn environment(environment: Environment) -> &'static str {
    match environment {
        Environment::Production => "p",
        Environment::Sandbox => "s",
    }
}

/// A value's device, and its stamp.
pub(super) fn read(user: &User, device_id: &[u8], value: &[u8]) -> Result<(Device, u64), Odd> {
    let value = std::str::from_utf8(value).map_err(|_| Odd::Unreadable)?;
    let mut words = value.split(' ');
    let version = words.next().unwrap_or_default();
    if version != VERSION {
        let is_newer = version.parse::<u32>().is_ok_and(|number| number > 1);
        return Err(if is_newer { Odd::Newer } else { Odd::Unreadable });
    }
    device(user, device_id, words).ok_or(Odd::Unreadable)
}

fn device<'a>(
    user: &User,
    device_id: &[u8],
    mut words: impl Iterator<Item = &'a str>,
) -> Option<(Device, u64)> {
    let mut word = || words.next();
    let registered_at_ms = word()?.parse().ok()?;
    let stamp = word()?.parse().ok()?;
    let expires_at_ms = present(word()?).map(str::parse).transpose().ok()?;
    let [platform, provider, said, proven] = *word()?.as_bytes() else { return None };
    let provider = provider_of(std::str::from_utf8(&[provider]).ok()?)?;
    let token = Token::parse(provider, word()?).ok()?;
    let app = present(word()?).map(str::to_owned);
    let alert = [word()?, word()?, word()?];
    let device = Device {
        user: user.clone(),
        device_id: String::from_utf8(device_id.to_vec()).ok()?,
        platform: match platform {
            b'i' => Platform::Ios,
            b'a' => Platform::Android,
            _ => return None,
        },
        token,
        app,
        environment: environment_of(proven)?.or(environment_of(said)?),
        registered_at_ms,
        expires_at_ms,
        alert: if alert[1].is_empty() { None } else { Some(Box::new(read_alert(alert)?)) },
    };
    Some((device, stamp))
}

fn present(word: &str) -> Option<&str> {
    Some(word).filter(|word| !word.is_empty())
}

fn read_alert([provider, token, app]: [&str; 3]) -> Option<Alert> {
    let token = Token::parse(provider_of(provider)?, token).ok()?;
    Some(Alert { token, app: present(app).map(str::to_owned) })
}

/// `Some(None)` is "not said".
fn environment_of(letter: u8) -> Option<Option<Environment>> {
    match letter {
        b'-' => Some(None),
        b'p' => Some(Some(Environment::Production)),
        b's' => Some(Some(Environment::Sandbox)),
        _ => None,
    }
}

/// For the words of a note.
pub(super) fn provider_and_token<'a>(provider: &str, token: &'a str) -> Option<(Provider, &'a str)> {
    Some((provider_of(provider)?, token))
}
