//! ICMP and ICMPv6 beside the connections that they make themselves: errors belong to the connection whose packet they quote
//! (`nf_conntrack_proto_icmp.c`, `nf_conntrack_proto_icmpv6.c`).

use fielato_wire::{Addr, Family};

use super::{Conntrack, CtState, Zone, extract};
use crate::{Hook, Packet, PacketCt};

/// The type that answers an ICMP type, and back.
pub(super) const fn answer_v4(kind: u8) -> Option<u8> {
    match kind {
        0 => Some(8),
        8 => Some(0),
        // Time stamp, information, address mask.
        13 | 15 | 17 => Some(kind + 1),
        14 | 16 | 18 => Some(kind - 1),
        _ => None,
    }
}

/// The same for ICMPv6: echo and node information.
pub(super) const fn answer_v6(kind: u8) -> Option<u8> {
    match kind {
        128 | 139 => Some(kind + 1),
        129 | 140 => Some(kind - 1),
        _ => None,
    }
}

/// Whether a message of this type may begin a connection: it asks for an answer.
pub(super) const fn may_begin(family: Family, kind: u8) -> bool {
    match family {
        Family::V4 => matches!(kind, 8 | 13 | 15 | 17),
        Family::V6 => matches!(kind, 128 | 139),
    }
}

/// What is to be done with an ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is tracked as any packet.
    Track,
    /// Its relation to connections is this.
    Settled(PacketCt),
    /// It is INVALID.
    Invalid,
}

const HEADER: usize = 8;
/// The highest ICMP type that the kernel knows (`NR_ICMP_TYPES`). RFC 1122 §3.2.2: unknown types must be discarded.
const HIGHEST_V4: u8 = 18;
const REDIRECT_V6: u8 = 137;

/// Looks at an ICMP message before a connection is looked for.
pub(super) fn inspect(conntrack: &Conntrack, packet: &mut Packet, hook: Hook, zone: Zone) -> Outcome {
    if packet.transport().len() < HEADER {
        return Outcome::Invalid;
    }
    if conntrack.config().checksum && hook == Hook::Prerouting && !packet.checksum_is_right(hook) {
        return Outcome::Invalid;
    }
    let headers = &packet.headers;
    let transport = packet.transport();
    let Some(header) = transport.first_chunk::<HEADER>() else {
        return Outcome::Invalid;
    };
    let kind = header[0];
    let settled_here = match headers.family {
        Family::V4 if kind > HIGHEST_V4 => return Outcome::Invalid,
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        Family::V4 => matches!(kind, 3 | 4 | 5 | 11 | 12),
        // Neighbour discovery and multicast listener discovery belong to no connection.
        Family::V6 => kind < 128 || matches!(kind, 130..=137 | 143 | 151 | 152),
    };
    if !settled_here {
        return Outcome::Track;
    }
    match headers.family {
        Family::V6 if kind == REDIRECT_V6 => redirect_v6(conntrack, packet, zone),
        Family::V6 if kind >= 128 => Outcome::Settled(PacketCt::Untracked),
        _ => relate(conntrack, packet, &transport[HEADER..], headers.dst, zone),
    }
}

/// Ties an error to the connection of the packet that it quotes.
fn relate(conntrack: &Conntrack, packet: &Packet, quotation: &[u8], outer_dst: Addr, zone: Zone) -> Outcome {
    let trackers = conntrack.trackers();
    // The quoted packet went the other way than the error does: the error goes as the inverse of what it quotes.
    let Some(inverse) = extract::quoted(quotation, packet.headers.family, trackers).and_then(|quoted| trackers.invert(&quoted))
    else {
        return Outcome::Invalid;
    };
    let Some((id, direction)) = conntrack.lookup(&inverse, zone) else {
        return Outcome::Invalid;
    };
    // The error must be addressed to the end that sent the quoted packet, or someone made it up.
    if conntrack.get(id).is_none_or(|conn| conn.tuple(direction).dst != outer_dst) {
        return Outcome::Invalid;
    }
    Outcome::Settled(PacketCt::Tracked {
        id,
        state: CtState::Related,
        direction,
    })
}

/// A redirect quotes the packet in an option (RFC 4861 §4.5, §4.6.3). As in the kernel only the first option is looked at, and
/// the redirect must come from a neighbour.
fn redirect_v6(conntrack: &Conntrack, packet: &Packet, zone: Zone) -> Outcome {
    const FIXED: usize = 40;
    const REDIRECTED_HEADER: u8 = 4;
    let (headers, transport) = (&packet.headers, packet.transport());
    let from_neighbour = headers.ttl == 255 && headers.src.hi >> 54 == 0xfe80 >> 6;
    match transport.get(FIXED..FIXED + 2) {
        Some(&[REDIRECTED_HEADER, 1..=255]) if headers.icmp_code == 0 && from_neighbour => {
            let quotation = transport.get(FIXED + 8..).unwrap_or(&[]);
            relate(conntrack, packet, quotation, headers.dst, zone)
        }
        _ => Outcome::Invalid,
    }
}
