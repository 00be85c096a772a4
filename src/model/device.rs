//! A device: one installation of an app on somebody's phone, and where pushes to it go.
//!
//! It refuses combinations that cannot work, such as a PushKit token for an Android phone.

use super::{Invalid, Token, User};
use std::time::Duration;

/// What the phone runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// iPhone and iPad.
    Ios,
    /// Android.
    Android,
}

impl Platform {
    /// Takes `ios` or `android`, in any case.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Platform, Invalid> {
        match text {
            text if text.eq_ignore_ascii_case("ios") => Ok(Platform::Ios),
            text if text.eq_ignore_ascii_case("android") => Ok(Platform::Android),
            _ => Err(Invalid::new("platform", "is neither ios nor android")),
        }
    }

    /// `ios` or `android`.
    pub fn as_str(self) -> &'static str {
        match self {
            Platform::Ios => "ios",
            Platform::Android => "android",
        }
    }
}

/// Who delivers a push (RFC 8599: `pn-provider`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Apple Push Notification service, the only one that reaches PushKit.
    Apns,
    /// Firebase Cloud Messaging, HTTP v1.
    Fcm,
}

impl Provider {
    /// Every provider, in the order of the counters.
    pub const ALL: [Provider; 2] = [Provider::Apns, Provider::Fcm];

    /// Takes `apns` or `fcm`, in any case.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Provider, Invalid> {
        match text {
            text if text.eq_ignore_ascii_case("apns") => Ok(Provider::Apns),
            text if text.eq_ignore_ascii_case("fcm") => Ok(Provider::Fcm),
            text if text.eq_ignore_ascii_case("webpush") => {
                Err(Invalid::new("provider", "webpush is not supported yet; use apns or fcm"))
            }
            _ => Err(Invalid::new("provider", "is neither apns nor fcm")),
        }
    }

    /// `apns` or `fcm`, as RFC 8599 registers them.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Apns => "apns",
            Provider::Fcm => "fcm",
        }
    }
}

/// Which of Apple's two worlds a token belongs to. FCM has only the one, `Production`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Environment {
    /// Apps from the App Store and TestFlight.
    #[default]
    Production,
    /// Apps run from Xcode.
    Sandbox,
}

impl Environment {
    /// Takes `production` or `sandbox`, in any case.
    ///
    /// # Errors
    /// Any other text.
    pub fn parse(text: &str) -> Result<Environment, Invalid> {
        match text {
            text if text.eq_ignore_ascii_case("production") => Ok(Environment::Production),
            text if text.eq_ignore_ascii_case("sandbox") => Ok(Environment::Sandbox),
            _ => Err(Invalid::new("environment", "is neither production nor sandbox")),
        }
    }

    /// `production` or `sandbox`.
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Production => "production",
            Environment::Sandbox => "sandbox",
        }
    }
}

/// A device that somebody asks to register. Only the three fields of the seed's API are needed; the rest has defaults.
#[derive(Debug, Clone)]
pub struct NewDevice {
    /// Whose phone it is.
    pub user: User,
    /// Which of the user's phones it is; empty where the app does not say, which means "the one phone of this user".
    pub device_id: String,
    /// What the phone runs.
    pub platform: Platform,
    /// What its provider calls it.
    pub token: Token,
    /// Topic (APNs) or project (FCM); `None` means the configuration's first.
    pub app: Option<String>,
    /// Apple's production or sandbox; `None` means the first configured credential's.
    pub environment: Option<Environment>,
    /// How long the registration is good for; `None` means until it is deleted or replaced.
    pub expires: Option<Duration>,
    /// Where the same phone takes ordinary alerts, such as a missed call.
    pub alert: Option<Box<Alert>>,
}

/// Where an iPhone takes ordinary alerts: PushKit's token and topic are for calls only, and an app that wants both has
/// two tokens (Apple, "Responding to VoIP Notifications from PushKit").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The ordinary APNs token, or the FCM registration token of the same app.
    pub token: Token,
    /// Its topic or project; `None` means the device's own, without `.voip`.
    pub app: Option<String>,
}

/// Longest device id or app taken, in bytes.
const MAX_NAME_LEN: usize = 255;
/// Ten years, in seconds: whoever means longer gives no expiry.
const MAX_EXPIRES_S: i64 = 315_360_000;

impl NewDevice {
    /// Checks the fields of a registration together. `provider` empty or absent means: told by the token's looks on iOS
    /// (a PushKit token is hexadecimal, an FCM token is not) and FCM on Android.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn parse(user: &str, token: &str, platform: &str, extra: &Extra<'_>) -> Result<NewDevice, Invalid> {
        let user = User::parse(user)?;
        let platform = Platform::parse(platform)?;
        let provider = match extra.provider.filter(|text| !text.is_empty()) {
            Some(text) => Provider::parse(text)?,
            None if platform == Platform::Android => Provider::Fcm,
            None => Token::guess_provider(token),
        };
        if platform == Platform::Android && provider == Provider::Apns {
            return Err(Invalid::new("provider", "apns cannot reach an android device"));
        }
        let token = Token::parse(provider, token)?;
        Ok(NewDevice {
            user,
            platform,
            alert: alert(platform, &token, extra)?,
            token,
            device_id: name("device_id", extra.device_id)?.unwrap_or_default(),
            app: name("app", extra.app)?,
            environment: extra
                .environment
                .filter(|text| !text.is_empty())
                .map(Environment::parse)
                .transpose()?,
            expires: extra.expires_s.map(expires).transpose()?,
        })
    }
}

fn expires(seconds: i64) -> Result<Duration, Invalid> {
    match u64::try_from(seconds) {
        Ok(given) if (1..=MAX_EXPIRES_S).contains(&seconds) => Ok(Duration::from_secs(given)),
        _ => Err(Invalid::new("expires", format!("is {seconds}; give seconds from 1 to {MAX_EXPIRES_S}"))),
    }
}

fn alert(platform: Platform, token: &Token, extra: &Extra<'_>) -> Result<Option<Box<Alert>>, Invalid> {
    let refuse = |what, why: &str| Err(Invalid::new(what, why));
    let app = name("alert_app", extra.alert_app)?;
    let Some(text) = extra.alert_token.filter(|text| !text.is_empty()) else {
        return if app.is_some() { refuse("alert_app", "is given without alert_token") } else { Ok(None) };
    };
    if platform == Platform::Android {
        return refuse("alert_token", "an android device takes calls and alerts by its one token");
    }
    let alert = Token::parse(Token::guess_provider(text), text)
        .map_err(|invalid| Invalid::new("alert_token", invalid.why))?;
    if alert == *token {
        return refuse("alert_token", "is the same as token; PushKit and alerts have a token each");
    }
    if alert.provider() == Provider::Apns && app.as_ref().is_some_and(|app| app.ends_with(".voip")) {
        return refuse("alert_app", "is a VoIP topic; alerts go to the bundle id itself");
    }
    Ok(Some(Box::new(Alert { token: alert, app })))
}

/// The optional fields of a registration, as text from outside. An empty text counts as absent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extra<'a> {
    /// `apns` or `fcm`.
    pub provider: Option<&'a str>,
    /// Which of the user's phones it is.
    pub device_id: Option<&'a str>,
    /// Topic or project.
    pub app: Option<&'a str>,
    /// `production` or `sandbox`.
    pub environment: Option<&'a str>,
    /// For how many seconds the registration is good, from 1 to ten years.
    pub expires_s: Option<i64>,
    /// The ordinary token of an iPhone that registers its PushKit token.
    pub alert_token: Option<&'a str>,
    /// Its topic or project.
    pub alert_app: Option<&'a str>,
}

/// Takes a topic or project from outside; an empty text means the configuration's first.
///
/// # Errors
/// Longer than 255 bytes, or with a space or a control character.
pub fn parse_app(text: &str) -> Result<Option<String>, Invalid> {
    name("app", Some(text))
}

fn name(what: &'static str, text: Option<&str>) -> Result<Option<String>, Invalid> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.len() > MAX_NAME_LEN {
        return Err(Invalid::new(
            what,
            format!("is {} bytes long, at most {MAX_NAME_LEN} are taken", text.len()),
        ));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Invalid::new(what, "has a space or a control character"));
    }
    Ok(Some(text.to_owned()))
}

/// A registered device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Whose phone it is.
    pub user: User,
    /// Which of the user's phones it is; empty for "the one phone of this user".
    pub device_id: String,
    /// What the phone runs.
    pub platform: Platform,
    /// What its provider calls it.
    pub token: Token,
    /// Topic (APNs) or project (FCM); `None` means the configuration's first.
    pub app: Option<String>,
    /// Apple's production or sandbox: the one that was seen to work, else as registered; `None` means the first configured
    /// credential's.
    pub environment: Option<Environment>,
    /// When the app last registered this token, in ms since 1970. A rejection older than this does not count.
    pub registered_at_ms: i64,
    /// When the registration ends, in ms since 1970; `None` is never.
    pub expires_at_ms: Option<i64>,
    /// Where the same phone takes ordinary alerts.
    pub alert: Option<Box<Alert>>,
}

impl Device {
    /// The provider that delivers to it.
    pub fn provider(&self) -> Provider {
        self.token.provider()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex() -> String {
        "ab".repeat(32)
    }

    fn fcm() -> String {
        format!("c1:APA91b{}", "x".repeat(130))
    }

    #[test]
    fn the_seeds_three_fields_are_enough() {
        let extra = Extra::default();
        let iphone = NewDevice::parse("564612", &hex(), "ios", &extra).unwrap();
        assert_eq!((iphone.token.provider(), iphone.device_id.as_str()), (Provider::Apns, ""));
        let through_fcm = NewDevice::parse("564612", &fcm(), "ios", &extra).unwrap();
        assert_eq!(through_fcm.token.provider(), Provider::Fcm);
        let android = NewDevice::parse("564612", &fcm(), "Android", &extra).unwrap();
        assert_eq!(android.token.provider(), Provider::Fcm);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let none = Extra::default();
        let with = |extra: Extra<'static>| NewDevice::parse("u", &hex(), "ios", &extra).unwrap_err().what;
        assert_eq!(NewDevice::parse("", &hex(), "ios", &none).unwrap_err().what, "user");
        assert_eq!(NewDevice::parse("u", "short", "ios", &none).unwrap_err().what, "token");
        assert_eq!(NewDevice::parse("u", &hex(), "windows", &none).unwrap_err().what, "platform");
        assert_eq!(with(Extra { provider: Some("adm"), ..none }), "provider");
        assert_eq!(with(Extra { environment: Some("test"), ..none }), "environment");
        assert_eq!(with(Extra { device_id: Some("a\nb"), ..none }), "device_id");
        assert_eq!(with(Extra { app: Some("a b"), ..none }), "app");
        assert_eq!(with(Extra { provider: Some("webpush"), ..none }), "provider");
        for expires_s in [i64::MIN, -1, 0, MAX_EXPIRES_S + 1] {
            assert_eq!(with(Extra { expires_s: Some(expires_s), ..none }), "expires");
        }
        let apns = Extra { provider: Some("apns"), ..none };
        assert_eq!(NewDevice::parse("u", &hex(), "android", &apns).unwrap_err().what, "provider");
    }

    #[test]
    fn an_iphone_may_have_a_second_token_for_alerts() {
        let (voip, shouted, alert) = (hex(), hex().to_uppercase(), "cd".repeat(32));
        let with = |alert_token, alert_app, platform, token: &str| {
            let extra = Extra { alert_token, alert_app, ..Extra::default() };
            NewDevice::parse("u", token, platform, &extra).map(|device| device.alert)
        };
        let both = with(Some(&alert), Some("org.example.phone"), "ios", &voip).unwrap().unwrap();
        assert_eq!((both.token.expose(), both.app.as_deref()), (alert.as_str(), Some("org.example.phone")));
        assert_eq!(with(Some(""), Some(""), "ios", &voip).unwrap(), None);
        let wrong = |alert_token, app, platform, token: &str| {
            with(alert_token, app, platform, token).unwrap_err().what
        };
        assert_eq!(wrong(None, Some("org.example.phone"), "ios", &voip), "alert_app");
        assert_eq!(wrong(Some(&alert), Some("org.example.phone.voip"), "ios", &voip), "alert_app");
        assert_eq!(wrong(Some("short"), None, "ios", &voip), "alert_token");
        assert_eq!(wrong(Some(&shouted), None, "ios", &voip), "alert_token");
        assert_eq!(wrong(Some(&alert), None, "android", &fcm()), "alert_token");
    }
}
