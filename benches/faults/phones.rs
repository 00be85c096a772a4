//! All phones: each sleeps until its push arrives, registers at the other node than the one that its call came to, answers, and
//! goes to sleep again when the call is over.
//!
//! Half of them are on UDP and register themselves off before they sleep; the others are on TCP, and their connections break, as with
//! an app that the system suspends.
//!
//! It refuses to hear anything while it sleeps: what arrives then is lost, as it is with a phone whose app is not running.

use super::clock::now_s;
use super::line::Line;
use super::nodes::Nodes;
use super::support::phone::{DOMAIN, Message};
use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// A push that woke a phone, or would have.
#[derive(Debug, Clone)]
pub struct Woken {
    /// Whose phone.
    pub user: String,
    /// The call that it is for.
    pub call_id: String,
}

/// An INVITE that arrived at a phone that was awake; a repetition is no other one.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Seconds since 1970.
    pub at_s: f64,
    /// Where the phone has registered, and whether it had turned to that node.
    pub home: (usize, bool),
    /// Whose phone.
    pub user: String,
    /// The call.
    pub call_id: String,
    /// The topmost Via, which tells branches apart.
    pub via: String,
}

/// What the phones have seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every branch that arrived.
    pub rings: Vec<Ring>,
    /// Registrations that a node has answered with 200, and that none has.
    pub registered: u64,
    /// No answer from either node.
    pub unregistered: u64,
    /// Registrations that went to the first choice in vain, and to the other node then.
    pub turned: u64,
    /// What each of them did and heard: seconds since 1970, user, what.
    pub log: Vec<(f64, String, String)>,
}

/// How long a phone takes from its push to its REGISTER, at most.
const WAKE_S: f64 = 0.3;
/// RFC 3261, timer T1, and how long a phone waits for one server before it takes the next.
const T1_S: f64 = 0.5;
const PATIENCE_S: f64 = 2.0;
/// An app that was woken and is not called ends after so long.
const DOZE_S: f64 = 20.0;
/// How long after a call an app is suspended and its connection breaks.
const BREAK_S: f64 = 0.5;
/// RFC 3261, timer H: how long a 200 is repeated.
const ANSWER_S: f64 = 32.0;

/// What is to be done at a time.
#[derive(Debug)]
enum Due {
    Wake(Woken),
    /// Register (again), if the registration of this CSeq was not answered yet.
    Register {
        user: String,
        cseq: u32,
        wait_s: f64,
    },
    /// Repeat a 200 that was not acknowledged.
    Answer {
        key: (String, String),
        wait_s: f64,
        end_s: f64,
    },
    /// Sleep, if the phone has not been woken again.
    Doze {
        user: String,
        wakes: u32,
    },
    /// Its connection breaks, on the same condition.
    Break {
        user: String,
        wakes: u32,
    },
}

#[derive(Debug, Default)]
struct Phone {
    is_awake: bool,
    wakes: u32,
    /// The node that it registers at.
    node: usize,
    cseq: u32,
    expires_s: u32,
    /// When the first REGISTER went to this node.
    since_s: f64,
    /// The CSeq that waits for its answer.
    pending: Option<u32>,
    has_turned: bool,
}

/// A call at a phone.
#[derive(Debug)]
struct Call {
    via: String,
    answer: Option<String>,
    from: Way,
}

/// How a request came, so where its answer goes.
#[derive(Debug, Clone, Copy)]
enum Way {
    Udp(SocketAddr),
    /// Over the phone's connection.
    Line,
}

/// The driver of all of them, on one socket.
pub struct Phones {
    socket: UdpSocket,
    local: SocketAddr,
    nodes: Nodes,
    phones: HashMap<String, Phone>,
    lines: HashMap<String, Line>,
    calls: HashMap<(String, String), Call>,
    /// By microseconds since 1970; the second number keeps those of the same time apart.
    due: BTreeMap<(u64, u64), Due>,
    next: u64,
    seen: Seen,
}

impl Phones {
    /// Phones of these nodes' users.
    pub fn new(nodes: &Nodes) -> Phones {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        let local = socket.local_addr().expect("a bound socket has an address");
        Phones {
            socket,
            local,
            nodes: nodes.clone(),
            phones: HashMap::new(),
            lines: HashMap::new(),
            calls: HashMap::new(),
            due: BTreeMap::new(),
            next: 0,
            seen: Seen::default(),
        }
    }

    /// Lives until nobody can wake a phone any more.
    pub fn run(mut self, pushes: &Receiver<Woken>) -> Seen {
        let mut buffer = vec![0; 65_536];
        self.socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout above zero is taken");
        loop {
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                self.hear(&String::from_utf8_lossy(&buffer[..len]), Way::Udp(from));
            }
            let of_line = |(user, line): (&String, &mut Line)| {
                line.take().into_iter().map(|text| (user.clone(), text)).collect::<Vec<_>>()
            };
            let heard: Vec<(String, String)> = self.lines.iter_mut().flat_map(of_line).collect();
            heard.iter().for_each(|(user, text)| self.hear_on_line(user, text));
            loop {
                match pushes.try_recv() {
                    Ok(woken) => {
                        let delay_s = WAKE_S * f64::from(self.next as u32 % 100) / 100.0;
                        self.at(now_s() + delay_s, Due::Wake(woken));
                    }
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return self.seen,
                }
            }
            self.do_what_is_due();
        }
    }

    fn note(&mut self, user: &str, what: String) {
        self.seen.log.push((now_s(), user.to_owned(), what));
    }

    fn at(&mut self, at_s: f64, due: Due) {
        self.next += 1;
        self.due.insert(((at_s * 1e6) as u64, self.next), due);
    }

    fn do_what_is_due(&mut self) {
        let now = (now_s() * 1e6) as u64;
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Due::Wake(woken) => self.wake(&woken),
                Due::Register { user, cseq, wait_s } => self.register_again(&user, cseq, wait_s),
                Due::Answer { key, wait_s, end_s } => self.answer_again(key, wait_s, end_s),
                Due::Doze { user, wakes } => self.doze(&user, wakes),
                Due::Break { user, wakes } => {
                    if self.phones.get(&user).is_some_and(|phone| phone.wakes == wakes) {
                        self.note(&user, "its connection breaks".to_owned());
                        self.lines.remove(&user);
                    }
                }
            }
        }
    }

    fn wake(&mut self, woken: &Woken) {
        let node = self.nodes.other(self.nodes.of_call(&woken.call_id));
        let phone = self.phones.entry(woken.user.clone()).or_default();
        (phone.is_awake, phone.node, phone.has_turned) = (true, node, false);
        phone.wakes += 1;
        let wakes = phone.wakes;
        self.note(&woken.user, format!("is woken for {}", woken.call_id));
        self.connect(&woken.user, node);
        self.register(&woken.user, 600);
        self.at(now_s() + DOZE_S, Due::Doze { user: woken.user.clone(), wakes });
    }

    /// A new connection for those on TCP; one that is there from another call breaks.
    fn connect(&mut self, user: &str, node: usize) {
        if is_on_tcp(user) {
            self.lines.remove(user);
            let line = Line::open(self.nodes.0[node].sip());
            let port = line.as_ref().map(|line| line.local.port());
            self.note(user, format!("connects to node {node} from port {port:?}"));
            self.lines.extend(line.map(|line| (user.to_owned(), line)));
        }
    }

    fn doze(&mut self, user: &str, wakes: u32) {
        if self.phones.get(user).is_some_and(|phone| phone.is_awake && phone.wakes == wakes) {
            self.sleep(user);
        }
    }

    fn sleep(&mut self, user: &str) {
        let phone = self.phones.entry(user.to_owned()).or_default();
        (phone.is_awake, phone.has_turned) = (false, true);
        if is_on_tcp(user) {
            phone.pending = None;
            let wakes = phone.wakes;
            self.at(now_s() + BREAK_S, Due::Break { user: user.to_owned(), wakes });
        } else {
            self.register(user, 0);
        }
    }

    fn register(&mut self, user: &str, expires_s: u32) {
        let Some(phone) = self.phones.get_mut(user) else { return };
        phone.cseq += 1;
        (phone.expires_s, phone.since_s, phone.pending) = (expires_s, now_s(), Some(phone.cseq));
        let cseq = phone.cseq;
        self.send_register(user);
        self.at(now_s() + T1_S, Due::Register { user: user.to_owned(), cseq, wait_s: T1_S });
    }

    fn send_register(&mut self, user: &str) {
        let Some(Phone { cseq, expires_s, node, .. }) = self.phones.get(user) else { return };
        let (transport, local) = match is_on_tcp(user) {
            false => ("UDP", self.local),
            true => ("TCP", self.lines.get(user).map_or(self.local, |line| line.local)),
        };
        let contact = contact(user, local);
        let text = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};rport;branch=z9hG4bKr{user}{cseq}\r\n\
             From: <sip:{user}@{DOMAIN}>;tag=r{user}\r\nTo: <sip:{user}@{DOMAIN}>\r\nCall-ID: reg-{user}\r\n\
             CSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n{contact}Expires: {expires_s}\r\nContent-Length: 0\r\n\r\n"
        );
        let way = if transport == "TCP" { Way::Line } else { Way::Udp(self.nodes.0[*node].sip()) };
        self.send(&text, user, way);
    }

    /// Repeats it as timer E says, turns to the other node when there is no answer, and gives up when that has none either.
    fn register_again(&mut self, user: &str, cseq: u32, wait_s: f64) {
        let Some(phone) = self.phones.get_mut(user).filter(|phone| phone.pending == Some(cseq)) else {
            return;
        };
        if now_s() < phone.since_s + PATIENCE_S {
            if !is_on_tcp(user) {
                self.send_register(user);
            }
            let (user, wait_s) = (user.to_owned(), wait_s * 2.0);
            return self.at(now_s() + wait_s, Due::Register { user, cseq, wait_s });
        }
        if phone.has_turned {
            phone.pending = None;
            self.seen.unregistered += u64::from(phone.is_awake);
            return;
        }
        let node = self.nodes.other(phone.node);
        (phone.has_turned, phone.node) = (true, node);
        self.seen.turned += 1;
        self.note(user, "turns to the other node".to_owned());
        self.connect(user, node);
        self.register(user, 600);
    }

    /// A port that another phone had before may get what is for that one.
    fn hear_on_line(&mut self, user: &str, text: &str) {
        let message = Message::parse(text);
        if Phones::key(&message).1 == user {
            return self.hear(text, Way::Line);
        }
        if message.is_request("INVITE") {
            self.send(&message.answer(404, "stranger", ""), user, Way::Line);
        }
    }

    fn hear(&mut self, text: &str, from: Way) {
        let message = Message::parse(text);
        match (message.status(), message.method()) {
            (0, "INVITE") => self.ring(&message, from),
            (0, "ACK") => drop(self.call_of(&message).map(|call| call.answer = None)),
            (0, "BYE") => self.end(&message, from),
            (0, "CANCEL") => self.cancel(&message, from),
            (200.., "REGISTER") => self.registered(&message),
            _ => {}
        }
    }

    fn key(message: &Message) -> (String, String) {
        let called = message.header("To").unwrap_or_default();
        let user = called.split_once("sip:").map_or("", |(_, rest)| rest).split('@').next().unwrap_or("");
        (message.header("Call-ID").unwrap_or_default().to_owned(), user.to_owned())
    }

    fn call_of(&mut self, message: &Message) -> Option<&mut Call> {
        self.calls.get_mut(&Phones::key(message))
    }

    fn registered(&mut self, message: &Message) {
        let user = Phones::key(message).1;
        self.note(&user, format!("hears {} to its REGISTER", message.status()));
        let cseq =
            message.header("CSeq").and_then(|cseq| cseq.split(' ').next()).and_then(|text| text.parse().ok());
        let Some(phone) = self.phones.get_mut(&user).filter(|phone| phone.pending == cseq) else { return };
        match message.status() {
            200 => {
                phone.pending = None;
                self.seen.registered += u64::from(phone.expires_s > 0);
            }
            // What a node cannot do, the other may: as if it had not answered.
            500.. => phone.since_s = 0.0,
            _ => phone.pending = None,
        }
    }

    fn ring(&mut self, invite: &Message, from: Way) {
        let key = Phones::key(invite);
        self.note(&key.1, format!("is called by {}", key.0));
        if !self.phones.get(&key.1).is_some_and(|phone| phone.is_awake) {
            return;
        }
        let via = invite.header("Via").unwrap_or_default().to_owned();
        let is_new = match self.calls.get(&key) {
            None => true,
            Some(call) if call.via == via => {
                let again = call.answer.clone();
                again.iter().for_each(|answer| self.send(answer, &key.1, from));
                return;
            }
            Some(_) => false,
        };
        let tag = format!("p{}", key.1);
        let home = self.phones.get(&key.1).map_or((0, false), |phone| (phone.node, phone.has_turned));
        let (user, call_id) = (key.1.clone(), key.0.clone());
        self.seen.rings.push(Ring { at_s: now_s(), home, user, call_id, via: via.clone() });
        if !is_new {
            // RFC 3261 section 8.2.2.2
            return self.send(&invite.answer(482, &tag, ""), &key.1, from);
        }
        let local = self.lines.get(&key.1).map_or(self.local, |line| line.local);
        let contact = contact(&key.1, local);
        self.send(&invite.answer(180, &tag, &contact), &key.1, from);
        let answer = invite.answer(200, &tag, &contact);
        self.send(&answer, &key.1, from);
        self.calls.insert(key.clone(), Call { via, answer: Some(answer), from });
        let due = Due::Answer { key, wait_s: T1_S, end_s: now_s() + ANSWER_S };
        self.at(now_s() + T1_S, due);
    }

    fn answer_again(&mut self, key: (String, String), wait_s: f64, end_s: f64) {
        let Some(Call { answer: Some(answer), from, .. }) = self.calls.get(&key) else { return };
        if now_s() > end_s {
            return;
        }
        let (answer, from) = (answer.clone(), *from);
        self.send(&answer, &key.1, from);
        let wait_s = (wait_s * 2.0).min(4.0);
        self.at(now_s() + wait_s, Due::Answer { key, wait_s, end_s });
    }

    fn end(&mut self, bye: &Message, from: Way) {
        let user = Phones::key(bye).1;
        self.send(&bye.answer(200, "-", ""), &user, from);
        if self.phones.get(&user).is_some_and(|phone| phone.is_awake) {
            self.sleep(&user);
        }
    }

    /// Phones answer at once, so this is for one that was told late; its 200 stands.
    fn cancel(&mut self, cancel: &Message, from: Way) {
        let user = Phones::key(cancel).1;
        self.send(&cancel.answer(200, "-", ""), &user, from);
    }

    /// What is lost is repeated on UDP; what cannot be reached is the fault that is tried here.
    fn send(&mut self, text: &str, user: &str, way: Way) {
        match way {
            Way::Udp(to) => drop(self.socket.send_to(text.as_bytes(), to)),
            Way::Line => drop(self.lines.get_mut(user).map(|line| line.send(text))),
        }
    }
}

fn is_on_tcp(user: &str) -> bool {
    user.ends_with(['1', '3', '5', '7', '9'])
}

fn contact(user: &str, local: SocketAddr) -> String {
    let transport = if is_on_tcp(user) { ";transport=tcp" } else { "" };
    format!("Contact: <sip:{user}@{local}{transport}>\r\n")
}
