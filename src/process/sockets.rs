//! The UDP sockets that this process has inherited from a server.
//!
//! It refuses to use them: it says where they are bound.

use socket2::SockRef;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

/// The addresses that this process' UDP sockets are bound to, without those that are connected to somebody.
pub fn bound_udp_sockets() -> Vec<SocketAddr> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    numbers.filter_map(bound_to).collect()
}

fn bound_to(number: RawFd) -> Option<SocketAddr> {
    // SAFETY: the number was open a moment ago, and is only asked what it is. If it was closed meanwhile, or is another file now,
    // the system says so, or tells of that.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let socket = SockRef::from(&socket);
    let is_datagram = socket.r#type().ok()? == socket2::Type::DGRAM;
    let address = socket.local_addr().ok()?.as_socket()?;
    (is_datagram && address.port() != 0 && socket.peer_addr().is_err()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn bound_sockets_are_found_and_connected_ones_are_not() {
        let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(bound.local_addr().unwrap()).unwrap();
        let found = bound_udp_sockets();
        assert!(found.contains(&bound.local_addr().unwrap()), "{found:?}");
        assert!(!found.contains(&connected.local_addr().unwrap()), "{found:?}");
    }
}
