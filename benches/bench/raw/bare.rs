//! The bare client that ours is held against: one h2 connection over tokio-rustls, TCP_NODELAY, the same headers and body, and a request
//! built for each push, since no call is known before it comes.
//!
//! It refuses everything else: no queue, no deadline, no retry, no counters, and nothing of ours in the way of a push.

use super::{DEVICES, Job, settings, tell_window};
use crate::tokens::token;
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;
use voip_push::config::{Origin, Settings};
use voip_push::model::{self, Call, Environment, Extra, NewDevice, Push};
use voip_push::provider::PushProvider;
use voip_push::provider::apns::Apns;

/// What the requests say, as text, as a program has it.
struct Texts {
    host: String,
    authorization: String,
    topic: String,
    devices: Vec<Device>,
}

struct Device {
    path: String,
    expires_at_s: String,
    body: Value,
}

/// Runs the client and tells what it did.
pub fn run(job: &Job) {
    let settings = settings(&job.config);
    let origin = &settings.apns[0].origin;
    let texts = Rc::new(Texts::new(&requests(&settings)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (sending, driver) = h2::client::handshake(dial(origin).await).await.unwrap();
        tokio::task::spawn_local(async move { driver.await.unwrap() });
        let (made, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        // The first alone, as Apple wants it.
        exchange(&mut sending.clone(), texts.request(0)).await;
        for _ in 0..job.in_flight {
            let counters = (Rc::clone(&made), Rc::clone(&ended));
            tokio::task::spawn_local(keep_sending(sending.clone(), Rc::clone(&texts), counters));
        }
        tell_window(job, &ended).await;
    });
}

async fn keep_sending(
    mut sending: SendRequest<Bytes>,
    texts: Rc<Texts>,
    (made, ended): (Rc<Cell<u64>>, Rc<Cell<u64>>),
) {
    loop {
        made.set(made.get() + 1);
        exchange(&mut sending, texts.request(made.get())).await;
        ended.set(ended.get() + 1);
    }
}

impl Texts {
    /// Takes the texts out of requests that our provider module has made.
    fn new(requests: &[Request<Bytes>]) -> Texts {
        let text =
            |request: &Request<Bytes>, name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let device = |request: &Request<Bytes>| Device {
            path: request.uri().path().to_owned(),
            expires_at_s: text(request, "apns-expiration"),
            body: serde_json::from_slice(request.body()).unwrap(),
        };
        Texts {
            host: requests[0].uri().authority().unwrap().to_string(),
            authorization: text(&requests[0], "authorization"),
            topic: text(&requests[0], "apns-topic"),
            devices: requests.iter().map(device).collect(),
        }
    }

    fn request(&self, number: u64) -> Request<Bytes> {
        let device = &self.devices[number as usize % DEVICES];
        let call_id = format!("{number:016x}@bench.example.org");
        let body = serde_json::to_vec(&device.body).unwrap();
        Request::post(format!("https://{}{}", self.host, device.path))
            .header("authorization", &self.authorization)
            .header("apns-id", Uuid::new_v5(&Uuid::NAMESPACE_URL, call_id.as_bytes()).to_string())
            .header("apns-push-type", "voip")
            .header("apns-priority", "10")
            .header("apns-expiration", &device.expires_at_s)
            .header("apns-topic", &self.topic)
            .body(Bytes::from(body))
            .unwrap()
    }
}

/// Sends one request and waits for the end of its answer.
pub async fn exchange(sending: &mut SendRequest<Bytes>, request: Request<Bytes>) {
    let mut ready = sending.clone().ready().await.unwrap();
    let (parts, body) = request.into_parts();
    let (response, mut stream) = ready.send_request(Request::from_parts(parts, ()), false).unwrap();
    stream.send_data(body, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    while let Some(chunk) = body.data().await {
        chunk.unwrap();
    }
}

/// What our own provider module makes of pushes to the bench's devices.
pub fn requests(settings: &Settings) -> Vec<Request<Bytes>> {
    let apns = Apns::new(settings.apns[0].clone(), Environment::Production);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let authorization = apns.authorize(now.as_secs() as i64).unwrap();
    (0..DEVICES)
        .map(|number| apns.request(&push(number, number as u64, settings.ring), &authorization).unwrap())
        .collect()
}

/// A push to a device of the bench.
pub fn push(device: usize, call: u64, ring: Duration) -> Push {
    let user = format!("user{device:06}");
    let call = Call::parse(&user, "+4930123456", &format!("{call:016x}@bench.example.org")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Push::new(call, stored(&user, device), (now + ring).as_secs() as i64, ring, true)
}

fn stored(user: &str, number: usize) -> model::Device {
    let new = NewDevice::parse(user, &token(number), "ios", &Extra::default()).unwrap();
    let NewDevice { user, device_id, platform, token, app, environment, expires: _, alert } = new;
    let (registered_at_ms, expires_at_ms) = (1, None);
    model::Device {
        user,
        device_id,
        platform,
        token,
        app,
        environment,
        registered_at_ms,
        expires_at_ms,
        alert,
    }
}

/// A TLS connection for HTTP/2.
pub async fn dial(origin: &Origin) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect((origin.host.as_str(), origin.port)).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let pem = origin.ca_pem.as_deref().expect("the simulator's configuration names its CA");
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok));
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(origin.host.clone()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}
