//! The requests of the small UAC, made from the INVITE of a call that is over.
//!
//! It refuses to repeat what belonged to the caller alone: his route, his credentials, and where he can be reached.

use super::message::{Header, Message, is_sip_uri};
use std::net::SocketAddr;

/// Headers of the original that the copy does not have: the caller's way to the server, what he proved to it, what we say
/// ourselves, and his Contact: requests of this dialog are for us.
const DROPPED: [&str; 10] = [
    "Via",
    "Route",
    "Record-Route",
    "Contact",
    "Max-Forwards",
    "Content-Length",
    "Authorization",
    "Proxy-Authorization",
    "Proxy-Require",
    "Reason",
];

/// A copy goes from the server to a phone; more proxies than that are a loop.
const MAX_FORWARDS: u32 = 10;
/// Largest datagram that loopback takes.
const MAX_DATAGRAM_LEN: usize = 65_507;

/// A call that is over, and the phone that is to be told so.
#[derive(Debug, Clone)]
pub struct LateCall<'a> {
    /// The INVITE, as the caller sent it.
    pub invite: &'a [u8],
    /// The address that the phone has registered for; the server looks its contact up.
    pub target: &'a str,
    /// The socket that our requests come from.
    pub sent_by: SocketAddr,
    /// Names the requests of this call among all that this process ever sends; letters, digits and hyphens.
    pub name: &'a str,
    /// A header by which the server knows our requests.
    pub mark: (&'a str, &'a str),
    /// The Reason of the CANCEL (RFC 3326), if there is one.
    pub reason: Option<&'a str>,
}

/// Why a call cannot be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// What was remembered is no INVITE that starts a call.
    NoInvite,
    /// The target, the mark or the reason cannot stand in a request.
    BadText,
    /// The copy does not fit into a datagram.
    TooLarge,
}

/// What all requests of one such call have in common.
#[derive(Debug)]
pub(super) struct Requests {
    target: String,
    sent_by: SocketAddr,
    /// The Via branch of the INVITE, and what the others begin with.
    pub branch: String,
    mark: (String, String),
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
    reason: Option<String>,
}

impl Requests {
    /// What is needed for the requests, and the first of them.
    pub fn new(call: &LateCall<'_>) -> Result<(Requests, Vec<u8>), Unusable> {
        let (mark, value) = call.mark;
        let texts = [mark, value, call.name, call.reason.unwrap_or_default()];
        if !is_sip_uri(call.target) || texts.iter().any(|text| text.chars().any(char::is_control)) {
            return Err(Unusable::BadText);
        }
        let original = Message::parse(call.invite).ok_or(Unusable::NoInvite)?;
        let header = |name| original.first(name).ok_or(Unusable::NoInvite);
        let (cseq, method) = original.cseq().ok_or(Unusable::NoInvite)?;
        if original.method() != Some("INVITE") || method != "INVITE" {
            return Err(Unusable::NoInvite);
        }
        let requests = Requests {
            target: call.target.to_owned(),
            sent_by: call.sent_by,
            branch: format!("z9hG4bK{}", call.name),
            mark: (mark.to_owned(), value.to_owned()),
            from: header("From")?,
            to: header("To")?,
            call_id: header("Call-ID")?,
            cseq,
            reason: call.reason.map(str::to_owned),
        };
        let copy = requests.copy_of(&original);
        if copy.len() > MAX_DATAGRAM_LEN { Err(Unusable::TooLarge) } else { Ok((requests, copy)) }
    }

    fn copy_of(&self, original: &Message<'_>) -> Vec<u8> {
        let mut copy = self.start("INVITE", &self.target, "").into_bytes();
        let is_kept = |header: &&Header<'_>| {
            !header.is(&self.mark.0) && !DROPPED.iter().any(|dropped| header.is(dropped))
        };
        for header in original.headers.iter().filter(is_kept) {
            copy.extend_from_slice(header.line);
            copy.extend_from_slice(b"\r\n");
        }
        let rest =
            format!("Contact: <sip:{}>\r\nContent-Length: {}\r\n\r\n", self.sent_by, original.body.len());
        copy.extend_from_slice(rest.as_bytes());
        copy.extend_from_slice(original.body);
        copy
    }

    /// The CANCEL of the INVITE (RFC 3261 §9.1).
    pub fn cancel(&self) -> Vec<u8> {
        let reason = self.reason.as_ref().map(|reason| format!("Reason: {reason}\r\n")).unwrap_or_default();
        self.request("CANCEL", self.cseq, &self.target, "", &self.to, &reason)
    }

    /// The ACK for a final answer that is no 2xx (RFC 3261 §17.1.1.3).
    pub fn ack_failure(&self, answer: &Message<'_>) -> Vec<u8> {
        let to = answer.first("To").unwrap_or_else(|| self.to.clone());
        self.request("ACK", self.cseq, &self.target, "", &to, "")
    }

    /// The ACK for a 2xx, which is a transaction of its own (RFC 3261 §13.2.2.4).
    pub fn ack_success(&self, answer: &Message<'_>) -> Vec<u8> {
        self.within("ACK", self.cseq, "-ack", answer)
    }

    /// The BYE of a dialog that nobody wants.
    pub fn bye(&self, answer: &Message<'_>) -> Vec<u8> {
        self.within("BYE", self.cseq.saturating_add(1), "-bye", answer)
    }

    fn within(&self, method: &str, cseq: u32, suffix: &str, answer: &Message<'_>) -> Vec<u8> {
        let target = answer.remote_target().unwrap_or_else(|| self.target.clone());
        let to = answer.first("To").unwrap_or_else(|| self.to.clone());
        let routes = answer.route_set().iter().map(|route| format!("Route: {route}\r\n")).collect::<String>();
        self.request(method, cseq, &target, suffix, &to, &routes)
    }

    fn request(&self, method: &str, cseq: u32, uri: &str, suffix: &str, to: &str, more: &str) -> Vec<u8> {
        let start = self.start(method, uri, suffix);
        let Requests { from, call_id, .. } = self;
        let rest = format!(
            "From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: 0\r\n\r\n"
        );
        (start + &rest).into_bytes()
    }

    fn start(&self, method: &str, uri: &str, suffix: &str) -> String {
        let Requests { sent_by, branch, mark: (name, value), .. } = self;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {sent_by};branch={branch}{suffix};rport\r\n\
             Max-Forwards: {MAX_FORWARDS}\r\n{name}: {value}\r\n"
        )
    }
}

/// A 200 for a request of the phone's within the dialog, such as its own BYE.
pub(super) fn ok(request: &Message<'_>) -> Vec<u8> {
    let mut text = b"SIP/2.0 200 OK\r\n".to_vec();
    for header in &request.headers {
        if ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|name| header.is(name)) {
            text.extend_from_slice(header.line);
            text.extend_from_slice(b"\r\n");
        }
    }
    text.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    text
}
