//! A note on its way: text with NULs between its parts.
//!
//! It refuses what it does not understand: both ends are the same file in the same server, so that would be a bug.

use super::{CallId, Doubt, Doubted, End, Follow, Note, Park, Remember, Wake, What};
use std::time::Duration;

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

impl End {
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
