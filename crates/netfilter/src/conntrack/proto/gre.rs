//! GRE (`nf_conntrack_proto_gre.c`).

use super::{ProtoState, ProtoVerdict, override_of, refresh};
use crate::Now;
use crate::conntrack::{Config, Conn, Status};

/// What a GRE connection remembers: its timeouts, as they were when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gre {
    /// Seconds as long as nothing came back.
    pub timeout: u32,
    /// Seconds after that.
    pub stream_timeout: u32,
}

/// Every packet of a connection (`nf_conntrack_gre_packet`).
pub(super) fn packet(conn: &mut Conn, fresh: bool, config: &Config, now: Now) -> ProtoVerdict {
    let gre = match conn.proto {
        ProtoState::Gre(gre) if !fresh => gre,
        _ => Gre {
            timeout: override_of(conn, 0).unwrap_or(config.timeouts.gre),
            stream_timeout: override_of(conn, 1).unwrap_or(config.timeouts.gre_stream),
        },
    };
    conn.proto = ProtoState::Gre(gre);
    if conn.status.has(Status::SEEN_REPLY) {
        refresh(conn, gre.stream_timeout, now);
        conn.status.set(Status::ASSURED);
    } else {
        refresh(conn, gre.timeout, now);
    }
    ProtoVerdict::Accept
}
