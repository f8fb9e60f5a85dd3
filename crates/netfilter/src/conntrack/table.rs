//! The table of connections.

use super::{Config, Conn, ConnId, Direction, Tuple, Zone};
use crate::verdict::Verdict;
use crate::{Hook, Now, Packet};

/// All connections and expectations of one namespace.
#[derive(Debug, Default)]
pub struct Conntrack {
    config: Config,
}

impl Conntrack {
    /// An empty table.
    pub fn new(config: Config, seed: u64) -> Conntrack {
        let _ = seed;
        Conntrack { config }
    }

    /// Settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Settings, to be changed.
    pub const fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The connection of a handle; `None` when it is gone.
    pub fn get(&self, id: ConnId) -> Option<&Conn> {
        let _ = id;
        None
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let _ = id;
        None
    }

    /// The connection of a packet.
    pub fn of(&self, packet: &Packet) -> Option<&Conn> {
        match packet.ct {
            crate::PacketCt::Tracked { id, .. } => self.get(id),
            _ => None,
        }
    }

    /// The confirmed connection with this tuple, and in which direction it has it.
    pub fn lookup(&self, tuple: &Tuple, zone: Zone) -> Option<(ConnId, Direction)> {
        let _ = (tuple, zone);
        None
    }

    /// Whether a reply tuple is in use by another confirmed connection than `except` (`nf_conntrack_tuple_taken`).
    pub fn tuple_taken(&self, reply: &Tuple, zone: Zone, except: ConnId) -> bool {
        let _ = (reply, zone, except);
        false
    }

    /// Finds or makes the packet's connection, at PRE_ROUTING and LOCAL_OUT (`nf_conntrack_in`). Sets [`Packet::ct`].
    pub fn track(&mut self, packet: &mut Packet, hook: Hook, now: Now) -> Verdict {
        let _ = (packet, hook, now);
        Verdict::Accept
    }

    /// Enters the packet's connection into the table, if it isn't there (`__nf_conntrack_confirm`).
    pub fn confirm(&mut self, packet: &mut Packet, now: Now) -> Verdict {
        let _ = (packet, now);
        Verdict::Accept
    }

    /// Lets go of a packet's connection when the packet ends before it was confirmed.
    pub fn release(&mut self, packet: &mut Packet) {
        let _ = packet;
    }

    /// Removes what has expired, looking at no more than `budget` entries.
    pub fn expire(&mut self, now: Now, budget: usize) {
        let _ = (now, budget);
    }

    /// The tuple of packets that answer `tuple`'s; `None` when nothing answers such packets.
    pub fn invert(&self, tuple: &Tuple) -> Option<Tuple> {
        let _ = tuple;
        None
    }

    /// Changes the reply tuple of a connection that is not yet confirmed (`nf_conntrack_alter_reply`).
    pub fn alter_reply(&mut self, id: ConnId, reply: Tuple) {
        let _ = (id, reply);
    }

    /// Enters a connection into the index by original source, where NAT looks for a mapping to use again.
    pub fn note_source(&mut self, id: ConnId) {
        let _ = id;
    }

    /// Connections noted by [`Conntrack::note_source`] whose original tuple has this one's source address, port and protocol.
    pub fn mapped_source(&self, original: &Tuple, zone: Zone) -> impl Iterator<Item = ConnId> + '_ {
        let _ = (original, zone);
        std::iter::empty()
    }

    /// Forgets a connection; false when it is gone already.
    pub fn delete(&mut self, id: ConnId, now: Now) -> bool {
        let _ = (id, now);
        false
    }

    /// Forgets all connections.
    pub fn flush(&mut self, now: Now) {
        let _ = now;
    }
}
