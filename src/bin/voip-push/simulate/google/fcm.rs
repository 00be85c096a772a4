//! `POST /v1/projects/{project}/messages:send`.
//!
//! It refuses in Google's order: credential, JSON, project, message, token.

use bytes::Bytes;
use http::{HeaderMap, Method, Response, header};
use serde_json::{Value, json};

use super::super::Sim;
use super::super::args::project_id;
use super::super::behaviour::Behaviour;
use super::super::exchange::Exchange;
use super::super::host::Service;
use super::super::push::{Answer, decorate};
use super::super::random;
use super::super::tokens::Verdict;
use super::error::Refusal;
use super::message::{self, Accepted};
use super::schema::{SEND_REQUEST, read_message};
use super::{Rules, json as json_answer};

/// The project of a request to send; none when it is another request.
pub fn project_of(exchange: &Exchange) -> Option<String> {
    let path = exchange.path.split('?').next()?;
    let project = path.strip_prefix("/v1/projects/")?.strip_suffix("/messages:send")?;
    let send = exchange.method == Method::POST && !project.contains('/');
    send.then(|| project.to_owned())
}

/// What was seen of a request while it was checked, also when a check ends it.
#[derive(Default)]
struct Seen {
    target: String,
    validate_only: bool,
    reachable: bool,
}

/// Judges one message.
pub fn judge(sim: &Sim, project: String, exchange: &Exchange) -> Answer {
    let mut seen = Seen::default();
    let (outcome, behaviour) = match check(sim, &project, exchange, &mut seen) {
        Ok(()) => behave(sim, &seen.target),
        Err(refusal) => (Err(refusal), Behaviour::default()),
    };
    let id = if outcome.is_ok() { message_name(&project, seen.validate_only) } else { String::new() };
    Answer {
        response: response(&id, &outcome, &behaviour),
        reason: outcome.err().map(|refusal| refusal.reason().to_owned()),
        token: seen.target,
        app: project,
        id,
        jwt_iat: None,
        proves: false,
        reached: seen.reachable && !seen.validate_only,
        behaviour,
    }
}

fn message_name(project: &str, validate_only: bool) -> String {
    let id = if validate_only { "fake_message_id".to_owned() } else { format!("0:{}", random::hex::<16>()) };
    format!("projects/{project}/messages/{id}")
}

fn response(id: &str, outcome: &Result<(), Refusal>, behaviour: &Behaviour) -> Response<Bytes> {
    let mut response = match outcome {
        Ok(()) => json_answer(200, &json!({ "name": id })),
        Err(refusal) => refusal.response(),
    };
    decorate(&mut response, behaviour);
    response
}

fn check(sim: &Sim, project: &str, exchange: &Exchange, seen: &mut Seen) -> Result<(), Refusal> {
    check_access(&sim.google, &exchange.headers)?;
    let request = read_message(SEND_REQUEST, &json_body(exchange)?, "")?;
    let message = &request["message"];
    // Known already now, so that a refused message is listed with its token.
    seen.target = message::target(message).map(|(_, target)| target.to_owned()).unwrap_or_default();
    seen.validate_only = request["validate_only"] == true;
    check_project(&sim.google, project)?;
    if message.is_null() {
        return Err(Refusal::invalid_argument("message", "Message is not set."));
    }
    let accepted = message::check(message)?;
    seen.reachable = accepted.reachable;
    check_token(sim, &accepted, project)
}

fn check_access(rules: &Rules, headers: &HeaderMap) -> Result<(), Refusal> {
    let authorization = headers.get(header::AUTHORIZATION).ok_or_else(Refusal::no_access_token)?;
    let (scheme, token) =
        authorization.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") && rules.access_tokens.good(token.trim()) {
        Ok(())
    } else {
        Err(Refusal::bad_access_token())
    }
}

fn json_body(exchange: &Exchange) -> Result<Value, Refusal> {
    let media_type = exchange.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default();
    if media_type.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Refusal::invalid_json("", "The content type must be application/json."));
    }
    serde_json::from_slice(&exchange.body).map_err(|error| Refusal::invalid_json("", &format!("{error}.")))
}

fn check_project(rules: &Rules, project: &str) -> Result<(), Refusal> {
    let number = !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit());
    if project == rules.project {
        Ok(())
    } else if number || project_id(project).is_ok() {
        Err(Refusal::foreign_project(project))
    } else {
        Err(Refusal::no_such_project())
    }
}

/// What was declared of the token, without its death: behaviours come first.
fn check_token(sim: &Sim, accepted: &Accepted, project: &str) -> Result<(), Refusal> {
    if !accepted.single {
        return Ok(());
    }
    match sim.tokens.judge_fcm(&accepted.target, project) {
        Verdict::OtherProject => Err(Refusal::sender_id_mismatch()),
        Verdict::Unknown if sim.known_only => Err(Refusal::unregistered()),
        Verdict::Unknown | Verdict::Known | Verdict::OtherEnvironment | Verdict::OtherTopic => Ok(()),
    }
}

/// Behaviours of the service, then of the token, then the token's own state.
fn behave(sim: &Sim, token: &str) -> (Result<(), Refusal>, Behaviour) {
    let behaviour = sim.behaviours.take(Service::Fcm).or_else(|| sim.tokens.take_behaviour(token));
    let behaviour = behaviour.unwrap_or_default();
    let outcome = match (behaviour.status, sim.tokens.dead_since_ms(token)) {
        (Some(200), _) | (None, None) => Ok(()),
        (Some(status), _) => Err(Refusal::told(status, &behaviour)),
        (None, Some(_)) => Err(Refusal::unregistered()),
    };
    (outcome, behaviour)
}
