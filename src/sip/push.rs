//! What a contact asks of push: nothing, which services there are, or to be woken by one of them.
//!
//! It refuses to check a token: whether it can be one of its provider's is for who stores it.

use super::{Uri, linphone};
use crate::model::{Environment, Invalid, Provider};
use std::fmt;

/// What a contact asks of push.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// Nothing: it has no push parameters. A phone that had some is not to be woken any more (RFC 8599 §4.1.1).
    Nothing,
    /// Which push services are there (RFC 8599 §5.6.1.2): all, or this one.
    Query(Option<String>),
    /// To be woken.
    Device(PushDevice),
    /// To be woken by a service that we do not know, or without something that the service needs.
    Unusable,
}

/// Where a phone wants to be pushed to, as it says itself.
#[derive(Clone, PartialEq, Eq)]
pub struct PushDevice {
    /// `pn-provider`
    pub provider: Provider,
    /// Apple's team, of `pn-param`.
    pub team: Option<String>,
    /// Topic or project, of `pn-param`.
    pub app: Option<String>,
    /// Linphone tells apps that Xcode has installed apart (`apns.dev`).
    pub environment: Option<Environment>,
    /// `pn-prid`
    pub token: String,
    /// Linphone's second token, for alerts.
    pub alert_token: Option<String>,
}

/// Without the tokens.
impl fmt::Debug for PushDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "push device({} {:?})", self.provider.as_str(), self.app)
    }
}

impl Ask {
    /// Reads the parameters of a contact's URI: RFC 8599 §4.1, and Linphone's from before it.
    ///
    /// # Errors
    /// A parameter is there twice or wrongly escaped: the answer to such a request is 400.
    pub fn of(uri: &Uri<'_>) -> Result<Ask, Invalid> {
        let Some(provider) = uri.param("pn-provider")? else { return before_rfc_8599(uri) };
        if provider.is_empty() {
            return Ok(Ask::Query(None));
        }
        let (param, prid) = (uri.param("pn-param")?.unwrap_or_default(), uri.param("pn-prid")?);
        let Some(prid) = prid else { return Ok(Ask::Query(Some(provider.to_ascii_lowercase()))) };
        Ok(device(&provider, &param, prid).map_or(Ask::Unusable, Ask::Device))
    }
}

impl Ask {
    /// The provider that is to wake the phone.
    pub fn provider(&self) -> Option<Provider> {
        match self {
            Ask::Device(device) => Some(device.provider),
            Ask::Nothing | Ask::Query(_) | Ask::Unusable => None,
        }
    }
}

fn device(provider: &str, param: &str, prid: String) -> Option<PushDevice> {
    match provider.to_ascii_lowercase().as_str() {
        "apns" => linphone::apple(param, &prid, None),
        "apns.dev" => linphone::apple(param, &prid, Some(Environment::Sandbox)),
        "fcm" if !param.is_empty() && !prid.is_empty() => Some(PushDevice {
            provider: Provider::Fcm,
            team: None,
            app: Some(param.to_owned()),
            environment: None,
            token: prid,
            alert_token: None,
        }),
        _ => None,
    }
}

fn before_rfc_8599(uri: &Uri<'_>) -> Result<Ask, Invalid> {
    let (token, kind) = (uri.param("pn-tok")?, uri.param("pn-type")?);
    let app_id = uri.param("app-id")?.unwrap_or_default();
    match (token, kind) {
        (None, None) => Ok(Ask::Nothing),
        (token, kind) => {
            let (token, kind) = (token.unwrap_or_default(), kind.unwrap_or_default());
            let device = linphone::before_rfc_8599(&app_id, &kind, &token);
            Ok(device.map_or(Ask::Unusable, Ask::Device))
        }
    }
}
