//! Fragments are put together before they are tracked (`ip_fragment.c`, `nf_conntrack_reasm.c`), and made again after.

mod fragment;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use fielato_wire::{Addr, Family, checksum, number};

pub use self::fragment::{fragment, fragment_as};
use self::queue::{Insert, Queue};
use crate::conntrack::Config;
use crate::{Now, Packet};

/// Fragments that wait for the rest, of both families.
///
/// Each family may hold [`Config::fragment_memory`] bytes; beyond that fragments are refused until others have left
/// or timed out, as in the kernel (`inet_frag_find`).
#[derive(Debug, Default)]
pub struct Defrag {
    queues: BTreeMap<Key, Queue>,
    /// When queues expire; the number tells queues of one moment apart.
    deadlines: BTreeMap<(u64, u64), Key>,
    /// Bytes held, by family.
    memory: [usize; 2],
    /// How many IPv4 fragments came from each source that has a queue, and how many queues it has.
    sources: BTreeMap<Addr, Source>,
    serial: u64,
}

#[derive(Debug, Default)]
struct Source {
    fragments: u32,
    queues: u32,
}

/// What became of a packet given to [`Defrag::push`].
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Defragmented {
    /// It is whole, or just became so.
    Whole(Packet),
    /// It waits, or repeats one that waits.
    Waiting,
    /// It can't be: an overlap, contradicting ends, beyond 65,535 bytes, contradicting ECN marks, or no memory.
    Refused,
}

/// In what pieces a packet came. It is sent on in the same ones where they fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Payload bytes of each, in order.
    pub sizes: Vec<u16>,
    /// Identification.
    pub id: u32,
}

/// What fragments of one datagram share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    family: Family,
    user: u8,
    zone: u16,
    /// Zero for IPv6, where the protocol is no part of it (RFC 8200 §4.5).
    protocol: u8,
    src: Addr,
    dst: Addr,
    id: u32,
    /// The interface, where addresses only have a meaning on the link.
    interface: u32,
}

/// What one waiting fragment costs beside its bytes: about what the kernel counts for a buffer (`SKB_TRUESIZE`).
const BUFFER_COST: usize = 576;

/// A queue begins anew when more fragments than this came from its source since its last (`ipfrag_max_dist`): their
/// identifications have wrapped meanwhile.
const MAX_DISTANCE: u32 = 64;

impl Defrag {
    /// Takes a packet; fragments of different `zone`s and of local and received packets (`user`) are kept apart.
    ///
    /// The whole packet has the first fragment's header and marks, and the last one's interface.
    pub fn push(&mut self, packet: Packet, zone: u16, user: u8, config: &Config, now: Now) -> Defragmented {
        let family = packet.headers.family;
        if family == Family::V6 && lacks_fragment_header(&packet.data) {
            return Defragmented::Refused;
        }
        let Some(fragment) = Fragment::of(&packet) else {
            return Defragmented::Whole(packet);
        };
        self.expire(now);
        if self.memory[family as usize] > config.fragment_memory {
            return Defragmented::Refused;
        }
        let key = Key {
            family,
            user,
            zone,
            protocol: match family {
                Family::V4 => packet.headers.protocol,
                Family::V6 => 0,
            },
            src: packet.headers.src,
            dst: packet.headers.dst,
            id: fragment.id,
            interface: if family == Family::V6 && needs_interface(packet.headers.dst) {
                packet.in_interface.index
            } else {
                0
            },
        };
        self.begin(key, config, now);
        match family {
            Family::V4 => self.push_v4(key, packet, &fragment, config, now),
            Family::V6 => self.push_v6(key, packet, &fragment),
        }
    }

    /// Drops fragments whose rest did not come in time.
    pub fn expire(&mut self, now: Now) {
        while let Some((&(deadline, _), &key)) = self.deadlines.first_key_value()
            && deadline <= now.mono
        {
            self.remove(&key);
        }
    }

    fn push_v4(&mut self, key: Key, packet: Packet, fragment: &Fragment, config: &Config, now: Now) -> Defragmented {
        if self.is_too_far(&key) {
            self.begin_anew(&key, config, now);
        }
        let Some(queue) = self.queues.get_mut(&key) else {
            return Defragmented::Refused;
        };
        let start = u32::from(packet.headers.fragment_offset);
        let mut end = start + u32::from(packet.headers.len).saturating_sub(fragment.data_at as u32);
        if packet.headers.more_fragments {
            end &= !7;
        }
        // Contradicting ends and overlaps drop all that waits.
        if !queue.note_end(end, packet.headers.more_fragments) || end == start {
            self.remove(&key);
            return Defragmented::Refused;
        }
        match queue.insert(start, end, fragment.data_at, packet) {
            Insert::Duplicate => Defragmented::Waiting,
            Insert::Overlap => {
                self.remove(&key);
                Defragmented::Refused
            }
            Insert::Taken { cost, complete } => {
                self.memory[Family::V4 as usize] += cost;
                self.finish_if(complete, &key, Queue::whole_v4)
            }
        }
    }

    fn push_v6(&mut self, key: Key, packet: Packet, fragment: &Fragment) -> Defragmented {
        let Some(queue) = self.queues.get_mut(&key) else {
            return Defragmented::Refused;
        };
        let start = u32::from(packet.headers.fragment_offset);
        let end = start + u32::from(packet.headers.len).saturating_sub(fragment.data_at as u32);
        let more = packet.headers.more_fragments;
        if end > u32::from(u16::MAX) {
            return Defragmented::Refused;
        }
        if more && end & 7 != 0 {
            // `nf_ct_frag6_gather` gives up what waits and lets this one pass as it is.
            self.remove(&key);
            return Defragmented::Whole(packet);
        }
        // Contradicting ends only drop the fragment; what waits stays.
        if !queue.note_end(end, more) || end == start {
            return Defragmented::Refused;
        }
        match queue.insert(start, end, fragment.data_at, packet) {
            Insert::Duplicate => Defragmented::Waiting,
            Insert::Overlap => {
                // RFC 5722 §4: all of the datagram is dropped.
                self.remove(&key);
                Defragmented::Refused
            }
            Insert::Taken { cost, complete } => {
                self.memory[Family::V6 as usize] += cost;
                self.finish_if(complete, &key, Queue::whole_v6)
            }
        }
    }

    fn finish_if(&mut self, complete: bool, key: &Key, whole: fn(Queue) -> Option<Packet>) -> Defragmented {
        if !complete {
            return Defragmented::Waiting;
        }
        match self.remove(key).and_then(whole) {
            Some(packet) => Defragmented::Whole(packet),
            None => Defragmented::Refused,
        }
    }

    /// Makes the queue, if there is none.
    fn begin(&mut self, key: Key, config: &Config, now: Now) {
        if self.queues.contains_key(&key) {
            return;
        }
        self.serial += 1;
        let place = (deadline(key.family, config, now), self.serial);
        self.deadlines.insert(place, key);
        self.queues.insert(key, Queue::new(place));
        self.memory[key.family as usize] += BUFFER_COST;
        if key.family == Family::V4 {
            self.sources.entry(key.src).or_default().queues += 1;
        }
    }

    /// Whether so many fragments came from the source since this queue's last that it can't be the same datagram
    /// (`ip_frag_too_far`).
    fn is_too_far(&mut self, key: &Key) -> bool {
        let Some(source) = self.sources.get_mut(&key.src) else {
            return false;
        };
        source.fragments = source.fragments.wrapping_add(1);
        let Some(queue) = self.queues.get_mut(key) else {
            return false;
        };
        let since = source.fragments.wrapping_sub(queue.last_seen);
        queue.last_seen = source.fragments;
        !queue.is_empty() && since > MAX_DISTANCE
    }

    /// Empties a queue and starts its time again (`ip_frag_reinit`).
    fn begin_anew(&mut self, key: &Key, config: &Config, now: Now) {
        let Some(queue) = self.queues.get_mut(key) else {
            return;
        };
        let place = (deadline(key.family, config, now), queue.place.1);
        self.deadlines.remove(&queue.place);
        self.deadlines.insert(place, *key);
        let mut fresh = Queue::new(place);
        fresh.last_seen = queue.last_seen;
        let old = std::mem::replace(queue, fresh);
        self.memory[key.family as usize] -= old.cost();
    }

    /// Takes a queue out, with all that points to it.
    fn remove(&mut self, key: &Key) -> Option<Queue> {
        let queue = self.queues.remove(key)?;
        self.deadlines.remove(&queue.place);
        self.memory[key.family as usize] -= queue.cost() + BUFFER_COST;
        if key.family == Family::V4
            && let Some(source) = self.sources.get_mut(&key.src)
        {
            source.queues -= 1;
            if source.queues == 0 {
                self.sources.remove(&key.src);
            }
        }
        Some(queue)
    }
}

fn deadline(family: Family, config: &Config, now: Now) -> u64 {
    let seconds = match family {
        Family::V4 => config.timeouts.frag,
        Family::V6 => config.timeouts.frag6,
    };
    now.mono.saturating_add(u64::from(seconds) * Now::SECOND)
}

/// Multicast and link-local addresses mean something else on every link (`fq_find`).
const fn needs_interface(dst: Addr) -> bool {
    dst.hi >> 56 == 0xff || dst.hi >> 54 == 0xfe80 >> 6
}

/// Where a fragment's parts are.
struct Fragment {
    id: u32,
    /// Where its share of the payload begins.
    data_at: usize,
}

impl Fragment {
    /// `None` when the packet is to pass as it is: no fragment, or one that can't be put together.
    fn of(packet: &Packet) -> Option<Fragment> {
        match packet.headers.family {
            Family::V4 if packet.headers.is_fragment() => Some(Fragment {
                id: u32::from(u16::from_be_bytes(*packet.data.get(4..6)?.first_chunk()?)),
                data_at: packet.headers.ip_header_len(),
            }),
            Family::V4 => None,
            Family::V6 => Fragment::of_v6(packet),
        }
    }

    fn of_v6(packet: &Packet) -> Option<Fragment> {
        let (_, at) = fragment_header(&packet.data)?;
        let header = packet.data.get(at..at + 8)?;
        if packet.headers.fragment_offset == 0 && !has_transport_header(packet) {
            return None; // RFC 8200 §4.5 wants it dropped; the kernel leaves that to who receives it.
        }
        Some(Fragment {
            id: u32::from_be_bytes(*header.get(4..8)?.first_chunk()?),
            data_at: at + 8,
        })
    }
}

/// The place of the fragment header, after the place of the byte that announces it (`find_prev_fhdr`).
fn fragment_header(packet: &[u8]) -> Option<(usize, usize)> {
    let (mut announced_at, mut at) = (6, 40);
    loop {
        match *packet.get(announced_at)? {
            number::FRAGMENT => return Some((announced_at, at)),
            kind @ (number::HOP_BY_HOP | number::ROUTING | number::DESTINATION | number::AH) => {
                let len = usize::from(*packet.get(at + 1)?);
                announced_at = at;
                at += if kind == number::AH { (len + 2) * 4 } else { (len + 1) * 8 };
            }
            _ => return None,
        }
    }
}

/// Whether a fragment header is announced and cut short (`nf_ct_frag6_gather`).
fn lacks_fragment_header(packet: &[u8]) -> bool {
    fragment_header(packet).is_some_and(|(_, at)| at <= packet.len() && packet.len() < at + 8)
}

/// Whether a first fragment holds the transport header's fixed part (`ipv6frag_thdr_truncated`).
fn has_transport_header(packet: &Packet) -> bool {
    let need = match packet.headers.protocol {
        number::TCP => 20,
        number::UDP | number::ICMPV6 => 8,
        _ => 1,
    };
    packet.transport().len() >= need
}

/// What the ECN bits of the fragments make of the whole's (RFC 3168 §5.3): bits to be set, or `None` when they can't be
/// of one datagram. `seen` has bit n set when a fragment had codepoint n.
const fn joined_ecn(seen: u8) -> Option<u8> {
    const NOT_ECT: u8 = 1;
    const CE: u8 = 1 << 3;
    if seen & NOT_ECT != 0 && seen != NOT_ECT {
        None
    } else if seen & CE != 0 {
        Some(3)
    } else {
        Some(0)
    }
}

/// Writes the checksum of an IPv4 header.
fn seal_v4(packet: &mut [u8], header_len: usize) {
    let Some(header) = packet.get_mut(..header_len) else {
        return;
    };
    header[10..12].fill(0);
    let check = checksum::checksum(header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
}
