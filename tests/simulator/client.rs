//! A small HTTP/2 client, and the JWTs that the simulator's own keys can make.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::harness::Simulator;

pub const TOPIC: &str = "org.example.phone.voip";
pub const BUNDLE: &str = "org.example.phone";

pub fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs().cast_signed()
}

/// A well-formed device token.
pub fn device_token(number: u32) -> String {
    format!("d{number:063x}")
}

/// A well-formed registration token.
pub fn registration_token(name: &str) -> String {
    format!("{name}:APA91b{}", "x".repeat(130))
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Apple's reason; empty for an empty body.
    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A request, to be bent by a test.
#[derive(Clone)]
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn set(mut self, name: &'static str, value: &str) -> Self {
        self = self.unset(name);
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn add(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn unset(mut self, name: &'static str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self
    }

    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// One HTTP/2 connection.
pub struct Client {
    send: SendRequest<Bytes>,
    authority: String,
    /// Ends with the connection.
    pub ended: JoinHandle<Result<(), h2::Error>>,
}

/// TLS to one of the simulator's URLs, trusting its CA only.
pub async fn tls(simulator: &Simulator, url: &str, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(simulator.dir.join("ca.pem")).expect("ca.pem is a certificate");
    roots.add(ca).expect("the CA is good");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider does TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let authority = url.strip_prefix("https://").expect("TLS services have https URLs");
    let tcp = TcpStream::connect(authority).await?;
    let name = ServerName::try_from("127.0.0.1").expect("an address is a name");
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

impl Client {
    /// Connects to the service that simulator.json calls `service`.
    pub async fn connect(simulator: &Simulator, service: &str) -> Self {
        let url = simulator.ready(service);
        let stream = tls(simulator, url, &[b"h2"]).await.expect("TLS works");
        let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2 works");
        let authority = url.trim_start_matches("https://").to_owned();
        Client { send, authority, ended: tokio::spawn(connection) }
    }

    /// Opens a stream and sends the request; the answer comes later.
    pub async fn start(&self, ask: &Ask) -> Result<h2::client::ResponseFuture, h2::Error> {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("https://{}{}", self.authority, ask.path))
            .version(http::Version::HTTP_2);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        let request = request.body(()).expect("test requests are well-formed HTTP");
        let mut send = self.send.clone().ready().await?;
        let (response, mut body) = send.send_request(request, ask.body.is_empty())?;
        if !ask.body.is_empty() {
            body.send_data(Bytes::from(ask.body.clone()), true)?;
        }
        Ok(response)
    }

    pub async fn ask(&self, ask: &Ask) -> Result<Reply, h2::Error> {
        finish(self.start(ask).await?).await
    }

    /// The same where no answer is a failure.
    pub async fn answered(&self, ask: &Ask) -> Reply {
        self.ask(ask).await.expect("the stream is answered")
    }
}

/// Reads an answer to its end.
pub async fn finish(response: h2::client::ResponseFuture) -> Result<Reply, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: body.freeze() })
}

/// A provider token of our team made with our key, `age_s` old.
pub fn provider_token(simulator: &Simulator, age_s: i64) -> String {
    let claims = json!({ "iss": simulator.ready("team_id"), "iat": now_s() - age_s });
    sign_es256(simulator, Some(simulator.ready("key_id")), &claims)
}

pub fn sign_es256(simulator: &Simulator, kid: Option<&str>, claims: &Value) -> String {
    let pem = simulator.file(&format!("AuthKey_{}.p8", simulator.ready("key_id")));
    let key = EncodingKey::from_ec_pem(pem.as_bytes()).expect("the .p8 is a P-256 key");
    sign(Algorithm::ES256, kid, claims, &key)
}

pub fn sign(algorithm: Algorithm, kid: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, key).expect("signing works")
}

/// A VoIP push that nothing is wrong with.
pub fn voip_push(jwt: &str, token: &str) -> Ask {
    let headers = vec![
        ("authorization", format!("bearer {jwt}")),
        ("apns-topic", TOPIC.to_owned()),
        ("apns-push-type", "voip".to_owned()),
        ("apns-priority", "10".to_owned()),
        ("apns-expiration", "0".to_owned()),
        ("apns-id", "eabeae54-14a8-11e5-b60b-1697f925ec7b".to_owned()),
    ];
    let body = json!({ "aps": {}, "call_id": "a84b4c76e66710@atlanta", "caller": "bob" }).to_string();
    Ask { method: Method::POST, path: format!("/3/device/{token}"), headers, body: body.into_bytes() }
}

/// A service account's assertion with some claims changed.
pub fn assertion(simulator: &Simulator, change: &Value) -> String {
    let account: Value = serde_json::from_str(&simulator.file("service-account.json")).expect("it is JSON");
    let text = |field: &str| account[field].as_str().expect("Google's service accounts have it").to_owned();
    let mut claims = json!({
        "iss": text("client_email"), "aud": text("token_uri"), "iat": now_s(), "exp": now_s() + 3600,
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
    });
    for (name, value) in change.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    let key = EncodingKey::from_rsa_pem(text("private_key").as_bytes()).expect("it is an RSA key");
    sign(Algorithm::RS256, Some(&text("private_key_id")), &claims, &key)
}

/// `POST /token` with this assertion.
pub fn token_request(assertion: &str) -> Ask {
    let grant_type = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
    Ask {
        method: Method::POST,
        path: "/token".to_owned(),
        headers: vec![("content-type", "application/x-www-form-urlencoded".to_owned())],
        body: format!("grant_type={grant_type}&assertion={assertion}").into_bytes(),
    }
}

/// An access token, fetched on this connection.
pub async fn access_token(simulator: &Simulator, google: &Client) -> String {
    let reply = google.answered(&token_request(&assertion(simulator, &Value::Null))).await;
    assert_eq!(reply.status, 200, "{}", reply.json());
    reply.json()["access_token"].as_str().expect("a grant holds a token").to_owned()
}

/// A message to send.
pub fn fcm_message(access_token: &str, message: &Value) -> Ask {
    fcm_request(access_token, &json!({ "message": message }))
}

pub fn fcm_request(access_token: &str, request: &Value) -> Ask {
    Ask {
        method: Method::POST,
        path: "/v1/projects/sip-phone-voip/messages:send".to_owned(),
        headers: vec![
            ("authorization", format!("Bearer {access_token}")),
            ("content-type", "application/json".to_owned()),
        ],
        body: request.to_string().into_bytes(),
    }
}
