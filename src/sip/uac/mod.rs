//! A user agent that calls only to hang up: it tells a phone that woke late about a call that is over, by the INVITE of that call
//! followed by its CANCEL, so that the phone stops ringing and lists the call as it ended.
//!
//! It refuses to send anything: bytes and times come in, bytes and times go out.

mod message;
mod requests;

pub use requests::{LateCall, Unusable};

use message::Message;
use requests::Requests;
use std::time::{Duration, Instant};

/// T1 and T2 (RFC 3261 §17.1.1.1): the first and the longest pause before a request is repeated.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// 64*T1: timers B and F, after which nobody answers any more, and D, for which a final answer may be repeated.
const PATIENCE: Duration = Duration::from_secs(32);
/// How long after the server's own 100 the CANCEL follows. Earlier, Kamailio may not have a branch yet: it then answers 487
/// itself, and the phone never sees the INVITE (seen with 5.6.3).
const AFTER_100: Duration = Duration::from_millis(300);

/// How it came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The phone was told: it got the INVITE and the CANCEL.
    Cancelled,
    /// The phone had answered at once; the call was ended by a BYE.
    Answered,
    /// The server or the phone refused the INVITE.
    Refused(u16),
    /// Nobody answered at all.
    Silent,
}

/// One such call.
#[derive(Debug)]
pub struct Uac {
    requests: Requests,
    state: State,
    /// The request that is repeated until it is answered.
    repeated: Option<Repeated>,
    /// When nothing is expected any more.
    over_at: Instant,
    end: Option<End>,
}

#[derive(Debug)]
enum State {
    /// The INVITE is under way.
    Calling,
    /// The server has it.
    Proceeding { cancel_at: Instant },
    /// The CANCEL is under way.
    Cancelling,
    /// There is a final answer, whose ACK is this.
    Ended { ack: Vec<u8> },
}

#[derive(Debug)]
struct Repeated {
    request: Vec<u8>,
    at: Instant,
    pause: Duration,
    /// An INVITE's pause doubles without a bound (timer A), that of others up to T2 (timer E).
    longest: Duration,
}

impl Uac {
    /// Starts the call. The INVITE is to be sent at once.
    ///
    /// # Errors
    /// Why this call cannot be told of.
    pub fn new(call: &LateCall<'_>, now: Instant) -> Result<(Uac, Vec<u8>), Unusable> {
        let (requests, invite) = Requests::new(call)?;
        let repeated = Some(Repeated { request: invite.clone(), at: now + T1, pause: T1, longest: PATIENCE });
        let uac = Uac { requests, state: State::Calling, repeated, over_at: now + PATIENCE, end: None };
        Ok((uac, invite))
    }

    /// When [`Uac::woken`] is to be called; `None` when all is over.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let cancel_at = match self.state {
            State::Proceeding { cancel_at } => Some(cancel_at),
            _ => None,
        };
        let repeat_at = self.repeated.as_ref().map(|repeated| repeated.at);
        let first = [cancel_at, repeat_at].into_iter().flatten().fold(self.over_at, Instant::min);
        (now < self.over_at).then_some(first)
    }

    /// How it came out, as soon as that is known.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// A time has come: what is to be sent.
    pub fn woken(&mut self, now: Instant) -> Option<Vec<u8>> {
        if now >= self.over_at {
            self.repeated = None;
            self.end.get_or_insert(End::Silent);
            return None;
        }
        if let State::Proceeding { cancel_at } = self.state
            && cancel_at <= now
        {
            return Some(self.cancel(now));
        }
        let repeated = self.repeated.as_mut().filter(|repeated| repeated.at <= now)?;
        repeated.pause = (repeated.pause * 2).min(repeated.longest);
        repeated.at = now + repeated.pause;
        Some(repeated.request.clone())
    }

    /// Bytes have arrived: what is to be sent, in this order. Those of other calls are left alone.
    pub fn received(&mut self, bytes: &[u8], now: Instant) -> Vec<Vec<u8>> {
        let Some(message) = Message::parse(bytes) else { return Vec::new() };
        let (Some(status), Some(branch)) = (message.status(), message.branch()) else { return Vec::new() };
        let Some(suffix) = branch.strip_prefix(&self.requests.branch) else { return Vec::new() };
        let Some((_, method)) = message.cseq() else { return Vec::new() };
        match (suffix, method.as_str(), status) {
            ("", "INVITE", 100) => self.proceed(now),
            ("", "INVITE", 101..200) => self.rings(now).into_iter().collect(),
            ("", "INVITE", 200..300) => self.answered(&message, now),
            ("", "INVITE", _) => self.refused(&message, status, now),
            ("", "CANCEL", 200..) | ("-bye", "BYE", 200..) => self.was_heard(&method),
            _ => Vec::new(),
        }
    }

    fn proceed(&mut self, now: Instant) -> Vec<Vec<u8>> {
        if matches!(self.state, State::Calling) {
            self.state = State::Proceeding { cancel_at: now + AFTER_100 };
            self.repeated = None;
        }
        Vec::new()
    }

    fn rings(&mut self, now: Instant) -> Option<Vec<u8>> {
        matches!(self.state, State::Calling | State::Proceeding { .. }).then(|| self.cancel(now))
    }

    fn cancel(&mut self, now: Instant) -> Vec<u8> {
        self.state = State::Cancelling;
        self.repeat(self.requests.cancel(), now)
    }

    fn answered(&mut self, answer: &Message<'_>, now: Instant) -> Vec<Vec<u8>> {
        if let State::Ended { ack } = &self.state {
            return vec![ack.clone()];
        }
        let ack = self.requests.ack_success(answer);
        self.ended(End::Answered, ack.clone(), now);
        let bye = self.repeat(self.requests.bye(answer), now);
        vec![ack, bye]
    }

    fn refused(&mut self, answer: &Message<'_>, status: u16, now: Instant) -> Vec<Vec<u8>> {
        if let State::Ended { ack } = &self.state {
            return vec![ack.clone()];
        }
        let ack = self.requests.ack_failure(answer);
        let end = if status == 487 { End::Cancelled } else { End::Refused(status) };
        self.ended(end, ack.clone(), now);
        vec![ack]
    }

    fn ended(&mut self, end: End, ack: Vec<u8>, now: Instant) {
        (self.state, self.end) = (State::Ended { ack }, Some(end));
        (self.repeated, self.over_at) = (None, now + PATIENCE);
    }

    /// CANCEL or BYE has its answer, which changes nothing else.
    fn was_heard(&mut self, method: &str) -> Vec<Vec<u8>> {
        let is_it = |repeated: &mut Repeated| repeated.request.starts_with(method.as_bytes());
        self.repeated.take_if(is_it);
        Vec::new()
    }

    fn repeat(&mut self, request: Vec<u8>, now: Instant) -> Vec<u8> {
        self.over_at = now + PATIENCE;
        self.repeated = Some(Repeated { request: request.clone(), at: now + T1, pause: T1, longest: T2 });
        request
    }
}

/// What these bytes are an answer to: the name of a call, as it was given in [`LateCall`]. `None` where they are none.
pub fn name_in(bytes: &[u8]) -> Option<String> {
    let message = Message::parse(bytes)?;
    message.status()?;
    let branch = message.branch()?;
    let name = branch.strip_prefix("z9hG4bK")?;
    let name = name.strip_suffix("-ack").or_else(|| name.strip_suffix("-bye")).unwrap_or(name);
    Some(name.to_owned())
}

/// What to answer a request of a phone that believes that the call goes on: its own BYE gets a 200.
pub fn answer_to_request(bytes: &[u8]) -> Option<Vec<u8>> {
    let message = Message::parse(bytes)?;
    (message.method() == Some("BYE")).then(|| requests::ok(&message))
}

#[cfg(test)]
mod tests;
