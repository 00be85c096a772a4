//! The connections themselves, against a small HTTP/2 server of the test's own that misbehaves as told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is how a test fails")]

#[path = "http2/leaving.rs"]
mod leaving;
#[path = "http2/living.rs"]
mod living;
#[path = "http2/raw.rs"]
mod raw;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use voip_push::config::Origin;
use voip_push::http2::{Client, Failure, Tls};

/// What a server saw, and when it may answer.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    open_streams: AtomicUsize,
    most_streams: AtomicUsize,
    waiting: AtomicUsize,
    go_on: Notify,
}

type Accepted = h2::server::Connection<TlsStream<TcpStream>, Bytes>;

/// A certificate authority of one server, made for this test.
fn identity() -> (Arc<str>, TlsAcceptor) {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (certified.cert.pem().into(), TlsAcceptor::from(Arc::new(config)))
}

/// Serves every connection with `serve`; gives a client for it.
async fn serve_with<F, S>(max_streams: u32, serve: S) -> (Rc<Client>, Rc<Seen>)
where
    S: Fn(Accepted, Rc<Seen>, usize) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let serve = Rc::new(serve);
    serve_tls(move |tls, seen, number| {
        let serve = Rc::clone(&serve);
        async move {
            let mut builder = h2::server::Builder::new();
            if let Ok(accepted) = builder.max_concurrent_streams(max_streams).handshake(tls).await {
                serve(accepted, seen, number).await;
            }
        }
    })
    .await
}

/// The same below HTTP/2.
async fn serve_tls<F, S>(serve: S) -> (Rc<Client>, Rc<Seen>)
where
    S: Fn(TlsStream<TcpStream>, Rc<Seen>, usize) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let (origin, seen) = listen(serve).await;
    let tls = Tls::new(&origin).unwrap();
    (Client::new(origin, tls), seen)
}

async fn listen<F, S>(serve: S) -> (Origin, Rc<Seen>)
where
    S: Fn(TlsStream<TcpStream>, Rc<Seen>, usize) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let (ca_pem, acceptor) = identity();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Rc::new(Seen::default());
    let counted = Rc::clone(&seen);
    tokio::task::spawn_local(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let number = counted.connections.fetch_add(1, Ordering::Relaxed);
            tokio::task::spawn_local(serve(tls, Rc::clone(&counted), number));
        }
    });
    (Origin { host: "127.0.0.1".to_owned(), port, ca_pem: Some(ca_pem) }, seen)
}

fn request() -> Request<Bytes> {
    Request::post("https://127.0.0.1/3/device/ab").body(Bytes::from_static(b"{}")).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn answer(mut respond: SendResponse<Bytes>, status: u16) {
    let head = Response::builder().status(status).body(()).unwrap();
    let _ = respond.send_response(head, true);
}

/// Answers the first request of a connection at once and holds every other until told.
async fn hold(mut accepted: Accepted, seen: Rc<Seen>, _: usize) {
    let mut is_first = true;
    let own = Rc::new(AtomicUsize::new(0));
    while let Some(Ok((_, respond))) = accepted.accept().await {
        if std::mem::take(&mut is_first) {
            answer(respond, 200);
            continue;
        }
        let (seen, own) = (Rc::clone(&seen), Rc::clone(&own));
        tokio::task::spawn_local(async move {
            seen.most_streams.fetch_max(own.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            seen.open_streams.fetch_add(1, Ordering::Relaxed);
            seen.waiting.fetch_add(1, Ordering::Relaxed);
            seen.go_on.notified().await;
            own.fetch_sub(1, Ordering::Relaxed);
            answer(respond, 200);
        });
    }
}

fn run(test: impl Future<Output = ()> + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guarded = async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("it hangs") };
    LocalSet::new().block_on(&runtime, guarded);
}

async fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let end = soon();
    while !fact() {
        assert!(Instant::now() < end, "{what} did not happen");
        tokio::task::yield_now().await;
    }
}

#[test]
fn more_requests_than_streams_open_more_connections_and_no_limit_is_passed() {
    run(async {
        let (client, seen) = serve_with(10, hold).await;
        client.send(&request(), soon()).await.unwrap();
        let sending: Vec<_> = (0..35)
            .map(|_| {
                let client = Rc::clone(&client);
                tokio::task::spawn_local(async move { client.send(&request(), soon()).await })
            })
            .collect();
        until("a third connection", || seen.connections.load(Ordering::Relaxed) >= 3).await;
        let released = Rc::clone(&seen);
        let releasing = tokio::task::spawn_local(async move {
            loop {
                released.go_on.notify_one();
                tokio::task::yield_now().await;
            }
        });
        for sent in sending {
            assert_eq!(sent.await.unwrap().unwrap().status, 200);
        }
        releasing.abort();
        assert!(seen.most_streams.load(Ordering::Relaxed) <= 10);
    });
}

#[test]
fn where_no_stream_is_free_requests_wait_for_one_and_are_not_sent_in_vain() {
    run(async {
        let (most_connections, streams) = (16, 2);
        let (client, seen) = serve_with(streams as u32, hold).await;
        client.send(&request(), soon()).await.unwrap();
        let sending: Vec<_> = (0..80)
            .map(|_| {
                let client = Rc::clone(&client);
                tokio::task::spawn_local(async move { client.send(&request(), soon()).await })
            })
            .collect();
        let held = || seen.waiting.load(Ordering::Relaxed);
        until("every stream is taken", || held() == most_connections * streams).await;
        let late = client.send(&request(), Instant::now() + Duration::from_millis(50)).await;
        assert!(matches!(late, Err(Failure::NotProcessed(_))), "it was never sent: {late:?}");
        let released = Rc::clone(&seen);
        let releasing = tokio::task::spawn_local(async move {
            loop {
                released.go_on.notify_one();
                tokio::task::yield_now().await;
            }
        });
        for sent in sending {
            assert_eq!(sent.await.unwrap().unwrap().status, 200);
        }
        releasing.abort();
        assert!(seen.most_streams.load(Ordering::Relaxed) <= streams);
    });
}

#[test]
fn the_first_request_of_a_connection_goes_alone() {
    run(async {
        let alone = |mut accepted: Accepted, seen: Rc<Seen>, _| async move {
            let mut first = None;
            while let Some(Ok((_, respond))) = accepted.accept().await {
                seen.open_streams.fetch_add(1, Ordering::Relaxed);
                if first.is_none() {
                    // Long enough for the others to come if they did not wait; they are all queued already.
                    first = Some(());
                    for _ in 0..100 {
                        tokio::task::yield_now().await;
                    }
                    assert_eq!(seen.open_streams.load(Ordering::Relaxed), 1);
                }
                answer(respond, 200);
            }
        };
        let (client, seen) = serve_with(1000, alone).await;
        let sending: Vec<_> = (0..20)
            .map(|_| {
                let client = Rc::clone(&client);
                tokio::task::spawn_local(async move { client.send(&request(), soon()).await })
            })
            .collect();
        for sent in sending {
            assert_eq!(sent.await.unwrap().unwrap().status, 200);
        }
        assert_eq!(seen.connections.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn what_was_refused_unprocessed_goes_out_again_on_a_new_connection() {
    run(async {
        let refuse_first = |mut accepted: Accepted, _, number| async move {
            while let Some(Ok((_, mut respond))) = accepted.accept().await {
                match number {
                    0 => respond.send_reset(h2::Reason::REFUSED_STREAM),
                    _ => answer(respond, 200),
                }
            }
        };
        let (client, seen) = serve_with(100, refuse_first).await;
        assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
        assert_eq!(seen.connections.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn after_a_goaway_requests_under_way_are_answered_and_new_ones_go_elsewhere() {
    run(async {
        let leave = |mut accepted: Accepted, seen: Rc<Seen>, number| async move {
            while let Some(Ok((_, respond))) = accepted.accept().await {
                if number == 0 && seen.waiting.fetch_add(1, Ordering::Relaxed) == 1 {
                    accepted.graceful_shutdown();
                    let held = Rc::clone(&seen);
                    tokio::task::spawn_local(async move {
                        held.go_on.notified().await;
                        answer(respond, 200);
                    });
                } else {
                    answer(respond, 200);
                }
            }
        };
        let (client, seen) = serve_with(100, leave).await;
        client.send(&request(), soon()).await.unwrap();
        let under_way = {
            let client = Rc::clone(&client);
            tokio::task::spawn_local(async move { client.send(&request(), soon()).await })
        };
        until("the second request", || seen.waiting.load(Ordering::Relaxed) == 2).await;
        until("a new connection", || {
            let client = Rc::clone(&client);
            tokio::task::spawn_local(async move { client.send(&request(), soon()).await.map(|_| ()) });
            seen.connections.load(Ordering::Relaxed) >= 2
        })
        .await;
        seen.go_on.notify_waiters();
        assert_eq!(under_way.await.unwrap().unwrap().status, 200);
    });
}

#[test]
fn endless_headers_and_endless_bodies_end() {
    run(async {
        let endless = |mut accepted: Accepted, _, _| async move {
            let mut kept = Vec::new();
            while let Some(Ok((request, mut respond))) = accepted.accept().await {
                if request.uri().path() == "/headers" {
                    let mut head = Response::builder();
                    for number in 0..4000 {
                        head = head.header(format!("x-{number}"), "x".repeat(100));
                    }
                    let _ = respond.send_response(head.body(()).unwrap(), true);
                } else {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    let _ = body.send_data(Bytes::from(vec![b'x'; 1 << 20]), false);
                    kept.push(body);
                }
            }
        };
        let (client, _) = serve_with(100, endless).await;
        let body = client.send(&request(), soon()).await.unwrap().body;
        assert_eq!(body.len(), 16 * 1024);
        let headers = Request::post("https://127.0.0.1/headers").body(Bytes::new()).unwrap();
        assert!(client.send(&headers, soon()).await.is_err());
        assert_eq!(client.send(&request(), soon()).await.unwrap().status, 200);
    });
}

#[test]
fn a_server_that_says_nothing_costs_the_deadline_and_no_more() {
    run(async {
        let silent = |mut accepted: Accepted, _, _| async move {
            let mut kept = Vec::new();
            while let Some(Ok(stream)) = accepted.accept().await {
                kept.push(stream);
            }
        };
        let (client, _) = serve_with(100, silent).await;
        let lost = client.send(&request(), Instant::now() + Duration::from_millis(50)).await;
        assert!(matches!(lost, Err(Failure::Lost(..))), "{lost:?}");
    });
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    run(async {
        let (client, _) = serve_with(100, hold).await;
        drop(client);
        let (_, acceptor) = identity();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::task::spawn_local(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(tcp).await;
        });
        let origin = Origin { host: "127.0.0.1".to_owned(), port, ca_pem: None };
        let client = Client::new(origin.clone(), Tls::new(&origin).unwrap());
        let refused = client.send(&request(), soon()).await.unwrap_err();
        assert!(matches!(&refused, Failure::Connect(why) if why.starts_with("TLS")), "{refused}");
    });
}
