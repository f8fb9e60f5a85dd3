//! What a shard holds at the moment: for tests that it lets go of what it no longer needs.

use super::Shard;
use crate::allowed_ips::Slot;

/// How many things of each kind a shard holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Numbers of sessions and of handshakes under way.
    pub indexes: usize,
    /// Peers with keys, or on the way to them.
    pub tunnels: usize,
    /// Entries in the list of deadlines.
    pub wakes: usize,
    /// Packets that wait for handshakes.
    pub staged: usize,
}

impl Shard {
    /// Counts what the shard holds.
    pub fn usage(&self) -> Usage {
        let peers = self.peers.iter().flatten();
        Usage {
            indexes: self.cx.indexes.len(),
            tunnels: peers.filter(|peer| peer.tunnel.is_some()).count(),
            wakes: self.cx.wakes.len(),
            staged: self.cx.staged,
        }
    }

    /// Lets the session that is sent with go on at this counter, as if so many messages had left. Never goes back: a
    /// counter is used once.
    #[doc(hidden)]
    pub fn skip_counters(&mut self, slot: Slot, counter: u64) {
        if let Some((peer, _)) = self.split(slot)
            && let Some(tunnel) = &mut peer.tunnel
        {
            tunnel.skip_counters(counter);
        }
    }
}
