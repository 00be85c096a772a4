//! Where the nodes serve, as callers, phones and apps know them.
//!
//! It refuses to know how a node is run.

use std::net::{Ipv4Addr, SocketAddr};

/// One node's addresses.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// What the Call-IDs of its callers begin with.
    pub letter: char,
    /// Its address.
    pub ip: Ipv4Addr,
    /// SIP over UDP.
    pub sip_port: u16,
    /// The REST API.
    pub http_port: u16,
}

impl Node {
    /// Where it takes SIP.
    pub fn sip(&self) -> SocketAddr {
        (self.ip, self.sip_port).into()
    }
}

/// All of them: one or two.
#[derive(Debug, Clone)]
pub struct Nodes(pub Vec<Node>);

impl Nodes {
    /// The place of the node that a call was made to.
    pub fn of_call(&self, call_id: &str) -> usize {
        self.0.iter().position(|node| call_id.starts_with(node.letter)).unwrap_or(0)
    }

    /// The other one, where there is one.
    pub fn other(&self, at: usize) -> usize {
        (at + 1) % self.0.len()
    }
}
