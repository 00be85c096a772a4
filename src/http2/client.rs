//! The way to one origin with one credential: as many warm connections as its streams need, opened when first needed.
//!
//! It refuses to send more than one request on a new connection until that one was answered well, to put anything onto a
//! connection that the provider wants to end, and to knock at a closed door without a pause.

use super::backoff::Backoff;
use super::connection::{Connection, Place};
use super::dial::system_dns;
use super::{Ask, Failure, Patience, Resolve, Response, Tls};
use crate::config::Origin;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// More connections than this are never opened; each carries up to a thousand requests at once.
const MAX_CONNECTIONS: usize = 16;
/// Who waits for a stream looks for one this often, should nobody tell.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Connections to one origin. They belong to one thread.
pub struct Client {
    origin: Origin,
    tls: Tls,
    resolve: Resolve,
    patience: Patience,
    /// Those that take requests. One that is to end leaves the list at once, and ends with its last request.
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held while a connection is opened, so that many requests at once open one.
    opening: Mutex<()>,
    /// True while another connection is being opened beside one that is nearly full.
    is_growing: Cell<bool>,
    /// Connections that are not there yet.
    being_opened: Cell<usize>,
    /// Told when a request has ended, so that another may have its stream.
    room: Rc<Notify>,
    backoff: RefCell<Backoff>,
}

impl Client {
    /// Opens nothing yet.
    pub fn new(origin: Origin, tls: Tls) -> Rc<Self> {
        Self::with(origin, tls, Patience::default(), Rc::new(system_dns))
    }

    /// The same with other times and another resolver.
    pub fn with(origin: Origin, tls: Tls, patience: Patience, resolve: Resolve) -> Rc<Self> {
        Rc::new(Client {
            origin,
            tls,
            resolve,
            patience,
            connections: RefCell::default(),
            opening: Mutex::new(()),
            is_growing: Cell::new(false),
            being_opened: Cell::new(0),
            room: Rc::default(),
            backoff: RefCell::default(),
        })
    }

    /// Sends a request and waits for the answer, at most until `deadline`. What the provider did not process for its own
    /// reasons (GOAWAY, REFUSED_STREAM) goes out again on another connection at once, as often as it takes; where a new
    /// connection cannot be had, after the pause between attempts to connect.
    ///
    /// # Errors
    /// No answer; see [`Failure`].
    pub fn send(
        self: &Rc<Self>,
        request: &impl Ask,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response, Failure>> {
        async move {
            let mut is_moved = false;
            loop {
                let failure = match self.send_once(request, deadline).await {
                    Err(failure @ Failure::NotProcessed(_)) => failure,
                    Err(failure @ Failure::Connect(_)) if is_moved => failure,
                    done => return done,
                };
                if matches!(failure, Failure::Connect(_)) {
                    let until = self.backoff.borrow().until();
                    // Boxed, as below.
                    Box::pin(sleep_until(until.unwrap_or(deadline).min(deadline))).await;
                }
                log::debug!("{}: {failure}", self.origin.host);
                if Instant::now() >= deadline {
                    return Err(failure);
                }
                is_moved = true;
            }
        }
    }

    /// Where its connections go.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Forgets the connections, so that the next request opens a new one. Requests under way are still answered.
    pub fn forget_connections(&self) {
        self.connections.borrow_mut().clear();
    }

    fn send_once(
        self: &Rc<Self>,
        request: &impl Ask,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response, Failure>> {
        async move {
            let place = match self.ready_place() {
                Some(place) => place,
                None => {
                    // Boxed: rare, and every request under way would keep room for it.
                    let in_time = Box::pin(timeout_at(deadline, self.place())).await;
                    in_time.map_err(|_| Failure::NotProcessed("no connection in time".to_owned()))??
                }
            };
            // Boxed, as above; let go before the request goes out.
            let turn = if place.is_proven() { None } else { Box::pin(place.turn(deadline)).await? };
            let heard_before = place.note_use();
            let done = timeout_at(deadline, place.exchange(request)).await;
            let done = place.note_end(request, heard_before, done);
            if turn.is_some() {
                self.note_first(&place, &done);
            }
            done
        }
    }

    fn note_first(&self, connection: &Connection, done: &Result<Response, Failure>) {
        connection.note_first(done);
        if connection.is_proven() {
            self.backoff.borrow_mut().succeeded();
        }
    }

    /// A place on the least busy connection that needs no asking; the usual case, without waiting for anything. None
    /// where all streams are taken.
    fn ready_place(self: &Rc<Self>) -> Option<Place> {
        loop {
            let best = self.least_busy(|known| known.is_trusted())?;
            if best.is_leaving() {
                self.retire(&best);
                continue;
            }
            if best.is_full() {
                return None;
            }
            if best.is_nearly_full() && self.may_open() {
                self.grow();
            }
            return Some(Place::on(&best));
        }
    }

    /// One with room before one without, and one that is proven before one where the first request still runs.
    fn least_busy(&self, which: impl Fn(&Connection) -> bool) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        let which = connections.iter().filter(|known| which(known));
        which.min_by_key(|known| (known.is_full(), known.is_being_proven(), known.in_flight())).cloned()
    }

    /// Opens another connection before the last is full; nobody waits for it.
    fn grow(self: &Rc<Self>) {
        if self.is_growing.replace(true) {
            return;
        }
        let client = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // Somebody may have begun to open the last one meanwhile.
            if client.may_open()
                && let Err(failure) = client.open().await
            {
                log::debug!("{}: no further connection: {failure}", client.origin.host);
            }
            client.is_growing.set(false);
        });
    }

    /// A place on a connection that works, asked with a ping where there is doubt, or on a new one; where there may be none, the
    /// first that gets free. To wait here takes less memory than in h2, which wants the whole request, and what is not sent
    /// can still be given up.
    async fn place(self: &Rc<Self>) -> Result<Place, Failure> {
        let _turn = self.opening.lock().await;
        loop {
            if let Some(place) = self.place_at_once().await? {
                return Ok(place);
            }
            // Streams get free, and a server may allow more of them, which nobody tells.
            let _ = timeout(LOOK_AGAIN, self.room.notified()).await;
        }
    }

    async fn place_at_once(self: &Rc<Self>) -> Result<Option<Place>, Failure> {
        if let Some(ready) = self.ready_place() {
            return Ok(Some(ready)); // Somebody else has opened it meanwhile.
        }
        // One only: where it does not answer, the others may be as dead, and each ping takes its time.
        if let Some(doubtful) = self.least_busy(|known| known.is_in_doubt() && !known.is_full()) {
            if Box::pin(doubtful.answers()).await {
                return Ok(Some(Place::on(&doubtful)));
            }
            self.retire(&doubtful);
        }
        if !self.may_open() {
            let any = self.least_busy(|known| !known.is_leaving() && !known.is_full());
            return Ok(any.map(|any| Place::on(&any)));
        }
        Ok(Some(Place::on(&self.open().await?)))
    }

    /// Whether there may be one more connection, with those that are being opened.
    fn may_open(&self) -> bool {
        self.connections.borrow().len() + self.being_opened.get() < MAX_CONNECTIONS
    }

    async fn open(&self) -> Result<Rc<Connection>, Failure> {
        let _one = Opening::begin(&self.being_opened);
        let pause = self.backoff.borrow().check()?;
        if let Some(until) = pause {
            sleep_until(until).await;
        }
        // Boxed: every request that waits for its place would keep room for a TLS handshake otherwise.
        let opened = Box::pin(Connection::open(
            &self.origin,
            &self.tls,
            &self.resolve,
            (self.patience, Rc::clone(&self.room)),
        ))
        .await;
        match &opened {
            Ok(opened) => self.connections.borrow_mut().push(Rc::clone(opened)),
            Err(failure) => self.backoff.borrow_mut().failed(failure),
        }
        opened
    }

    /// Puts nothing more onto a connection. If it leaves without a single good answer, that is a door that is shut, too.
    fn retire(&self, connection: &Rc<Connection>) {
        let mut connections = self.connections.borrow_mut();
        let before = connections.len();
        connections.retain(|known| !Rc::ptr_eq(known, connection));
        if connections.len() < before && !connection.is_proven() {
            let failure = Failure::NotProcessed("it leaves before its first answer".to_owned());
            self.backoff.borrow_mut().failed(&failure);
        }
    }
}

/// A connection that is being opened, until it is there, or given up.
struct Opening<'a>(&'a Cell<usize>);

impl Opening<'_> {
    fn begin(count: &Cell<usize>) -> Opening<'_> {
        count.set(count.get() + 1);
        Opening(count)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
