//! A phone's TCP connection, which never blocks: what cannot be sent yet is sent later, and what was sent on one that breaks is lost.
//!
//! It refuses to open a connection again by itself.

use super::support::phone::whole_len;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// One connection.
pub struct Line {
    stream: TcpStream,
    /// The phone's end of it.
    pub local: SocketAddr,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    is_broken: bool,
}

impl Line {
    /// Begins to connect; `None` where that fails at once.
    pub fn open(server: SocketAddr) -> Option<Line> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
        socket.set_nonblocking(true).ok()?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return None,
            _ => {}
        }
        let stream = TcpStream::from(socket);
        let local = stream.local_addr().ok()?;
        Some(Line { stream, local, unsent: Vec::new(), unread: Vec::new(), is_broken: false })
    }

    /// Sends a message, as soon as that is possible.
    pub fn send(&mut self, text: &str) {
        self.unsent.extend_from_slice(text.as_bytes());
        self.flush();
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() && !self.is_broken {
            match self.stream.write(&self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) if is_later(error.kind()) => return,
                Err(_) => self.is_broken = true,
            }
        }
    }

    /// The messages that have arrived whole.
    pub fn take(&mut self) -> Vec<String> {
        self.flush();
        let mut part = [0; 16_384];
        while !self.is_broken {
            match self.stream.read(&mut part) {
                Ok(0) => self.is_broken = true,
                Ok(len) => self.unread.extend_from_slice(&part[..len]),
                Err(error) if is_later(error.kind()) => break,
                Err(_) => self.is_broken = true,
            }
        }
        let mut messages = Vec::new();
        while let Some(len) = whole_len(&self.unread) {
            let message: Vec<u8> = self.unread.drain(..len).collect();
            messages.push(String::from_utf8_lossy(&message).into_owned());
        }
        messages
    }
}

/// Not connected yet counts as well: a refused connection says so itself.
fn is_later(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::NotConnected)
}
