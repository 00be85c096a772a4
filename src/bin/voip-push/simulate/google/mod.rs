//! The Google host: FCM HTTP v1 and the OAuth2 token endpoint, on HTTP/2 and HTTP/1.1 alike.
//!
//! It refuses what Google's JSON front end and FCM refuse, with Google's error bodies. Left out: quotas, IAM roles
//! and everything of FCM but `messages:send`.

mod access;
mod error;
mod fcm;
mod form;
mod message;
mod oauth;
mod schema;

pub use form::percent_decoded;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use jsonwebtoken::DecodingKey;
use serde_json::Value;

use super::Sim;
use super::args::Args;
use super::connection::Connection;
use super::exchange::{Exchange, Reply};
use super::host::Service;
use super::identity::Secrets;
use super::push;
use access::AccessTokens;

/// What Google knows of our project and its service account.
pub struct Rules {
    project: String,
    key_id: String,
    client_email: String,
    token_uri: String,
    key: DecodingKey,
    /// The access tokens handed out.
    pub access_tokens: AccessTokens,
    exchanges: AtomicU64,
}

impl Rules {
    /// The project of the command line with the service account of this start.
    pub fn new(args: &Args, secrets: &Secrets) -> Self {
        let of_account = |field: &str| secrets.service_account[field].as_str().unwrap_or_default().to_owned();
        Rules {
            project: args.project.clone(),
            key_id: of_account("private_key_id"),
            client_email: of_account("client_email"),
            token_uri: of_account("token_uri"),
            key: secrets.account_key.public.clone(),
            access_tokens: AccessTokens::default(),
            exchanges: AtomicU64::new(0),
        }
    }

    /// How many assertions were exchanged for an access token.
    pub fn exchanges(&self) -> u64 {
        self.exchanges.load(Relaxed)
    }
}

/// Answers one request on the Google host.
pub async fn answer(sim: &Arc<Sim>, connection: &Connection, exchange: Exchange) -> Reply {
    if exchange.path == "/token" && exchange.method == Method::POST {
        return oauth::answer(sim, &exchange).await;
    }
    let Some(project) = fcm::project_of(&exchange) else { return not_found(sim) };
    let answer = fcm::judge(sim, project, &exchange);
    push::conclude(sim, connection, Service::Fcm, exchange, answer).await
}

/// Google's front end answers unknown paths and methods with an HTML page.
fn not_found(sim: &Sim) -> Reply {
    sim.journal.count(Service::Fcm, 404);
    let page = "<!DOCTYPE html>\n<html lang=en>\n  <title>Error 404 (Not Found)!!1</title>\n  \
                <p><b>404.</b> The requested URL was not found on this server.\n";
    Reply::Answer { response: html(StatusCode::NOT_FOUND, page), goaway: false }
}

fn html(status: StatusCode, page: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(page.as_bytes()));
    *response.status_mut() = status;
    let html = http::HeaderValue::from_static("text/html; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

/// A JSON answer, printed as Google prints: indented.
fn json(status: u16, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{body:#}\n")));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let json = http::HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
