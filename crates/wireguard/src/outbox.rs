//! What the device wants sent: filled by the protocol, emptied by whoever owns the sockets.

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

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// As a UDP datagram to a peer.
    Network(Path),
    /// As an IP packet to the interface.
    Interface,
}

/// A reusable buffer of packets to send, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    used: usize,
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
        self.used = 0;
        self.items.clear();
    }

    /// Room for a packet of up to `len` bytes; nothing is sent until [`Outbox::commit`].
    pub(crate) fn space(&mut self, len: usize) -> &mut [u8] {
        let end = self.used + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.used..end]
    }

    /// Makes the first `len` bytes of the last [`Outbox::space`] a packet.
    pub(crate) fn commit(&mut self, len: usize, destination: Destination) {
        self.used += len;
        self.items.push((destination, self.used));
    }
}
