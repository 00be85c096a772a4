//! A SIP client of the smallest kind, and an HTTP one: one request out, one answer in.
//!
//! It refuses to retransmit or to parse more than a test looks at.

use super::DEADLINE;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// A SIP request with everything that RFC 3261 §8.1.1 asks for. `headers` are whole lines, each ending in CRLF.
pub fn request(method: &str, uri: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let head = format!(
        "{method} {uri} SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK{id}\r\n\
         From: <sip:caller@example.org>;tag={id}\r\n\
         To: <{uri}>\r\n\
         Call-ID: {id}@test\r\n\
         CSeq: 1 {method}\r\n\
         Max-Forwards: 10\r\n\
         {headers}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An answer, of SIP or HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status line's number.
    pub status: u16,
    /// Everything up to the empty line.
    pub head: String,
    /// Everything after it.
    pub body: String,
}

impl Answer {
    /// Takes an answer apart.
    pub fn parse(bytes: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not an answer: {text}"));
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Sends a request over UDP and gives the first final answer; `None` when there is none in time. A datagram may get lost
/// on a busy machine, so it is repeated as SIP clients do, only later.
pub fn try_send(port: u16, request: &[u8]) -> Option<Answer> {
    const TRIES: u32 = 4;
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    socket.set_read_timeout(Some(DEADLINE / TRIES)).expect("a timeout above zero is taken");
    (0..TRIES).find_map(|_| {
        socket.send_to(request, ("127.0.0.1", port)).expect("loopback takes a datagram");
        final_answer(&socket, request)
    })
}

/// A port that another test has had may get that test's answers, which nobody has acknowledged.
fn final_answer(socket: &UdpSocket, request: &[u8]) -> Option<Answer> {
    let request = String::from_utf8_lossy(request);
    let is_ours = |answer: &Answer| answer.header("Call-ID").is_none_or(|call_id| request.contains(call_id));
    let mut buffer = vec![0; 65_536];
    loop {
        let len = socket.recv(&mut buffer).ok()?;
        let answer = Answer::parse(&buffer[..len]);
        if answer.status >= 200 && is_ours(&answer) {
            return Some(answer);
        }
    }
}

/// Sends an HTTP/1.1 request and reads its answer to the end of the connection. `headers` are whole lines, each ending in
/// CRLF.
pub fn http(port: u16, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout above zero is taken");
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).expect("the server reads");
    let mut bytes = Vec::new();
    while !is_whole(&bytes) {
        let mut part = [0; 65_536];
        match stream.read(&mut part) {
            Ok(len) if len > 0 => bytes.extend_from_slice(&part[..len]),
            _ => break,
        }
    }
    Answer::parse(&bytes)
}

/// True once head and body are there, going by Content-Length.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let answer = Answer::parse(bytes);
    let len = answer.header("Content-Length").and_then(|len| len.parse().ok()).unwrap_or(0_usize);
    bytes.len() >= at + 4 + len
}
