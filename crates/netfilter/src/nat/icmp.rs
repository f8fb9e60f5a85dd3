//! ICMP errors about a translated connection: the quoted packet is translated back, then the error itself
//! (`nf_nat_icmp_reply_translation`, `nf_nat_icmpv6_reply_translation`).

use fielato_wire::{Family, checksum, number};

use super::Manip;
use super::rewrite::{self, Place};
use crate::conntrack::{Conn, Conntrack, Direction, Status, Tuple};
use crate::{Hook, Packet};

/// ICMP and ICMPv6 redirect.
const REDIRECT: u8 = 5;
const REDIRECT_V6: u8 = 137;

/// Translates an error that goes in `direction` of `conn`. `rewritten`: whether that direction is rewritten at this end at all.
/// False when the packet is to be dropped.
pub(super) fn translate_error(
    conntrack: &Conntrack,
    conn: &Conn,
    packet: &mut Packet,
    direction: Direction,
    hook: Hook,
    rewritten: bool,
) -> bool {
    let Some(manip) = Manip::at(hook) else {
        return true;
    };
    let l4 = packet.headers.ip_header_len();
    let family = packet.headers.family;
    let inner = l4 + 8;
    let quoted = match family {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    if packet.data.len() < inner + quoted {
        return false;
    }
    packet.join_header(8 + quoted as u16);
    if !packet.checksum_is_right(hook) {
        return false;
    }
    let redirect = match family {
        Family::V4 => REDIRECT,
        Family::V6 => REDIRECT_V6,
    };
    if packet.headers.icmp_type == redirect {
        // A redirect is of no use to a host behind NAT.
        let decided = conn.status.has(Status::SRC_NAT_DONE) && conn.status.has(Status::DST_NAT_DONE);
        if !decided || conn.status.has(Status::SRC_NAT | Status::DST_NAT) {
            return false;
        }
    }
    if !rewritten {
        return true;
    }
    // The quoted packet went the other way: its other end is rewritten to what that side knows.
    let other = conn.tuple(direction.reverse());
    let Some(place) = Place::find(&packet.data[inner..]) else {
        return false;
    };
    packet.join_header((inner - l4 + place.written_to(&packet.data[inner..])) as u16);
    let quotation = &mut packet.data[inner..];
    if !rewrite::rewrite_at(quotation, &place, other, manip.other()) {
        return false;
    }
    if place.has_sctp_checksum(quotation) {
        packet.summed.forget();
    }
    sum(packet);
    let Some(target) = conntrack.invert(other) else {
        return false;
    };
    let protocol = match family {
        Family::V4 => number::ICMP,
        Family::V6 => number::ICMPV6,
    };
    rewrite::rewrite(&mut packet.data, &Tuple { protocol, ..target }, manip)
}

fn sum(packet: &mut Packet) {
    let headers = packet.headers;
    let bytes = headers.transport_mut(&mut packet.data);
    bytes[2..4].fill(0);
    let check = match headers.family {
        Family::V4 => checksum::checksum(bytes),
        Family::V6 => checksum::transport(headers.src, headers.dst, number::ICMPV6, bytes),
    };
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
}
