//! One peer as the device keeps it: a few hundred bytes at rest.

use std::collections::BTreeSet;
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
    pub(crate) allowed_ips: BTreeSet<IpNet>,
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
            allowed_ips: BTreeSet::new(),
            tunnel: None,
            ticking: None,
            last_passed: None,
            last_handshake: None,
            received: 0,
            sent: 0,
        }
    }

    /// Whether a persistent keepalive is due.
    pub(crate) fn keepalive_due(&self, now: Instant) -> bool {
        let interval = Duration::from_secs(self.keepalive.into());
        let passed = |last| now.saturating_duration_since(last) >= interval;
        self.keepalive > 0 && self.path.is_some() && self.last_passed.is_none_or(passed)
    }
}
