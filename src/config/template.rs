//! A payload that an administrator wrote: JSON with placeholders such as `{name}`, cut into pieces when it is read.
//!
//! It refuses whatever could make a push fail later: broken JSON, unknown placeholders, what the provider does not take, and a
//! payload that a long call would make too large.

use super::profile::{MAX_APNS_LEN, MAX_FCM_LEN};
use crate::model::{MAX_CALL_ID_LEN, MAX_CALLER_LEN, MAX_HOST_LEN, MAX_USER_LEN, Provider};
use serde_json::{Map, Value};

/// What FCM's message has beside the data when it goes to an iPhone, in bytes: the alert, which counts with the data.
const ALERT_LEN: usize = 128;

/// A value that stands for a placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `{id}`: the call's UUID.
    Id,
    /// `{call_id}`: the SIP Call-ID.
    CallId,
    /// `{name}`: who calls, or the number of a caller without a name. What is shortened where the payload is too large.
    Name,
    /// `{number}`: the caller's number, or the user part of the address.
    Number,
    /// `{host}`: the host of the caller's address; empty where it is not known.
    Host,
    /// `{user}`: who is called.
    User,
    /// `{media}`: `audio` or `video`.
    Media,
    /// `{video}`: `true` or `false`.
    Video,
    /// `{reason}`: how the call ended; only in what says so.
    Reason,
}

const FIELDS: [(&str, Field); 9] = [
    ("id", Field::Id),
    ("call_id", Field::CallId),
    ("name", Field::Name),
    ("number", Field::Number),
    ("host", Field::Host),
    ("user", Field::User),
    ("media", Field::Media),
    ("video", Field::Video),
    ("reason", Field::Reason),
];

/// Longest word for how a call ended.
const MAX_REASON_LEN: usize = 20;

impl Field {
    /// The most that it can take in JSON, where every character may need a backslash; a name can be shortened to nothing.
    fn most_len(self) -> usize {
        match self {
            Field::Name => 0,
            Field::Id => 36,
            Field::CallId => 2 * MAX_CALL_ID_LEN,
            Field::Number => 2 * MAX_CALLER_LEN,
            Field::Host => 2 * MAX_HOST_LEN,
            Field::User => 2 * MAX_USER_LEN,
            Field::Media | Field::Video => 5,
            Field::Reason => MAX_REASON_LEN,
        }
    }
}

/// A part of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// JSON as it is.
    Json(String),
    /// A value inside a JSON string, to be escaped.
    Field(Field),
}

/// A payload, ready to be written: all pieces one after the other are one JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    /// What says to an Android phone that the call is over.
    cancel: Option<Vec<Piece>>,
}

impl Template {
    /// Reads a template for a provider's apps.
    ///
    /// # Errors
    /// What is wrong with it and what is expected.
    pub fn compile(text: &str, provider: Provider) -> Result<Template, String> {
        let template = Template::read(text, provider)?;
        if template.pieces.contains(&Piece::Field(Field::Reason)) {
            return Err("has the placeholder {reason}, which is for cancel_template".to_owned());
        }
        Ok(template)
    }

    /// The same with another template for the end of a call, which Android phones get.
    ///
    /// # Errors
    /// As [`Template::compile`], about the other one.
    pub fn with_cancel(self, text: &str, provider: Provider) -> Result<Template, String> {
        if provider != Provider::Fcm {
            return Err(
                "is for Android phones; iPhones are told by INVITE and CANCEL, never by push".to_owned()
            );
        }
        Ok(Template { cancel: Some(Template::read(text, provider)?.pieces), ..self })
    }

    fn read(text: &str, provider: Provider) -> Result<Template, String> {
        let value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        let Value::Object(mut object) = value else { return Err("is not a JSON object".to_owned()) };
        match provider {
            Provider::Apns => check_apns(&mut object)?,
            Provider::Fcm => check_fcm(&object)?,
        }
        let mut template = Template { pieces: Vec::new(), cancel: None };
        template.add(&Value::Object(object), provider)?;
        template.check_size(provider)?;
        Ok(template)
    }

    /// The pieces, in their order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The pieces of what says that the call is over, where something does.
    pub fn cancel(&self) -> Option<&[Piece]> {
        self.cancel.as_deref()
    }

    fn add(&mut self, value: &Value, provider: Provider) -> Result<(), String> {
        match value {
            Value::Object(object) => {
                for (at, (key, value)) in object.iter().enumerate() {
                    self.json(if at == 0 { "{" } else { "," });
                    self.json(&format!("{}:", checked_key(key)?));
                    self.add(value, provider)?;
                }
                self.json(if object.is_empty() { "{}" } else { "}" });
            }
            Value::Array(values) => {
                self.json("[");
                for (at, value) in values.iter().enumerate() {
                    self.json(if at == 0 { "" } else { "," });
                    self.add(value, provider)?;
                }
                self.json("]");
            }
            // Alone it is a truth value and no text, where the provider takes one.
            Value::String(text) if text == "{video}" && provider == Provider::Apns => {
                self.pieces.push(Piece::Field(Field::Video));
            }
            Value::String(text) => self.add_text(text)?,
            other => self.json(&other.to_string()),
        }
        Ok(())
    }

    /// Text with placeholders; `{{` and `}}` are braces.
    fn add_text(&mut self, text: &str) -> Result<(), String> {
        self.json("\"");
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            self.json(&escaped(&rest[..at]));
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            rest = if let Some(after) = after.strip_prefix(brace) {
                self.json(brace);
                after
            } else {
                let inside = (brace == "{").then(|| after.split_once('}')).flatten();
                let (name, after) = inside.ok_or("has a lone brace in a text; write {{ and }} for braces")?;
                self.pieces.push(Piece::Field(field(name)?));
                after
            };
        }
        self.json(&escaped(rest));
        self.json("\"");
        Ok(())
    }

    fn json(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Json(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Json(text.to_owned())),
        }
    }

    fn check_size(&self, provider: Provider) -> Result<(), String> {
        let most_len: usize = self.pieces.iter().map(Piece::most_len).sum();
        let limit_len = match provider {
            Provider::Apns => MAX_APNS_LEN,
            Provider::Fcm => MAX_FCM_LEN - ALERT_LEN,
        };
        if most_len <= limit_len {
            return Ok(());
        }
        Err(format!(
            "can become {most_len} bytes long with the longest Call-ID, number and user, at most {limit_len} are sent; make it smaller"
        ))
    }
}

impl Piece {
    fn most_len(&self) -> usize {
        match self {
            Piece::Json(text) => text.len(),
            Piece::Field(field) => field.most_len(),
        }
    }
}

fn field(name: &str) -> Result<Field, String> {
    let found = FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
    let names = || FIELDS.map(|(known, _)| format!("{{{known}}}")).join(", ");
    found.ok_or_else(|| format!("has the unknown placeholder {{{name}}}; there are: {}", names()))
}

/// A JSON string's inside.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn checked_key(key: &str) -> Result<Value, String> {
    if key.contains(['{', '}']) {
        return Err(format!("has a brace in the key {key:?}; placeholders stand in values"));
    }
    Ok(Value::from(key))
}

/// Apple wants `aps` to be there, and an object.
fn check_apns(object: &mut Map<String, Value>) -> Result<(), String> {
    let aps = object.entry("aps").or_insert_with(|| Value::Object(Map::new()));
    if aps.is_object() { Ok(()) } else { Err("has an aps that is no object".to_owned()) }
}

/// `data` is a map of texts, and some keys are Google's own (Google, "FCM HTTP v1", `Message.data`).
fn check_fcm(object: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in object {
        if !value.is_string() {
            return Err(format!("has a {key} that is no text; FCM takes texts only"));
        }
        let is_googles = matches!(key.as_str(), "from" | "message_type")
            || key.starts_with("google.")
            || key.starts_with("gcm.notification.");
        if is_googles {
            return Err(format!("has the key {key}, which Google keeps for itself"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, provider: Provider) -> String {
        Template::compile(text, provider).unwrap_err()
    }

    #[test]
    fn a_template_becomes_pieces() {
        let json = |text: &str| Piece::Json(text.to_owned());
        let text = r#"{ "a": "x {name}{{\"", "b": [1, null, "{video}"], "aps": {} }"#;
        let pieces = Template::compile(text, Provider::Apns).unwrap().pieces;
        let expected = [
            json(r#"{"a":"x "#),
            Piece::Field(Field::Name),
            json(r#"{\"","aps":{},"b":[1,null,"#),
            Piece::Field(Field::Video),
            json("]}"),
        ];
        assert_eq!(pieces, expected);
        let fcm = Template::compile(r#"{"v":"{video}"}"#, Provider::Fcm).unwrap().pieces;
        assert_eq!(fcm, [json(r#"{"v":""#), Piece::Field(Field::Video), json(r#""}"#)]);
    }

    #[test]
    fn the_end_of_a_call_has_a_template_of_its_own_for_android() {
        let call = || Template::compile("{}", Provider::Fcm).unwrap();
        let cancel = |text| call().with_cancel(text, Provider::Fcm);
        let with = cancel(r#"{"why":"{reason}"}"#).unwrap();
        assert_eq!(with.cancel().unwrap()[1], Piece::Field(Field::Reason));
        assert_eq!(call().cancel(), None);
        assert!(cancel(r#"{"why":1}"#).unwrap_err().contains("no text"));
        assert!(call().with_cancel("{}", Provider::Apns).unwrap_err().contains("for Android phones"));
        assert!(refusal(r#"{"why":"{reason}"}"#, Provider::Fcm).contains("for cancel_template"));
    }

    #[test]
    fn apple_always_gets_an_aps() {
        let pieces = Template::compile("{}", Provider::Apns).unwrap().pieces;
        assert_eq!(pieces, [Piece::Json(r#"{"aps":{}}"#.to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("{", "is not JSON"),
            ("[]", "not a JSON object"),
            (r#"{"a":"{nmae}"}"#, "unknown placeholder {nmae}"),
            (r#"{"a":"{name"}"#, "lone brace"),
            (r#"{"a":"}"}"#, "lone brace"),
            (r#"{"{name}":"x"}"#, "in the key"),
            (r#"{"aps":"x"}"#, "aps that is no object"),
        ] {
            assert!(
                refusal(text, Provider::Apns).contains(word),
                "{text}: {}",
                refusal(text, Provider::Apns)
            );
        }
        for (text, word) in [
            (r#"{"a":1}"#, "a that is no text"),
            (r#"{"from":"x"}"#, "the key from"),
            (r#"{"google.x":"x"}"#, "google.x"),
        ] {
            assert!(refusal(text, Provider::Fcm).contains(word), "{text}");
        }
    }

    #[test]
    fn a_template_that_could_become_too_large_is_refused() {
        let text = |times: usize| format!(r#"{{"a":"{}"}}"#, "{call_id}".repeat(times));
        assert!(Template::compile(&text(4), Provider::Apns).is_ok());
        assert!(refusal(&text(5), Provider::Apns).contains("at most 5120"));
        assert!(refusal(&text(4), Provider::Fcm).contains("at most 3968"));
        let long_name = format!(r#"{{"a":"{}"}}"#, "{name}".repeat(200));
        assert!(Template::compile(&long_name, Provider::Apns).is_ok());
    }
}
