//! The way by which the sender's process tells late phones: requests to its own Kamailio over loopback, which finds the phone as it
//! would for any call.
//!
//! It refuses to run a route or to touch a transaction: it is a SIP client like any other, with a socket of its own.

use super::late;
use super::layout::Str;
use crate::host::limiter::Limiter;
use crate::host::note::End;
use crate::host::remembered::TellLate;
use crate::host::symbol::address;
use crate::model::User;
use crate::process::bound_udp_sockets;
use crate::service::Service;
use crate::sip::uac::{self, LateCall, Uac};
use crate::stats::Counter;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_ushort, c_void};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Most phones that are being told at the same time over one line.
const MAX_CALLS: usize = 2000;

const NO_SOCKET: &str = "Kamailio listens on no UDP socket; give it one, such as udp:127.0.0.1:5060";

/// All lines of this process, by the server's address at their other end.
pub struct Lines {
    service: &'static Service,
    lines: RefCell<HashMap<SocketAddr, Open>>,
    /// Where calls go that did not come in over UDP.
    listener: OnceCell<Option<SocketAddr>>,
    /// How many lines were ever opened.
    opened: Cell<usize>,
    /// Distinguishes this process' requests from those of the process before it.
    start: u128,
    names: Cell<u64>,
    failed: Limiter,
}

/// A line, and the task that serves it.
type Open = (Rc<Line>, JoinHandle<()>);

struct Line {
    service: &'static Service,
    socket: UdpSocket,
    own: SocketAddr,
    calls: RefCell<HashMap<String, Told>>,
    has_new: Notify,
}

struct Told {
    uac: Uac,
    user: String,
    sip_call_id: String,
    started_at: Instant,
    is_logged: bool,
}

impl Lines {
    /// No lines yet; they are opened as calls need them.
    ///
    /// # Errors
    /// The system has no memory to give.
    pub fn new(service: &'static Service) -> io::Result<Lines> {
        if late::is_on(service) && udp_listener().is_none() {
            ::log::warn!("phones that wake when their call is over are not told: {NO_SOCKET}");
        }
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok(Lines {
            service,
            lines: RefCell::default(),
            listener: OnceCell::new(),
            opened: Cell::new(0),
            start,
            names: Cell::new(0),
            failed: Limiter::new()?,
        })
    }

    /// Tells a phone that its call is over. In the sender's loop.
    pub fn tell(&self, late: &TellLate) {
        if let Err(why) = self.try_tell(late) {
            self.service.stats().count(Counter::LateFailed);
            if let Some(silent) = self.failed.may_speak() {
                ::log::warn!(
                    "a late phone is not told that its call is over: {why}; {silent} more since the last such line"
                );
            }
        }
    }

    fn try_tell(&self, late: &TellLate) -> Result<(), String> {
        let to = late.received_on.or_else(|| *self.listener.get_or_init(udp_listener));
        let to = to.map(reachable).ok_or(NO_SOCKET)?;
        let line = self.line(to)?;
        self.names.set(self.names.get() + 1);
        let name = format!("voip-push-{:x}-{:x}", self.start, self.names.get());
        line.tell(late, &name)
    }

    fn line(&self, to: SocketAddr) -> Result<Rc<Line>, String> {
        let mut lines = self.lines.borrow_mut();
        // A line's task ends where the sender's loop was started anew after a panic.
        lines.retain(|_, (_, task)| !task.is_finished());
        if let Some((line, _)) = lines.get(&to) {
            return Ok(Rc::clone(line));
        }
        if lines.len() >= late::MAX_LINES {
            return Err(format!(
                "Kamailio has more than {} UDP sockets that calls came in on",
                late::MAX_LINES
            ));
        }
        let line = Line::open(self.service, to).map_err(|error| format!("no socket to {to}: {error}"))?;
        late::publish_port(self.opened.get() % late::MAX_LINES, line.own.port());
        self.opened.set(self.opened.get() + 1);
        let line = Rc::new(line);
        let task = tokio::task::spawn_local(Rc::clone(&line).serve());
        lines.insert(to, (Rc::clone(&line), task));
        Ok(line)
    }
}

impl Line {
    fn open(service: &'static Service, to: SocketAddr) -> io::Result<Line> {
        let socket = std::net::UdpSocket::bind((to.ip(), 0))?;
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        let own = socket.local_addr()?;
        let (calls, has_new) = (RefCell::default(), Notify::new());
        Ok(Line { service, socket: UdpSocket::from_std(socket)?, own, calls, has_new })
    }

    fn tell(&self, late: &TellLate, name: &str) -> Result<(), String> {
        if self.calls.borrow().len() >= MAX_CALLS {
            return Err(format!("{MAX_CALLS} others are being told"));
        }
        let value = format!("{} {}", late::token(), late.contact);
        let reason = reason(&late.end);
        let call = LateCall {
            invite: &late.invite,
            target: &late.aor,
            sent_by: self.own,
            name,
            mark: (late::HEADER, &value),
            reason: reason.as_deref(),
        };
        let now = Instant::now();
        let (uac, invite) =
            Uac::new(&call, now).map_err(|why| format!("its INVITE cannot be used: {why:?}"))?;
        self.send(&invite);
        let (user, sip_call_id) = (late.user.clone(), late.sip_call_id.clone());
        let told = Told { uac, user, sip_call_id, started_at: now, is_logged: false };
        self.calls.borrow_mut().insert(name.to_owned(), told);
        self.has_new.notify_one();
        Ok(())
    }

    async fn serve(self: Rc<Self>) {
        let mut buffer = vec![0; 65_535];
        loop {
            let due = self.due(Instant::now());
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // An error is word that an earlier datagram was not taken; the UAC repeats it.
                got = self.socket.recv(&mut buffer) => if let Ok(len) = got { self.received(&buffer[..len]) },
                () = wait => self.woken(),
                () = self.has_new.notified() => {}
            }
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        self.calls.borrow().values().map(|told| told.uac.due(now).unwrap_or(now)).min()
    }

    fn woken(&self) {
        let now = Instant::now();
        let mut calls = self.calls.borrow_mut();
        for told in calls.values_mut() {
            if told.uac.due(now).is_none_or(|due| due <= now)
                && let Some(request) = told.uac.woken(now)
            {
                self.send(&request);
            }
            self.log_end(told);
        }
        calls.retain(|_, told| told.uac.due(now).is_some());
    }

    fn received(&self, bytes: &[u8]) {
        if let Some(answer) = uac::answer_to_request(bytes) {
            return self.send(&answer);
        }
        let Some(name) = uac::name_in(bytes) else { return };
        let mut calls = self.calls.borrow_mut();
        let Some(told) = calls.get_mut(&name) else { return };
        for request in told.uac.received(bytes, Instant::now()) {
            self.send(&request);
        }
        self.log_end(told);
    }

    fn log_end(&self, told: &mut Told) {
        let Some(end) = told.uac.end().filter(|_| !told.is_logged) else { return };
        told.is_logged = true;
        let is_told = matches!(end, uac::End::Cancelled | uac::End::Answered);
        self.service.stats().count(if is_told { Counter::LateTold } else { Counter::LateFailed });
        let user = User::parse(&told.user).map(|user| user.shortened()).unwrap_or_default();
        let (call_id, ms) = (&told.sip_call_id, told.started_at.elapsed().as_millis());
        ::log::info!("late call_id={call_id:?} user={user} end={end:?} ms={ms}");
    }

    fn send(&self, bytes: &[u8]) {
        // What is not sent is repeated, and given up in the end.
        if let Err(error) = self.socket.try_send(bytes) {
            ::log::debug!("a late call's request was not sent: {error}");
        }
    }
}

/// The Reason that the late phone is told (RFC 3326): the caller's own, or none where he just hung up. That somebody has answered,
/// or has declined for all, is said as tm says it to phones that ring.
fn reason(end: &End) -> Option<String> {
    match end {
        End::Answered => Some("SIP;cause=200;text=\"Call completed elsewhere\"".to_owned()),
        End::Cancelled(reason) => reason.clone(),
        End::Failed(status) if *status >= 600 => Some(format!("SIP;cause={status}")),
        End::Failed(_) => None,
    }
}

/// Where a server that is bound to this address can be reached from its own machine.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// A UDP socket that Kamailio serves SIP on; this process has inherited them all. One on loopback is the first choice.
fn udp_listener() -> Option<SocketAddr> {
    let mut found: Vec<SocketAddr> = bound_udp_sockets().into_iter().filter(|at| is_kamailios(*at)).collect();
    found.sort_by_key(|at| (!at.ip().is_loopback(), !at.ip().is_unspecified(), *at));
    found.first().copied()
}

/// `struct socket_info *grep_sock_info(str *host, unsigned short port, unsigned short proto)` of socket_info.h.
type GrepSockInfo = unsafe extern "C" fn(*const Str, c_ushort, c_ushort) -> *const c_void;

/// Whether Kamailio itself serves SIP there: other modules have UDP sockets, too.
fn is_kamailios(bound: SocketAddr) -> bool {
    /// `PROTO_UDP` of ip_addr.h.
    const UDP: c_ushort = 1;
    let Some(grep) = address(c"grep_sock_info") else { return false };
    let ip = bound.ip().to_string();
    let host = Str { s: ip.as_ptr().cast::<c_char>(), len: c_int::try_from(ip.len()).unwrap_or(0) };
    // SAFETY: the function has this type in every version that we know; it only looks through Kamailio's list of sockets, which no
    // longer changes. The result is not looked into.
    unsafe {
        let grep = std::mem::transmute::<*const c_void, GrepSockInfo>(grep);
        !grep(&raw const host, bound.port(), UDP).is_null()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_phone_is_told_why_as_far_as_it_is_its_users_business() {
        let elsewhere = "SIP;cause=200;text=\"Call completed elsewhere\"";
        assert_eq!(reason(&End::Answered).as_deref(), Some(elsewhere));
        assert_eq!(reason(&End::Cancelled(None)), None);
        let given = || Some("Q.850;cause=16".to_owned());
        assert_eq!(reason(&End::Cancelled(given())), given());
        assert_eq!(reason(&End::Failed(603)).as_deref(), Some("SIP;cause=603"));
        assert_eq!(reason(&End::Failed(480)), None);
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_on_loopback() {
        let at = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(at("0.0.0.0:5060"), "127.0.0.1:5060");
        assert_eq!(at("[::]:5060"), "[::1]:5060");
        assert_eq!(at("192.0.2.1:5080"), "192.0.2.1:5080");
    }
}
