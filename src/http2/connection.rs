//! One HTTP/2 connection: opened with a fresh DNS answer, driven in the background, asked with a ping when it was idle.
//!
//! It refuses to reconnect; a connection that broke stays broken.

use super::{Ask, Coalesced, Failure, Response, Tls};
use crate::config::Origin;
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use http::{HeaderMap, Request};
use rustls::pki_types::ServerName;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

/// How long opening may take: DNS, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle for longer than this, a connection is asked with a ping first: firewalls drop silent connections.
const TRUSTED_IDLE: Duration = Duration::from_secs(60);
/// How long such a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// More of a body than this is not read; a provider's error has some hundred bytes.
const MAX_BODY_LEN: usize = 16 * 1024;
/// More header bytes than this end the connection.
const MAX_HEADERS_LEN: u32 = 16 * 1024;
/// Streams that may be opened before the server has said how many it allows; h2's own default is unlimited, and a whole backlog
/// was refused that way in a trial.
const STREAMS_BEFORE_SETTINGS: usize = 100;

pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    pings: Mutex<Option<PingPong>>,
    is_broken: Rc<Cell<bool>>,
    /// Set when an answer is overdue: the next sender asks with a ping before it trusts the connection.
    is_doubtful: Cell<bool>,
    /// Set by the first good answer. Apple allows one stream until then.
    is_proven: Cell<bool>,
    /// Held by the first request (Apple: one stream until a request with a valid token succeeded).
    proving: Mutex<()>,
    in_flight: Cell<usize>,
    last_used: Cell<Instant>,
}

/// One request's place on a connection, counted from the choice of the connection until the request has ended, however
/// it ends.
pub(super) struct Place(Rc<Connection>);

impl Place {
    pub(super) fn on(connection: &Rc<Connection>) -> Place {
        connection.in_flight.set(connection.in_flight.get() + 1);
        Place(Rc::clone(connection))
    }

    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

impl Connection {
    pub(super) async fn open(origin: &Origin, tls: &Tls) -> Result<Rc<Connection>, Failure> {
        match timeout(CONNECT_TIMEOUT, Self::handshake(origin, tls)).await {
            Ok(done) => done.map_err(Failure::Connect),
            Err(_) => Err(Failure::Connect("not within 5 s".to_owned())),
        }
    }

    async fn handshake(origin: &Origin, tls: &Tls) -> Result<Rc<Connection>, String> {
        let tcp = connect(origin).await?;
        let name = ServerName::try_from(origin.host.clone()).map_err(|_| "not a host name".to_owned())?;
        let stream = TlsConnector::from(Arc::clone(&tls.config))
            .connect(name, tcp)
            .await
            .map_err(|error| format!("TLS: {error}"))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("the server does not speak HTTP/2".to_owned());
        }
        let (requests, mut driver) = h2::client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
            .max_header_list_size(MAX_HEADERS_LEN)
            .handshake(Coalesced(stream))
            .await
            .map_err(|error| format!("HTTP/2: {error}"))?;
        let pings = Mutex::new(driver.ping_pong());
        let is_broken = Rc::new(Cell::new(false));
        let broken = Rc::clone(&is_broken);
        tokio::task::spawn_local(async move {
            if let Err(error) = driver.await {
                log::debug!("connection ended: {error}");
            }
            broken.set(true);
        });
        Ok(Rc::new(Connection {
            requests,
            pings,
            is_broken,
            is_doubtful: Cell::new(false),
            is_proven: Cell::new(false),
            proving: Mutex::new(()),
            in_flight: Cell::new(0),
            last_used: Cell::new(Instant::now()),
        }))
    }

    /// True where it may be used without asking.
    pub(super) fn is_trusted(&self) -> bool {
        !self.is_broken.get() && !self.is_doubtful.get() && self.last_used.get().elapsed() < TRUSTED_IDLE
    }

    /// How many requests are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// True when all streams that the server allows at this moment are taken.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight.get() >= self.requests.current_max_send_streams()
    }

    /// True when nine tenths of them are.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.in_flight.get() * 10 >= self.requests.current_max_send_streams().saturating_mul(9)
    }

    /// True once a request was answered well.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.get()
    }

    /// False once it ended or does not answer a ping that was due.
    pub(super) async fn is_usable(&self) -> bool {
        if self.is_broken.get() {
            return false;
        }
        if self.is_trusted() {
            return true;
        }
        let is_alive = self.answers_a_ping().await;
        self.is_doubtful.set(!is_alive);
        self.is_broken.set(self.is_broken.get() || !is_alive);
        self.last_used.set(Instant::now());
        is_alive
    }

    async fn answers_a_ping(&self) -> bool {
        let mut pings = self.pings.lock().await;
        let Some(pings) = pings.as_mut() else { return false };
        matches!(timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await, Ok(Ok(_)))
    }

    /// Sends a request alone on a new connection; those that come meanwhile wait for its end.
    pub(super) async fn prove(&self, request: &dyn Ask, deadline: Instant) -> Result<Response, Failure> {
        let Ok(turn) = tokio::time::timeout_at(deadline, self.proving.lock()).await else {
            return Err(Failure::Connect("not in time".to_owned()));
        };
        if self.is_broken.get() {
            return Err(Failure::NotProcessed("the connection has ended".to_owned()));
        }
        if self.is_proven.get() {
            drop(turn);
            return self.send(request, deadline).await;
        }
        let done = self.send(request, deadline).await;
        // 401 and 403 are about the credential; every other answer shows that it was taken.
        self.is_proven.set(matches!(&done, Ok(response) if !matches!(response.status, 401 | 403)));
        done
    }

    /// Sends one request and waits for its answer, at most until `deadline`.
    pub(super) async fn send(&self, request: &dyn Ask, deadline: Instant) -> Result<Response, Failure> {
        self.last_used.set(Instant::now());
        match tokio::time::timeout_at(deadline, self.exchange(request)).await {
            Ok(done) => done,
            Err(_) => {
                self.is_doubtful.set(true);
                Err(Failure::Lost("not in time".to_owned()))
            }
        }
    }

    async fn exchange(&self, request: &dyn Ask) -> Result<Response, Failure> {
        let refused = |error: h2::Error| Failure::NotProcessed(error.to_string());
        let requests = self.requests.clone().ready().await.map_err(refused)?;
        let response = start(requests, request.request().map_err(Failure::Unmade)?).map_err(refused)?;
        let (parts, body) = response.await.map_err(judge)?.into_parts();
        Ok(Response {
            status: parts.status.as_u16(),
            retry_after: retry_after(&parts.headers),
            body: if body.is_end_stream() {
                Bytes::new()
            } else {
                Box::pin(read(body)).await.map_err(judge)?
            },
        })
    }
}

/// Puts a request on its way. Not a part of the waiting, which would keep room for all of this.
fn start(
    mut requests: SendRequest<Bytes>,
    request: Request<Bytes>,
) -> Result<h2::client::ResponseFuture, h2::Error> {
    let (parts, body) = request.into_parts();
    let (response, mut sending) = requests.send_request(Request::from_parts(parts, ()), body.is_empty())?;
    if !body.is_empty() {
        sending.send_data(body, true)?;
    }
    Ok(response)
}

/// The provider said itself that it did not process the stream (RFC 9113 §8.7), or the request may have arrived.
fn judge(error: h2::Error) -> Failure {
    let is_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    if error.is_remote() && (is_refused || error.is_go_away()) {
        return Failure::NotProcessed(error.to_string());
    }
    Failure::Lost(error.to_string())
}

async fn connect(origin: &Origin) -> Result<TcpStream, String> {
    let host = (origin.host.as_str(), origin.port);
    let addresses =
        tokio::net::lookup_host(host).await.map_err(|_| format!("{} is not known to DNS", origin.host))?;
    let mut last = format!("{} has no address", origin.host);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(tcp) => {
                // Without it a push alone was measured waiting 40 ms for an acknowledgement.
                tcp.set_nodelay(true).map_err(|error| error.to_string())?;
                return Ok(tcp);
            }
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

async fn read(mut body: h2::RecvStream) -> Result<Bytes, h2::Error> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        whole.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY_LEN - whole.len())]);
        if whole.len() == MAX_BODY_LEN {
            break;
        }
    }
    Ok(whole.freeze())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
