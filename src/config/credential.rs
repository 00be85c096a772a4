//! Our keys at Apple and Google: what a credential holds, and the checks that can be made without the network.
//!
//! It refuses keys that could never sign what their provider asks for, while an operator is still looking.

use super::files::Files;
use super::{AlertWords, ConfigError, Profile, raw};
use crate::model::Environment;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Where a provider is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Trust these CA certificates (PEM) instead of the built-in roots.
    pub ca_pem: Option<Arc<str>>,
}

impl Origin {
    /// `https://host:port`, an IPv6 address in brackets.
    pub fn base_url(&self) -> String {
        let Origin { host, port, .. } = self;
        if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") }
    }

    /// `host:port`, likewise.
    pub fn endpoint(&self) -> String {
        self.base_url().trim_start_matches("https://").to_owned()
    }
}

/// A private key that can sign JWTs; proved by signing once when it was loaded.
#[derive(Clone)]
pub struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
    /// Tells keys apart; never shown.
    mark: u64,
    since: Option<SystemTime>,
}

impl SigningKey {
    fn check(key: EncodingKey, algorithm: Algorithm, pem: &str) -> Result<Self, ()> {
        let mut hasher = DefaultHasher::new();
        pem.hash(&mut hasher);
        let signing = SigningKey { key, algorithm, mark: hasher.finish(), since: None };
        signing.sign("", &serde_json::json!({})).map(|_| signing).map_err(|_| ())
    }

    /// A key that signs nothing anybody would accept.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        SigningKey {
            key: EncodingKey::from_secret(b"test"),
            algorithm: Algorithm::HS256,
            mark: 0,
            since: None,
        }
    }

    /// The same for the same key, another for another; stands in no log and on no wire.
    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    /// With the age of its file.
    fn dated(self, files: &Files, named: &Path) -> Self {
        SigningKey { since: files.changed_at(named), ..self }
    }

    /// When its file was last changed, which is when the key came, unless somebody has touched the file.
    pub fn since(&self) -> Option<SystemTime> {
        self.since
    }

    /// A compact JWT with this key id and these claims.
    ///
    /// # Errors
    /// The crypto library refuses; it did not when the key was loaded.
    pub fn sign(
        &self,
        key_id: &str,
        claims: &serde_json::Value,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(key_id.to_owned());
        jsonwebtoken::encode(&header, claims, &self.key)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("signing key")
    }
}

/// One `[[apns]]` section: a team's key, and the topics it is for.
#[derive(Debug, Clone)]
pub struct ApnsCredential {
    /// Apple's ten-character team id.
    pub team_id: String,
    /// Apple's ten-character key id.
    pub key_id: String,
    /// The `.p8` key.
    pub key: SigningKey,
    /// The file that it is from.
    pub key_file: PathBuf,
    /// The topics, each `<bundle>.voip`; the first is the default.
    pub topics: Vec<String>,
    /// What pushes to the app of each topic hold, in the order of the topics.
    pub profiles: Vec<Profile>,
    /// The words of alerts.
    pub alerts: Arc<AlertWords>,
    /// Production or sandbox.
    pub environment: Environment,
    /// The host to send to.
    pub origin: Origin,
}

/// How an iPhone is pushed through FCM, which cannot reach PushKit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IosPushType {
    /// An alert, which Apple delivers.
    Alert,
    /// `voip`, as the seed has it; Apple refuses it for FCM's tokens.
    Voip,
}

/// One `[[fcm]]` section: a service account of a Firebase project.
#[derive(Debug, Clone)]
pub struct FcmCredential {
    /// The project.
    pub project_id: String,
    /// Whom the assertion is from.
    pub client_email: String,
    /// Id of the private key.
    pub key_id: String,
    /// The RSA key.
    pub key: SigningKey,
    /// The service account's file.
    pub account_file: PathBuf,
    /// Where assertions are exchanged for access tokens.
    pub token_uri: String,
    /// What iPhones get.
    pub ios_push_type: IosPushType,
    /// What pushes to the project's apps hold.
    pub profile: Profile,
    /// The words of alerts.
    pub alerts: Arc<AlertWords>,
    /// The host to send to.
    pub origin: Origin,
}

impl ApnsCredential {
    /// Its name in logs and numbers.
    pub fn name(&self) -> String {
        let ApnsCredential { team_id, key_id, environment, .. } = self;
        format!("apns {} team {team_id} key {key_id}", environment.as_str())
    }

    /// Whether this topic is one of the credential's, or the one for alerts to the same app.
    pub fn is_for(&self, topic: &str) -> bool {
        self.position(topic).is_some()
    }

    fn position(&self, topic: &str) -> Option<usize> {
        self.topics.iter().position(|known| known == topic || alert_topic(known) == topic)
    }

    /// What pushes for this topic hold.
    pub fn profile(&self, topic: &str) -> &Profile {
        const DEFAULT: &Profile = &Profile::Callkit;
        let at = self.position(topic);
        at.and_then(|at| self.profiles.get(at)).unwrap_or(DEFAULT)
    }

    pub(super) fn from_raw(files: &Files, raw: raw::Apns) -> Result<Self, ConfigError> {
        let refuse = |key: &str, why: String| ConfigError::new(files.main(), format!("[[apns]] {key}"), why);
        apple_id(&raw.team_id).map_err(|why| refuse("team_id", why))?;
        apple_id(&raw.key_id).map_err(|why| refuse("key_id", why))?;
        check_topics(&raw.topics).map_err(|why| refuse("topics", why))?;
        let environment =
            Environment::parse(&raw.environment).map_err(|bad| refuse("environment", bad.why.clone()))?;
        let default_url = match environment {
            Environment::Production => "https://api.push.apple.com",
            Environment::Sandbox => "https://api.sandbox.push.apple.com",
        };
        Ok(ApnsCredential {
            key_file: beside(files.main(), &raw.key_file),
            key: load_p8(files, &raw.key_file).map_err(|why| refuse("key_file", why))?,
            origin: origin(files, raw.url.as_deref().unwrap_or(default_url), raw.ca_file.as_deref())
                .map_err(|(key, why)| refuse(key, why))?,
            team_id: raw.team_id,
            key_id: raw.key_id,
            profiles: vec![Profile::default(); raw.topics.len()],
            alerts: Arc::default(),
            topics: raw.topics,
            environment,
        })
    }
}

impl FcmCredential {
    /// Its name in logs and numbers.
    pub fn name(&self) -> String {
        format!("fcm project {}", self.project_id)
    }

    pub(super) fn from_raw(files: &Files, raw: raw::Fcm) -> Result<Self, ConfigError> {
        let refuse = |key: &str, why: String| ConfigError::new(files.main(), format!("[[fcm]] {key}"), why);
        let ios_push_type = match raw.ios_push_type.as_str() {
            "alert" => IosPushType::Alert,
            "voip" => IosPushType::Voip,
            _ => return Err(refuse("ios_push_type", "is neither alert nor voip".to_owned())),
        };
        let (account, key) = load_service_account(files, &raw.service_account_file)
            .map_err(|why| refuse("service_account_file", why))?;
        Ok(FcmCredential {
            origin: origin(
                files,
                raw.url.as_deref().unwrap_or("https://fcm.googleapis.com"),
                raw.ca_file.as_deref(),
            )
            .map_err(|(key, why)| refuse(key, why))?,
            account_file: beside(files.main(), &raw.service_account_file),
            alerts: Arc::default(),
            project_id: account.project_id,
            client_email: account.client_email,
            key_id: account.private_key_id,
            token_uri: account.token_uri,
            key,
            ios_push_type,
            profile: Profile::default(),
        })
    }
}

/// The topic for alerts to the app of a VoIP topic: its bundle id (Apple, "Sending notification requests to APNs").
pub fn alert_topic(voip_topic: &str) -> &str {
    voip_topic.strip_suffix(".voip").unwrap_or(voip_topic)
}

/// Relative paths are meant from where the configuration file is.
pub(super) fn beside(file: &Path, path: &Path) -> std::path::PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

fn apple_id(text: &str) -> Result<(), String> {
    if text.len() == 10 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        return Ok(());
    }
    Err("is not ten capital letters and digits, as Apple's developer page shows it".to_owned())
}

fn check_topics(topics: &[String]) -> Result<(), String> {
    if topics.is_empty() {
        return Err("is empty; name at least one topic, <bundle id>.voip".to_owned());
    }
    for topic in topics {
        if !topic.ends_with(".voip") {
            return Err(format!("{topic} is not a VoIP topic; did you mean {topic}.voip?"));
        }
        if !topic.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            return Err(format!("{topic:?} is not a bundle id"));
        }
    }
    Ok(())
}

fn load_p8(files: &Files, key_file: &Path) -> Result<SigningKey, String> {
    let pem = files.secret(key_file)?;
    let path = beside(files.main(), key_file);
    let shown = path.display();
    let key = EncodingKey::from_ec_pem(pem.expose().as_bytes()).map_err(|_| {
        format!("{shown} is not a private EC key in PEM form; take the .p8 file as Apple gave it")
    })?;
    let key = SigningKey::check(key, Algorithm::ES256, pem.expose()).map_err(|()| {
        format!("{shown} is not a key on curve P-256, which APNs needs; take the .p8 file as Apple gave it")
    })?;
    Ok(key.dated(files, key_file))
}

fn load_service_account(
    files: &Files,
    json_file: &Path,
) -> Result<(raw::ServiceAccount, SigningKey), String> {
    let json = files.secret(json_file)?;
    let path = beside(files.main(), json_file);
    let shown = path.display();
    // serde_json's own text names the field, the line and the column, and never a value of a string field.
    let account: raw::ServiceAccount = serde_json::from_str(json.expose())
        .map_err(|error| format!("{shown} is not a service account file of Firebase: {error}"))?;
    https_uri(&account.token_uri).map_err(|why| format!("{shown}: token_uri {why}"))?;
    let unusable = || format!("{shown}: private_key is not an RSA key in PEM form; download the file again");
    let key = EncodingKey::from_rsa_pem(account.private_key.as_bytes()).map_err(|_| unusable())?;
    let key = SigningKey::check(key, Algorithm::RS256, &account.private_key).map_err(|()| unusable())?;
    Ok((account, key.dated(files, json_file)))
}

fn origin(files: &Files, url: &str, ca_file: Option<&Path>) -> Result<Origin, (&'static str, String)> {
    let uri = https_uri(url).map_err(|why| ("url", why))?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(("url", "has a path; give scheme, host and port only".to_owned()));
    }
    let ca_pem = ca_file.map(|path| read_ca(files, path)).transpose().map_err(|why| ("ca_file", why))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    Ok(Origin { host, port: uri.port_u16().unwrap_or(443), ca_pem })
}

fn https_uri(url: &str) -> Result<http::Uri, String> {
    let uri: http::Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
    if uri.scheme_str() != Some("https") || uri.host().is_none_or(str::is_empty) {
        return Err("is not of the form https://host or https://host:port".to_owned());
    }
    Ok(uri)
}

pub(super) fn read_ca(files: &Files, ca_file: &Path) -> Result<Arc<str>, String> {
    let pem = files.public(ca_file)?;
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        let path = beside(files.main(), ca_file);
        return Err(format!("{} has no certificate in PEM form", path.display()));
    }
    Ok(pem.into())
}
