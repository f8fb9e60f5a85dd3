//! The short way for packets of connections in the table: found without a change, then tracked. The engine's flow cache
//! takes it.

use fielato_wire::number;

use super::slab::Entry;
use super::table::slot_parts;
use super::{ConnId, Conntrack, CtState, Direction, ProtoVerdict, Status, Tuple, extract};
use crate::engine::CacheRef;
use crate::{Hook, Now, Packet};

/// A packet's place in a connection that is in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) id: ConnId,
    pub(crate) direction: Direction,
    pub(crate) state: CtState,
    /// The connection's mark.
    pub(crate) mark: u32,
    /// The path noted for this direction.
    pub(crate) cache: CacheRef,
    /// An end of it is rewritten.
    pub(crate) translated: bool,
}

/// What tracking said of a packet of a known connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It belongs to it; [`Packet::ct`] is set.
    Accept,
    /// It is INVALID.
    Invalid,
    /// It is to be tracked the long way.
    Again,
}

impl Conntrack {
    /// The connection of a packet, without changing it; `None` when the long way must decide. ICMP goes the long way, since it
    /// may be an error about another connection; so does what a helper reads.
    #[inline]
    pub(crate) fn known(&mut self, packet: &Packet, now: Now) -> Option<Known> {
        self.advance(now);
        if self.half_zones {
            return None;
        }
        let (tuple, hash) = self.ordinary_tuple(packet)?;
        let slot = self.index.find(hash, |slot| {
            let (index, direction) = slot_parts(slot);
            let entry = self.slab.entry(index);
            entry.is_some_and(|entry| {
                entry.conn.tuple(direction) == &tuple && entry.conn.zone.in_direction(direction) == 0 && self.is_alive(entry)
            })
        })?;
        let (index, direction) = slot_parts(slot);
        let entry = self.slab.entry(index)?;
        let conn = &entry.conn;
        let ordinary = conn.helper.is_none() && !conn.status.has(Status::SEQ_ADJUST);
        ordinary.then(|| Known {
            id: ConnId {
                index,
                generation: entry.generation,
            },
            direction,
            state: conn.state(direction),
            mark: conn.mark,
            cache: conn.cache[direction.index()],
            translated: conn.is_translated(),
        })
    }

    /// The tuple of a packet that may go the short way, and its hash in the default zone.
    #[inline]
    fn ordinary_tuple(&self, packet: &Packet) -> Option<(Tuple, u32)> {
        let headers = &packet.headers;
        let tuple = match headers.protocol {
            // What the headers say is the tuple.
            number::TCP | number::UDP if headers.l4_whole && self.trackers.is_empty() => Tuple {
                src: headers.src,
                dst: headers.dst,
                sport: headers.sport,
                dport: headers.dport,
                protocol: headers.protocol,
                family: headers.family,
            },
            number::ICMP | number::ICMPV6 => return None,
            _ if !extract::has_transport(headers) => return None,
            _ => extract::tuple(headers, packet.transport(), &self.trackers)?,
        };
        let hash = self.keys.tuple(&tuple, 0);
        Some((tuple, hash))
    }

    /// Reads what [`Conntrack::known`] will read for these packets, so that a table larger than the caches is waited for once
    /// for all of them, and not once for each: reads that don't depend on one another are under way at the same time.
    pub(crate) fn warm(&self, packets: &[Packet]) {
        /// As many as processors keep under way, and a little more.
        const AT_ONCE: usize = 32;
        let mut hashes = [0; AT_ONCE];
        let mut slots = [None; AT_ONCE];
        for packets in packets.chunks(AT_ONCE) {
            let mut wanted = 0;
            for (packet, hash) in packets.iter().zip(&mut hashes) {
                if let Some((_, of_packet)) = self.ordinary_tuple(packet) {
                    *hash = of_packet;
                    wanted += 1;
                } else {
                    *hash = 0;
                }
            }
            if wanted == 0 {
                continue;
            }
            let hashes = hashes.iter().take(packets.len());
            let mut touched = 0;
            for hash in hashes.clone() {
                touched ^= self.index.home_of(*hash);
            }
            std::hint::black_box(touched);
            for (hash, slot) in hashes.zip(&mut slots) {
                *slot = self.index.find(*hash, |_| true);
            }
            let mut touched = 0;
            for slot in slots.iter().take(packets.len()).flatten() {
                let (index, _) = slot_parts(*slot);
                touched ^= self.slab.entry(index).map_or(0, Entry::touch);
            }
            std::hint::black_box(touched);
        }
    }

    /// Tracks a packet of a known connection.
    #[inline]
    pub(crate) fn follow(&mut self, packet: &mut Packet, known: &Known, hook: Hook, now: Now) -> Followed {
        let judged = self.judge(packet, hook, known.id, known.direction, now);
        match judged.verdict {
            // Nobody asks for its checksum again.
            ProtoVerdict::Accept | ProtoVerdict::Ignore => Followed::Accept,
            ProtoVerdict::Invalid => {
                if let Some(right) = judged.right {
                    packet.note_checksum(right);
                }
                self.invalid(packet);
                Followed::Invalid
            }
            ProtoVerdict::Repeat => {
                self.forget(known.id);
                Followed::Again
            }
            ProtoVerdict::Drop => Followed::Again,
        }
    }
}
