//! One peer as a shard keeps it: a few hundred bytes at rest.

use std::time::Instant;

use crate::key::{PresharedKey, PublicKey};
use crate::outbox::Path;
use crate::tai64n::Tai64n;
use crate::tunnel::Tunnel;

/// What went one way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// Of whole messages, handshakes and keepalives among them, as the Linux driver counts.
    pub(crate) bytes: u64,
    /// Packets inside them.
    pub(crate) packets: u64,
}

impl Traffic {
    /// Counts a message with a packet in it.
    pub(crate) fn add_packet(&mut self, message: usize) {
        self.bytes += message as u64;
        self.packets += 1;
    }
}

/// A peer and, while it is in use, its tunnel.
pub(crate) struct Peer {
    pub(crate) public_key: PublicKey,
    pub(crate) preshared_key: Option<Box<PresharedKey>>,
    pub(crate) path: Option<Path>,
    /// Seconds; 0 for off.
    pub(crate) keepalive: u16,
    pub(crate) tunnel: Option<Box<Tunnel>>,
    /// Of the newest initiation that this peer ever sent: an older one is a replay.
    pub(crate) newest_initiation: Option<Tai64n>,
    /// When that was.
    pub(crate) last_initiation: Option<Instant>,
    pub(crate) last_handshake: Option<Instant>,
    pub(crate) received: Traffic,
    pub(crate) sent: Traffic,
}

impl Peer {
    pub(crate) fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: None,
            path: None,
            keepalive: 0,
            tunnel: None,
            newest_initiation: None,
            last_initiation: None,
            last_handshake: None,
            received: Traffic::default(),
            sent: Traffic::default(),
        }
    }
}
