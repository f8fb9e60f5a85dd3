//! TFTP (RFC 1350; `nf_conntrack_tftp.c`, `nf_nat_tftp.c`): the server answers a request from a port of its own.

use fielato_wire::{Addr, number};

use super::super::{ConnId, Conntrack, Direction, ExpectNat, Expectation, HelperKind, Status, Tuple};
use crate::verdict::{DropReason, Verdict};
use crate::{Now, Packet};

const READ: [u8; 2] = [0, 1];
const WRITE: [u8; 2] = [0, 2];

/// Expects the server's answer to a request.
pub(super) fn help(conntrack: &mut Conntrack, packet: &Packet, id: ConnId, now: Now) -> Verdict {
    let opcode = packet.transport().get(8..10);
    if opcode != Some(&READ) && opcode != Some(&WRITE) {
        return Verdict::Accept;
    }
    let Some(conn) = conntrack.get(id) else {
        return Verdict::Accept;
    };
    let (original, reply) = (*conn.tuple(Direction::Original), *conn.tuple(Direction::Reply));
    let translated = conn.status.has(Status::SRC_NAT | Status::DST_NAT);
    let expectation = Expectation {
        tuple: Tuple {
            sport: 0,
            protocol: number::UDP,
            ..reply
        },
        src_mask: Addr::mask(reply.family, reply.family.bits()),
        sport_mask: 0,
        master: id,
        zone: conn.zone,
        helper: None,
        class: HelperKind::Tftp,
        permanent: false,
        nat: if translated {
            ExpectNat::Follow {
                direction: Direction::Reply,
                saved_addr: original.src,
                saved_port: original.sport,
            }
        } else {
            ExpectNat::None
        },
        deadline: now.mono.saturating_add(HelperKind::Tftp.expect_timeout()),
    };
    match conntrack.expect(expectation) {
        Ok(_) => Verdict::Accept,
        Err(_) => Verdict::Drop(DropReason::Helper),
    }
}
