//! Ports for servers that are told where to listen: nobody else on the machine is given them between our choice and their start.
//!
//! It refuses ports that the system hands out to whoever asks for any (`bind` to 0, `connect`), and those of other test programs.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};

/// Below what Linux hands out by itself (`net.ipv4.ip_local_port_range`, 32768 to 60999 unless changed), above the services.
const FIRST: u16 = 10_000;
/// Ports in a block. A test program takes a block, and further ones where it needs more.
const BLOCK_LEN: u16 = 100;
const BLOCKS: u16 = 220;

/// What this program has not used yet of its newest block. No port is given twice.
struct Left {
    next: u16,
    end: u16,
    /// One for each block; a block is free again when its program has ended, however that was.
    claims: Vec<UnixDatagram>,
}

static LEFT: Mutex<Left> = Mutex::new(Left { next: 0, end: 0, claims: Vec::new() });

/// A port of this address that is free for UDP and TCP.
pub fn free_port(ip: IpAddr) -> u16 {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if left.next == left.end {
            left.take_block();
        }
        let port = left.next;
        left.next += 1;
        if TcpListener::bind((ip, port)).is_ok() && UdpSocket::bind((ip, port)).is_ok() {
            return port;
        }
    }
}

impl Left {
    fn take_block(&mut self) {
        // Programs of one test run come one after the other; a start of their own makes a clash rare.
        let own = std::process::id() as u16 % BLOCKS;
        let found =
            (0..BLOCKS).map(|step| (own + step) % BLOCKS).find_map(|block| Some((block, claim(block)?)));
        let (block, claim) = found.expect("a block of ports is free");
        self.claims.push(claim);
        self.next = FIRST + block * BLOCK_LEN;
        self.end = self.next + BLOCK_LEN;
    }
}

/// An abstract socket's name: like ports it is one network namespace's, and it is gone with its process.
fn claim(block: u16) -> Option<UnixDatagram> {
    let name = format!("voip-push-test-ports-{block}");
    let address = SocketAddr::from_abstract_name(name).expect("it is short");
    UnixDatagram::bind_addr(&address).ok()
}
