//! What the check of both providers has in common: the way there, and a push that reaches nobody.
//!
//! It refuses to ask with anybody's token: Apple's is all zeros, Google's is text that no app ever got.

use std::time::Duration;

use voip_push::model::{Call, Device, Platform, Provider, Push, Token, User, utc};
use voip_push::service::{Probe, Unreached};

use super::report::Report;

/// So long the phone that is not there might ring; it only becomes a number in the request.
const RING: Duration = Duration::from_secs(30);

/// Looks whether the provider can be reached.
pub fn reach(report: &mut Report, label: &str, probe: &Probe) -> bool {
    let about = format!("{label} connection");
    let url = probe.origin().base_url();
    match probe.reach() {
        Ok(Ok(reached)) => {
            let until = reached.certificate_ends_at_s.map(|ends_at_s| {
                format!(", certificate until {}", utc(i64::try_from(ends_at_s).unwrap_or(i64::MAX)))
            });
            let until = until.unwrap_or_default();
            report.ok(&about, format!("{url} at {}, {}, HTTP/2{until}", reached.address.ip(), reached.tls));
            true
        }
        Ok(Err(why)) => {
            report.broken(&about, format!("{url}: {why}; {}", what_to_do(&why, probe)));
            false
        }
        Err(error) => {
            report.broken(&about, format!("{url}: {error}"));
            false
        }
    }
}

fn what_to_do(why: &Unreached, probe: &Probe) -> String {
    let port = probe.origin().port;
    let is_own_ca = probe.origin().ca_pem.is_some();
    match why {
        Unreached::Dns(_) => "check url, and the resolver in /etc/resolv.conf".to_owned(),
        Unreached::Tcp(_) | Unreached::Late(_) => format!("let TCP to port {port} out through the firewall"),
        Unreached::Tls(_) if is_own_ca => "ca_file must hold the CA of this host".to_owned(),
        Unreached::Tls(_) => {
            "something between here and there answers in its place, or the clock is wrong".to_owned()
        }
        Unreached::NotHttp2 => {
            "connect without a proxy in between, which must not end the connection".to_owned()
        }
    }
}

/// A call to a token that no device has.
pub fn push_to_nobody(provider: Provider, app: &str, expires_at_s: i64) -> Option<Push> {
    let (token, platform) = match provider {
        Provider::Apns => ("0".repeat(64), Platform::Ios),
        Provider::Fcm => (format!("{}:voip-push-check", "0".repeat(140)), Platform::Android),
    };
    let user = User::parse("voip-push-check").ok()?;
    let device = Device {
        user,
        device_id: String::new(),
        platform,
        token: Token::parse(provider, &token).ok()?,
        app: Some(app.to_owned()),
        environment: None,
        registered_at_ms: 0,
        expires_at_ms: None,
        alert: None,
    };
    let call = Call::parse("voip-push-check", "voip-push check", "voip-push-check").ok()?;
    Some(Push::new(call, device, expires_at_s, RING, false))
}
