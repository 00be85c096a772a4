//! The control API: plain HTTP/1.1 and JSON on loopback, for tests and curious administrators. [`HELP`] lists it.
//!
//! It refuses unknown paths with 404, other methods with 405 and JSON that it does not understand with 400 and one
//! line that says why.

mod pushes;
mod setup;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Sim;
use super::exchange::Exchange;
use super::google::percent_decoded;
use super::http1;

/// The whole API, as `--help` shows it.
pub const HELP: &str = "\
Control API (plain HTTP on the control port, JSON both ways):
  GET    /pushes?after=N&wait_ms=M  pushes with seq > N; waits up to M ms (at most 60000) for the first
  DELETE /pushes                    forget the listed pushes; the numbers go on
  GET    /stats                     connections, answers by status, faults, violations, token exchanges
  PUT    /tokens/{token}            declare a token: {\"state\": \"registered\"|\"dead\", \"dead_since_ms\",
                                    \"environment\": \"production\"|\"sandbox\", \"topics\": [..], \"project\",
                                    \"behaviours\": [..]}, every key optional; GET shows it, DELETE forgets it
  PUT    /behaviour/{service}       behaviours for all requests of apns, apns_sandbox, fcm or oauth; DELETE ends them
  POST   /connections/goaway        {\"host\": \"apns\"|\"apns_sandbox\"|\"google\", \"abrupt\": false}; no host: all
  POST   /connections/close         the same without a GOAWAY: the TCP connections just go
  POST   /oauth/revoke              forget all access tokens; the next message gets a 401
  PUT    /oauth                     {\"expires_in\": seconds} of the access tokens issued from now on
  PUT    /keys/{key id}             {\"public_pem\": a key's public half}: provider tokens of this key are good as well; DELETE
                                    revokes a key
  PUT    /limits                    {\"jwt_updates\": false}: no 20-minute rule for new provider tokens

A behaviour is used up by a request that is otherwise in order, the first of the list first:
  {\"times\": 1 (0: for ever), \"status\", \"reason\", \"retry_after_s\", \"timestamp_ms\" (410), \"body\" (raw text),
   \"delay_ms\", \"goaway\": true (after the answer), \"reset\": true, \"reset_code\": 2, \"stall\": true (never answer)}
Without a status the answer is the normal one.

--on-push runs `sh -c COMMAND` for each push that was answered 200 and can reach a phone, with
  VOIP_PUSH_PROVIDER, _TOKEN, _APP (topic or project), _ENVIRONMENT, _CALL_ID, _CALLER, _SIP_USER, _ID, _TIME_MS and
  _PAYLOAD (JSON: the APNs payload, or the data of the FCM message) in its environment.\
";

/// What went wrong with a request: status and one line.
#[derive(Debug)]
struct Refusal(StatusCode, String);

type Answered = Result<Value, Refusal>;

/// Serves the control API until the process ends.
pub async fn serve(sim: Arc<Sim>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let sim = sim.clone();
        tokio::spawn(
            async move { http1::serve_plain(stream, |exchange| answer(sim.clone(), exchange)).await },
        );
    }
}

async fn answer(sim: Arc<Sim>, exchange: Exchange) -> Response<Bytes> {
    let (status, body) = match route(&sim, &exchange).await {
        Ok(body) => (StatusCode::OK, body),
        Err(Refusal(status, error)) => (status, json!({ "error": error })),
    };
    let mut response = Response::new(Bytes::from(format!("{body}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn route(sim: &Arc<Sim>, exchange: &Exchange) -> Answered {
    let (path, query) = exchange.path.split_once('?').unwrap_or((&exchange.path, ""));
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (get, put, post, delete) = (&Method::GET, &Method::PUT, &Method::POST, &Method::DELETE);
    match (segments.as_slice(), &exchange.method) {
        (["pushes"], method) if method == get => pushes::list(sim, query).await,
        (["pushes"], method) if method == delete => pushes::clear(sim),
        (["stats"], method) if method == get => pushes::stats(sim),
        (["tokens", token], method) if method == put => setup::declare(sim, &decoded(token)?, &exchange.body),
        (["tokens", token], method) if method == get => setup::show(sim, &decoded(token)?),
        (["tokens", token], method) if method == delete => setup::forget(sim, &decoded(token)?),
        (["behaviour", service], method) if method == put => setup::behave(sim, service, &exchange.body),
        (["behaviour", service], method) if method == delete => setup::behave(sim, service, b"[]"),
        (["connections", how @ ("goaway" | "close")], method) if method == post => {
            setup::end_connections(sim, how, &exchange.body)
        }
        (["oauth", "revoke"], method) if method == post => setup::revoke(sim),
        (["oauth"], method) if method == put => setup::oauth(sim, &exchange.body),
        (["keys", id], method) if method == put => setup::add_key(sim, id, &exchange.body),
        (["keys", id], method) if method == delete => setup::revoke_key(sim, id),
        (["limits"], method) if method == put => setup::limits(sim, &exchange.body),
        (known, _) if is_known(known) => Err(Refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{} {path} is not possible", exchange.method),
        )),
        _ => Err(Refusal(StatusCode::NOT_FOUND, format!("there is no {path} here"))),
    }
}

fn is_known(segments: &[&str]) -> bool {
    matches!(
        segments,
        ["pushes" | "stats" | "oauth" | "limits"]
            | ["tokens" | "behaviour" | "keys", _]
            | ["connections", "goaway" | "close"]
            | ["oauth", "revoke"]
    )
}

fn bad_request(text: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text.into())
}

fn decoded(segment: &str) -> Result<String, Refusal> {
    let text = percent_decoded(segment).filter(|text| !text.is_empty());
    text.ok_or_else(|| bad_request("the token in the path is empty or wrongly escaped"))
}

/// The request's JSON; an empty body stands for `{}`.
fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| bad_request(format!("bad JSON: {error}")))
}
