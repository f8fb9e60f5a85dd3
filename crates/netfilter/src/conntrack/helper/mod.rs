//! Helpers: they read announcements of connections to come (`nf_conntrack_helper.c`).

mod ftp;
mod ftp_text;
#[cfg(test)]
mod tests;
mod tftp;

use fielato_wire::number;

use super::{Conntrack, CtState, Direction, HelperKind, Status};
use crate::nat::mangle;
use crate::verdict::{DropReason, Verdict};
use crate::{Now, Packet, PacketCt};

/// Lets the helper of the packet's connection read it, at POST_ROUTING and LOCAL_IN. It may add expectations, and rewrite
/// the payload when the connection is translated.
pub(crate) fn help(conntrack: &mut Conntrack, packet: &mut Packet, now: Now) -> Verdict {
    let PacketCt::Tracked { id, state, direction } = packet.ct else {
        return Verdict::Accept;
    };
    let Some(helper) = conntrack.get(id).and_then(|conn| conn.helper) else {
        return Verdict::Accept;
    };
    match (helper, packet.headers.protocol) {
        (HelperKind::Ftp, number::TCP) if state == CtState::Established => ftp::help(conntrack, packet, id, direction, now),
        (HelperKind::Tftp, number::UDP) => tftp::help(conntrack, packet, id, now),
        _ => Verdict::Accept,
    }
}

/// Moves sequence numbers of a connection whose payload changed its length (`nf_ct_seq_adjust`), before it is confirmed.
///
/// As the kernel does (`nf_confirm`), it takes an ICMP error in the original direction for a segment: what stands where a TCP header
/// would have its numbers is moved, and the error is dropped when what stands for options can't be read.
pub(crate) fn adjust_sequence(conntrack: &mut Conntrack, packet: &mut Packet) -> Verdict {
    let PacketCt::Tracked { id, state, direction } = packet.ct else {
        return Verdict::Accept;
    };
    let Some(conn) = conntrack.get(id).filter(|conn| conn.status.has(Status::SEQ_ADJUST)) else {
        return Verdict::Accept;
    };
    let is_answer_error = state == CtState::Related && direction == Direction::Reply;
    // What comes by loopback was moved when it left (`nf_is_loopback_packet`).
    let by_loopback = packet.in_interface.name.as_str() == "lo";
    if is_answer_error || by_loopback || packet.headers.is_later_fragment() {
        return Verdict::Accept;
    }
    let Some(sequence) = conn.extra.as_ref().map(|extra| extra.sequence) else {
        return Verdict::Accept;
    };
    if mangle::adjust(packet, &sequence, direction) {
        Verdict::Accept
    } else {
        Verdict::Drop(DropReason::Helper)
    }
}
