//! Which address and port a connection gets (`get_unique_tuple` in `nf_nat_core.c`).

use fielato_wire::{Addr, Family, number};

use super::{Manip, NatFlags, NatRange};
use crate::conntrack::proto::TcpState;
use crate::conntrack::{Conn, ConnId, Conntrack, Direction, ProtoState, Status, Tuple};
use crate::jhash::jhash;

/// First search for a free port looks at so many; each further round at half of the one before.
const MAX_ATTEMPTS: u32 = 128;
/// So many at the end of each round also look at connections that are over (`NF_NAT_HARDER_THRESH`).
const LAST_ATTEMPTS: u32 = MAX_ATTEMPTS / 4;
/// A round shorter than this is the last.
const MIN_ATTEMPTS: u32 = 16;

const ANY_RANDOM: u32 = NatFlags::PROTO_RANDOM | NatFlags::PROTO_RANDOM_FULLY;

/// A tuple whose `manip` end lies in `range`, and whether nobody else has it.
pub(super) fn unique_tuple(
    conntrack: &mut Conntrack,
    id: ConnId,
    original: &Tuple,
    range: &NatRange,
    manip: Manip,
    rng: &mut fastrand::Rng,
) -> (Tuple, bool) {
    let zone = conntrack.get(id).map(|conn| conn.zone).unwrap_or_default();
    let used = |tuple: &Tuple| is_used(conntrack, id, tuple);

    // An unchanged tuple, or the mapping that this source has already, comes first.
    if manip == Manip::Source && !range.flags.has(ANY_RANDOM) {
        if in_range(original, range) {
            if !used(original) || is_twin(conntrack, id, original) {
                return (*original, true);
            }
        } else if let Some(tuple) = same_mapping(conntrack, id, original, range)
            && !used(&tuple)
        {
            return (tuple, true);
        }
    }

    let mut tuple = *original;
    choose_address(&mut tuple, range, manip, zone.id);

    if !range.flags.has(ANY_RANDOM) {
        if range.flags.has(NatFlags::PROTO_SPECIFIED) {
            let fits = !range.flags.has(NatFlags::PROTO_OFFSET) && port_in_range(&tuple, manip, range);
            // A single port is taken even when it is in use: there is no other.
            if fits && (range.min_port == range.max_port || !used(&tuple)) {
                let unused = !used(&tuple);
                return (tuple, unused);
            }
        } else if !used(&tuple) {
            return (tuple, true);
        }
    }
    let unused = choose_port(&mut tuple, range, manip, conntrack, id, rng);
    (tuple, unused)
}

/// Whether another connection has the answers to `tuple`.
fn is_used(conntrack: &Conntrack, id: ConnId, tuple: &Tuple) -> bool {
    let zone = conntrack.get(id).map(|conn| conn.zone).unwrap_or_default();
    match conntrack.invert(tuple) {
        Some(reply) => conntrack.tuple_taken(&reply, zone, id),
        None => true,
    }
}

/// The same at the end of a search: a TCP connection that is over makes room for a SYN whose sequence number is beyond what the
/// old one used, since the receiver tells them apart (`nf_nat_used_tuple_harder`).
fn is_used_by_the_living(conntrack: &mut Conntrack, id: ConnId, tuple: &Tuple) -> bool {
    let tcp = |conn: &Conn| match conn.proto {
        ProtoState::Tcp(tcp) => Some((tcp.state, tcp.ends[0].end)),
        _ => None,
    };
    let own = conntrack.get(id).and_then(|conn| Some((conn.zone, tcp(conn)?)));
    let (Some((zone, (TcpState::SynSent, new_end))), Some(reply)) = (own, conntrack.invert(tuple)) else {
        return is_used(conntrack, id, tuple);
    };
    let Some((other, direction)) = conntrack.lookup(&reply, zone) else {
        return false;
    };
    let is_over = |conn: &Conn| {
        let free = conn.status.has(Status::SRC_NAT) && !conn.status.has(Status::FIXED_TIMEOUT | Status::DYING);
        free && tcp(conn).is_some_and(|(state, end)| {
            let over = matches!(state, TcpState::TimeWait | TcpState::Close | TcpState::SynSent2);
            over && new_end.wrapping_sub(end).cast_signed() > 0
        })
    };
    direction == Direction::Original || !conntrack.get(other).is_some_and(is_over) || !conntrack.delete(other)
}

/// Whether who has `tuple` is the same connection, begun by the other end at the same time: confirming will join them
/// (`nf_nat_used_tuple_new`). Only where an equal connection is as good as one's own, and nothing is rewritten.
fn is_twin(conntrack: &Conntrack, id: ConnId, tuple: &Tuple) -> bool {
    if !matches!(tuple.protocol, number::UDP | number::UDPLITE | number::GRE) {
        return false;
    }
    let rewritten = |conn: &Conn| conn.is_translated() || conn.status.has(Status::SEQ_ADJUST);
    let Some(own) = conntrack.get(id).filter(|own| !rewritten(own)) else {
        return false;
    };
    // Zones may hide one of its directions.
    let found = conntrack
        .lookup(tuple, own.zone)
        .or_else(|| conntrack.lookup(&conntrack.invert(tuple)?, own.zone));
    let Some((other, _)) = found else {
        return true;
    };
    let other = conntrack.get(other);
    other.is_some_and(|other| !rewritten(other) && other.tuples[0] == own.tuples[1])
}

/// Whether the source of `tuple` needs no change to lie in `range`.
fn in_range(tuple: &Tuple, range: &NatRange) -> bool {
    let address = !range.flags.has(NatFlags::MAP_IPS) || (range.min_addr..=range.max_addr).contains(&tuple.src);
    address && (!range.flags.has(NatFlags::PROTO_SPECIFIED) || port_in_range(tuple, Manip::Source, range))
}

fn port_in_range(tuple: &Tuple, manip: Manip, range: &NatRange) -> bool {
    let port = match (tuple.protocol, manip) {
        // An identifier is the same in both directions.
        (number::ICMP | number::ICMPV6, _) => tuple.sport,
        (protocol, _) if !has_ports(protocol) && protocol != number::GRE => return true,
        (_, Manip::Source) => tuple.sport,
        (_, Manip::Destination) => tuple.dport,
    };
    (range.min_port..=range.max_port).contains(&port)
}

const fn has_ports(protocol: u8) -> bool {
    matches!(
        protocol,
        number::TCP | number::UDP | number::UDPLITE | number::SCTP | number::DCCP
    )
}

/// The mapping in `range` that another connection of the same source has (`find_appropriate_src`).
fn same_mapping(conntrack: &Conntrack, id: ConnId, original: &Tuple, range: &NatRange) -> Option<Tuple> {
    let zone = conntrack.get(id)?.zone;
    conntrack.mapped_source(original, zone).find_map(|other| {
        let other = conntrack.get(other)?;
        let mapped = conntrack.invert(other.tuple(Direction::Reply))?;
        let tuple = Tuple {
            dst: original.dst,
            dport: original.dport,
            ..mapped
        };
        in_range(&tuple, range).then_some(tuple)
    })
}

/// The address: spread over the range by a hash of source and destination, so that a client keeps its address
/// (`find_best_ips_proto`). The hash is the kernel's, so that both engines choose the same.
fn choose_address(tuple: &mut Tuple, range: &NatRange, manip: Manip, zone: u16) {
    if !range.flags.has(NatFlags::MAP_IPS) {
        return;
    }
    if range.min_addr == range.max_addr {
        *end(tuple, manip) = range.min_addr;
        return;
    }
    let family = tuple.family;
    let words = address_words(family, tuple.dst);
    let last = match family {
        Family::V4 => 0,
        Family::V6 => 3,
    };
    let persistent = range.flags.has(NatFlags::PERSISTENT);
    let seed = if persistent { 0 } else { words[last] ^ u32::from(zone) };
    let mut hash = jhash(&address_words(family, tuple.src), seed);

    let (min, max) = (address_words(family, range.min_addr), address_words(family, range.max_addr));
    let mut chosen = [0u32; 4];
    let mut below_max = false;
    for i in 0..=last {
        let (low, distance) = if below_max {
            (0, u32::MAX)
        } else {
            let (low, high) = (u32::from_be(min[i]), u32::from_be(max[i]));
            (low, high.wrapping_sub(low).wrapping_add(1))
        };
        let offset = (u64::from(hash) * u64::from(distance)) >> 32;
        chosen[i] = low.wrapping_add(offset as u32).to_be();
        below_max |= chosen[i] != max[i];
        if !persistent {
            // The kernel mixes in the destination as it is by now: for destination NAT, the word just chosen.
            let destination = if manip == Manip::Destination { chosen[i] } else { words[i] };
            hash ^= destination;
        }
    }
    *end(tuple, manip) = match family {
        Family::V4 => Addr {
            hi: 0,
            lo: u64::from(u32::from_be(chosen[0])),
        },
        Family::V6 => {
            let mut bytes = [0; 16];
            for (place, word) in bytes.chunks_exact_mut(4).zip(chosen) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            Addr::read(&bytes)
        }
    };
}

fn end(tuple: &mut Tuple, manip: Manip) -> &mut Addr {
    match manip {
        Manip::Source => &mut tuple.src,
        Manip::Destination => &mut tuple.dst,
    }
}

/// An address as the kernel holds it: four words in network byte order, IPv4 in the first.
fn address_words(family: Family, address: Addr) -> [u32; 4] {
    let mut bytes = [0u8; 16];
    address.write(&mut bytes[..family.bytes()]);
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    words
}

/// Looks for a free port in the range, from a random (or shifted) start, in ever shorter rounds
/// (`nf_nat_l4proto_unique_tuple`). Whether it found one.
fn choose_port(
    tuple: &mut Tuple,
    range: &NatRange,
    manip: Manip,
    conntrack: &mut Conntrack,
    id: ConnId,
    rng: &mut fastrand::Rng,
) -> bool {
    let specified = range.flags.has(NatFlags::PROTO_SPECIFIED);
    let (given_min, given_max) = (range.min_port.min(range.max_port), range.min_port.max(range.max_port));
    let (min, max) = match tuple.protocol {
        _ if specified => (given_min, given_max),
        number::ICMP | number::ICMPV6 => (0, u16::MAX),
        // Only PPTP's GRE has call ids of its own to choose from.
        number::GRE if conntrack.get(id).is_some_and(|conn| conn.master.is_some()) => (1, u16::MAX),
        protocol if !has_ports(protocol) => return !is_used(conntrack, id, tuple),
        _ if manip == Manip::Destination => return !is_used(conntrack, id, tuple),
        // Privileged ports stay privileged; below 512 they carry credentials (rsh).
        _ => match tuple.sport {
            0..512 => (1, 511),
            512..1024 => (600, 1023),
            _ => (1024, u16::MAX),
        },
    };
    let is_id = matches!(tuple.protocol, number::ICMP | number::ICMPV6);
    let set = |tuple: &mut Tuple, value: u16| match manip {
        Manip::Destination if !is_id => tuple.dport = value,
        _ => tuple.sport = value,
    };
    let now = if manip == Manip::Destination && !is_id {
        tuple.dport
    } else {
        tuple.sport
    };
    let size = u32::from(max - min) + 1;
    let mut offset = if range.flags.has(NatFlags::PROTO_OFFSET) {
        now.wrapping_sub(range.base_port)
    } else if manip == Manip::Source || range.flags.has(ANY_RANDOM) {
        rng.u16(..)
    } else {
        0
    };
    let mut attempts = size.min(MAX_ATTEMPTS);
    loop {
        for left in (1..=attempts).rev() {
            set(tuple, (u32::from(min) + u32::from(offset) % size) as u16);
            let used = match left {
                0..=LAST_ATTEMPTS => is_used_by_the_living(conntrack, id, tuple),
                _ => is_used(conntrack, id, tuple),
            };
            if !used {
                return true;
            }
            offset = offset.wrapping_add(1);
        }
        if attempts >= size || attempts < MIN_ATTEMPTS {
            return false;
        }
        attempts /= 2;
        offset = rng.u16(..);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_addresses_is_spread_and_kept() {
        let range = NatRange {
            flags: NatFlags(NatFlags::MAP_IPS),
            min_addr: Addr { hi: 0, lo: 0x0a00_0010 },
            max_addr: Addr { hi: 0, lo: 0x0a00_001f },
            ..NatRange::default()
        };
        let mut seen = std::collections::HashSet::new();
        for host in 0..200u64 {
            let tuple = Tuple {
                src: Addr {
                    hi: 0,
                    lo: 0xc0a8_0000 + host,
                },
                dst: Addr { hi: 0, lo: 0x0808_0808 },
                sport: 1,
                dport: 2,
                protocol: number::UDP,
                family: Family::V4,
            };
            let choose = |mut tuple: Tuple| {
                choose_address(&mut tuple, &range, Manip::Source, 0);
                tuple.src
            };
            let chosen = choose(tuple);
            assert!((range.min_addr..=range.max_addr).contains(&chosen));
            assert_eq!(chosen, choose(Tuple { sport: 77, ..tuple }));
            seen.insert(chosen);
        }
        assert_eq!(seen.len(), 16);
    }
}
