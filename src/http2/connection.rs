//! One HTTP/2 connection: opened with a fresh DNS answer, driven in the background, asked with a ping when it was idle.
//!
//! It refuses to reconnect; a connection that broke stays broken.

use super::dial::dial;
use super::{Ask, Coalesced, Failure, Lost, Patience, Resolve, Response, Tls};
use crate::config::Origin;
use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use http::{HeaderMap, Request};
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

/// More of a body than this is not read; a provider's error has some hundred bytes.
const MAX_BODY_LEN: usize = 16 * 1024;
/// More header bytes than this end the connection.
const MAX_HEADERS_LEN: u32 = 16 * 1024;
/// Streams that may be opened before the server has said how many it allows; h2's own default is unlimited, and a whole backlog
/// was refused that way in a trial.
const STREAMS_BEFORE_SETTINGS: usize = 100;

pub(super) struct Connection {
    requests: RefCell<SendRequest<Bytes>>,
    pings: Mutex<Option<PingPong>>,
    patience: Patience,
    /// Set when it has ended, or when the provider refused a stream: it wants less from us than we thought.
    is_leaving: Rc<Cell<bool>>,
    /// Set when an answer is overdue and nothing else came: the next sender asks with a ping before it trusts the connection.
    is_doubtful: Cell<bool>,
    /// Set by the first good answer. Apple allows one stream until then.
    is_proven: Cell<bool>,
    /// Held by the first request (Apple: one stream until a request with a valid token succeeded).
    proving: Mutex<()>,
    /// Set when somebody has waited in vain for the first answer.
    is_slow: Cell<bool>,
    in_flight: Cell<usize>,
    /// Told when a request has ended.
    room: Rc<Notify>,
    last_used: Cell<Instant>,
    /// How many answers have come.
    heard: Cell<usize>,
}

/// One request's place on a connection, counted from the choice of the connection until the request has ended, however
/// it ends.
pub(super) struct Place(Rc<Connection>);

impl Place {
    pub(super) fn on(connection: &Rc<Connection>) -> Place {
        connection.in_flight.set(connection.in_flight.get() + 1);
        Place(Rc::clone(connection))
    }
}

impl Deref for Place {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.room.notify_one();
    }
}

impl Connection {
    pub(super) async fn open(
        origin: &Origin,
        tls: &Tls,
        resolve: &Resolve,
        (patience, room): (Patience, Rc<Notify>),
    ) -> Result<Rc<Connection>, Failure> {
        match timeout(patience.connect, Self::handshake(origin, tls, resolve, (patience, room))).await {
            Ok(done) => done.map_err(Failure::Connect),
            Err(_) => Err(Failure::Connect(format!("not within {:?}", patience.connect))),
        }
    }

    async fn handshake(
        origin: &Origin,
        tls: &Tls,
        resolve: &Resolve,
        (patience, room): (Patience, Rc<Notify>),
    ) -> Result<Rc<Connection>, String> {
        let stream = dial(origin, tls, resolve).await.map_err(|why| why.to_string())?;
        let (requests, mut driver) = h2::client::Builder::new()
            .enable_push(false)
            .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
            .max_header_list_size(MAX_HEADERS_LEN)
            .handshake(Coalesced(stream))
            .await
            .map_err(|error| format!("HTTP/2: {error}"))?;
        let pings = Mutex::new(driver.ping_pong());
        let is_leaving = Rc::new(Cell::new(false));
        let has_ended = Rc::clone(&is_leaving);
        tokio::task::spawn_local(async move {
            if let Err(error) = driver.await {
                log::debug!("connection ended: {error}");
            }
            has_ended.set(true);
        });
        Ok(Rc::new(Connection {
            requests: RefCell::new(requests),
            pings,
            patience,
            is_leaving,
            is_doubtful: Cell::new(false),
            is_proven: Cell::new(false),
            proving: Mutex::new(()),
            is_slow: Cell::new(false),
            in_flight: Cell::new(0),
            room,
            last_used: Cell::new(Instant::now()),
            heard: Cell::new(0),
        }))
    }

    /// True where nothing more may go onto it: it has ended, or the provider wants it to. h2 knows of a GOAWAY as soon as
    /// the frame was read; the driver ends only with the last stream.
    pub(super) fn is_leaving(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.is_leaving.get()
            || matches!(self.requests.borrow_mut().poll_ready(&mut context), Poll::Ready(Err(_)))
    }

    /// True where it may be used without asking.
    pub(super) fn is_trusted(&self) -> bool {
        !self.is_in_doubt() && (self.is_proven.get() || !self.is_slow.get())
    }

    /// True where a ping should tell whether it is still there: an answer is overdue, or it was idle (firewalls drop silent
    /// connections).
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_doubtful.get() || self.last_used.get().elapsed() >= self.patience.idle
    }

    /// How many requests are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// True when all streams that the server allows at this moment are taken.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight.get() >= self.limit()
    }

    /// True when nine tenths of them are.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.in_flight.get() * 10 >= self.limit().saturating_mul(9)
    }

    fn limit(&self) -> usize {
        self.requests.borrow().current_max_send_streams()
    }

    /// True once a request was answered well.
    pub(super) fn is_proven(&self) -> bool {
        self.is_proven.get()
    }

    /// True while its first request runs; others would have to wait for that one.
    pub(super) fn is_being_proven(&self) -> bool {
        !self.is_proven.get() && self.in_flight.get() > 0
    }

    /// Asks with a ping.
    pub(super) async fn answers(&self) -> bool {
        let is_alive = !self.is_leaving() && self.answers_a_ping().await;
        self.is_doubtful.set(!is_alive);
        self.last_used.set(Instant::now());
        is_alive
    }

    async fn answers_a_ping(&self) -> bool {
        let mut pings = self.pings.lock().await;
        let Some(pings) = pings.as_mut() else { return false };
        matches!(timeout(self.patience.ping, pings.ping(Ping::opaque())).await, Ok(Ok(_)))
    }

    /// The right to send the first request on a new connection, alone; those that come meanwhile wait for its end, though not for
    /// long: where the first answer is slow, they may have another connection. `None` where the connection is proven by now.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<Option<MutexGuard<'_, ()>>, Failure> {
        let patience = deadline.min(Instant::now() + self.patience.first_answer);
        let Ok(turn) = timeout_at(patience, self.proving.lock()).await else {
            self.is_slow.set(patience < deadline);
            return Err(Failure::NotProcessed("the first answer on the connection is late".to_owned()));
        };
        if self.is_leaving() {
            return Err(Failure::NotProcessed("the connection is to end".to_owned()));
        }
        if self.is_proven.get() {
            if self.in_flight.get() > self.limit() {
                return Err(Failure::NotProcessed("the connection allows fewer streams".to_owned()));
            }
            return Ok(None);
        }
        Ok(Some(turn))
    }

    /// Looks whether the first request has proven the connection.
    pub(super) fn note_first(&self, done: &Result<Response, Failure>) {
        // 401 and 403 are about the credential; every other answer shows that it was taken.
        self.is_proven.set(matches!(done, Ok(response) if !matches!(response.status, 401 | 403)));
    }

    /// A request goes out now. Gives how many answers have come before.
    pub(super) fn note_use(&self) -> usize {
        self.last_used.set(Instant::now());
        self.heard.get()
    }

    /// What came of a request that went out after so many answers: another one, or none in time.
    pub(super) fn note_end(
        &self,
        request: &impl Ask,
        heard_before: usize,
        done: Result<Result<Response, Failure>, Elapsed>,
    ) -> Result<Response, Failure> {
        let Ok(done) = done else {
            self.is_doubtful.set(self.is_doubtful.get() || self.heard.get() == heard_before);
            return Err(Failure::Lost(Lost::Late, "not in time".to_owned()));
        };
        match &done {
            Ok(_) => self.heard.set(self.heard.get().wrapping_add(1)),
            Err(Failure::NotProcessed(_)) => {
                self.is_leaving.set(true);
                request.note_sent(false);
            }
            Err(Failure::Unmade(_) | Failure::Connect(_) | Failure::Lost(..)) => {}
        }
        done
    }

    /// Sends one request and waits for its answer.
    pub(super) fn exchange(&self, request: &impl Ask) -> impl Future<Output = Result<Response, Failure>> {
        async move {
            let made = request.request().map_err(Failure::Unmade)?;
            request.note_sent(true);
            let response = self.start(made).map_err(|error| Failure::NotProcessed(error.to_string()))?;
            let (status, retry_after, body) = parts(request, response.await.map_err(judge)?);
            if body.is_end_stream() {
                return Ok(Response { status, retry_after, body: Bytes::new() });
            }
            // Boxed: what is accepted has none, and every push under way would keep room for it.
            let body = Box::pin(read(body)).await.map_err(judge)?;
            Ok(Response { status, retry_after, body })
        }
    }

    /// Nothing has left this process when it returns, so whatever fails here was not processed.
    fn start(&self, request: Request<Bytes>) -> Result<ResponseFuture, h2::Error> {
        let (parts, body) = request.into_parts();
        let head = Request::from_parts(parts, ());
        let mut requests = self.requests.borrow().clone();
        let (response, mut sending) = requests.send_request(head, body.is_empty())?;
        if !body.is_empty() {
            sending.send_data(body, true)?;
        }
        Ok(response)
    }
}

/// The provider said itself that it did not process the stream (RFC 9113 §8.7), or the request may have arrived.
fn judge(error: h2::Error) -> Failure {
    let is_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    if error.is_remote() && (is_refused || error.is_go_away()) {
        return Failure::NotProcessed(error.to_string());
    }
    let how = if error.is_reset() { Lost::Reset } else { Lost::Closed };
    Failure::Lost(how, error.to_string())
}

/// Apart, since a future keeps room for whatever it has looked into.
fn parts(request: &impl Ask, response: http::Response<RecvStream>) -> (u16, Option<Duration>, RecvStream) {
    request.answered(response.headers());
    (response.status().as_u16(), retry_after(response.headers()), response.into_body())
}

async fn read(mut body: RecvStream) -> Result<Bytes, h2::Error> {
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
