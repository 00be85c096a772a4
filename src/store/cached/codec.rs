//! A user's devices as bytes, for the memory that the processes of one server share.
//!
//! It refuses to be kept or sent: only processes of the same program ever read it.

use crate::model::{Alert, Device, Environment, Platform, Provider, Token, User};

/// Writes a user and his devices behind what is in `bytes`.
pub(super) fn write(bytes: &mut Vec<u8>, user: &User, devices: &[Device]) {
    text(bytes, user.as_str());
    for device in devices {
        text(bytes, &device.device_id);
        bytes.extend([
            u8::from(device.platform == Platform::Ios),
            environment_number(device.environment),
            u8::from(device.expires_at_ms.is_some()),
            u8::from(device.alert.is_some()),
        ]);
        token(bytes, &device.token);
        optional(bytes, device.app.as_deref());
        bytes.extend(device.registered_at_ms.to_le_bytes());
        bytes.extend(device.expires_at_ms.unwrap_or_default().to_le_bytes());
        if let Some(alert) = &device.alert {
            token(bytes, &alert.token);
            optional(bytes, alert.app.as_deref());
        }
    }
}

/// Reads what [`write()`] wrote; `None` where it is anything else.
pub(super) fn read(bytes: &[u8]) -> Option<(User, Vec<Device>)> {
    let mut rest = Rest(bytes);
    let user = User::parse(rest.text()?).ok()?;
    let mut devices = Vec::new();
    while !rest.0.is_empty() {
        devices.push(rest.device(&user)?);
    }
    Some((user, devices))
}

fn environment_number(environment: Option<Environment>) -> u8 {
    match environment {
        None => 0,
        Some(Environment::Production) => 1,
        Some(Environment::Sandbox) => 2,
    }
}

/// Texts are shorter than 4 kB each, as the model has it.
fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// No name is empty.
fn optional(bytes: &mut Vec<u8>, name: Option<&str>) {
    text(bytes, name.unwrap_or_default());
}

fn token(bytes: &mut Vec<u8>, token: &Token) {
    bytes.push(u8::from(token.provider() == Provider::Apns));
    text(bytes, token.expose());
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn flag(&mut self) -> Option<bool> {
        self.byte().map(|byte| byte != 0)
    }

    fn time_ms(&mut self) -> Option<i64> {
        self.take(8)?.try_into().ok().map(i64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.take(2)?.try_into().ok().map(u16::from_le_bytes)?;
        str::from_utf8(self.take(len.into())?).ok()
    }

    fn optional(&mut self) -> Option<Option<String>> {
        self.text().map(|text| (!text.is_empty()).then(|| text.to_owned()))
    }

    fn token(&mut self) -> Option<Token> {
        let provider = if self.flag()? { Provider::Apns } else { Provider::Fcm };
        Token::parse(provider, self.text()?).ok()
    }

    fn device(&mut self, user: &User) -> Option<Device> {
        let device_id = self.text()?.to_owned();
        let platform = if self.flag()? { Platform::Ios } else { Platform::Android };
        let environment = match self.byte()? {
            1 => Some(Environment::Production),
            2 => Some(Environment::Sandbox),
            _ => None,
        };
        let (expires, has_alert) = (self.flag()?, self.flag()?);
        let (token, app) = (self.token()?, self.optional()?);
        let (registered_at_ms, expires_at_ms) = (self.time_ms()?, self.time_ms()?);
        let alert = if has_alert {
            Some(Box::new(Alert { token: self.token()?, app: self.optional()? }))
        } else {
            None
        };
        Some(Device {
            user: user.clone(),
            device_id,
            platform,
            token,
            app,
            environment,
            registered_at_ms,
            expires_at_ms: expires.then_some(expires_at_ms),
            alert,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device() -> impl Strategy<Value = Device> {
        let hex = || "[0-9a-f]{64}".prop_map(|text| Token::parse(Provider::Apns, &text).unwrap());
        let fcm = || "[A-Za-z0-9_:-]{140,180}g".prop_map(|text| Token::parse(Provider::Fcm, &text).unwrap());
        let token = || prop_oneof![hex(), fcm()];
        let name = || proptest::option::of("[a-zA-Z0-9.-]{1,40}");
        let environment =
            proptest::option::of(prop_oneof![Just(Environment::Production), Just(Environment::Sandbox)]);
        let alert = proptest::option::of((token(), name()));
        let times = (any::<i64>(), proptest::option::of(any::<i64>()));
        (name(), any::<bool>(), token(), name(), environment, times, alert).prop_map(
            |(id, is_ios, token, app, environment, (registered_at_ms, expires_at_ms), alert)| Device {
                user: User::parse("alice@example.org").unwrap(),
                device_id: id.unwrap_or_default(),
                platform: if is_ios { Platform::Ios } else { Platform::Android },
                token,
                app,
                environment,
                registered_at_ms,
                expires_at_ms,
                alert: alert.map(|(token, app)| Box::new(Alert { token, app })),
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_half_of_it_is_not(devices in proptest::collection::vec(device(), 0..5), cut in any::<prop::sample::Index>()) {
            let (mut bytes, user) = (Vec::new(), User::parse("alice@example.org").unwrap());
            write(&mut bytes, &user, &devices);
            prop_assert_eq!(read(&bytes), Some((user, devices.clone())));
            let half = read(&bytes[..cut.index(bytes.len())]);
            prop_assert!(half.is_none_or(|(_, fewer)| fewer.len() < devices.len() || devices.is_empty()));
        }

        #[test]
        fn noise_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }
    }
}
