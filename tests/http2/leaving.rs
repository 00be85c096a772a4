//! Connections that a provider ends while requests are under way: what it did not process goes out again, and only that.

use super::raw::{self, Frame, Writer};
use super::{Seen, request, run, serve_tls, serve_with, soon};
use bytes::Bytes;
use http::Request;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use voip_push::http2::{Client, Failure};

/// Requests under way at once, and how many follow each other in each of those places.
const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 10;

/// How often the server processed each request, by its body.
type Journal = Rc<RefCell<BTreeMap<Vec<u8>, u32>>>;

fn numbered(number: usize) -> Request<Bytes> {
    Request::post("https://127.0.0.1/3/device/ab").body(number.to_string().into()).unwrap()
}

/// Many requests at once, each followed by the next; gives all their ends but the accepted ones.
async fn send_many(client: &Rc<Client>) -> Vec<String> {
    let places = (0..IN_FLIGHT).map(|place| {
        let client = Rc::clone(client);
        tokio::task::spawn_local(async move {
            let mut failed = Vec::new();
            for round in 0..ROUNDS {
                match client.send(&numbered(place * ROUNDS + round), soon()).await {
                    Ok(response) if response.status == 200 => {}
                    other => failed.push(format!("{other:?}")),
                }
            }
            failed
        })
    });
    let places: Vec<_> = places.collect();
    let mut failed = Vec::new();
    for place in places {
        failed.extend(place.await.unwrap());
    }
    failed
}

fn assert_each_was_processed_once(journal: &Journal) {
    let journal = journal.borrow();
    assert_eq!(journal.len(), IN_FLIGHT * ROUNDS);
    let twice: Vec<_> = journal.values().filter(|times| **times != 1).collect();
    assert!(twice.is_empty(), "{} were processed more than once", twice.len());
}

/// What a server does with the requests of one connection, counted from 0.
type Manners = fn(usize, Frame, Rc<Writer>, Journal) -> Pin<Box<dyn Future<Output = ()>>>;

/// A client whose server treats requests so.
async fn serve_so(manners: Manners) -> (Rc<Client>, Rc<Seen>, Journal) {
    let journal = Journal::default();
    let noted = Rc::clone(&journal);
    let serve = move |tls: TlsStream<TcpStream>, _, _| {
        let journal = Rc::clone(&noted);
        async move {
            let Some((mut reader, writer)) = raw::open(tls, Some(1000)).await else { return };
            let (writer, mut number) = (Rc::new(writer), 0);
            while let Some(frame) = reader.next().await {
                if frame.ends_request() {
                    manners(number, frame, Rc::clone(&writer), Rc::clone(&journal)).await;
                    number += 1;
                } else {
                    writer.be_polite(&frame).await;
                }
            }
        }
    };
    let (client, seen) = serve_tls(serve).await;
    (client, seen, journal)
}

fn process(frame: &Frame, journal: &Journal) {
    *journal.borrow_mut().entry(frame.payload.clone()).or_default() += 1;
}
fn refuse_the_tenth(
    number: usize,
    frame: Frame,
    writer: Rc<Writer>,
    journal: Journal,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        if number % 10 == 9 {
            return writer.refuse(frame.stream).await;
        }
        process(&frame, &journal);
        writer.accept(frame.stream).await;
    })
}
fn leave_after_ten(
    number: usize,
    frame: Frame,
    writer: Rc<Writer>,
    journal: Journal,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        if number < 10 {
            process(&frame, &journal);
            writer.accept(frame.stream).await;
        }
        if number == 9 {
            writer.go_away(frame.stream).await;
        }
    })
}

#[test]
fn a_goaway_every_ten_requests_loses_none_and_repeats_none() {
    run(async {
        let (client, seen, journal) = serve_so(leave_after_ten).await;
        let failed = send_many(&client).await;
        assert!(failed.is_empty(), "{} of {}: {}", failed.len(), IN_FLIGHT * ROUNDS, failed[0]);
        assert_each_was_processed_once(&journal);
        // Each connection took ten, so there is no other way; more would mean connections that were opened for nothing.
        let opened = seen.connections.load(Ordering::Relaxed);
        let needed = IN_FLIGHT * ROUNDS / 10;
        assert!((needed..needed * 5 / 4).contains(&opened), "{opened} connections for {needed}");
    });
}

#[test]
fn a_refused_stream_goes_out_again_elsewhere_and_those_beside_it_are_answered() {
    run(async {
        let (client, _, journal) = serve_so(refuse_the_tenth).await;
        let failed = send_many(&client).await;
        assert!(failed.is_empty(), "{} of {}: {}", failed.len(), IN_FLIGHT * ROUNDS, failed[0]);
        assert_each_was_processed_once(&journal);
    });
}

#[test]
fn a_provider_that_always_leaves_is_not_knocked_at_without_a_pause() {
    run(async {
        let (client, seen, _) = serve_so(|_, frame, writer, _| {
            Box::pin(async move {
                #[allow(
                    clippy::await_holding_refcell_ref,
                    reason = "one task reads and writes a connection"
                )]
                writer.go_away(frame.stream - 1).await;
            })
        })
        .await;
        let deadline = Instant::now() + Duration::from_secs(1);
        let sending: Vec<_> = (0..IN_FLIGHT)
            .map(|number| {
                let client = Rc::clone(&client);
                tokio::task::spawn_local(async move { client.send(&numbered(number), deadline).await })
            })
            .collect();
        for sent in sending {
            let failure = sent.await.unwrap().unwrap_err();
            assert!(!matches!(failure, Failure::Lost(..)), "nothing was processed: {failure}");
        }
        assert!(Instant::now() >= deadline, "they were tried until the end");
        // Pauses of at least 50, 100, 200, 400 ms, and then one that is longer than what is left.
        let opened = seen.connections.load(Ordering::Relaxed);
        assert!((2..=6).contains(&opened), "{opened} connections");
    });
}

#[test]
fn a_first_answer_that_never_comes_holds_up_nobody_else() {
    run(async {
        let silent_first = |mut accepted: super::Accepted, _, number| async move {
            let mut kept = Vec::new();
            while let Some(Ok((_, respond))) = accepted.accept().await {
                if number == 0 {
                    kept.push(respond);
                } else {
                    super::answer(respond, 200);
                }
            }
        };
        let (client, seen) = serve_with(1000, silent_first).await;
        let first = {
            let client = Rc::clone(&client);
            let deadline = Instant::now() + Duration::from_secs(3);
            tokio::task::spawn_local(async move { client.send(&request(), deadline).await })
        };
        super::until("the first", || seen.connections.load(Ordering::Relaxed) == 1).await;
        assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
        assert!(!first.is_finished(), "the other one was answered long before");
        assert!(matches!(first.await.unwrap(), Err(Failure::Lost(..))));
    });
}
