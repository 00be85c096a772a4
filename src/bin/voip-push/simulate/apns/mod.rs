//! APNs: `POST /3/device/<token>` as Apple describes it ("Sending notification requests to APNs", "Handling
//! notification responses from APNs", "Establishing a token-based connection to APNs").
//!
//! It refuses in Apple's order, with Apple's statuses and reasons. Left out: certificates, several teams on one
//! connection, broadcast channels.

mod headers;
mod payload;
mod provider_token;
mod reply;

pub use provider_token::CurrentJwt;

use http::Method;
use jsonwebtoken::DecodingKey;

use super::Sim;
use super::args::Args;
use super::behaviour::Behaviour;
use super::connection::Connection;
use super::exchange::Exchange;
use super::host::Service;
use super::push::Answer;
use super::tokens::Verdict;
use provider_token::ProviderTokens;
use reply::Refusal;

/// What APNs knows of our account.
pub struct Rules {
    provider_tokens: ProviderTokens,
    voip_topics: Vec<String>,
}

impl Rules {
    /// The account of the command line with the key of this start.
    pub fn new(args: &Args, public_key: &DecodingKey) -> Self {
        Rules {
            provider_tokens: ProviderTokens::new(&args.team_id, &args.key_id, public_key.clone()),
            voip_topics: args.topics.clone(),
        }
    }

    /// See [`ProviderTokens::set_key`].
    pub fn set_key(&self, key_id: &str, key: Option<DecodingKey>) -> bool {
        self.provider_tokens.set_key(key_id, key)
    }

    fn allows(&self, topic: &str) -> bool {
        let is_allowed = |voip: &String| voip == topic || voip.strip_suffix(".voip") == Some(topic);
        self.voip_topics.iter().any(is_allowed)
    }

    /// How many different provider tokens were accepted.
    pub fn distinct_jwts(&self) -> u64 {
        self.provider_tokens.distinct()
    }
}

/// What was seen of a request while it was checked, also when a check ends it.
#[derive(Default)]
struct Seen {
    token: String,
    topic: String,
    jwt_iat: Option<i64>,
    proves: bool,
}

/// Judges one request.
pub fn judge(sim: &Sim, connection: &Connection, service: Service, exchange: &Exchange) -> Answer {
    let mut seen = Seen { topic: headers::text(exchange, "apns-topic").to_owned(), ..Seen::default() };
    let checked = check(sim, connection, service, exchange, &mut seen);
    let (outcome, behaviour) = match checked {
        Ok(()) => behave(sim, service, &seen.token),
        Err(refusal) => (Err(refusal), Behaviour::default()),
    };
    let id = headers::message_id(exchange);
    Answer {
        response: reply::response(service, &id, &outcome, &behaviour),
        reason: outcome.err().map(|refusal| refusal.reason),
        token: seen.token,
        app: seen.topic,
        id,
        jwt_iat: seen.jwt_iat,
        proves: seen.proves,
        reached: true,
        behaviour,
    }
}

/// The strict checks, in Apple's order.
fn check(
    sim: &Sim,
    connection: &Connection,
    service: Service,
    exchange: &Exchange,
    seen: &mut Seen,
) -> Result<(), Refusal> {
    seen.token = target(exchange)?.to_owned();
    headers::check_duplicates(exchange)?;
    let authorization = exchange.headers.get(http::header::AUTHORIZATION);
    provider_token::check(sim, connection, authorization, &mut seen.jwt_iat)?;
    seen.proves = true;
    let push_type = headers::check(&sim.apns, exchange)?;
    payload::check(&exchange.body, push_type)?;
    check_token(sim, service, &seen.token, &seen.topic)
}

/// Method and path; gives the device token.
fn target(exchange: &Exchange) -> Result<&str, Refusal> {
    if exchange.method != Method::POST {
        return Err(Refusal::new(405, "MethodNotAllowed"));
    }
    let rest = exchange.path.strip_prefix("/3/device").ok_or_else(|| Refusal::new(404, "BadPath"))?;
    match rest.strip_prefix('/') {
        Some(token) if token.contains(['/', '?']) => Err(Refusal::new(404, "BadPath")),
        Some("") => Err(Refusal::new(400, "MissingDeviceToken")),
        Some(token) => Ok(token),
        None if rest.is_empty() => Err(Refusal::new(400, "MissingDeviceToken")),
        None => Err(Refusal::new(404, "BadPath")),
    }
}

/// Shape of the token and what was declared of it, without its death: behaviours come first.
fn check_token(sim: &Sim, service: Service, token: &str, topic: &str) -> Result<(), Refusal> {
    // Apple: "don't make assumptions about the length"; today it is 32 bytes, the documentation allows 100.
    let shaped = (64..=200).contains(&token.len())
        && token.len().is_multiple_of(2)
        && token.bytes().all(|b| b.is_ascii_hexdigit());
    // No device has ever had the token of zeros; Apple knows its own.
    if !shaped || token.bytes().all(|b| b == b'0') {
        return Err(Refusal::new(400, "BadDeviceToken"));
    }
    match sim.tokens.judge_apns(token, service.environment().unwrap_or_default(), topic) {
        Verdict::OtherEnvironment => Err(Refusal::new(400, "BadDeviceToken")),
        Verdict::Unknown if sim.known_only => Err(Refusal::new(400, "BadDeviceToken")),
        Verdict::OtherTopic | Verdict::OtherProject => Err(Refusal::new(400, "DeviceTokenNotForTopic")),
        Verdict::Unknown | Verdict::Known => Ok(()),
    }
}

/// Behaviours of the service, then of the token, then the token's own state.
fn behave(sim: &Sim, service: Service, token: &str) -> (Result<(), Refusal>, Behaviour) {
    let behaviour = sim.behaviours.take(service).or_else(|| sim.tokens.take_behaviour(token));
    let behaviour = behaviour.unwrap_or_default();
    let outcome = match (behaviour.status, sim.tokens.dead_since_ms(token)) {
        (Some(200), _) | (None, None) => Ok(()),
        (Some(status), _) => Err(Refusal::told(status, &behaviour)),
        (None, Some(since)) => {
            Err(Refusal { timestamp_ms: Some(since), ..Refusal::new(410, "Unregistered") })
        }
    };
    (outcome, behaviour)
}
