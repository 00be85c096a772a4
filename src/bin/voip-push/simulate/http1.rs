//! HTTP/1.1 with one client of the Google host: plain HTTP libraries fetch their access token this way.
//!
//! It refuses to imitate what HTTP/1.1 has not: a reset closes the connection, a GOAWAY is `connection: close`.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedReceiver;

use super::Sim;
use super::connection::{Command, Connection};
use super::exchange::{BODY_LIMIT, Exchange, Reply};
use super::listener::End;
use super::push;

/// An answer, or the wish to be cut off.
type Served = Result<Response<Full<Bytes>>, CutOff>;

/// The connection must end without an answer.
#[derive(Debug)]
pub struct CutOff;

impl std::fmt::Display for CutOff {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("cut off on request")
    }
}

impl std::error::Error for CutOff {}

/// Serves one connection to its end.
pub async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    sim: &Arc<Sim>,
    connection: &Arc<Connection>,
    stream: T,
    mut commands: UnboundedReceiver<Command>,
) -> End {
    let service = service_fn(|request| answer(sim.clone(), connection.clone(), request));
    let served =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    loop {
        tokio::select! {
            ended = served.as_mut() => return end(ended),
            Some(command) = commands.recv() => match command {
                Command::Graceful => served.as_mut().graceful_shutdown(),
                Command::Abrupt | Command::Close => return End::Cut,
            },
        }
    }
}

fn end(ended: hyper::Result<()>) -> End {
    match ended {
        Err(error) if error.is_parse() => End::ProtocolError,
        // A failed service is a reset on request.
        Err(error) if error.is_user() => End::Cut,
        Ok(()) | Err(_) => End::Finished,
    }
}

async fn answer(sim: Arc<Sim>, connection: Arc<Connection>, request: Request<Incoming>) -> Served {
    connection.stream_opens(&sim.connections);
    let (parts, body) = request.into_parts();
    let mut exchange = Exchange::new(parts);
    let reply = match read(body).await {
        Ok(body) => {
            exchange.body = body;
            push::answer(&sim, &connection, exchange).await
        }
        Err(CutOff) => Reply::Reset(0),
    };
    connection.stream_ends();
    match reply {
        Reply::Answer { response, goaway } => Ok(finish(response, goaway)),
        Reply::Reset(_) => Err(CutOff),
        Reply::Stall => pending().await,
    }
}

fn finish(response: Response<Bytes>, close: bool) -> Response<Full<Bytes>> {
    let mut response = response.map(Full::new);
    if close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body of at most [`BODY_LIMIT`] bytes; more is no client of a push service.
async fn read(body: Incoming) -> Result<Bytes, CutOff> {
    Limited::new(body, BODY_LIMIT).collect().await.map(|body| body.to_bytes()).map_err(|_| CutOff)
}

fn too_large() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"{\"error\":\"the body is too large\"}\n"));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
}

/// Serves plain HTTP/1.1 requests with an async function, for the control API.
pub async fn serve_plain<T, F>(stream: T, answer: impl Fn(Exchange) -> F)
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<Bytes>>,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let answer = &answer;
        async move {
            let mut exchange = Exchange::new(parts);
            let Ok(body) = read(body).await else { return Ok(finish(too_large(), true)) };
            exchange.body = body;
            Ok::<_, Infallible>(finish(answer(exchange).await, false))
        }
    });
    // A client that breaks off its control connection needs no answer.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
