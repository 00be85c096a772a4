//! Phones that wake after their call has ended, as workers and the script see them: the calls that are to be remembered, and the
//! functions `is_late_call` and `is_late_contact`.
//!
//! It refuses to take a request for ours that anybody else could have sent.

use super::functions::{Msg, Param, call};
use super::tm::{self, tm};
use super::{awaits, park, pseudo, sender};
use crate::host::last::Last;
use crate::host::note::{Note, Remember};
use crate::process::SharedCounters;
use crate::service::{Error, Service};
use std::ffi::c_int;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use subtle::ConstantTimeEq;

/// The header that our requests carry: the token and the contact, as the registrar names it.
pub const HEADER: &str = "X-Voip-Push-Late";
/// Most addresses of the server that requests are sent to.
pub const MAX_LINES: usize = 8;
/// Longest INVITE that is remembered, in bytes: what a message to the sender has room for.
const MAX_INVITE_LEN: usize = 60_000;
const TOKEN_LEN: usize = 16;

/// What all processes share.
struct Shared {
    /// Proves that a request is ours; nobody outside this server ever sees it.
    token: String,
    /// The ports that the sender's process sends from.
    ports: SharedCounters,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// Makes what all processes share; before the fork.
pub fn prepare() -> Result<(), String> {
    let mut bytes = [0; TOKEN_LEN];
    let random = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.map_err(|error| format!("no random numbers: {error}"))?;
    let token = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let ports = SharedCounters::new(MAX_LINES).map_err(|error| format!("no shared memory: {error}"))?;
    SHARED.get_or_init(|| Shared { token, ports });
    Ok(())
}

/// The token that the sender's requests carry.
pub fn token() -> &'static str {
    SHARED.get().map_or("", |shared| &shared.token)
}

/// Tells all processes the port of the sender's line of this number.
pub fn publish_port(line: usize, port: u16) {
    if let Some(place) = SHARED.get().and_then(|shared| shared.ports.as_slice().get(line)) {
        place.store(port.into(), Ordering::SeqCst);
    }
}

fn is_our_port(port: u64) -> bool {
    let ports = SHARED.get().map(|shared| shared.ports.as_slice()).unwrap_or_default();
    port != 0 && ports.iter().any(|ours| ours.load(Ordering::SeqCst) == port)
}

/// The script knows late calls, so they may be sent to it.
static IS_USED: AtomicBool = AtomicBool::new(false);

/// Called when the configuration has `is_late_call`.
pub fn is_in_the_script() {
    IS_USED.store(true, Ordering::Relaxed);
}

/// Whether late phones are told in this server.
pub fn is_on(service: &Service) -> bool {
    IS_USED.load(Ordering::Relaxed) && !service.settings().late.is_zero() && service.has_sender_process()
}

pub unsafe extern "C" fn is_late_call(msg: Msg, _: Param, _: Param) -> c_int {
    call("is_late_call", msg, [], |_, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let is_ours = unsafe { is_ours(msg)? };
        Ok(if is_ours { Last::new(1) } else { Last::nothing("this request is not the module's own") })
    })
}

pub unsafe extern "C" fn is_late_contact(msg: Msg, _: Param, _: Param) -> c_int {
    call("is_late_contact", msg, [], |_, []: [&str; 0]| {
        // SAFETY: Kamailio calls a script function on its own thread with the message in hand.
        let (mark, contact) = unsafe { (mark(msg)?, park::text(msg, "$ruid")?) };
        let is_it = mark.is_some_and(|(_, woken)| woken == contact && !contact.is_empty());
        Ok(if is_it { Last::new(1) } else { Last::nothing("another contact of this user has woken") })
    })
}

/// Whether the request in hand comes from the sender's process of this very server.
unsafe fn is_ours(msg: Msg) -> Result<bool, Error> {
    // SAFETY: the caller's word.
    unsafe {
        let Some((token, _)) = mark(msg)? else { return Ok(false) };
        let text = |name| park::text(msg, name);
        let is_from_here = text("$pr")?.eq_ignore_ascii_case("udp")
            && text("$sp")?.parse().is_ok_and(is_our_port)
            && is_own_address(&text("$si")?, &text("$Ri")?);
        Ok(is_from_here && bool::from(token.as_bytes().ct_eq(self::token().as_bytes())))
    }
}

fn is_own_address(source: &str, own: &str) -> bool {
    address(source).is_some_and(|source| source.is_loopback() || address(own) == Some(source))
}

/// Kamailio writes an IPv6 address with brackets in some variables and without in others.
fn address(text: &str) -> Option<IpAddr> {
    text.trim_matches(['[', ']']).parse().ok()
}

/// Token and contact in our header.
unsafe fn mark(msg: Msg) -> Result<Option<(String, String)>, Error> {
    // SAFETY: the caller's word.
    let value = unsafe { park::text(msg, "$hdr(X-Voip-Push-Late)")? };
    Ok(value.split_once(' ').map(|(token, contact)| (token.to_owned(), contact.to_owned())))
}

/// Phones were pushed for the call in hand: has the sender remember it. What stands in the way is no reason to end a call.
///
/// # Safety
/// On Kamailio's own thread, with the message that it has in hand.
pub unsafe fn pushed(msg: Msg, service: &Service, devices: usize, [user, sip_call_id]: [&str; 2]) {
    if !is_on(service) && !awaits::is_used() {
        return;
    }
    // SAFETY: the caller's word.
    match unsafe { remember(msg, is_on(service), devices, [user, sip_call_id]) } {
        Ok(true) => return,
        Ok(false) => {}
        Err(error) => ::log::debug!("a call is not remembered for phones that come late: {error}"),
    }
    // Nobody will say when its phones have come.
    // SAFETY: the caller's word.
    if let Ok(Some(id)) = unsafe { tm::current(msg) } {
        awaits::forget(id);
    }
}

unsafe fn remember(
    msg: Msg,
    tells_late: bool,
    devices: usize,
    [user, sip_call_id]: [&str; 2],
) -> Result<bool, Error> {
    // SAFETY: the caller's word.
    unsafe {
        let (Some(id), Some(tm)) = (tm::current(msg)?, tm()) else { return Ok(false) };
        let mut invite = pseudo::read(msg, "$mb")?.unwrap_or_default();
        if !invite.starts_with(b"INVITE ") || invite.len() > MAX_INVITE_LEN {
            return Ok(false);
        }
        if !tells_late {
            invite.clear();
        }
        if !sender::knows(id) {
            tm.watch(msg, id)?;
        }
        let (user, sip_call_id) = (park::key(user)?, sip_call_id.to_owned());
        let received_on = received_on(msg)?;
        // A phone that has registered after the call has looked for contacts is one that wakes, also where it was quicker than the push.
        let since = sender::followed_since(id).unwrap_or_else(|| park::waiting().now());
        sender::try_tell(&Note::Remember(Remember {
            user,
            sip_call_id,
            id,
            since,
            devices,
            invite,
            received_on,
        }))?;
    }
    Ok(true)
}

/// Where the message in hand came in, if that was a UDP socket.
unsafe fn received_on(msg: Msg) -> Result<Option<SocketAddr>, Error> {
    // SAFETY: the caller's word.
    let [transport, ip, port] =
        unsafe { [park::text(msg, "$pr")?, park::text(msg, "$Ri")?, park::text(msg, "$Rp")?] };
    let is_udp = transport.eq_ignore_ascii_case("udp");
    let both = address(&ip).zip(port.parse().ok()).filter(|_| is_udp);
    Ok(both.map(SocketAddr::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_sends_from_its_own_address() {
        for (source, own) in [
            ("127.0.0.1", "0.0.0.0"),
            ("127.0.0.1", "127.0.0.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("::1", "[2001:db8::1]"),
            ("[2001:db8::1]", "2001:DB8::1"),
        ] {
            assert!(is_own_address(source, own), "{source}");
        }
        for (source, own) in [("192.0.2.2", "192.0.2.1"), ("", ""), ("x", "x"), ("192.0.2.1", "0.0.0.0")] {
            assert!(!is_own_address(source, own), "{source}");
        }
    }

    #[test]
    fn no_port_is_ours_before_one_is_published() {
        prepare().unwrap();
        assert!(!is_our_port(0) && !is_our_port(5070));
        publish_port(3, 5070);
        assert!(is_our_port(5070) && !is_our_port(0));
        publish_port(MAX_LINES, 5071);
        assert!(!is_our_port(5071));
        assert_eq!(token().len(), 2 * TOKEN_LEN);
    }
}
