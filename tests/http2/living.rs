//! A connection's life: limits that change, silence, and where the next one goes.

use super::raw::{self, DATA, PING, Writer};
use super::{Seen, listen, request, run, soon, until};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use voip_push::config::Origin;
use voip_push::http2::{Client, Failure, Patience, Resolve, Response, Tls};

/// A server that answers when told, and whose limits are changed while it is in use.
#[derive(Default)]
struct Limited {
    /// Per connection, where it can be written to.
    writers: RefCell<Vec<Rc<Writer>>>,
    /// Per connection, the requests that wait for their answers.
    waiting: RefCell<Vec<BTreeSet<u32>>>,
    settings_acknowledged: Cell<usize>,
    pings: Cell<usize>,
    answers_pings: Cell<bool>,
    answers_at_once: Cell<bool>,
}

impl Limited {
    async fn serve(self: Rc<Self>, tls: TlsStream<TcpStream>, number: usize) {
        let Some((mut reader, writer)) = raw::open(tls, Some(10)).await else { return };
        let writer = Rc::new(writer);
        self.writers.borrow_mut().push(Rc::clone(&writer));
        self.waiting.borrow_mut().push(BTreeSet::new());
        let mut is_first = true;
        while let Some(frame) = reader.next().await {
            self.settings_acknowledged
                .set(self.settings_acknowledged.get() + usize::from(frame.is_settings_ack()));
            if frame.kind == PING {
                self.pings.set(self.pings.get() + 1);
            }
            if frame.kind == DATA && (std::mem::take(&mut is_first) || self.answers_at_once.get()) {
                writer.accept(frame.stream).await;
            } else if frame.kind == DATA {
                self.waiting.borrow_mut()[number].insert(frame.stream);
            } else if frame.kind != PING || self.answers_pings.get() {
                writer.be_polite(&frame).await;
            }
        }
    }

    fn open_streams(&self, connection: usize) -> usize {
        self.waiting.borrow().get(connection).map_or(0, BTreeSet::len)
    }

    /// Changes a connection's limit and waits until the client knows.
    async fn limit(&self, connection: usize, streams: u32) {
        let known = self.settings_acknowledged.get();
        let writer = Rc::clone(&self.writers.borrow()[connection]);
        writer.limit(streams).await;
        until("settings are acknowledged", || self.settings_acknowledged.get() > known).await;
    }

    async fn answer_all(&self) {
        let writers = self.writers.borrow().clone();
        for (connection, writer) in writers.into_iter().enumerate() {
            let waiting = std::mem::take(&mut self.waiting.borrow_mut()[connection]);
            for stream in waiting {
                writer.accept(stream).await;
            }
        }
    }
}

/// A client whose connections are never given up for being slow: sixteen handshakes at once take a loaded machine a while.
async fn limited() -> (Rc<Client>, Rc<Limited>) {
    const LONG: Duration = Duration::from_secs(20);
    let server = Rc::new(Limited::default());
    let serving = Rc::clone(&server);
    let (origin, _) = listen(move |tls, _, number| Rc::clone(&serving).serve(tls, number)).await;
    let patience = Patience { connect: LONG, first_answer: LONG, ..Patience::default() };
    let client = Client::with(origin.clone(), Tls::new(&origin).unwrap(), patience, always(origin.port));
    assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
    (client, server)
}

fn send(client: &Rc<Client>, how_many: usize) -> Vec<JoinHandle<Result<Response, Failure>>> {
    let one = |_| {
        let client = Rc::clone(client);
        tokio::task::spawn_local(async move { client.send(&request(), soon()).await })
    };
    (0..how_many).map(one).collect()
}

/// Answers whatever comes until all of these have their answers.
async fn assert_all_accepted(server: &Limited, sent: Vec<JoinHandle<Result<Response, Failure>>>) {
    let end = soon();
    while !sent.iter().all(JoinHandle::is_finished) {
        assert!(Instant::now() < end, "some were never answered");
        server.answer_all().await;
        tokio::task::yield_now().await;
    }
    for one in sent {
        assert_eq!(one.await.unwrap().unwrap().status, 200);
    }
}

#[test]
fn a_limit_that_falls_in_mid_connection_is_obeyed_and_the_rest_goes_elsewhere() {
    run(async {
        let (client, server) = limited().await;
        let before = send(&client, 5);
        until("five under way", || server.open_streams(0) == 5).await;
        server.limit(0, 2).await;
        let after = send(&client, 5);
        // Answered on a connection of their own: the five that were under way are above the new limit already.
        until("the rest elsewhere", || server.open_streams(1) == 4).await;
        assert_eq!(server.open_streams(0), 5, "nothing new went onto the first connection");
        assert_all_accepted(&server, before.into_iter().chain(after).collect()).await;
        let few = send(&client, 3);
        until("three under way", || server.open_streams(0) + server.open_streams(1) == 3).await;
        assert!(server.open_streams(0) <= 2);
        assert_all_accepted(&server, few).await;
    });
}

#[test]
fn a_limit_of_nothing_is_obeyed_and_one_that_rises_is_used() {
    run(async {
        let (client, server) = limited().await;
        server.limit(0, 0).await;
        let elsewhere = send(&client, 3);
        until("two elsewhere, after the first", || server.open_streams(1) == 2).await;
        assert_eq!(server.open_streams(0), 0);
        server.limit(0, 50).await;
        let here = send(&client, 40);
        // The second connection takes ten; only a client that knows the new limit needs no third.
        until("forty more", || server.open_streams(0) + server.open_streams(1) == 42).await;
        assert_eq!(server.writers.borrow().len(), 2, "no third connection was needed");
        assert_all_accepted(&server, elsewhere.into_iter().chain(here).collect()).await;
    });
}

#[test]
fn a_request_waits_for_a_stream_where_all_connections_are_full() {
    run(async {
        let (client, server) = limited().await;
        // Each connection but the first answers one request at once and keeps ten; five find no place.
        let many = send(&client, 16 * 10 + 15 + 5);
        until("all streams taken", || (0..16).all(|connection| server.open_streams(connection) == 10)).await;
        assert_eq!(server.writers.borrow().len(), 16, "no more connections than are allowed");
        assert_all_accepted(&server, many).await;
    });
}

/// A client that finds its connection idle after some milliseconds.
async fn soon_idle(answers_pings: bool) -> (Rc<Client>, Rc<Limited>) {
    let server = Rc::new(Limited::default());
    server.answers_pings.set(answers_pings);
    server.answers_at_once.set(true);
    let serving = Rc::clone(&server);
    let (origin, _) = listen(move |tls, _, number| Rc::clone(&serving).serve(tls, number)).await;
    let patience =
        Patience { idle: Duration::from_millis(20), ping: Duration::from_millis(300), ..Patience::default() };
    let tls = Tls::new(&origin).unwrap();
    let client = Client::with(origin.clone(), tls, patience, always(origin.port));
    assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
    let idle_until = Instant::now() + patience.idle;
    until("idle", || Instant::now() > idle_until).await;
    (client, server)
}

fn always(port: u16) -> Resolve {
    Rc::new(move |_| Box::pin(async move { Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]) }))
}

#[test]
fn an_idle_connection_is_asked_with_a_ping_and_used_again_when_it_answers() {
    run(async {
        let (client, server) = soon_idle(true).await;
        assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
        assert_eq!((server.pings.get(), server.writers.borrow().len()), (1, 1));
    });
}

#[test]
fn an_idle_connection_that_does_not_answer_a_ping_gets_no_request() {
    run(async {
        let (client, server) = soon_idle(false).await;
        assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
        assert_eq!((server.pings.get(), server.writers.borrow().len()), (1, 2));
    });
}

#[test]
fn an_overdue_answer_makes_a_connection_doubtful_unless_others_came_meanwhile() {
    run(async {
        let (client, server) = limited().await;
        server.answers_pings.set(true);
        let short = || Instant::now() + Duration::from_millis(50);
        assert!(client.send(&request(), short()).await.is_err());
        server.answers_at_once.set(true);
        assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
        assert_eq!((server.pings.get(), server.writers.borrow().len()), (1, 1), "asked and trusted again");
        server.answers_at_once.set(false);
        let overdue = {
            let (client, deadline) = (Rc::clone(&client), short());
            tokio::task::spawn_local(async move { client.send(&request(), deadline).await })
        };
        until("under way", || server.open_streams(0) == 2).await;
        server.answers_at_once.set(true);
        assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
        assert!(overdue.await.unwrap().is_err());
        assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
        assert_eq!(server.pings.get(), 1, "one slow answer among others is no reason to ask");
    });
}

#[test]
fn a_provider_that_takes_the_call_and_says_nothing_costs_the_time_to_connect() {
    run(async {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let origin = Origin { host: "127.0.0.1".to_owned(), port, ca_pem: None };
        let patience = Patience { connect: Duration::from_millis(100), ..Patience::default() };
        let client = Client::with(origin.clone(), Tls::new(&origin).unwrap(), patience, always(port));
        let asked = Instant::now();
        let failure = client.send(&request(), soon()).await.unwrap_err();
        assert!(matches!(failure, Failure::Connect(_)), "{failure}");
        assert!(asked.elapsed() >= patience.connect && Instant::now() < asked + Duration::from_secs(5));
    });
}

#[test]
fn every_connection_asks_dns_anew() {
    run(async {
        let close = |tls: TlsStream<TcpStream>, _: Rc<Seen>, _| async move {
            let Some((mut reader, writer)) = raw::open(tls, None).await else { return };
            while let Some(frame) = reader.next().await {
                if frame.ends_request() {
                    writer.accept(frame.stream).await;
                    writer.go_away(frame.stream).await;
                }
            }
        };
        let (origin, old) = listen(close).await;
        let there = Rc::new(Cell::new(origin.port));
        let asked = Rc::new(Cell::new(0));
        let (points, counted) = (Rc::clone(&there), Rc::clone(&asked));
        let resolve: Resolve = Rc::new(move |_| {
            counted.set(counted.get() + 1);
            always(points.get())(&no_origin())
        });
        let client = Client::with(origin.clone(), Tls::new(&origin).unwrap(), Patience::default(), resolve);
        for _ in 0..3 {
            assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
            let leaves = Instant::now();
            until("the connection's end", || leaves.elapsed() > Duration::from_millis(20)).await;
        }
        assert_eq!((asked.get(), old.connections.load(Ordering::Relaxed)), (3, 3));
        // The name moves: a client that kept the address would still be answered.
        let (elsewhere, new) = listen(close).await;
        there.set(elsewhere.port);
        let deadline = Instant::now() + Duration::from_millis(500);
        let distrusted = client.send(&request(), deadline).await.unwrap_err();
        assert!(distrusted.to_string().contains("TLS"), "{distrusted}");
        assert_eq!(
            (old.connections.load(Ordering::Relaxed), new.connections.load(Ordering::Relaxed)),
            (3, 0)
        );
    });
}

fn no_origin() -> Origin {
    Origin { host: String::new(), port: 0, ca_pem: None }
}
