//! What a worker wants the sender's process to do.
//!
//! It refuses to do it: the sender's process does.

mod text;

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
