//! A call's report that is fetched once a descriptor says that it is there, for workers with an event loop of their own.
//!
//! It refuses to be late for somebody else: each call has a connection of its own, which is closed when nobody waits any more.

use super::Refused;
use super::wire::Reply;
use crate::model::Report;
use crate::process::seqpacket::{Buffer, Link};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A call under way in the sender's process. Its descriptor is readable once its report is there, or the sender has gone.
pub struct Pending {
    link: Link,
    devices: usize,
}

impl Pending {
    pub(super) fn new(link: Link, devices: usize) -> Pending {
        Pending { link, devices }
    }

    /// The report, as soon as it is there; `None` when it is not within the time.
    ///
    /// # Errors
    /// The sender did not take the call, or has gone.
    pub fn fetch(&self, patience: Duration) -> Result<Option<Report>, Refused> {
        let mut buffer = Buffer::new();
        match self.link.receive(&mut buffer, patience) {
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Ok(Some(message)) => match Reply::decode(message) {
                Ok(reply) => reply.report.map(Some).ok_or(Refused::QueueFull),
                Err(_) => Err(Refused::Gone),
            },
            Err(error) => {
                log::error!("the sender has gone: {error}");
                Err(Refused::Gone)
            }
        }
    }

    /// How many devices are being pushed to.
    pub fn devices(&self) -> usize {
        self.devices
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}
