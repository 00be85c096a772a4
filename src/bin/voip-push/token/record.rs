//! One device as a line of a file has it.
//!
//! It refuses what a registration over the REST API would refuse, by the same rules.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use voip_push::model::{Device, Extra, Invalid, NewDevice};
use voip_push::service::ToImport;

/// Registered so much later than now, a device was not registered by a clock that anybody should believe.
const FUTURE_MS: i64 = 86_400_000;

/// The columns of a CSV file and the names in a line of JSON. Only the first three must be there.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub user: String,
    pub token: String,
    pub platform: String,
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub device_id: Option<String>,
    #[serde(default)]
    pub app: Option<String>,
    #[serde(default)]
    pub environment: Option<String>,
    #[serde(default)]
    pub registered_at_ms: Option<i64>,
    #[serde(default)]
    pub expires_at_ms: Option<i64>,
    #[serde(default)]
    pub alert_token: Option<String>,
    #[serde(default)]
    pub alert_app: Option<String>,
}

/// The columns in the order in which they are written.
pub const COLUMNS: [&str; 11] = [
    "user",
    "token",
    "platform",
    "provider",
    "device_id",
    "app",
    "environment",
    "registered_at_ms",
    "expires_at_ms",
    "alert_token",
    "alert_app",
];

impl Record {
    /// The whole device, or with its tokens shortened.
    pub fn of(device: &Device, is_full: bool) -> Record {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let shown = |token: &voip_push::model::Token| {
            if is_full { token.expose().to_owned() } else { token.shortened() }
        };
        Record {
            user: device.user.as_str().to_owned(),
            token: shown(&device.token),
            platform: device.platform.as_str().to_owned(),
            provider: text(device.provider().as_str()),
            device_id: text(&device.device_id),
            app: device.app.clone(),
            environment: device.environment.and_then(|environment| text(environment.as_str())),
            registered_at_ms: Some(device.registered_at_ms),
            expires_at_ms: device.expires_at_ms,
            alert_token: device.alert.as_ref().map(|alert| shown(&alert.token)),
            alert_app: device.alert.as_ref().and_then(|alert| alert.app.clone()),
        }
    }

    /// What a store tells once it has taken this device.
    pub fn of_import(one: &ToImport) -> Record {
        let device = &one.device;
        let text = |text: &str| Some(text.to_owned());
        let alert = device.alert.as_deref();
        Record {
            user: device.user.as_str().to_owned(),
            token: device.token.expose().to_owned(),
            platform: device.platform.as_str().to_owned(),
            provider: text(device.token.provider().as_str()),
            device_id: text(&device.device_id),
            app: device.app.clone(),
            environment: device.environment.and_then(|environment| text(environment.as_str())),
            registered_at_ms: Some(one.registered_at_ms),
            expires_at_ms: one.expires_at_ms,
            alert_token: alert.and_then(|alert| text(alert.token.expose())),
            alert_app: alert.and_then(|alert| alert.app.clone()),
        }
    }

    /// Sets the column at this place of [`COLUMNS`]; an empty text is an absent one.
    pub fn set(&mut self, place: usize, text: String) -> Result<(), String> {
        let time = |text: &str| text.parse().map_err(|_| format!("{}: is not a number", COLUMNS[place]));
        let text = Some(text).filter(|text| !text.is_empty());
        match COLUMNS[place] {
            "user" => self.user = text.unwrap_or_default(),
            "token" => self.token = text.unwrap_or_default(),
            "platform" => self.platform = text.unwrap_or_default(),
            "provider" => self.provider = text,
            "device_id" => self.device_id = text,
            "app" => self.app = text,
            "environment" => self.environment = text,
            "registered_at_ms" => self.registered_at_ms = text.as_deref().map(time).transpose()?,
            "expires_at_ms" => self.expires_at_ms = text.as_deref().map(time).transpose()?,
            "alert_token" => self.alert_token = text,
            _ => self.alert_app = text,
        }
        Ok(())
    }

    /// The column at this place of [`COLUMNS`].
    pub fn get(&self, place: usize) -> Cow<'_, str> {
        let text = |text: &'_ Option<String>| Cow::Owned(text.clone().unwrap_or_default());
        let time = |time: Option<i64>| Cow::Owned(time.map(|ms| ms.to_string()).unwrap_or_default());
        match COLUMNS[place] {
            "user" => Cow::Borrowed(&*self.user),
            "token" => Cow::Borrowed(&*self.token),
            "platform" => Cow::Borrowed(&*self.platform),
            "provider" => text(&self.provider),
            "device_id" => text(&self.device_id),
            "app" => text(&self.app),
            "environment" => text(&self.environment),
            "registered_at_ms" => time(self.registered_at_ms),
            "expires_at_ms" => time(self.expires_at_ms),
            "alert_token" => text(&self.alert_token),
            _ => text(&self.alert_app),
        }
    }

    /// Checked; where it does not say when it was registered, that was `now_ms`.
    pub fn check(&self, now_ms: i64) -> Result<ToImport, Invalid> {
        let extra = Extra {
            provider: self.provider.as_deref(),
            device_id: self.device_id.as_deref(),
            app: self.app.as_deref(),
            environment: self.environment.as_deref(),
            expires_s: None,
            alert_token: self.alert_token.as_deref(),
            alert_app: self.alert_app.as_deref(),
        };
        let device = NewDevice::parse(&self.user, &self.token, &self.platform, &extra)?;
        let registered_at_ms = self.registered_at_ms.unwrap_or(now_ms);
        if !(0..=now_ms.saturating_add(FUTURE_MS)).contains(&registered_at_ms) {
            let why = "is not a time in ms since 1970 that has come";
            return Err(Invalid::new("registered_at_ms", why));
        }
        if self.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms < 0) {
            return Err(Invalid::new("expires_at_ms", "is not a time in ms since 1970"));
        }
        Ok(ToImport { device, registered_at_ms, expires_at_ms: self.expires_at_ms })
    }
}
