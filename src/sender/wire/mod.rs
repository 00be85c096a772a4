//! How a call travels from a worker to the sender's process and its report back: one message each, binary, little-endian.
//!
//! It refuses what it does not understand, whole: both ends are the same file in the same server, so a difference
//! is a bug and not a version.

mod bytes;
mod reply;

pub(super) use bytes::Garbled;
pub(super) use reply::Reply;

use super::QuarantineAction;
use crate::model::{
    Alert, Call, Caller, Device, Environment, Kind, Media, Platform, Provider, Push, Token, User,
};
use bytes::{Reader, Writer, code, known};
use std::time::Duration;

/// What a worker hands over.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// The worker's number for it; comes back with the report.
    pub id: u64,
    /// How long a report is waited for; `None` where nobody wants one.
    pub answer_within: Option<Duration>,
    /// What the host wants to be told when the report is there; empty for nothing.
    pub note: Vec<u8>,
    /// When it was handed over, in µs since 1970.
    pub handed_over_us: u64,
    /// The pushes, all of one call.
    pub pushes: Vec<Push>,
}

/// Everything that a worker, or an administrator's command in another process, may say.
#[derive(Debug, Clone)]
pub(super) enum Message {
    Order(Order),
    /// The pushes of a call are needed no more, those that were handed over until then, in µs since 1970.
    GiveUp(Call, u64),
    Quarantine(QuarantineAction),
    /// Other settings may be in force.
    LookAtSettings,
}

const ORDER: u8 = 0;
const RELEASE: u8 = 1;
const DROP: u8 = 2;
const GIVE_UP: u8 = 3;
const LOOK_AT_SETTINGS: u8 = 4;

impl Message {
    /// Puts it behind what is in `out`, which a sender empties and keeps.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut out = Writer(out);
        match self {
            Message::Order(order) => order.encode(&mut out),
            Message::GiveUp(call, told_at_us) => encode_give_up(&mut out, call, *told_at_us),
            Message::Quarantine(QuarantineAction::Release) => out.u8(RELEASE),
            Message::Quarantine(QuarantineAction::Drop) => out.u8(DROP),
            Message::LookAtSettings => out.u8(LOOK_AT_SETTINGS),
        }
    }

    pub(super) fn decode(message: &[u8]) -> Result<Message, Garbled> {
        match message {
            [ORDER, rest @ ..] => Order::decode(rest).map(Message::Order),
            [GIVE_UP, rest @ ..] => decode_give_up(rest),
            [RELEASE] => Ok(Message::Quarantine(QuarantineAction::Release)),
            [DROP] => Ok(Message::Quarantine(QuarantineAction::Drop)),
            [LOOK_AT_SETTINGS] => Ok(Message::LookAtSettings),
            _ => Err(Garbled),
        }
    }
}

fn encode_give_up(out: &mut Writer<'_>, call: &Call, told_at_us: u64) {
    out.u8(GIVE_UP);
    out.u64(told_at_us);
    out.text(call.callee.as_str());
    out.text(&call.call_id);
}

fn decode_give_up(rest: &[u8]) -> Result<Message, Garbled> {
    let mut from = Reader(rest);
    let told_at_us = from.u64()?;
    let call = Call::parse(from.text()?, "", from.text()?)?;
    from.end()?;
    Ok(Message::GiveUp(call, told_at_us))
}

impl Order {
    fn encode(&self, out: &mut Writer<'_>) {
        out.u8(ORDER);
        out.u64(self.id);
        out.u64(self.handed_over_us);
        out.u64(self.answer_within.map_or(0, |within| within.as_micros().max(1) as u64));
        out.bytes(&self.note);
        out.u32(self.pushes.len() as u32);
        if let Some(first) = self.pushes.first() {
            out.text(first.call.callee.as_str());
            // Its parts, and not the text that they are from: a name may look like a header of its own.
            first.call.caller.parts().iter().for_each(|part| out.text(part));
            out.text(&first.call.call_id);
            out.u8(code(&Media::ALL, &first.call.media));
            out.u64(first.expires_at_s as u64);
            out.u64(first.ring.as_millis() as u64);
            out.u8(u8::from(first.is_stored));
        }
        for push in &self.pushes {
            out.u8(code(&Kind::ALL, &push.kind));
            encode_device(out, &push.device);
        }
    }

    fn decode(message: &[u8]) -> Result<Order, Garbled> {
        let mut from = Reader(message);
        let (id, handed_over_us, within_us) = (from.u64()?, from.u64()?, from.u64()?);
        let note = from.bytes()?.to_vec();
        let count = from.u32()?;
        let pushes = if count == 0 { Vec::new() } else { decode_pushes(&mut from, count)? };
        from.end()?;
        let answer_within = Some(Duration::from_micros(within_us)).filter(|within| !within.is_zero());
        Ok(Order { id, answer_within, note, handed_over_us, pushes })
    }
}

fn decode_pushes(from: &mut Reader<'_>, count: u32) -> Result<Vec<Push>, Garbled> {
    let (callee, caller, call_id) = (from.text()?, decode_caller(from)?, from.text()?);
    let call = Call::new(callee, caller, call_id, known(&Media::ALL, from.u8()?)?)?;
    let (expires_at_s, ring) = (from.u64()? as i64, Duration::from_millis(from.u64()?));
    let is_stored = from.u8()? == 1;
    // Room for exactly so many: a list that grows by itself begins with four, which is a kilobyte for each call.
    let mut pushes = Vec::with_capacity(count.min(MOST_AT_ONCE) as usize);
    for _ in 0..count {
        let kind = known(&Kind::ALL, from.u8()?)?;
        let device = decode_device(from, &call.callee)?;
        pushes.push(Push::new(call.clone(), device, expires_at_s, ring, is_stored).of_kind(kind));
    }
    Ok(pushes)
}

/// For more pushes than these no room is made before they are there.
const MOST_AT_ONCE: u32 = 32;

fn decode_caller(from: &mut Reader<'_>) -> Result<Caller, Garbled> {
    Ok(Caller::new(from.text()?, from.text()?, from.text()?))
}

fn encode_device(out: &mut Writer<'_>, device: &Device) {
    out.text(&device.device_id);
    out.u8(code(&[Platform::Ios, Platform::Android], &device.platform));
    out.u8(code(&Provider::ALL, &device.provider()));
    out.text(device.token.expose());
    out.text(device.app.as_deref().unwrap_or_default());
    out.u8(code(&ENVIRONMENTS, &device.environment));
    out.u64(device.registered_at_ms as u64);
    out.u64(device.expires_at_ms.unwrap_or(NEVER) as u64);
    // An empty text where there is none; a token is never empty.
    let Some(alert) = &device.alert else { return out.text("") };
    out.text(alert.token.expose());
    out.u8(code(&Provider::ALL, &alert.token.provider()));
    out.text(alert.app.as_deref().unwrap_or_default());
}

fn decode_device(from: &mut Reader<'_>, user: &User) -> Result<Device, Garbled> {
    let device_id = from.text()?.to_owned();
    let platform = known(&[Platform::Ios, Platform::Android], from.u8()?)?;
    let provider = known(&Provider::ALL, from.u8()?)?;
    Ok(Device {
        user: user.clone(),
        device_id,
        platform,
        token: Token::parse(provider, from.text()?)?,
        app: Some(from.text()?.to_owned()).filter(|app| !app.is_empty()),
        environment: known(&ENVIRONMENTS, from.u8()?)?,
        registered_at_ms: from.u64()? as i64,
        expires_at_ms: Some(from.u64()? as i64).filter(|at| *at != NEVER),
        alert: decode_alert(from)?,
    })
}

fn decode_alert(from: &mut Reader<'_>) -> Result<Option<Box<Alert>>, Garbled> {
    let token = from.text()?;
    if token.is_empty() {
        return Ok(None);
    }
    let token = Token::parse(known(&Provider::ALL, from.u8()?)?, token)?;
    let app = Some(from.text()?.to_owned()).filter(|app| !app.is_empty());
    Ok(Some(Box::new(Alert { token, app })))
}

/// An expiry that does not come.
const NEVER: i64 = i64::MAX;

const ENVIRONMENTS: [Option<Environment>; 3] =
    [None, Some(Environment::Production), Some(Environment::Sandbox)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::push_to;
    use proptest::prelude::*;

    fn order() -> Order {
        let caller = "\"<sip:a@b>\" <sip:+4930123@example.org>";
        let mut second = push_to("ios", &"cd".repeat(32), caller);
        second.call.media = Media::Video;
        second.device.device_id = "second".to_owned();
        second.kind = Kind::Ended(crate::model::Ended::AnsweredElsewhere);
        second.device.app = Some("org.example.phone.voip".to_owned());
        second.device.environment = Some(Environment::Sandbox);
        second.device.expires_at_ms = Some(1_900_000_000_000);
        let token = Token::parse(Provider::Apns, &"ef".repeat(32)).unwrap();
        second.device.alert = Some(Box::new(Alert { token, app: Some("org.example.phone".to_owned()) }));
        let mut first = push_to("ios", &"ab".repeat(32), caller);
        first.call.media = Media::Video;
        let answer_within = Some(Duration::from_millis(800));
        Order {
            id: 7,
            answer_within,
            note: b"note".to_vec(),
            handed_over_us: 11,
            pushes: vec![first, second],
        }
    }

    fn encoded(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        out
    }

    fn sent_and_read(order: Order) -> Order {
        match Message::decode(&encoded(&Message::Order(order))) {
            Ok(Message::Order(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_administrators_word_arrives_as_it_was_said() {
        for action in [QuarantineAction::Release, QuarantineAction::Drop] {
            let read = Message::decode(&encoded(&Message::Quarantine(action)));
            assert!(matches!(read, Ok(Message::Quarantine(read)) if read == action));
        }
    }

    #[test]
    fn a_call_that_is_given_up_arrives_as_it_was_said() {
        let call = Call::parse("bob", "", "c1@x").unwrap();
        let read = Message::decode(&encoded(&Message::GiveUp(call.clone(), 5)));
        assert!(matches!(read, Ok(Message::GiveUp(read, 5)) if read == call));
    }

    #[test]
    fn an_order_arrives_as_it_was_sent() {
        let (sent, got) = (order(), sent_and_read(order()));
        assert_eq!((got.id, got.answer_within, &got.note), (sent.id, sent.answer_within, &sent.note));
        assert_eq!(got.handed_over_us, sent.handed_over_us);
        for (sent, got) in sent.pushes.iter().zip(&got.pushes) {
            assert_eq!((&sent.call, &sent.device, sent.ring), (&got.call, &got.device, got.ring));
            assert_eq!(
                (sent.expires_at_s, sent.is_stored, sent.kind),
                (got.expires_at_s, got.is_stored, got.kind)
            );
        }
        let empty = Order { answer_within: None, pushes: Vec::new(), ..order() };
        let got = sent_and_read(empty);
        assert!(got.pushes.is_empty() && got.answer_within.is_none());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::decode(&garbage);
        }

        #[test]
        fn a_cut_message_is_refused(cut in 0usize..400) {
            let whole = encoded(&Message::Order(order()));
            if cut < whole.len() {
                prop_assert!(Message::decode(&whole[..cut]).is_err());
            }
        }
    }
}
