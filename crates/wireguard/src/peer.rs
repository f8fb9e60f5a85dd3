//! One peer as the device keeps it: a few hundred bytes at rest.

use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::key::{PresharedKey, PublicKey};
use crate::outbox::Path;
use crate::tunnel::Tunnel;

/// A peer and, once it was used, its tunnel.
pub(crate) struct Peer {
    pub(crate) public_key: PublicKey,
    pub(crate) preshared_key: Option<Box<PresharedKey>>,
    pub(crate) path: Option<Path>,
    /// Seconds; 0 for off.
    pub(crate) keepalive: u16,
    /// In order. Most peers have one or two, for which a tree's node would take five times the room.
    allowed_ips: Vec<IpNet>,
    pub(crate) tunnel: Option<Box<Tunnel>>,
    /// Where the device's list of ticking peers holds this one.
    pub(crate) ticking: Option<u32>,
    /// When something authentic last passed in either direction, or a keepalive was tried.
    pub(crate) last_passed: Option<Instant>,
    pub(crate) last_handshake: Option<Instant>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Peer {
    pub(crate) fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            preshared_key: None,
            path: None,
            keepalive: 0,
            allowed_ips: Vec::new(),
            tunnel: None,
            ticking: None,
            last_passed: None,
            last_handshake: None,
            received: 0,
            sent: 0,
        }
    }

    pub(crate) fn allowed_ips(&self) -> &[IpNet] {
        &self.allowed_ips
    }

    pub(crate) fn take_allowed_ips(&mut self) -> Vec<IpNet> {
        std::mem::take(&mut self.allowed_ips)
    }

    pub(crate) fn allow(&mut self, net: IpNet) {
        if let Err(at) = self.allowed_ips.binary_search(&net) {
            // Grown by exactly one where few are to be expected: doubling would begin with four.
            if self.allowed_ips.len() < 4 {
                self.allowed_ips.reserve_exact(1);
            }
            self.allowed_ips.insert(at, net);
        }
    }

    /// False when it was not allowed before.
    pub(crate) fn disallow(&mut self, net: &IpNet) -> bool {
        let found = self.allowed_ips.binary_search(net);
        found.map(|at| self.allowed_ips.remove(at)).is_ok()
    }

    /// Whether a persistent keepalive is due.
    pub(crate) fn keepalive_due(&self, now: Instant) -> bool {
        let interval = Duration::from_secs(self.keepalive.into());
        let passed = |last| now.saturating_duration_since(last) >= interval;
        self.keepalive > 0 && self.path.is_some() && self.last_passed.is_none_or(passed)
    }
}
