//! What to do with what arrives next: tokens, behaviours, connections, access tokens, limits.
//!
//! It refuses misspelt keys and names instead of doing half of what was asked.

use std::sync::atomic::Ordering::Relaxed;

use http::StatusCode;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::json;

use super::super::Sim;
use super::super::behaviour::Behaviour;
use super::super::connection::Command;
use super::super::host::{Host, Service};
use super::super::tokens::Declaration;
use super::{Answered, Refusal, bad_request, parsed};

/// `PUT /tokens/{token}`
pub fn declare(sim: &Sim, token: &str, body: &[u8]) -> Answered {
    let declaration: Declaration = parsed(body)?;
    sim.tokens.declare(token, declaration).map_err(bad_request)?;
    show(sim, token)
}

/// `GET /tokens/{token}`
pub fn show(sim: &Sim, token: &str) -> Answered {
    sim.tokens
        .show(token)
        .ok_or_else(|| Refusal(StatusCode::NOT_FOUND, "no such token is declared".to_owned()))
}

/// `DELETE /tokens/{token}`
pub fn forget(sim: &Sim, token: &str) -> Answered {
    if sim.tokens.forget(token) {
        return Ok(json!({}));
    }
    Err(Refusal(StatusCode::NOT_FOUND, "no such token is declared".to_owned()))
}

/// `PUT /behaviour/{service}`: a list, or `{"behaviours": [list]}` as in a token's declaration.
pub fn behave(sim: &Sim, service: &str, body: &[u8]) -> Answered {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped {
        behaviours: Vec<Behaviour>,
    }
    let service = Service::named(service).ok_or_else(|| {
        let text = format!("there is no service {service}: apns, apns_sandbox, fcm, oauth");
        Refusal(StatusCode::NOT_FOUND, text)
    })?;
    let list: Vec<Behaviour> = if body.trim_ascii_start().first() == Some(&b'{') {
        parsed::<Wrapped>(body)?.behaviours
    } else {
        parsed(body)?
    };
    list.iter().try_for_each(Behaviour::check).map_err(bad_request)?;
    let answer = json!({ "behaviours": list });
    sim.behaviours.set(service, list);
    Ok(answer)
}

/// `POST /connections/goaway` and `POST /connections/close`
pub fn end_connections(sim: &Sim, how: &str, body: &[u8]) -> Answered {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Which {
        host: Option<String>,
        abrupt: bool,
    }
    let which: Which = parsed(body)?;
    let host = match which.host.as_deref() {
        None => None,
        Some(name) => Some(
            Host::named(name)
                .ok_or_else(|| bad_request(format!("there is no host {name}: apns, apns_sandbox, google")))?,
        ),
    };
    let command = match (how, which.abrupt) {
        ("close", _) => Command::Close,
        (_, true) => Command::Abrupt,
        (_, false) => Command::Graceful,
    };
    Ok(json!({ "connections": sim.connections.command(host, command) }))
}

/// `POST /oauth/revoke`
pub fn revoke(sim: &Sim) -> Answered {
    Ok(json!({ "revoked": sim.google.access_tokens.revoke_all() }))
}

/// `PUT /oauth`
pub fn oauth(sim: &Sim, body: &[u8]) -> Answered {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Oauth {
        expires_in: u64,
    }
    let Oauth { expires_in } = parsed(body)?;
    if expires_in > 86_400 {
        return Err(bad_request("expires_in: at most 86400 seconds"));
    }
    sim.google.access_tokens.set_lifetime_s(expires_in);
    Ok(json!({ "expires_in": expires_in }))
}

/// `PUT /keys/{key id}`
pub fn add_key(sim: &Sim, key_id: &str, body: &[u8]) -> Answered {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Key {
        public_pem: String,
    }
    let Key { public_pem } = parsed(body)?;
    let key = DecodingKey::from_ec_pem(public_pem.as_bytes())
        .map_err(|_| bad_request("public_pem: is no public EC key in PEM form"))?;
    sim.apns.set_key(key_id, Some(key));
    Ok(json!({ "key_id": key_id }))
}

/// `DELETE /keys/{key id}`
pub fn revoke_key(sim: &Sim, key_id: &str) -> Answered {
    if sim.apns.set_key(key_id, None) {
        return Ok(json!({}));
    }
    Err(Refusal(StatusCode::NOT_FOUND, "there is no such key".to_owned()))
}

/// `PUT /limits`
pub fn limits(sim: &Sim, body: &[u8]) -> Answered {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        jwt_updates: bool,
    }
    let Limits { jwt_updates } = parsed(body)?;
    sim.jwt_updates_limited.store(jwt_updates, Relaxed);
    Ok(json!({ "jwt_updates": jwt_updates }))
}
