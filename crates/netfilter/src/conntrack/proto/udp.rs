//! UDP and UDP-Lite (`nf_conntrack_proto_udp.c`).

use super::{ProtoState, ProtoVerdict, override_of, refresh};
use crate::Now;
use crate::conntrack::{Config, Conn, Status};

/// What a UDP connection remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// From when on traffic both ways makes it a stream, in nanoseconds of [`Now::mono`].
    pub stream_after: u64,
}

/// Traffic both ways for longer than this is a stream: a question and its answer are not.
const STREAM: u64 = 2 * Now::SECOND;

/// Whether the length fields make sense (`udp_error`).
#[inline]
pub(super) fn is_sound(transport: &[u8]) -> bool {
    let Some(header) = transport.first_chunk::<8>() else {
        return false;
    };
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    (8..=transport.len()).contains(&len)
}

/// Whether the coverage makes sense and there is a checksum, which UDP-Lite demands (`udplite_error`; RFC 3828 §3.1).
pub(super) fn is_sound_lite(transport: &[u8]) -> bool {
    let Some(header) = transport.first_chunk::<8>() else {
        return false;
    };
    let coverage = usize::from(u16::from_be_bytes([header[4], header[5]]));
    (coverage == 0 || (8..=transport.len()).contains(&coverage)) && header[6..8] != [0, 0]
}

/// Every datagram of a connection (`nf_conntrack_udp_packet`).
#[inline]
pub(super) fn packet(conn: &mut Conn, fresh: bool, config: &Config, now: Now) -> ProtoVerdict {
    if fresh {
        conn.proto = ProtoState::Udp(Udp {
            stream_after: now.mono.saturating_add(STREAM),
        });
    }
    let lasts = matches!(conn.proto, ProtoState::Udp(udp) if now.mono > udp.stream_after);
    if conn.status.has(Status::SEEN_REPLY) && lasts {
        refresh(conn, replied(conn, config), now);
        conn.status.set(Status::ASSURED);
    } else {
        refresh(conn, unreplied(conn, config), now);
    }
    ProtoVerdict::Accept
}

/// The same for UDP-Lite, where any answer makes a stream (`nf_conntrack_udplite_packet`).
pub(super) fn packet_lite(conn: &mut Conn, config: &Config, now: Now) -> ProtoVerdict {
    if conn.status.has(Status::SEEN_REPLY) {
        refresh(conn, replied(conn, config), now);
        conn.status.set(Status::ASSURED);
    } else {
        refresh(conn, unreplied(conn, config), now);
    }
    ProtoVerdict::Accept
}

fn unreplied(conn: &Conn, config: &Config) -> u32 {
    override_of(conn, 0).unwrap_or(config.timeouts.udp)
}

fn replied(conn: &Conn, config: &Config) -> u32 {
    override_of(conn, 1).unwrap_or(config.timeouts.udp_stream)
}
