//! HTTP/2 frame by frame (RFC 9113 §4, §6), for a server that no library would let misbehave so.
//!
//! It refuses to read header blocks: requests are told apart by their bodies.

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::server::TlsStream;

pub const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PREFACE_LEN: usize = 24;
/// SETTINGS_MAX_CONCURRENT_STREAMS.
const MAX_STREAMS: u16 = 3;
const REFUSED_STREAM: u32 = 7;

/// A frame from the client.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// True for the frame that ends a request.
    pub fn ends_request(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    pub fn is_settings_ack(&self) -> bool {
        self.kind == SETTINGS && self.flags & ACK != 0
    }
}

/// The reading half of a connection.
pub struct Reader(ReadHalf<TlsStream<TcpStream>>);

/// The writing half, for several tasks.
pub struct Writer(Mutex<WriteHalf<TlsStream<TcpStream>>>);

/// Takes the client's preface and sends ours, with this limit of streams where there is one.
pub async fn open(tls: TlsStream<TcpStream>, max_streams: Option<u32>) -> Option<(Reader, Writer)> {
    let (mut reader, writer) = tokio::io::split(tls);
    reader.read_exact(&mut [0; PREFACE_LEN]).await.ok()?;
    let writer = Writer(Mutex::new(writer));
    match max_streams {
        Some(limit) => writer.limit(limit).await,
        None => writer.frame(SETTINGS, 0, 0, &[]).await,
    }
    Some((Reader(reader), writer))
}

impl Reader {
    /// The next frame, until the client is gone.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let mut payload = vec![0; len];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }
}

impl Writer {
    /// A client that is gone need not read it.
    pub async fn frame(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        let mut stream = self.0.lock().await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.flush().await;
    }

    /// Answers with status 200: entry 8 of HPACK's static table.
    pub async fn accept(&self, stream: u32) {
        self.frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x88]).await;
    }

    pub async fn refuse(&self, stream: u32) {
        self.frame(RESET, 0, stream, &REFUSED_STREAM.to_be_bytes()).await;
    }

    /// "What came after `last` was not processed" (RFC 9113 §6.8).
    pub async fn go_away(&self, last: u32) {
        self.frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }

    /// Allows this many streams at once from now on.
    pub async fn limit(&self, max_streams: u32) {
        let setting = [&MAX_STREAMS.to_be_bytes()[..], &max_streams.to_be_bytes()[..]].concat();
        self.frame(SETTINGS, 0, 0, &setting).await;
    }

    /// What every peer owes: acknowledgements of settings and pings.
    pub async fn be_polite(&self, frame: &Frame) {
        if frame.kind == SETTINGS && frame.flags & ACK == 0 {
            self.frame(SETTINGS, ACK, 0, &[]).await;
        }
        if frame.kind == PING && frame.flags & ACK == 0 {
            self.frame(PING, ACK, 0, &frame.payload).await;
        }
    }
}
