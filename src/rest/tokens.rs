//! The three things that the API does: register, show, delete.
//!
//! It refuses bodies that are not small JSON objects.

use super::access::Asker;
use super::{Request, Response};
use crate::model::{Device, Environment, Extra};
use crate::service::{Registered, Service};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Largest body taken, in bytes: twice the longest token. It is half of what Kamailio reads of a request by default
/// (`tcp_rd_buf_size`); past that it closes the connection, so a higher limit could not be told to the client.
pub const MAX_BODY_LEN: usize = 8 * 1024;

/// The body of a registration. The first three are the seed's; unknown fields are let pass, since apps send their own.
#[derive(Deserialize)]
struct Registration<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    token: Cow<'a, str>,
    #[serde(borrow)]
    platform: Cow<'a, str>,
    #[serde(borrow, default)]
    device_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    provider: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    app: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    environment: Option<Cow<'a, str>>,
    /// In seconds.
    #[serde(default)]
    expires: Option<i64>,
    #[serde(borrow, default)]
    alert_token: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    alert_app: Option<Cow<'a, str>>,
}

pub(super) fn register(
    service: &Service,
    request: &Request<'_>,
    asker: &Asker,
) -> Result<Response, Response> {
    let new: Registration<'_> = body(request)?;
    asker.check_owner(service, &new.user)?;
    let extra = Extra {
        provider: new.provider.as_deref(),
        device_id: new.device_id.as_deref(),
        app: new.app.as_deref(),
        environment: new.environment.as_deref(),
        expires_s: new.expires,
        alert_token: new.alert_token.as_deref(),
        alert_app: new.alert_app.as_deref(),
    };
    let status = match service.register(&new.user, &new.token, &new.platform, &extra)? {
        Registered::New => 201,
        Registered::Renewed => 200,
    };
    Ok(Response::json(status, &json!({ "success": true })))
}

/// The seed's single object (`user`, `token`, `platform` of the device that registered last) with all devices beside it.
pub(super) fn show(service: &Service, user: &str) -> Result<Response, Response> {
    let devices = service.lookup(user)?;
    let newest = &devices[0];
    Ok(Response::json(
        200,
        &json!({
            "user": newest.user.as_str(),
            "token": newest.token.expose(),
            "platform": newest.platform.as_str(),
            "devices": devices.iter().map(device).collect::<Vec<Value>>(),
        }),
    ))
}

pub(super) fn delete(service: &Service, user: &str, device_id: Option<&str>) -> Result<Response, Response> {
    let deleted = service.delete(user, device_id)?;
    Ok(Response::json(200, &json!({ "success": true, "deleted": deleted })))
}

fn device(device: &Device) -> Value {
    json!({
        "device_id": device.device_id,
        "token": device.token.expose(),
        "platform": device.platform.as_str(),
        "provider": device.provider().as_str(),
        "app": device.app,
        "environment": device.environment.map(Environment::as_str),
        "registered_at_ms": device.registered_at_ms,
        "expires_at_ms": device.expires_at_ms,
        "alert_token": device.alert.as_ref().map(|alert| alert.token.expose()),
        "alert_app": device.alert.as_ref().and_then(|alert| alert.app.as_deref()),
    })
}

fn body<'a, T: Deserialize<'a>>(request: &Request<'a>) -> Result<T, Response> {
    let media_type = request.content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Response::error(415, "send the body as Content-Type: application/json"));
    }
    if request.body.len() > MAX_BODY_LEN {
        return Err(Response::error(413, "the body is larger than 8192 bytes"));
    }
    serde_json::from_slice(request.body).map_err(|error| Response::error(400, &what_is_wrong(&error)))
}

/// serde_json's text may quote a value, which may be a token; only its kind and place are passed on, and a field's name.
fn what_is_wrong(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!("line {} column {}", error.line(), error.column());
    match text.split('`').nth(1) {
        Some(field) if text.starts_with("missing field") => format!("{field}: is missing"),
        Some(field) if text.starts_with("duplicate field") => format!("{field}: is there twice"),
        _ if error.is_data() => format!("the body has a value of the wrong type at {place}"),
        _ => format!("the body is not a JSON object ({place})"),
    }
}
