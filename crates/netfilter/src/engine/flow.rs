//! Packets of known flows take the path that one before them took; the others walk, and may leave a path behind.

use super::Netfilter;
use super::cache::{End, Entry, Path};
use super::path::Ended;
use crate::conntrack::{Followed, Known};
use crate::host::Host;
use crate::nat;
use crate::verdict::Verdict;
use crate::{Hook, Interface, Now, Packet, PacketCt};

impl Netfilter {
    /// Reads the connections of packets that are about to be given to [`Netfilter::receive`] or [`Netfilter::send_local`], and
    /// changes nothing. With a million connections most of a packet's time goes into waiting for memory; a host that has several
    /// packets at hand calls this first, and the waits overlap.
    pub fn prefetch(&self, packets: &[Packet]) {
        self.conntrack.warm(packets);
    }

    /// A packet's whole way from `entry` on.
    #[inline]
    pub(super) fn way(&mut self, entry: Hook, packet: &mut Packet, host: &mut dyn Host, now: Now) -> Ended {
        if self.cache.routes_changed(host.route_generation()) {
            self.fold_counts();
        }
        self.found_invalid = false;
        let tracks = self.families[packet.headers.family as usize].tracks;
        if tracks
            && self.cache.enabled
            && may_be_cached(packet)
            && let Some(known) = self.conntrack.known(packet, now)
        {
            return match self.replay(entry, packet, &known, now) {
                Some(ended) => ended,
                None => self.record(entry, packet, &known, host, now),
            };
        }
        self.advance(entry, 0, packet, host, now)
    }

    /// Sends a packet the way its flow knows; `None` when that doesn't hold for it.
    #[inline]
    fn replay(&mut self, entry_hook: Hook, packet: &mut Packet, known: &Known, now: Now) -> Option<Ended> {
        let entry = Entry::of(packet, entry_hook, known.state, known.mark);
        let (path, counters) = self.cache.look(known.cache, &entry)?;
        if let Some(mtu) = path.forwarded
            && (packet.headers.ttl <= 1 || packet.size_on_way() > mtu)
        {
            return None;
        }
        let forwarded = path.forwarded.is_some();
        // NAT drops what it can't rewrite in the midst of the way, so that not all of the path is crossed.
        if known.translated && !nat::can_translate(packet) {
            return None;
        }
        match self.conntrack.follow(packet, known, entry_hook, now) {
            Followed::Accept => {}
            Followed::Invalid => {
                self.found_invalid = true;
                return None;
            }
            Followed::Again => return None,
        }
        counters.add(1, packet.data.len() as u64);
        (packet.mark, packet.priority) = (path.mark, path.priority);
        let last = match path.end {
            End::Transmit { interface, mtu, realm } => {
                (packet.out_interface, packet.mtu, packet.realm) = (interface, mtu, realm);
                Hook::Postrouting
            }
            End::Deliver => Hook::Input,
            End::Drop(reason) => return Some(self.drop(packet, reason)),
        };
        if known.translated {
            for hook in [entry_hook, last] {
                if let Verdict::Drop(reason) = nat::translate(&self.conntrack, packet, hook) {
                    return Some(self.drop(packet, reason));
                }
            }
        }
        if last == Hook::Input {
            return Some(Ended::Deliver);
        }
        if forwarded && let Err(reason) = super::path::decrement_ttl(packet) {
            return Some(self.drop(packet, reason));
        }
        Some(Ended::Transmit)
    }

    /// Walks a packet of a known connection, and notes its path with the connection when the next packet may take it.
    fn record(&mut self, entry_hook: Hook, packet: &mut Packet, known: &Known, host: &mut dyn Host, now: Now) -> Ended {
        let mark = |engine: &Netfilter| engine.conntrack.get(known.id).map(|conn| conn.mark);
        let before = mark(self);
        let entry = Entry::of(packet, entry_hook, known.state, before.unwrap_or(0));
        let expected = PacketCt::Tracked {
            id: known.id,
            state: known.state,
            direction: known.direction,
        };
        self.scratch.recorder.start(expected);
        let ended = self.advance(entry_hook, 0, packet, host, now);
        let (end, mark_after, priority) = match ended {
            Ended::Deliver if packet.ct == expected => (End::Deliver, packet.mark, packet.priority),
            Ended::Transmit if packet.ct == expected => {
                let end = End::Transmit {
                    interface: packet.out_interface,
                    mtu: packet.mtu,
                    realm: packet.realm,
                };
                (end, packet.mark, packet.priority)
            }
            Ended::Dropped(reason) if reason.is_of_rules() => (End::Drop(reason), 0, 0),
            _ => {
                self.scratch.recorder.spoil();
                return ended;
            }
        };
        let same_mark = mark(self) == before;
        if let Some(crossed) = self.scratch.recorder.finish()
            && same_mark
        {
            let routed = packet.out_interface != Interface::NONE;
            let path = Path {
                entry,
                end,
                forwarded: (entry_hook == Hook::Prerouting && routed).then_some(packet.mtu),
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
        ended
    }

    /// Packets that took a cached path.
    pub fn cached_packets(&self) -> u64 {
        self.cache.hits()
    }
}

/// Whether a packet may take a cached path at all: nothing about it is out of the ordinary.
#[inline]
fn may_be_cached(packet: &Packet) -> bool {
    packet.ct == PacketCt::None && !packet.headers.is_fragment() && !packet.trace && packet.template.is_none()
}
