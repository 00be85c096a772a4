//! One client's connection: requests in, the REST API's answers out.
//!
//! It refuses clients that take their time: for the handshake, for a request, for the next one, and for reading an answer.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use voip_push::rest::{self, MAX_BODY_LEN};

use super::{Server, client};

/// Most of a request line and headers, in bytes; past it hyper answers 431.
const MAX_HEAD_LEN: usize = 16 * 1024;
/// So much of a body that is too large is still read, so that its sender gets to read the answer.
const MAX_READ_LEN: usize = 1024 * 1024;
/// A connection older than this ends with the answer under way, so that none is held for ever.
const MAX_AGE: Duration = Duration::from_secs(300);

/// Serves a client until he, his slowness, or the server's end ends it.
pub async fn welcome(server: Arc<Server>, tcp: TcpStream, peer: IpAddr, stop: watch::Receiver<bool>) {
    // Only a hint to the kernel.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = &server.tls else { return serve(&server, tcp, peer, stop).await };
    match timeout(server.patience, tls.accept(tcp)).await {
        Ok(Ok(stream)) => serve(&server, stream, peer, stop).await,
        Ok(Err(error)) => log::debug!("rest: no TLS with {peer}: {error}"),
        Err(_) => log::debug!("rest: no TLS with {peer} in time"),
    }
}

async fn serve<T>(server: &Arc<Server>, stream: T, peer: IpAddr, mut stop: watch::Receiver<bool>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| answer(Arc::clone(server), peer, request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(server.patience).max_buf_size(MAX_HEAD_LEN);
    let served = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    tokio::select! {
        // A client that breaks off needs no answer.
        _ = served.as_mut() => return,
        // An error is an end as well.
        _ = stop.wait_for(|is_over| *is_over) => {}
        () = sleep(MAX_AGE) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = timeout(server.patience, served).await;
}

async fn answer(
    server: Arc<Server>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let answered = match timeout(server.patience, read(body)).await {
        Ok(Some(body)) => ask(server, peer, head, body).await,
        Ok(None) => refused(StatusCode::BAD_REQUEST, "the body broke off"),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    Ok(answered)
}

/// The body, cut after the first byte that is too much; `None` where it breaks off.
async fn read(mut body: Incoming) -> Option<Vec<u8>> {
    let (mut kept, mut read_len) = (Vec::new(), 0);
    // What is far too large is not even waited for.
    if body.size_hint().lower() > MAX_READ_LEN as u64 {
        return Some(vec![b' '; MAX_BODY_LEN + 1]);
    }
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().unwrap_or_default();
        read_len += data.len();
        kept.extend_from_slice(&data[..data.len().min(MAX_BODY_LEN + 1 - kept.len())]);
        if read_len > MAX_READ_LEN {
            break;
        }
    }
    Some(kept)
}

/// Asks the API, on another thread: the store may wait for a disk or for the SIP server.
async fn ask(
    server: Arc<Server>,
    peer: IpAddr,
    head: http::request::Parts,
    body: Vec<u8>,
) -> Response<Full<Bytes>> {
    let handle = move || {
        let remote = client::address(peer, &head.headers, &server.proxies).to_string();
        let (authorization, content_type) =
            (text(&head.headers, header::AUTHORIZATION), text(&head.headers, header::CONTENT_TYPE));
        let request = rest::Request {
            method: head.method.as_str(),
            target: head.uri.path_and_query().map_or("", |target| target.as_str()),
            authorization: authorization.as_deref(),
            content_type: content_type.as_deref(),
            body: &body,
            remote: &remote,
            user: None,
        };
        rest::handle(&server.service, &request)
    };
    match tokio::task::spawn_blocking(handle).await {
        Ok(response) => written(response),
        Err(error) => {
            log::error!("rest: {error}");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "internal error; see the server's log")
        }
    }
}

/// Bytes that are no UTF-8 become marks that match nothing.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn written(response: rest::Response) -> Response<Full<Bytes>> {
    let mut written = Response::new(Full::from(response.body));
    *written.status_mut() =
        StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = written.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    for line in response.headers.lines() {
        let parts = line.split_once(": ");
        let parsed =
            parts.and_then(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?)));
        if let Some((name, value)) = parsed {
            headers.insert(name, value);
        }
    }
    written
}

/// An answer of our own, after which the connection ends: what is left of the request would be taken for the next one.
fn refused(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "error": why }).to_string();
    let mut refused = Response::new(Full::from(body));
    *refused.status_mut() = status;
    refused.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    refused
}
