//! HTTP/2 with one client, on h2 directly, so that GOAWAY, resets and stalls can be made on purpose.
//!
//! It refuses a second stream on an APNs connection before the first provider token was accepted. APNs does
//! that with SETTINGS_MAX_CONCURRENT_STREAMS 1, which it raises later; h2 cannot change its own SETTINGS on a
//! live connection, so 1000 is announced from the start and the early stream gets REFUSED_STREAM.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::UnboundedReceiver;

use super::Sim;
use super::connection::{Command, Connection};
use super::exchange::{BODY_LIMIT, Exchange, Reply};
use super::listener::End;
use super::push;
use super::violation::Violations;

/// Announced by APNs once a provider token was accepted.
const MAX_STREAMS: u32 = 1000;

/// Serves one connection to its end.
pub async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    sim: &Arc<Sim>,
    connection: &Arc<Connection>,
    stream: T,
    mut commands: UnboundedReceiver<Command>,
) -> End {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(MAX_STREAMS).max_header_list_size(64 * 1024);
    let mut h2 = match builder.handshake(stream).await {
        Ok(h2) => h2,
        Err(error) => return end(&error),
    };
    loop {
        tokio::select! {
            request = h2.accept() => match request {
                Some(Ok((request, respond))) => open(sim, connection, request, respond),
                Some(Err(error)) => return end(&error),
                None => return End::Finished,
            },
            Some(command) = commands.recv() => match command {
                Command::Graceful => h2.graceful_shutdown(),
                Command::Abrupt => h2.abrupt_shutdown(Reason::NO_ERROR),
                Command::Close => return End::Cut,
            },
        }
    }
}

/// A client that just goes away has broken nothing.
fn end(error: &h2::Error) -> End {
    if error.is_io() || (error.is_remote() && error.is_go_away()) {
        End::Finished
    } else {
        End::ProtocolError
    }
}

fn open(
    sim: &Arc<Sim>,
    connection: &Arc<Connection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let allowed = connection.stream_opens(&sim.connections);
    if allowed {
        tokio::spawn(answer(sim.clone(), connection.clone(), request, respond));
        return;
    }
    connection.stream_ends();
    Violations::add(&sim.violations.early_stream);
    respond.send_reset(Reason::REFUSED_STREAM);
}

async fn answer(
    sim: Arc<Sim>,
    connection: Arc<Connection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (parts, body) = request.into_parts();
    let mut exchange = Exchange::new(parts);
    let Some(body) = read(body).await else {
        given_up(&sim, &connection, "unread");
        return connection.stream_ends();
    };
    exchange.body = body;
    let reply = push::answer(&sim, &connection, exchange).await;
    if let Reply::Stall = reply {
        // Until the client resets the stream or the connection ends.
        let _ = poll_fn(|context| respond.poll_reset(context)).await;
    }
    // Before the answer goes out: the client may open its next stream as soon as it has it.
    connection.stream_ends();
    match reply {
        Reply::Answer { response, goaway } => {
            if send(&mut respond, response).is_err() {
                given_up(&sim, &connection, "unheard");
            }
            if goaway {
                connection.command(Command::Graceful);
            }
        }
        Reply::Reset(code) => respond.send_reset(Reason::from(code)),
        Reply::Stall => {}
    }
}

/// The client has given the stream up: before its request was whole, or before its answer.
fn given_up(sim: &Sim, connection: &Connection, when: &'static str) {
    if let Some(service) = connection.host.apns_service() {
        sim.journal.count_fault(service, when);
    }
}

fn send(respond: &mut SendResponse<Bytes>, response: Response<Bytes>) -> Result<(), h2::Error> {
    let (parts, body) = response.into_parts();
    let head = Response::from_parts(parts, ());
    if body.is_empty() {
        return respond.send_response(head, true).map(drop);
    }
    respond.send_response(head, false)?.send_data(body, true)
}

/// The body, cut at the limit; none when the client gave up.
async fn read(mut body: RecvStream) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        body.flow_control().release_capacity(data.len()).ok()?;
        let room = BODY_LIMIT - whole.len();
        whole.extend_from_slice(&data[..data.len().min(room)]);
        if whole.len() == BODY_LIMIT {
            break;
        }
    }
    Some(whole.freeze())
}
