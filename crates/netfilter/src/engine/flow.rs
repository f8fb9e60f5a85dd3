//! Packets of known flows take the path that one before them took; the others walk, and may leave a path behind.

use super::cache::{End, Entry, Path};
use super::{Fate, Netfilter};
use crate::conntrack::{Followed, Known};
use crate::host::Host;
use crate::nat;
use crate::verdict::Verdict;
use crate::{Hook, Now, Packet, PacketCt};

impl Netfilter {
    /// A packet's whole way from `entry` on.
    pub(super) fn way(&mut self, entry: Hook, packet: Packet, host: &mut dyn Host, now: Now) -> Fate {
        if self.cache.routes_changed(host.route_generation()) {
            self.fold_counts();
        }
        self.found_invalid = false;
        let tracks = self.families[packet.headers.family as usize].tracks;
        let known = match tracks && self.cache.enabled && may_be_cached(&packet) {
            true => self.conntrack.known(&packet, now),
            false => None,
        };
        let Some(known) = known else {
            return self.advance(entry, 0, packet, host, now);
        };
        match self.replay(entry, packet, &known, now) {
            Ok(fate) => fate,
            Err(packet) => self.record(entry, packet, &known, host, now),
        }
    }

    /// Sends a packet the way its flow knows; gives it back when that doesn't hold for it.
    fn replay(&mut self, entry_hook: Hook, mut packet: Packet, known: &Known, now: Now) -> Result<Fate, Packet> {
        let Some(conn) = self.conntrack.get(known.id) else {
            return Err(packet);
        };
        let noted = conn.cache[known.direction.index()];
        let translated = conn.is_translated();
        let entry = Entry::of(&packet, entry_hook, known.state, conn.mark);
        let Some(path) = self.cache.look(noted, &entry) else {
            return Err(packet);
        };
        let forwarded = entry_hook == Hook::Prerouting;
        if let End::Transmit { mtu, .. } = path.end
            && forwarded
            && (packet.headers.ttl <= 1 || packet.data.len() as u32 > mtu)
        {
            return Err(packet);
        }
        match self.conntrack.follow(&mut packet, known, entry_hook, now) {
            Followed::Accept => {}
            Followed::Invalid => {
                self.found_invalid = true;
                return Err(packet);
            }
            Followed::Again => return Err(packet),
        }
        let bytes = packet.data.len() as u64;
        let Some(path) = self.cache.take(noted, &entry, bytes) else {
            return Err(packet);
        };
        let end = path.end;
        (packet.mark, packet.priority) = (path.mark, path.priority);
        if let End::Drop(reason) = end {
            return Ok(self.drop(&mut packet, reason));
        }
        let last = match end {
            End::Transmit { .. } => Hook::Postrouting,
            End::Deliver | End::Drop(_) => Hook::Input,
        };
        if translated {
            for hook in [entry_hook, last] {
                if let Verdict::Drop(reason) = nat::translate(&self.conntrack, &mut packet, hook) {
                    return Ok(self.drop(&mut packet, reason));
                }
            }
        }
        let End::Transmit { interface, mtu, realm } = end else {
            return Ok(Fate::Deliver(packet));
        };
        (packet.out_interface, packet.mtu, packet.realm) = (interface, mtu, realm);
        if forwarded && let Err(reason) = super::path::decrement_ttl(&mut packet) {
            return Ok(self.drop(&mut packet, reason));
        }
        Ok(Fate::Transmit(packet))
    }

    /// Walks a packet of a known connection, and notes its path with the connection when the next packet may take it.
    fn record(&mut self, entry_hook: Hook, packet: Packet, known: &Known, host: &mut dyn Host, now: Now) -> Fate {
        let mark = |engine: &Netfilter| engine.conntrack.get(known.id).map(|conn| conn.mark);
        let before = mark(self);
        let entry = Entry::of(&packet, entry_hook, known.state, before.unwrap_or(0));
        let expected = PacketCt::Tracked {
            id: known.id,
            state: known.state,
            direction: known.direction,
        };
        self.scratch.recorder.start(expected);
        let fate = self.advance(entry_hook, 0, packet, host, now);
        let (end, mark_after, priority) = match &fate {
            Fate::Deliver(packet) if packet.ct == expected => (End::Deliver, packet.mark, packet.priority),
            Fate::Transmit(packet) if packet.ct == expected => {
                let end = End::Transmit {
                    interface: packet.out_interface,
                    mtu: packet.mtu,
                    realm: packet.realm,
                };
                (end, packet.mark, packet.priority)
            }
            Fate::Dropped(reason) if reason.is_of_rules() => (End::Drop(*reason), 0, 0),
            _ => {
                self.scratch.recorder.spoil();
                return fate;
            }
        };
        let same_mark = mark(self) == before;
        if let Some(crossed) = self.scratch.recorder.finish()
            && same_mark
        {
            let path = Path {
                entry,
                end,
                mark: mark_after,
                priority,
                crossed: crossed.into(),
            };
            if let Some(noted) = self.cache.note(path)
                && let Some(conn) = self.conntrack.get_mut(known.id)
            {
                conn.cache[known.direction.index()] = noted;
            }
        }
        fate
    }

    /// Packets that took a cached path.
    pub const fn cached_packets(&self) -> u64 {
        self.cache.hits
    }
}

/// Whether a packet may take a cached path at all: nothing about it is out of the ordinary.
fn may_be_cached(packet: &Packet) -> bool {
    packet.ct == PacketCt::None && !packet.headers.is_fragment() && !packet.trace && packet.template.is_none()
}
