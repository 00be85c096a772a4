//! A push, its request and its answer on a screen, or as JSON.
//!
//! It refuses to show an authorization, and whole tokens without `--full`.

use std::io::Write;

use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::{Map, Value, json};
use voip_push::model::{Device, Outcome, Token};
use voip_push::service::Probed;

use crate::Failure;

/// So much of an authorization is shown: the scheme, and the start of what says which algorithm it is.
const AUTHORIZATION_LEN: usize = 12;
/// So much of a body that is no JSON is shown.
const TEXT_LEN: usize = 500;

/// One device's push.
pub struct Shown {
    is_full: bool,
    is_json: bool,
    title: String,
    /// Name and value; a value of several lines stands below its name.
    rows: Vec<(&'static str, Value)>,
}

impl Shown {
    /// Begins with the device.
    pub fn new(device: &Device, is_full: bool, is_json: bool) -> Shown {
        let name =
            if device.device_id.is_empty() { String::new() } else { format!(" device {}", device.device_id) };
        let token = if is_full { device.token.expose().to_owned() } else { device.token.shortened() };
        let title = format!("{}{name}: {}, token {token}", device.user.as_str(), device.platform.as_str());
        Shown { is_full, is_json, title, rows: Vec::new() }
    }

    /// One line.
    pub fn note(&mut self, name: &'static str, text: &str) {
        self.rows.push((name, text.into()));
    }

    /// What the sender makes of an answer.
    pub fn outcome(&mut self, outcome: &Outcome) {
        let reason = outcome.reason();
        let text = if reason.is_empty() {
            outcome.name().to_owned()
        } else {
            format!("{}: {reason}", outcome.name())
        };
        self.note("outcome", &text);
    }

    /// The request as it goes out.
    pub fn request(&mut self, request: &Request<Bytes>, token: &Token) {
        let hidden = |text: &str| {
            if self.is_full { text.to_owned() } else { text.replace(token.expose(), &token.shortened()) }
        };
        let line = hidden(&format!("{} {}", request.method(), request.uri()));
        let body = hidden(&String::from_utf8_lossy(request.body()));
        let headers = headers(request.headers());
        let len = request.body().len();
        self.rows.push((
            "request",
            json!({ "line": line, "headers": headers, "body": json_or_text(&body), "body_len": len }),
        ));
    }

    /// The answer as it came.
    pub fn answer(&mut self, answer: &Probed) {
        let Some(status) = answer.status else { return };
        let took_ms = answer.took.as_millis() as u64;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let line = format!("HTTP {status} after {took_ms} ms");
        let headers = headers(&answer.headers);
        let mut row = json!({ "line": line, "status": status, "ms": took_ms, "headers": headers });
        if !body.is_empty() {
            row["body"] = json_or_text(&body);
        }
        self.rows.push(("answer", row));
    }

    /// Prints it.
    pub fn print(&self) -> Result<(), Failure> {
        let text = if self.is_json { self.json() } else { self.text() };
        writeln!(std::io::stdout(), "{text}")
            .map_err(|error| Failure::Failed(format!("standard output cannot be written: {error}")))
    }

    fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("device".to_owned(), self.title.clone().into());
        object.extend(self.rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Value::from(object).to_string()
    }

    fn text(&self) -> String {
        let mut lines = vec![self.title.clone()];
        for (name, value) in &self.rows {
            match value.as_str() {
                Some(text) => lines.push(format!("  {name:<8} {text}")),
                None => lines.extend(block(name, value)),
            }
        }
        lines.join("\n")
    }
}

/// Request or answer: the line, the headers, the body.
fn block(name: &str, value: &Value) -> Vec<String> {
    let mut lines = vec![format!("  {name:<8} {}", value["line"].as_str().unwrap_or_default())];
    for (name, value) in value["headers"].as_object().into_iter().flatten() {
        lines.push(format!("           {name}: {}", value.as_str().unwrap_or_default()));
    }
    let body = match &value["body"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        body => format!("{body:#}"),
    };
    lines.extend(body.lines().map(|line| format!("           {line}")));
    lines
}

fn headers(headers: &HeaderMap) -> Value {
    let shown = headers.iter().map(|(name, value)| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let is_secret = *name == http::header::AUTHORIZATION;
        (name.as_str().to_owned(), Value::from(if is_secret { shortened(&text) } else { text }))
    });
    Value::Object(shown.collect())
}

fn shortened(authorization: &str) -> String {
    if authorization.contains('(') {
        return authorization.to_owned();
    }
    let start: String = authorization.chars().take(AUTHORIZATION_LEN).collect();
    format!("{start}…")
}

fn json_or_text(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|_| {
        body.chars().filter(|c| !c.is_control() || *c == '\n').take(TEXT_LEN).collect::<String>().into()
    })
}
