//! A worker's end of the sender that is a process of its own.
//!
//! It refuses to wait longer than it was told, whatever the sender does: stopped, behind, or gone.

use super::depth::Depth;
use super::pending::Pending;
use super::wire::{Message, Order, Reply};
use super::{Hub, QuarantineAction, Refused};
use crate::clock::since_1970;
use crate::model::{Call, Push, Report};
use crate::process::seqpacket::{Address, Buffer, Link, MAX_MESSAGE_LEN};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The sender reports when the patience is over; this much later at the most the report is here, or the sender is stuck.
const SLACK: Duration = Duration::from_millis(250);

/// Room that is kept for messages, in bytes: those of users with some ten devices fit.
const LONG_MESSAGE_LEN: usize = 4096;

/// One process' connection to the sender.
pub(super) struct Remote {
    address: Address,
    depth: Arc<Depth>,
    wire: Mutex<Wire>,
}

struct Wire {
    link: Option<Link>,
    /// Room for what comes.
    buffer: Buffer,
    /// Room for what goes.
    message: Vec<u8>,
    last_id: u64,
}

impl Remote {
    pub(super) fn new(hub: &Hub) -> Remote {
        let wire = Wire::new();
        Remote { address: hub.address.clone(), depth: Arc::clone(&hub.depth), wire: Mutex::new(wire) }
    }

    /// Hands pushes over and waits for their report.
    pub(super) fn send(&self, pushes: Vec<Push>, patience: Duration) -> Result<Report, Refused> {
        let devices = pushes.len();
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.hand_over(&mut wire, pushes, Some(patience), Vec::new())?;
        wire.wait_for(id, devices, Instant::now() + patience + SLACK)
    }

    /// Hands pushes over and leaves; `note` is told to the host in the sender's process when the report is there.
    pub(super) fn queue(
        &self,
        pushes: Vec<Push>,
        patience: Option<Duration>,
        note: Vec<u8>,
    ) -> Result<(), Refused> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        self.hand_over(&mut wire, pushes, patience, note).map(|_| ())
    }

    /// Hands pushes over and leaves; the report comes on a connection of its own.
    pub(super) fn begin(&self, pushes: Vec<Push>, patience: Duration) -> Result<Pending, Refused> {
        let devices = pushes.len();
        let mut wire = Wire::new();
        self.hand_over(&mut wire, pushes, Some(patience), Vec::new())?;
        wire.link.map(|link| Pending::new(link, devices)).ok_or(Refused::Gone)
    }

    fn hand_over(
        &self,
        wire: &mut Wire,
        pushes: Vec<Push>,
        answer_within: Option<Duration>,
        note: Vec<u8>,
    ) -> Result<u64, Refused> {
        if !self.depth.has_room_for(&pushes) {
            return Err(Refused::QueueFull);
        }
        wire.last_id += 1;
        let id = wire.last_id;
        let order = Order { id, answer_within, note, handed_over_us: wall_clock_us(), pushes };
        self.say(wire, &Message::Order(order)).map(|()| id)
    }

    pub(super) fn give_up(&self, call: Call) -> Result<(), Refused> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(&mut wire, &Message::GiveUp(call, wall_clock_us()))
    }

    pub(super) fn quarantine(&self, action: QuarantineAction) -> Result<(), Refused> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(&mut wire, &Message::Quarantine(action))
    }

    pub(super) fn look_at_settings(&self) -> Result<(), Refused> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(&mut wire, &Message::LookAtSettings)
    }

    fn say(&self, wire: &mut Wire, message: &Message) -> Result<(), Refused> {
        wire.message.clear();
        // One very long message does not keep its room.
        wire.message.shrink_to(LONG_MESSAGE_LEN);
        message.encode(&mut wire.message);
        let len = wire.message.len();
        if len > MAX_MESSAGE_LEN {
            log::error!("a call to too many devices: its message would have {len} bytes");
            return Err(Refused::QueueFull);
        }
        match wire.send(&self.address) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Refused::QueueFull),
            Err(error) => {
                log::error!("the sender cannot be reached: {error}");
                Err(Refused::Gone)
            }
        }
    }
}

impl Wire {
    fn new() -> Wire {
        Wire { link: None, buffer: Buffer::new(), message: Vec::new(), last_id: 0 }
    }

    /// Sends the message that was made. Connects where needed, and once more where the connection has ended.
    fn send(&mut self, address: &Address) -> io::Result<()> {
        if let Some(link) = &self.link {
            match link.send(&self.message) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.link = None,
                done => return done,
            }
        }
        self.link.insert(Link::connect(address)?).send(&self.message)
    }

    fn wait_for(&mut self, id: u64, devices: usize, until: Instant) -> Result<Report, Refused> {
        let Wire { link: Some(link), buffer, .. } = self else { return Err(Refused::Gone) };
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let message = match link.receive(buffer, left) {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(Report { devices, results: Vec::new() }),
                Err(error) => {
                    log::error!("the sender has gone: {error}");
                    self.link = None;
                    return Err(Refused::Gone);
                }
            };
            match Reply::decode(message) {
                Ok(reply) if reply.id == id => return reply.report.ok_or(Refused::QueueFull),
                // Late, for a call that was given up.
                Ok(_) => {}
                Err(_) => log::error!("the sender's reply cannot be understood"),
            }
        }
    }
}

pub(super) fn wall_clock_us() -> u64 {
    u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX)
}
