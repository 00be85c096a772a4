//! A warm connection to one origin, opened when first needed and opened anew when it broke.
//!
//! It refuses to send more than one request on a new connection until that one was answered well.

use super::connection::Connection;
use super::{Failure, Response, Tls};
use crate::config::Origin;
use bytes::Bytes;
use http::Request;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How often a request goes out again at once because the provider says that it did not process it.
const MAX_MOVES: u32 = 2;

/// The way to one provider with one credential. It belongs to one thread.
pub struct Client {
    origin: Origin,
    tls: Tls,
    current: RefCell<Option<Rc<Connection>>>,
    /// Held while a connection is opened, so that many pushes at once open one.
    opening: Mutex<()>,
    /// Held by the first request of a connection (Apple: one stream until a request with a valid token succeeded).
    proving: Mutex<()>,
}

impl Client {
    /// Opens nothing yet.
    pub fn new(origin: Origin, tls: Tls) -> Self {
        Client { origin, tls, current: RefCell::new(None), opening: Mutex::new(()), proving: Mutex::new(()) }
    }

    /// Sends a request and waits for the answer, at most until `deadline`. What the provider did not process for its own
    /// reasons (GOAWAY, REFUSED_STREAM) goes out again on a new connection at once.
    ///
    /// # Errors
    /// No answer; see [`Failure`].
    pub async fn send(&self, request: &Request<Bytes>, deadline: Instant) -> Result<Response, Failure> {
        let mut moves = 0;
        loop {
            match self.send_once(request.clone(), deadline).await {
                Err(Failure::NotProcessed(why)) if moves < MAX_MOVES => {
                    log::debug!("{} did not process a request: {why}", self.origin.host);
                    moves += 1;
                }
                done => return done,
            }
        }
    }

    /// Forgets the connection, so that the next request opens a new one. Requests under way are still answered.
    pub fn forget_connection(&self) {
        self.current.replace(None);
    }

    async fn send_once(&self, request: Request<Bytes>, deadline: Instant) -> Result<Response, Failure> {
        let in_time = |_| Failure::Connect("not in time".to_owned());
        let connection = tokio::time::timeout_at(deadline, self.connection()).await.map_err(in_time)??;
        let done = if connection.is_proven.get() {
            connection.send(request, deadline).await
        } else {
            self.prove(&connection, request, deadline).await
        };
        if matches!(done, Err(Failure::NotProcessed(_))) {
            self.forget(&connection);
        }
        done
    }

    async fn prove(
        &self,
        connection: &Connection,
        request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let Ok(turn) = tokio::time::timeout_at(deadline, self.proving.lock()).await else {
            return Err(Failure::Connect("not in time".to_owned()));
        };
        if connection.is_proven.get() {
            drop(turn);
            return connection.send(request, deadline).await;
        }
        let done = connection.send(request, deadline).await;
        // 401 and 403 are about the credential; every other answer shows that it was taken.
        connection.is_proven.set(matches!(&done, Ok(response) if !matches!(response.status, 401 | 403)));
        done
    }

    async fn connection(&self) -> Result<Rc<Connection>, Failure> {
        let _turn = self.opening.lock().await;
        let current = self.current.borrow().clone();
        if let Some(connection) = current {
            if connection.is_usable().await {
                return Ok(connection);
            }
            self.forget(&connection);
        }
        let opened = Connection::open(&self.origin, &self.tls).await?;
        self.current.replace(Some(Rc::clone(&opened)));
        Ok(opened)
    }

    fn forget(&self, connection: &Rc<Connection>) {
        let mut current = self.current.borrow_mut();
        if current.as_ref().is_some_and(|known| Rc::ptr_eq(known, connection)) {
            *current = None;
        }
    }
}
