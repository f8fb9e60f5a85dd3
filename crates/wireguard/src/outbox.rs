//! What the device wants sent besides data: handshakes, cookies, keepalives, packets that waited, ICMP errors. Filled by
//! the protocol, emptied by whoever owns the sockets.

use std::net::{IpAddr, SocketAddr};

/// Where a peer is, and which of our own addresses it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// Our address that the peer sent to; answers leave from it. `None` lets the system choose.
    pub local: Option<IpAddr>,
}

impl From<SocketAddr> for Path {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, local: None }
    }
}

/// How a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// From whom, and to which of our addresses.
    pub path: Path,
    /// Its TOS octet, of which the ECN bits count.
    pub tos: u8,
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// As a UDP datagram to a peer.
    Network {
        /// Where the peer is.
        path: Path,
        /// TOS octet of the datagram.
        tos: u8,
    },
    /// As an IP packet to the interface.
    Interface,
}

/// A reusable buffer of packets to send, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    items: Vec<(Destination, usize)>,
}

impl Outbox {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// The packets, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Destination, &[u8])> + '_ {
        let mut start = 0;
        self.items.iter().map(move |(destination, end)| {
            let packet = &self.bytes[start..*end];
            start = *end;
            (*destination, packet)
        })
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets the packets and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }

    /// Adds a packet.
    pub(crate) fn push(&mut self, packet: &[u8], destination: Destination) {
        self.bytes.extend_from_slice(packet);
        self.items.push((destination, self.bytes.len()));
    }

    /// Adds a packet of `len` bytes that `write` writes; what `write` keeps of them is its result, `None` for nothing.
    pub(crate) fn push_with(
        &mut self,
        len: usize,
        destination: Destination,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<usize> {
        let start = self.bytes.len();
        self.bytes.resize(start + len, 0);
        let written = write(&mut self.bytes[start..]);
        self.bytes.truncate(start + written.unwrap_or(0));
        if written.is_some() {
            self.items.push((destination, self.bytes.len()));
        }
        written
    }
}
