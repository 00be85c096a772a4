//! The common way of every push: judge it, behave as told, file it, show it, answer.
//!
//! It refuses to know what a provider checks; `apns` and `google` judge.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response};

use super::Sim;
use super::behaviour::Behaviour;
use super::connection::Connection;
use super::exchange::{Exchange, Reply};
use super::host::Service;
use super::journal::{Push, flatten, ms_since};
use super::{apns, google};

/// A judged push.
pub struct Answer {
    /// What the provider answers.
    pub response: Response<Bytes>,
    /// Apple's reason or Google's error code.
    pub reason: Option<String>,
    /// Who it was for; empty when the request did not say.
    pub token: String,
    /// Topic or project.
    pub app: String,
    /// `apns-id` or message name.
    pub id: String,
    /// `iat` of the provider token.
    pub jwt_iat: Option<i64>,
    /// The provider token was accepted, so this connection may open many streams.
    pub proves: bool,
    /// The real service would have brought it to a phone.
    pub reached: bool,
    /// What else to do.
    pub behaviour: Behaviour,
}

/// Answers one request on a connection of a push host.
pub async fn answer(sim: &Arc<Sim>, connection: &Arc<Connection>, exchange: Exchange) -> Reply {
    let reply = match connection.host.apns_service() {
        Some(service) => {
            let answer = apns::judge(sim, connection, service, &exchange);
            conclude(sim, connection, service, exchange, answer).await
        }
        None => google::answer(sim, connection, exchange).await,
    };
    sim.clock.date(reply)
}

/// Waits as told, files the push and says what goes out.
pub async fn conclude(
    sim: &Arc<Sim>,
    connection: &Connection,
    service: Service,
    exchange: Exchange,
    mut answer: Answer,
) -> Reply {
    wait(sim, &answer.behaviour).await;
    let reply = reply(&answer.behaviour, std::mem::take(&mut answer.response));
    let status = match &reply {
        Reply::Answer { response, .. } => Some(response.status().as_u16()),
        Reply::Reset(_) | Reply::Stall => None,
    };
    // A 403 is no acceptance, also when a behaviour asked for it.
    if answer.proves && status.is_some_and(|status| status != 403) {
        connection.prove();
    }
    for (is_set, fault) in [
        (answer.behaviour.stall, "stall"),
        (answer.behaviour.reset && !answer.behaviour.stall, "reset"),
        (answer.behaviour.goaway && status.is_some(), "goaway"),
    ] {
        if is_set {
            sim.journal.count_fault(service, fault);
        }
    }
    file(sim, connection, service, exchange, answer, status);
    reply
}

/// The latency of the simulator and the delay of a behaviour.
pub async fn wait(sim: &Sim, behaviour: &Behaviour) {
    let wait = sim.latency + Duration::from_millis(behaviour.delay_ms.unwrap_or(0));
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// What goes out for a response under a behaviour.
pub fn reply(behaviour: &Behaviour, response: Response<Bytes>) -> Reply {
    const INTERNAL_ERROR: u32 = 2;
    if behaviour.stall {
        Reply::Stall
    } else if behaviour.reset {
        Reply::Reset(behaviour.reset_code.unwrap_or(INTERNAL_ERROR))
    } else {
        Reply::Answer { response, goaway: behaviour.goaway }
    }
}

/// Retry-After and a body of the behaviour's own, for answers of any service.
pub fn decorate(response: &mut Response<Bytes>, behaviour: &Behaviour) {
    if let Some(retry_after_s) = behaviour.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
    }
    if let Some(body) = &behaviour.body {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
        *response.body_mut() = body.clone().into();
    }
}

/// Larger bodies were refused anyway; they are listed without their payload.
const FILED_LEN: usize = 32 * 1024;

fn file(
    sim: &Sim,
    connection: &Connection,
    service: Service,
    exchange: Exchange,
    answer: Answer,
    status: Option<u16>,
) {
    if sim.fast {
        return sim.journal.count(service, status.unwrap_or(0));
    }
    let payload = if exchange.body.len() <= FILED_LEN { exchange.body.as_ref() } else { b"" };
    let behaviour = answer.behaviour;
    let push = sim.journal.add(Push {
        seq: 0,
        time_unix_ms: exchange.arrived_unix_ms,
        service,
        connection: connection.number,
        token: answer.token,
        app: answer.app,
        headers: flatten(&exchange.headers),
        jwt_iat: answer.jwt_iat,
        payload: payload.into(),
        status,
        reason: status.and(answer.reason),
        id: answer.id,
        goaway: behaviour.goaway,
        reset: behaviour.reset,
        stall: behaviour.stall,
        reached: answer.reached && status == Some(200),
        duration_ms: ms_since(exchange.arrived),
    });
    sim.console.push(&push);
    if let Some(on_push) = sim.on_push.as_ref().filter(|_| push.reached) {
        on_push.run(&push);
    }
}
