//! ICMP and ICMPv6 queries (`nf_conntrack_proto_icmp.c`, `nf_conntrack_proto_icmpv6.c`). Errors belong to the connection
//! they quote, which the core finds.

use fielato_wire::{Family, Headers, number};

use super::{ProtoPacket, ProtoVerdict, override_of, refresh};
use crate::Now;
use crate::conntrack::{Config, Conn};

/// The highest type that ICMP for IPv4 knows (`NR_ICMP_TYPES`); others are dropped silently (RFC 1122 §3.2.2).
const HIGHEST_TYPE: u8 = 18;

/// Whether the header is whole and its type is known.
pub(super) fn is_sound(headers: &Headers, transport: &[u8]) -> bool {
    let whole = transport.len() >= 8;
    match (headers.family, headers.protocol) {
        (Family::V4, number::ICMP) => whole && headers.icmp_type <= HIGHEST_TYPE,
        (Family::V6, number::ICMPV6) => whole,
        // The other family's protocol.
        _ => false,
    }
}

/// Every message of a connection: only a query may begin one.
pub(super) fn packet(conn: &mut Conn, packet: &ProtoPacket<'_>, fresh: bool, config: &Config, now: Now) -> ProtoVerdict {
    let kind = (conn.tuples[0].dport >> 8) as u8;
    let (begins, timeout) = match packet.headers.family {
        // Echo, time stamp, information and address mask requests.
        Family::V4 => (matches!(kind, 8 | 13 | 15 | 17), config.timeouts.icmp),
        // Echo and node information queries.
        Family::V6 => (!fresh || matches!(kind, 128 | 139), config.timeouts.icmpv6),
    };
    if !begins {
        return ProtoVerdict::Invalid;
    }
    refresh(conn, override_of(conn, 0).unwrap_or(timeout), now);
    ProtoVerdict::Accept
}
