//! A scripted SIP phone over UDP or TCP: registers, calls, is called, and remembers what it saw.
//!
//! It refuses to do anything on its own: it answers nothing and repeats nothing unless the test says so.

use super::{DEADLINE, tls};
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The host part of every address of a test.
pub const DOMAIN: &str = "sip.example.org";

/// A message that arrived.
#[derive(Debug, Clone)]
pub struct Message {
    /// `INVITE sip:… SIP/2.0` or `SIP/2.0 200 OK`.
    pub start: String,
    headers: Vec<(String, String)>,
    /// What follows the headers.
    pub body: String,
    /// When it was read.
    pub at: Instant,
}

impl Message {
    /// Takes a message apart.
    pub fn parse(text: &str) -> Message {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or("").to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        Message { start, headers: headers.collect(), body: body.to_owned(), at: Instant::now() }
    }

    /// The status of a response, 0 for a request.
    pub fn status(&self) -> u16 {
        let status = self.start.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3));
        status.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// The method of a request or, by its CSeq, of the request that a response answers.
    pub fn method(&self) -> &str {
        self.header("CSeq").and_then(|cseq| cseq.split(' ').nth(1)).unwrap_or("")
    }

    /// True for the requests, not the responses, of this method.
    pub fn is_request(&self, method: &str) -> bool {
        self.status() == 0 && self.method() == method
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers of this name, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let wanted = self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        wanted.map(|(_, value)| value.as_str())
    }

    /// The same with the Contact of another: a dialog keeps its routes, and its target changes (RFC 3261 section 12.2.1.2).
    pub fn with_contact_of(&self, other: &Message) -> Message {
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case("Contact"));
        headers.push(("Contact".to_owned(), other.must("Contact").to_owned()));
        Message { headers, ..self.clone() }
    }

    fn must(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// An answer to this request, with this To tag where it has none yet; `extra` are whole header lines, each ending in CRLF.
    pub fn answer(&self, status: u16, tag: &str, extra: &str) -> String {
        let mut lines = vec![format!("SIP/2.0 {status} Answer")];
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            lines.extend(self.all(name).map(|value| format!("{name}: {value}")));
        }
        let to = self.must("To");
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
        lines.push(format!("To: {to}{tag}"));
        lines.push(format!("{extra}Content-Length: 0\r\n\r\n"));
        lines.join("\r\n")
    }

    /// The URI in a Contact header: where requests within the dialog go.
    pub fn contact(&self) -> &str {
        let contact = self.must("Contact");
        let inner = contact.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        inner.map_or(contact, |(uri, _)| uri)
    }
}

/// A request that a phone has sent and that it may have to refer to.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What went over the wire.
    pub text: String,
    /// Its Call-ID.
    pub call_id: String,
    method: String,
    uri: String,
    from: String,
    to: String,
    cseq: u32,
    via: String,
}

enum Wire {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, unread: Vec<u8> },
    Tls { stream: Box<TlsStream>, unread: Vec<u8> },
}

type TlsStream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A phone; calls nobody until told so.
pub struct Phone {
    /// `alice`
    pub user: String,
    wire: Wire,
    server: SocketAddr,
    local: SocketAddr,
    id: String,
    cseq: u32,
    waiting: Vec<Message>,
    /// Everything that has arrived, in order.
    pub seen: Vec<Message>,
}

impl Phone {
    /// A phone on UDP, whose server is on this port of 127.0.0.1.
    pub fn udp(user: &str, server_port: u16) -> Phone {
        Phone::udp_at(user, ([127, 0, 0, 1], server_port).into())
    }

    /// A phone on UDP with this server.
    pub fn udp_at(user: &str, server: SocketAddr) -> Phone {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        socket.connect(server).expect("loopback can be reached");
        let local = socket.local_addr().expect("a bound socket has an address");
        Phone::new(user, server, local, Wire::Udp(socket))
    }

    /// A phone on a UDP socket that is bound already; it can only be called until it knows its server.
    pub fn on_socket(user: &str, socket: UdpSocket) -> Phone {
        let local = socket.local_addr().expect("a bound socket has an address");
        Phone::new(user, local, local, Wire::Udp(socket))
    }

    /// Tells a phone of [`Phone::on_socket`] the port of its server.
    pub fn serves(&mut self, server_port: u16) {
        self.server = SocketAddr::from(([127, 0, 0, 1], server_port));
        if let Wire::Udp(socket) = &self.wire {
            socket.connect(self.server).expect("loopback can be reached");
        }
    }

    /// A phone on TCP. What it sends on its one connection is worked off in order, so an answered OPTIONS proves that
    /// nothing more comes of what was sent before it.
    pub fn tcp(user: &str, server_port: u16) -> Phone {
        Phone::tcp_at(user, ([127, 0, 0, 1], server_port).into())
    }

    /// The same with this server.
    pub fn tcp_at(user: &str, server: SocketAddr) -> Phone {
        let stream = TcpStream::connect(server).expect("the server listens");
        let local = stream.local_addr().expect("a connected socket has an address");
        Phone::new(user, server, local, Wire::Tcp { stream, unread: Vec::new() })
    }

    /// A phone on TLS, whose server is on this port of 127.0.0.1 and may be anybody.
    pub fn tls(user: &str, server_port: u16) -> Phone {
        let server = SocketAddr::from(([127, 0, 0, 1], server_port));
        let stream = TcpStream::connect(server).expect("the server listens");
        let local = stream.local_addr().expect("a connected socket has an address");
        let stream = Box::new(tls::connect(stream));
        Phone::new(user, server, local, Wire::Tls { stream, unread: Vec::new() })
    }

    /// A phone on TCP, and a stranger who listens on the very port that it calls from: who connects to the phone's address
    /// reaches him.
    pub fn tcp_before_stranger(user: &str, server_port: u16) -> (Phone, TcpListener) {
        let server = SocketAddr::from(([127, 0, 0, 1], server_port));
        let stranger = TcpListener::from(shared_socket(0));
        // SAFETY: an open socket of ours that is bound.
        let listens = unsafe { libc::listen(stranger.as_raw_fd(), 5) };
        assert_eq!(listens, 0, "a bound socket can listen");
        stranger.set_nonblocking(true).expect("a socket takes that");
        let local = stranger.local_addr().expect("a bound socket has an address");
        let stream = TcpStream::from(shared_socket(local.port()));
        connect(&stream, server_port);
        (Phone::new(user, server, local, Wire::Tcp { stream, unread: Vec::new() }), stranger)
    }

    /// The phone's own port.
    pub fn port(&self) -> u16 {
        self.local.port()
    }

    fn new(user: &str, server: SocketAddr, local: SocketAddr, wire: Wire) -> Phone {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let id = format!("{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (waiting, seen) = (Vec::new(), Vec::new());
        Phone { user: user.to_owned(), wire, server, local, id, cseq: 0, waiting, seen }
    }

    fn transport(&self) -> &'static str {
        match self.wire {
            Wire::Udp(_) => "UDP",
            Wire::Tcp { .. } => "TCP",
            Wire::Tls { .. } => "TLS",
        }
    }

    /// The phone's own address, as in its Contact.
    pub fn contact(&self) -> String {
        let transport = self.transport().to_lowercase();
        format!("sip:{}@{};transport={transport}", self.user, self.local)
    }

    /// Sends anything.
    pub fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => drop(socket.send(bytes)),
            Wire::Tcp { stream, .. } => stream.write_all(bytes).expect("the server reads"),
            Wire::Tls { stream, .. } => stream.write_all(bytes).expect("the server reads"),
        }
    }

    /// A request outside of any dialog, ready to be sent; `extra` are whole header lines, each ending in CRLF.
    pub fn request(&mut self, method: &str, uri: &str, from: &str, to: &str, extra: &str) -> Sent {
        self.cseq += 1;
        let call_id = format!("{}-{}@{}", self.id, self.cseq, self.local);
        let mut sent = Sent {
            text: String::new(),
            call_id,
            method: method.to_owned(),
            uri: uri.to_owned(),
            from: format!("{from};tag=t{}", self.id),
            to: to.to_owned(),
            cseq: self.cseq,
            via: self.via(),
        };
        sent.text = sent.text_with(extra);
        sent
    }

    fn via(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let branch = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("SIP/2.0/{} {};rport;branch=z9hG4bK{}b{branch}", self.transport(), self.local, self.id)
    }

    /// A REGISTER of this phone's contact for so many seconds; 0 is a good-bye.
    pub fn register_request(&mut self, expires_s: u32) -> Sent {
        let own = format!("<sip:{}@{DOMAIN}>", self.user);
        let extra = format!("Contact: <{}>\r\nExpires: {expires_s}\r\n", self.contact());
        let mut sent = self.request("REGISTER", &format!("sip:{DOMAIN}"), &own, &own, &extra);
        // one Call-ID for all registrations of a phone (RFC 3261 section 10.2)
        let call_id = format!("reg-{}", self.id);
        sent.text = sent.text.replace(&sent.call_id, &call_id);
        sent.call_id = call_id;
        sent
    }

    /// Registers and waits for the 200.
    pub fn register(&mut self) {
        let sent = self.register_request(600);
        self.send(sent.text.as_bytes());
        self.expect_status(&sent, 200);
    }

    /// An INVITE to a user, not sent yet.
    pub fn invite_request(&mut self, callee: &str) -> Sent {
        let from = format!("<sip:{}@{DOMAIN}>", self.user);
        let extra = format!("Contact: <{}>\r\n", self.contact());
        let uri = format!("sip:{callee}@{DOMAIN}");
        self.request("INVITE", &uri, &from, &format!("<{uri}>"), &extra)
    }

    /// An INVITE with another From than the phone's own and a Call-ID that is `call_id`, not sent yet.
    pub fn strange_invite(&mut self, callee: &str, from: &str, call_id: &str) -> Sent {
        let mut sent = self.invite_request(callee);
        let former = (sent.call_id.clone(), sent.from.clone());
        sent.call_id = call_id.to_owned();
        sent.from = format!("{from};tag=t{}", self.id);
        sent.text = sent.text.replace(&former.0, &sent.call_id).replace(&former.1, &sent.from);
        sent
    }

    /// A MESSAGE with this text to a user, not sent yet.
    pub fn message_request(&mut self, to: &str, text: &str) -> Sent {
        let from = format!("<sip:{}@{DOMAIN}>", self.user);
        let uri = format!("sip:{to}@{DOMAIN}");
        let mut sent =
            self.request("MESSAGE", &uri, &from, &format!("<{uri}>"), "Content-Type: text/plain\r\n");
        let end = format!("Content-Length: {}\r\n\r\n{text}", text.len());
        sent.text = sent.text.replace("Content-Length: 0\r\n\r\n", &end);
        sent
    }

    /// Sends a user a MESSAGE.
    pub fn message(&mut self, to: &str, text: &str) -> Sent {
        let sent = self.message_request(to, text);
        self.send(sent.text.as_bytes());
        sent
    }

    /// Calls a user.
    pub fn invite(&mut self, callee: &str) -> Sent {
        let sent = self.invite_request(callee);
        self.send(sent.text.as_bytes());
        sent
    }

    /// Gives up a call that was not answered yet (RFC 3261 section 9.1) and says what was sent.
    pub fn cancel(&mut self, invite: &Sent) -> Sent {
        let mut cancel = invite.clone();
        cancel.method = "CANCEL".to_owned();
        cancel.text = cancel.text_with("");
        self.send(cancel.text.as_bytes());
        cancel
    }

    /// Acknowledges a negative final answer (RFC 3261 section 17.1.1.3).
    pub fn ack_failure(&mut self, invite: &Sent, answer: &Message) {
        let mut ack = invite.clone();
        ack.method = "ACK".to_owned();
        ack.to = answer.must("To").to_owned();
        ack.text = ack.text_with("");
        self.send(ack.text.as_bytes());
    }

    /// ACK or BYE of the caller, after a 200.
    pub fn within(&mut self, method: &str, invite: &Sent, answer: &Message) -> Sent {
        let routes: Vec<&str> = answer.all("Record-Route").collect();
        let routes: String = routes.iter().rev().map(|route| format!("Route: {route}\r\n")).collect();
        let mut sent = invite.clone();
        sent.method = method.to_owned();
        sent.uri = answer.contact().to_owned();
        sent.to = answer.must("To").to_owned();
        sent.via = self.via();
        if method != "ACK" {
            sent.cseq += 1;
        }
        sent.text = sent.text_with(&routes);
        self.send(sent.text.as_bytes());
        sent
    }

    /// Answers a request. A 2xx to an INVITE carries a Contact, every answer above 100 a To tag.
    pub fn answer(&mut self, request: &Message, status: u16) {
        let contact = format!("Contact: <{}>\r\n", self.contact());
        self.answer_with(request, status, &contact);
    }

    /// Answers a request with these header lines in place of the phone's own Contact, each ending in CRLF.
    pub fn answer_with(&mut self, request: &Message, status: u16, extra: &str) {
        let text = request.answer(status, &format!("u{}", self.id), extra);
        self.send(text.as_bytes());
    }

    /// The first request of this method that was not taken yet.
    pub fn expect_request(&mut self, method: &str) -> Message {
        self.expect(&format!("a {method}"), |message| message.is_request(method))
    }

    /// The first message that was not taken yet, whatever it is.
    pub fn expect_any(&mut self) -> Message {
        self.expect("anything", |_| true)
    }

    /// The first answer of this status to a request that was sent.
    pub fn expect_status(&mut self, sent: &Sent, status: u16) -> Message {
        let what = format!("{status} to {}", sent.method);
        let fits = |message: &Message| message.status() == status && message.answers(sent);
        self.expect(&what, fits)
    }

    /// The first final answer to a request that was sent.
    pub fn expect_final(&mut self, sent: &Sent) -> Message {
        let fits = |message: &Message| message.status() >= 200 && message.answers(sent);
        self.expect(&format!("a final answer to {}", sent.method), fits)
    }

    fn expect(&mut self, what: &str, fits: impl Fn(&Message) -> bool) -> Message {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.waiting.iter().position(&fits) {
                return self.waiting.remove(at);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read(left) {
                let seen: Vec<&str> = self.seen.iter().map(|message| message.start.as_str()).collect();
                panic!("{} waited for {what}; it has seen {seen:#?}", self.user);
            }
        }
    }

    /// Asks the server something harmless and waits for the answer: all that it did before for this phone is done (for a
    /// phone on TCP, see [`Phone::tcp`]).
    pub fn settle(&mut self) {
        let uri = format!("sip:{DOMAIN}");
        let sent = self.request("OPTIONS", &uri, &format!("<{uri}>"), &format!("<{uri}>"), "");
        self.send(sent.text.as_bytes());
        self.expect_status(&sent, 200);
    }

    /// The same with a server that knows itself by its port on 127.0.0.1 only.
    pub fn settle_bare(&mut self, server_port: u16) {
        let uri = format!("sip:127.0.0.1:{server_port}");
        let sent = self.request("OPTIONS", &uri, &format!("<{uri}>"), &format!("<{uri}>"), "");
        self.send(sent.text.as_bytes());
        self.expect_status(&sent, 200);
    }

    /// How many different requests of this method have arrived so far; a retransmission is no other request.
    pub fn count(&mut self, method: &str) -> usize {
        while self.read(Duration::from_millis(1)) {}
        let requests = self.seen.iter().filter(|message| message.is_request(method));
        requests.filter_map(|message| message.header("Via")).collect::<HashSet<_>>().len()
    }

    /// The statuses that have arrived for a request, each once, in the order of arrival.
    pub fn statuses(&self, sent: &Sent) -> Vec<u16> {
        let mut statuses: Vec<u16> =
            self.seen.iter().filter(|message| message.answers(sent)).map(Message::status).collect();
        statuses.dedup();
        statuses
    }

    /// Lets so much time pass, while what arrives is kept. For tests that want to be early or late on purpose, not to wait
    /// for something.
    pub fn pause(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.read(left);
        }
    }

    /// Everything that has arrived and was not taken yet.
    pub fn take_all(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.waiting)
    }

    /// Reads one message if there is one in time.
    fn read(&mut self, timeout: Duration) -> bool {
        let Some(text) = self.wire.read(timeout) else { return false };
        let message = Message::parse(&text);
        self.seen.push(message.clone());
        self.waiting.push(message);
        true
    }
}

impl Message {
    fn answers(&self, sent: &Sent) -> bool {
        let cseq = format!("{} {}", sent.cseq, sent.method);
        self.status() > 0
            && self.header("Call-ID") == Some(&sent.call_id)
            && self.header("CSeq") == Some(cseq.as_str())
    }
}

impl Sent {
    /// The same as if one more request had been sent in its dialog.
    pub fn next(&self) -> Sent {
        Sent { cseq: self.cseq + 1, ..self.clone() }
    }

    fn text_with(&self, extra: &str) -> String {
        let Sent { method, uri, via, from, to, call_id, cseq, .. } = self;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n{extra}Content-Length: 0\r\n\r\n"
        )
    }
}

impl Wire {
    fn read(&mut self, timeout: Duration) -> Option<String> {
        match self {
            Wire::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                socket.set_read_timeout(Some(timeout)).expect("a timeout above zero is taken");
                let len = socket.recv(&mut buffer).ok()?;
                Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
            }
            Wire::Tcp { stream, unread } => {
                stream.set_read_timeout(Some(timeout)).expect("a timeout above zero is taken");
                read_stream(stream, unread)
            }
            Wire::Tls { stream, unread } => {
                stream.sock.set_read_timeout(Some(timeout)).expect("a timeout above zero is taken");
                read_stream(stream, unread)
            }
        }
    }
}

fn read_stream(stream: &mut impl Read, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(len) = whole_len(unread) {
            let message: Vec<u8> = unread.drain(..len).collect();
            return Some(String::from_utf8_lossy(&message).into_owned());
        }
        let mut part = [0; 16_384];
        match stream.read(&mut part) {
            Ok(len) if len > 0 => unread.extend_from_slice(&part[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
}

/// A TCP socket on this port of 127.0.0.1 that others may be bound to as well.
fn shared_socket(port: u16) -> OwnedFd {
    let on: libc::c_int = 1;
    let address = loopback(port);
    // SAFETY: the pointers are to locals of the lengths given; the descriptor is owned from the moment that it is known to
    // be valid.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "the system gives a socket");
        let owned = OwnedFd::from_raw_fd(fd);
        for option in [libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
            libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const on).cast(), size_of_val(&on) as u32);
        }
        let bound = libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as u32);
        assert_eq!(bound, 0, "the port can be shared");
        owned
    }
}

fn connect(stream: &TcpStream, port: u16) {
    let address = loopback(port);
    // SAFETY: an open socket, and a pointer to a local of the length given.
    let connected = unsafe {
        libc::connect(stream.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as u32)
    };
    assert_eq!(connected, 0, "the server listens");
}

fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }
}

/// The length of the first message, once all of it is there (RFC 3261 section 18.3).
pub fn whole_len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let message = Message::parse(&String::from_utf8_lossy(&bytes[..head]));
    let body: usize = message.header("Content-Length").and_then(|len| len.parse().ok()).unwrap_or(0);
    (bytes.len() >= head + body).then_some(head + body)
}
