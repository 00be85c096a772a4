//! The way to one origin with one credential: as many warm connections as its streams need, opened when first needed.
//!
//! It refuses to send more than one request on a new connection until that one was answered well, and to knock at a
//! closed door without a pause.

use super::backoff::Backoff;
use super::connection::{Connection, Place};
use super::{Ask, Failure, Response, Tls};
use crate::config::Origin;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

/// How often a request goes out again at once because the provider says that it did not process it.
const MAX_MOVES: u32 = 3;
/// More connections than this are never opened; each carries up to a thousand requests at once.
const MAX_CONNECTIONS: usize = 16;

/// Connections to one origin. They belong to one thread.
pub struct Client {
    origin: Origin,
    tls: Tls,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held while a connection is opened, so that many requests at once open one.
    opening: Mutex<()>,
    /// True while another connection is being opened beside one that is nearly full.
    is_growing: Cell<bool>,
    backoff: RefCell<Backoff>,
}

impl Client {
    /// Opens nothing yet.
    pub fn new(origin: Origin, tls: Tls) -> Rc<Self> {
        Rc::new(Client {
            origin,
            tls,
            connections: RefCell::default(),
            opening: Mutex::new(()),
            is_growing: Cell::new(false),
            backoff: RefCell::default(),
        })
    }

    /// Sends a request and waits for the answer, at most until `deadline`. What the provider did not process for its own
    /// reasons (GOAWAY, REFUSED_STREAM) goes out again on a new connection at once.
    ///
    /// # Errors
    /// No answer; see [`Failure`].
    pub async fn send(self: &Rc<Self>, request: &dyn Ask, deadline: Instant) -> Result<Response, Failure> {
        let mut moves = 0;
        loop {
            match self.send_once(request, deadline).await {
                Err(Failure::NotProcessed(why)) if moves < MAX_MOVES => {
                    log::debug!("{} did not process a request: {why}", self.origin.host);
                    moves += 1;
                }
                done => return done,
            }
        }
    }

    /// Forgets the connections, so that the next request opens a new one. Requests under way are still answered.
    pub fn forget_connections(&self) {
        self.connections.borrow_mut().clear();
    }

    async fn send_once(self: &Rc<Self>, request: &dyn Ask, deadline: Instant) -> Result<Response, Failure> {
        let place = match self.ready_place() {
            Some(place) => place,
            None => {
                // Boxed: rare, and every request under way would keep room for it.
                let in_time = Box::pin(timeout_at(deadline, self.place())).await;
                in_time.map_err(|_| Failure::Connect("not in time".to_owned()))??
            }
        };
        let connection = place.connection();
        let done = if connection.is_proven() {
            connection.send(request, deadline).await
        } else {
            Box::pin(connection.prove(request, deadline)).await
        };
        if matches!(done, Err(Failure::NotProcessed(_))) {
            self.forget(connection);
        }
        done
    }

    /// A place on the least busy connection that needs no asking; the usual case, without waiting for anything. None
    /// where all streams are taken and another connection may be opened.
    fn ready_place(self: &Rc<Self>) -> Option<Place> {
        let connections = self.connections.borrow();
        let trusted = connections.iter().filter(|known| known.is_trusted());
        let best = trusted.min_by_key(|known| known.in_flight())?;
        if connections.len() < MAX_CONNECTIONS {
            if best.is_full() {
                return None;
            }
            if best.is_nearly_full() {
                self.grow();
            }
        }
        Some(Place::on(best))
    }

    /// Opens another connection before the last is full; nobody waits for it.
    fn grow(self: &Rc<Self>) {
        if self.is_growing.replace(true) {
            return;
        }
        let client = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Err(failure) = client.open().await {
                log::debug!("{}: no further connection: {failure}", client.origin.host);
            }
            client.is_growing.set(false);
        });
    }

    /// A place on a connection that works, asked with a ping where there is doubt, or on a new one.
    async fn place(self: &Rc<Self>) -> Result<Place, Failure> {
        let _turn = self.opening.lock().await;
        if let Some(ready) = self.ready_place() {
            return Ok(ready); // Somebody else has opened it meanwhile.
        }
        let known = self.connections.borrow().clone();
        for connection in known.iter().filter(|known| !known.is_full()) {
            if Box::pin(connection.is_usable()).await {
                return Ok(Place::on(connection));
            }
            self.forget(connection);
        }
        Ok(Place::on(&self.open().await?))
    }

    async fn open(&self) -> Result<Rc<Connection>, Failure> {
        self.backoff.borrow().check()?;
        // Boxed: every request that waits for its place would keep room for a TLS handshake otherwise.
        match Box::pin(Connection::open(&self.origin, &self.tls)).await {
            Ok(opened) => {
                self.backoff.borrow_mut().succeeded();
                self.connections.borrow_mut().push(Rc::clone(&opened));
                Ok(opened)
            }
            Err(failure) => {
                self.backoff.borrow_mut().failed(&failure);
                Err(failure)
            }
        }
    }

    fn forget(&self, connection: &Rc<Connection>) {
        self.connections.borrow_mut().retain(|known| !Rc::ptr_eq(known, connection));
    }
}
