//! What a worker wants the sender's process to do: one message each, as text with NULs between its parts.
//!
//! It refuses what it does not understand: both ends are the same file in the same server, so that would be a bug.

use super::waiting::Moment;
use crate::model::Media;
use std::net::SocketAddr;
use std::time::Duration;

/// The server's name for a call that is suspended, or that can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CallId {
    /// Row of the transaction in the server's table.
    pub index: u32,
    /// Its number in that row.
    pub label: u32,
}

/// A call that was suspended until a phone of its user registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Park {
    /// Whose phone.
    pub user: String,
    pub sip_call_id: String,
    pub id: CallId,
    /// Where it goes on.
    pub route: String,
    /// How long it waits.
    pub within: Duration,
    /// Registrations from this moment on may have been missed by its own look for contacts.
    pub missed_since: Moment,
    /// It was counted in [`super::waiting::Waiting`] for this note.
    pub is_counted: bool,
    /// A phone has declined it, and it waits for others that were pushed and have not come yet, and for nothing else.
    pub awaits: bool,
}

/// A call that rings; phones that register are to ring too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Follow {
    pub user: String,
    pub sip_call_id: String,
    pub id: CallId,
    /// Registrations from this moment on may have been missed by its own look for contacts.
    pub missed_since: Moment,
    /// It was counted in [`super::waiting::Waiting`] for this note.
    pub is_counted: bool,
    /// The contacts that it went to since, as the registrar names them.
    pub rung: Vec<String>,
}

/// A phone that has registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wake {
    pub user: String,
    /// The address that it has registered for, as the registrar knows it.
    pub aor: String,
    pub moment: Moment,
    /// Whether the registrar says which contacts the user has now.
    pub tells_contacts: bool,
    /// All of them, as it names them, each with its place.
    pub contacts: Vec<String>,
    /// What distinguishes the phone from the user's others, as far as it says.
    pub phone: String,
    /// So many of them, from the first, are those of this registration.
    pub registered: usize,
}

/// The registrar's name of a contact, without its place.
pub(super) fn ruid_of(contact: &str) -> &str {
    contact.split(' ').next().unwrap_or(contact)
}

impl Wake {
    /// The same with contacts by the registrar's names alone.
    pub fn without_places(&self) -> Wake {
        let contacts = self.contacts.iter().map(|contact| ruid_of(contact).to_owned()).collect();
        Wake { contacts, ..self.clone() }
    }

    /// The contacts of this registration.
    pub fn registered(&self) -> &[String] {
        self.contacts.get(..self.registered).unwrap_or_default()
    }
}

/// A call that phones were pushed for, so that one that comes late can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remember {
    pub user: String,
    pub sip_call_id: String,
    pub id: CallId,
    /// Registrations before this moment were before it has looked for contacts, or, where that is not known, before its pushes.
    pub since: Moment,
    /// How many devices were pushed to.
    pub devices: usize,
    /// The INVITE as it came in.
    pub invite: Vec<u8>,
    /// Where it came in, if that was a UDP socket.
    pub received_on: Option<SocketAddr>,
}

/// A call went to phones that are taken to be awake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    pub user: String,
    pub sip_call_id: String,
    pub id: CallId,
    pub caller: String,
    pub what: What,
    /// How long they may say nothing.
    pub within: Duration,
    pub phones: Vec<Doubted>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubted {
    pub device_id: String,
    /// The branches of the call that may be at this phone, by their numbers.
    pub branches: Vec<u32>,
}

/// What a push would be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Audio,
    Video,
    Message,
    /// A request within a dialog with one device.
    Dialog,
}

impl From<Media> for What {
    fn from(media: Media) -> What {
        if media.is_video() { What::Video } else { What::Audio }
    }
}

impl What {
    const ALL: [(What, &str); 4] = [
        (What::Audio, "audio"),
        (What::Video, "video"),
        (What::Message, "message"),
        (What::Dialog, "dialog"),
    ];

    fn word(self) -> &'static str {
        What::ALL.iter().find(|(what, _)| *what == self).map_or("", |(_, word)| word)
    }

    fn parse(word: &str) -> Option<What> {
        What::ALL.iter().find(|(_, its)| *its == word).map(|(what, _)| *what)
    }
}

impl Doubt {
    fn encode(&self) -> String {
        let (id, within) = (self.id.words(), self.within.as_millis().to_string());
        // A caller is the one text that may be anything.
        let caller = self.caller.replace('\0', " ");
        let head =
            ["doubt", &self.user, &self.sip_call_id, &id, &caller, self.what.word(), &within].join("\0");
        let numbers = |branches: &[u32]| branches.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let phones =
            self.phones.iter().map(|phone| ["", &phone.device_id, &numbers(&phone.branches)].join("\0"));
        std::iter::once(head).chain(phones).collect()
    }

    fn parse_phones(parts: &[&str]) -> Option<Vec<Doubted>> {
        let phone = |pair: &[&str]| {
            let [device_id, numbers] = pair else { return None };
            let branches = numbers.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
            Some(Doubted { device_id: owned(device_id), branches })
        };
        parts.chunks(2).map(phone).collect()
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// A phone has answered.
    Answered,
    /// The caller has hung up, with this Reason header or without one.
    Cancelled(Option<String>),
    /// The caller got this status.
    Failed(u16),
}

impl End {
    /// Of two ends of a call the higher one tells what happened.
    pub fn rank(&self) -> u8 {
        match self {
            End::Answered => 2,
            End::Cancelled(_) => 1,
            End::Failed(_) => 0,
        }
    }

    fn words(&self) -> [String; 2] {
        match self {
            End::Answered => ["answered".to_owned(), String::new()],
            End::Cancelled(reason) => ["cancelled".to_owned(), reason.clone().unwrap_or_default()],
            End::Failed(status) => ["failed".to_owned(), status.to_string()],
        }
    }

    fn parse(kind: &str, detail: &str) -> Option<End> {
        Some(match kind {
            "answered" => End::Answered,
            "cancelled" => End::Cancelled(Some(detail.to_owned()).filter(|reason| !reason.is_empty())),
            "failed" => End::Failed(detail.parse().ok()?),
            _ => return None,
        })
    }
}

/// What is to be done in the sender's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// A call was queued: its report is for the event route, and for the call itself where it is parked.
    Queued { user: String, sip_call_id: String, id: Option<CallId> },
    /// A call was suspended until its report is there: it goes on in this route.
    Async { user: String, sip_call_id: String, id: CallId, route: String },
    /// A call was suspended until a phone registers.
    Park(Park),
    /// A call rings; phones that register are to ring too.
    Follow(Follow),
    /// A phone has registered.
    Wake(Wake),
    /// A call went to a contact.
    /// The contact is named by the registrar's name and its place.
    Rung { id: CallId, contact: String },
    /// A phone rings.
    Rings { id: CallId },
    /// A call is over.
    Over { id: CallId, end: End },
    /// A call went to phones that are taken to be awake.
    Doubt(Doubt),
    /// The phone at the end of this branch of a call has answered.
    Answers { id: CallId, branch: u32 },
    /// Phones were pushed for a call.
    Remember(Remember),
    /// An administrator lets all calls that wait go on, as when the server stops.
    Release,
}

impl Note {
    /// The note as bytes. None of its texts has a NUL in it: arguments are checked for that.
    pub fn encode(&self) -> Vec<u8> {
        let text = match self {
            Note::Queued { user, sip_call_id, id } => {
                let id = id.map(|id| id.words()).unwrap_or_default();
                ["queued", user, sip_call_id, &id].join("\0")
            }
            Note::Async { user, sip_call_id, id, route } => {
                ["async", user, sip_call_id, &id.words(), route].join("\0")
            }
            Note::Park(Park { user, sip_call_id, id, route, within, missed_since, is_counted, awaits }) => {
                let (within, at) = (within.as_millis().to_string(), missed_since.to_string());
                let id = id.words();
                let (counted, awaits) = (flag(*is_counted), flag(*awaits));
                ["park", user, sip_call_id, &id, route, &within, &at, counted, awaits].join("\0")
            }
            Note::Follow(Follow { user, sip_call_id, id, missed_since, is_counted, rung }) => {
                let (id, since) = (id.words(), missed_since.to_string());
                let rung = rung.iter().map(String::as_str);
                let parts = ["follow", user, sip_call_id, &id, &since, flag(*is_counted)];
                let parts = parts.into_iter().chain(rung);
                parts.collect::<Vec<&str>>().join("\0")
            }
            Note::Wake(Wake { user, aor, moment, tells_contacts, contacts, phone, registered }) => {
                let (moment, tells) = (moment.to_string(), flag(*tells_contacts));
                let registered = registered.to_string();
                let contacts = contacts.iter().map(String::as_str);
                let parts: Vec<&str> = ["wake", user, aor, phone, &moment, tells, &registered]
                    .into_iter()
                    .chain(contacts)
                    .collect();
                parts.join("\0")
            }
            Note::Rings { id } => ["rings", &id.words()].join("\0"),
            Note::Rung { id, contact } => ["rung", &id.words(), contact].join("\0"),
            Note::Over { id, end } => {
                let [kind, detail] = end.words();
                ["over", &id.words(), &kind, &detail].join("\0")
            }
            Note::Remember(remember) => return remember.encode(),
            Note::Release => "release".to_owned(),
            Note::Doubt(doubt) => doubt.encode(),
            Note::Answers { id, branch } => ["answers", &id.words(), &branch.to_string()].join("\0"),
        };
        text.into_bytes()
    }

    /// The note that these bytes are, if they are one.
    pub fn decode(bytes: &[u8]) -> Option<Note> {
        if let Some(rest) = bytes.strip_prefix(REMEMBER) {
            return Remember::decode(rest).map(Note::Remember);
        }
        let text = std::str::from_utf8(bytes).ok()?;
        // Room for what most notes have, or it would be made three times.
        let mut parts: Vec<&str> = Vec::with_capacity(8);
        parts.extend(text.split('\0'));
        Some(match parts.as_slice() {
            ["queued", user, call, ""] => {
                Note::Queued { user: owned(user), sip_call_id: owned(call), id: None }
            }
            ["queued", user, call, id] => {
                Note::Queued { user: owned(user), sip_call_id: owned(call), id: Some(CallId::parse(id)?) }
            }
            ["async", user, call, id, route] => Note::Async {
                user: owned(user),
                sip_call_id: owned(call),
                id: CallId::parse(id)?,
                route: owned(route),
            },
            ["park", user, call, id, route, within, at, counted, awaits] => Note::Park(Park {
                user: owned(user),
                sip_call_id: owned(call),
                id: CallId::parse(id)?,
                route: owned(route),
                within: Duration::from_millis(within.parse().ok()?),
                missed_since: at.parse().ok()?,
                is_counted: *counted == "1",
                awaits: *awaits == "1",
            }),
            ["follow", user, call, id, since, counted, rung @ ..] => Note::Follow(Follow {
                user: owned(user),
                sip_call_id: owned(call),
                id: CallId::parse(id)?,
                missed_since: since.parse().ok()?,
                is_counted: *counted == "1",
                rung: rung.iter().map(|contact| owned(contact)).collect(),
            }),
            ["wake", user, aor, phone, moment, tells, registered, contacts @ ..] => Note::Wake(Wake {
                user: owned(user),
                aor: owned(aor),
                phone: owned(phone),
                moment: moment.parse().ok()?,
                tells_contacts: *tells == "1",
                registered: registered.parse().ok()?,
                contacts: contacts.iter().map(|contact| owned(contact)).collect(),
            }),
            ["rings", id] => Note::Rings { id: CallId::parse(id)? },
            ["rung", id, contact] => Note::Rung { id: CallId::parse(id)?, contact: owned(contact) },
            ["release"] => Note::Release,
            ["doubt", user, call, id, caller, what, within, phones @ ..] => Note::Doubt(Doubt {
                user: owned(user),
                sip_call_id: owned(call),
                id: CallId::parse(id)?,
                caller: owned(caller),
                what: What::parse(what)?,
                within: Duration::from_millis(within.parse().ok()?),
                phones: Doubt::parse_phones(phones)?,
            }),
            ["answers", id, branch] => Note::Answers { id: CallId::parse(id)?, branch: branch.parse().ok()? },
            ["over", id, kind, detail] => {
                Note::Over { id: CallId::parse(id)?, end: End::parse(kind, detail)? }
            }
            _ => return None,
        })
    }
}

/// The only note with bytes in it, which stand last: an INVITE need not be text, and may have a NUL.
const REMEMBER: &[u8] = b"remember\0";

impl Remember {
    fn encode(&self) -> Vec<u8> {
        let received_on = self.received_on.map(|address| address.to_string()).unwrap_or_default();
        let (id, since, devices) = (self.id.words(), self.since.to_string(), self.devices.to_string());
        let text = [&self.user, &self.sip_call_id, &id, &since, &devices, &received_on, ""].join("\0");
        [REMEMBER, text.as_bytes(), &self.invite].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Remember> {
        let mut parts = bytes.splitn(7, |byte| *byte == 0);
        let mut text = || std::str::from_utf8(parts.next()?).ok();
        let (user, sip_call_id, id) = (owned(text()?), owned(text()?), CallId::parse(text()?)?);
        let (since, devices, received_on) = (text()?.parse().ok()?, text()?.parse().ok()?, text()?);
        let received_on = if received_on.is_empty() { None } else { Some(received_on.parse().ok()?) };
        Some(Remember { user, sip_call_id, id, since, devices, invite: parts.next()?.to_vec(), received_on })
    }
}

fn flag(is_set: bool) -> &'static str {
    if is_set { "1" } else { "0" }
}

fn owned(text: &str) -> String {
    text.to_owned()
}

impl CallId {
    fn words(self) -> String {
        format!("{} {}", self.index, self.label)
    }

    fn parse(words: &str) -> Option<CallId> {
        let (index, label) = words.split_once(' ')?;
        Some(CallId { index: index.parse().ok()?, label: label.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_arrives_as_it_was_sent() {
        let id = CallId { index: 65_535, label: u32::MAX };
        let (user, sip_call_id) = ("bob".to_owned(), "a b@c".to_owned());
        for note in [
            Note::Queued { user: user.clone(), sip_call_id: sip_call_id.clone(), id: None },
            Note::Queued { user: user.clone(), sip_call_id: sip_call_id.clone(), id: Some(id) },
            Note::Follow(Follow {
                user: user.clone(),
                sip_call_id: sip_call_id.clone(),
                id,
                missed_since: 3,
                is_counted: true,
                rung: vec!["a".to_owned()],
            }),
            Note::Rings { id },
            Note::Rung { id, contact: "uloc-1".to_owned() },
            Note::Over { id, end: End::Answered },
            Note::Over { id, end: End::Cancelled(None) },
            Note::Over { id, end: End::Cancelled(Some("SIP;cause=487".to_owned())) },
            Note::Over { id, end: End::Failed(480) },
            Note::Remember(Remember {
                user: user.clone(),
                sip_call_id: sip_call_id.clone(),
                id,
                since: 7,
                devices: 3,
                invite: b"\xff\0x\0\0".to_vec(),
                received_on: None,
            }),
            Note::Remember(Remember {
                user: user.clone(),
                sip_call_id: sip_call_id.clone(),
                id,
                since: 0,
                devices: 0,
                invite: Vec::new(),
                received_on: Some(([127, 0, 0, 1], 5060).into()),
            }),
            Note::Release,
            Note::Answers { id, branch: 3 },
            Note::Doubt(Doubt {
                user: user.clone(),
                sip_call_id: sip_call_id.clone(),
                id,
                caller: "\"A\" <sip:a@b>;tag=x".to_owned(),
                what: What::Message,
                within: Duration::from_millis(1500),
                phones: vec![
                    Doubted { device_id: String::new(), branches: vec![0, 12] },
                    Doubted { device_id: "sip:<urn:x>".to_owned(), branches: vec![1] },
                ],
            }),
            Note::Wake(Wake {
                user: user.clone(),
                aor: "sip:b".to_owned(),
                moment: 7,
                tells_contacts: false,
                contacts: vec![],
                phone: "p".to_owned(),
                registered: 0,
            }),
            Note::Wake(Wake {
                user: user.clone(),
                aor: "sip:b".to_owned(),
                moment: u64::MAX,
                tells_contacts: true,
                contacts: vec!["a".to_owned(), "b".to_owned()],
                phone: String::new(),
                registered: 1,
            }),
            Note::Park(Park {
                user: user.clone(),
                sip_call_id: sip_call_id.clone(),
                id,
                route: "WOKEN".to_owned(),
                within: Duration::from_secs(15),
                missed_since: 9,
                is_counted: false,
                awaits: true,
            }),
            Note::Async { user, sip_call_id, id, route: "PUSHED".into() },
        ] {
            assert_eq!(Note::decode(&note.encode()), Some(note));
        }
        for garbage in [&b"queued"[..], b"", b"\xff", b"async\0u\0c\0x 1\0R", b"queued\0u\0c\0-1 2"] {
            assert_eq!(Note::decode(garbage), None);
        }
    }
}
