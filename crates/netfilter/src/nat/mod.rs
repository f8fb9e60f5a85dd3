//! Address translation on top of connection tracking (`nf_nat_core.c`).

mod choose;
mod follow;
mod icmp;
pub(crate) mod mangle;
mod rewrite;

use fielato_wire::{Addr, number};
pub(crate) use follow::follow_master;

use crate::conntrack::{Conn, ConnId, Conntrack, CtState, Direction, Status};
use crate::verdict::{DropReason, Verdict};
use crate::{Hook, Packet, PacketCt};

/// Which end is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manip {
    /// The source: POSTROUTING and INPUT.
    Source,
    /// The destination: PREROUTING and OUTPUT.
    Destination,
}

impl Manip {
    /// The other end.
    pub const fn other(self) -> Manip {
        match self {
            Manip::Source => Manip::Destination,
            Manip::Destination => Manip::Source,
        }
    }

    /// Status bit of a connection that is rewritten at this end.
    const fn rewritten(self) -> u32 {
        match self {
            Manip::Source => Status::SRC_NAT,
            Manip::Destination => Status::DST_NAT,
        }
    }

    /// Status bit of a connection whose binding at this end is decided.
    const fn decided(self) -> u32 {
        match self {
            Manip::Source => Status::SRC_NAT_DONE,
            Manip::Destination => Status::DST_NAT_DONE,
        }
    }

    /// What is rewritten at this hook (`HOOK2MANIP`); nothing in FORWARD.
    #[inline]
    pub const fn at(hook: Hook) -> Option<Manip> {
        match hook {
            Hook::Prerouting | Hook::Output => Some(Manip::Destination),
            Hook::Postrouting | Hook::Input => Some(Manip::Source),
            Hook::Forward => None,
        }
    }
}

/// Addresses and ports to choose from (`struct nf_nat_range2`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatRange {
    /// Flags.
    pub flags: NatFlags,
    /// First address.
    pub min_addr: Addr,
    /// Last address.
    pub max_addr: Addr,
    /// First port.
    pub min_port: u16,
    /// Last port.
    pub max_port: u16,
    /// Base port of a shifted range (`--to-destination :1000-2000/5000`).
    pub base_port: u16,
}

/// `NF_NAT_RANGE_*`, the kernel's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NatFlags(pub u32);

impl NatFlags {
    /// Addresses are given.
    pub const MAP_IPS: u32 = 1 << 0;
    /// Ports are given.
    pub const PROTO_SPECIFIED: u32 = 1 << 1;
    /// `--random`
    pub const PROTO_RANDOM: u32 = 1 << 2;
    /// `--persistent`
    pub const PERSISTENT: u32 = 1 << 3;
    /// `--random-fully`
    pub const PROTO_RANDOM_FULLY: u32 = 1 << 4;
    /// A shifted port range.
    pub const PROTO_OFFSET: u32 = 1 << 5;
    /// NETMAP.
    pub const NETMAP: u32 = 1 << 6;

    /// Whether any of `bits` is set.
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// How far TCP sequence numbers of one direction are moved (`struct nf_ct_seqadj`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeqAdjust {
    /// Where the last change of length was.
    pub correction: u32,
    /// Offset before it.
    pub before: i32,
    /// Offset after it.
    pub after: i32,
}

impl SeqAdjust {
    /// How far `seq` is moved (`nf_ct_seq_offset`).
    pub const fn offset_at(&self, seq: u32) -> i32 {
        // Sequence numbers wrap (RFC 9293 §3.4).
        if (self.correction.wrapping_sub(seq) as i32) < 0 {
            self.after
        } else {
            self.before
        }
    }

    /// Notes that the payload at `seq` became `delta` bytes longer (`nf_ct_seqadj_set`). What was noted once is not noted again
    /// when the segment is repeated.
    pub const fn note(&mut self, seq: u32, delta: i32) {
        if self.before == self.after || (self.correction.wrapping_sub(seq) as i32) < 0 {
            self.correction = seq;
            self.before = self.after;
            self.after = self.after.wrapping_add(delta);
        }
    }

    /// The number that the sender meant by `ack`, which its peer counts in moved numbers.
    pub const fn restore(&self, ack: u32) -> u32 {
        let offset = if (self.correction.wrapping_sub(ack.wrapping_sub(self.before as u32)) as i32) < 0 {
            self.after
        } else {
            self.before
        };
        ack.wrapping_sub(offset as u32)
    }
}

/// Binds one end of a connection that is not yet confirmed (`nf_nat_setup_info`); the NAT targets call this. Of several ranges
/// the first that gives an unused tuple is taken, else the last: then [`Conntrack::confirm`] finds the clash.
pub fn setup(conntrack: &mut Conntrack, id: ConnId, ranges: &[NatRange], manip: Manip, rng: &mut fastrand::Rng) -> Verdict {
    let Some(conn) = conntrack.get(id) else {
        return Verdict::Accept;
    };
    if conn.status.has(Status::CONFIRMED) || conn.status.has(manip.decided()) {
        return Verdict::Accept;
    }
    // What came in looks like the inverse of the reply, prior rewriting included.
    let Some(current) = conntrack.invert(conn.tuple(Direction::Reply)) else {
        return Verdict::Drop(DropReason::NatMalformed);
    };
    let mut new = current;
    for range in ranges {
        let (tuple, unused) = choose::unique_tuple(conntrack, id, &current, range, manip, rng);
        new = tuple;
        if unused {
            break;
        }
    }
    let reply = if new == current { None } else { conntrack.invert(&new) };
    if let Some(reply) = reply {
        conntrack.alter_reply(id, reply);
    }
    if let Some(conn) = conntrack.get_mut(id) {
        if reply.is_some() {
            conn.status.set(manip.rewritten());
        }
        conn.status.set(manip.decided());
    }
    if manip == Manip::Source {
        conntrack.note_source(id);
    }
    Verdict::Accept
}

/// Binds one end to what it already is, so that later connections can't take its tuple (`nf_nat_alloc_null_binding`).
pub fn null_binding(conntrack: &mut Conntrack, id: ConnId, manip: Manip, rng: &mut fastrand::Rng) -> Verdict {
    let Some(conn) = conntrack.get(id) else {
        return Verdict::Accept;
    };
    let reply = conn.tuple(Direction::Reply);
    let address = match manip {
        Manip::Source => reply.dst,
        Manip::Destination => reply.src,
    };
    let range = NatRange {
        flags: NatFlags(NatFlags::MAP_IPS),
        min_addr: address,
        max_addr: address,
        ..NatRange::default()
    };
    setup(conntrack, id, &[range], manip, rng)
}

/// Whether this end of the packet's connection has been decided already; then the `nat` table is not walked.
pub fn is_bound(conntrack: &Conntrack, id: ConnId, manip: Manip) -> bool {
    conntrack.get(id).is_some_and(|conn| conn.status.has(manip.decided()))
}

/// Whether the packet is an ICMP error about its connection: it is rewritten without asking the table.
#[inline]
pub fn is_icmp_error(packet: &Packet) -> bool {
    let icmp = matches!(packet.headers.protocol, number::ICMP | number::ICMPV6);
    icmp && matches!(
        packet.ct,
        PacketCt::Tracked {
            state: CtState::Related,
            ..
        }
    )
}

/// Whether the packet goes out by another interface than the one whose address its connection has: routes have changed, and with
/// that address answers would not come back (`nf_nat_oif_changed`).
pub(crate) fn leaves_masquerade(conn: &Conn, packet: &Packet, direction: Direction, hook: Hook) -> bool {
    hook == Hook::Postrouting
        && direction == Direction::Original
        && conn.masqueraded_by != 0
        && conn.masqueraded_by != packet.out_interface.index
}

/// Rewrites a packet by its connection's binding (`nf_nat_packet`, and for ICMP errors
/// `nf_nat_icmp_reply_translation`), checksums updated incrementally, headers parsed again.
#[inline]
pub fn translate(conntrack: &Conntrack, packet: &mut Packet, hook: Hook) -> Verdict {
    let (PacketCt::Tracked { id, direction, .. }, Some(manip)) = (packet.ct, Manip::at(hook)) else {
        return Verdict::Accept;
    };
    let Some(conn) = conntrack.get(id) else {
        return Verdict::Accept;
    };
    // In the reply direction, what was the source is the destination.
    let end = match direction {
        Direction::Original => manip,
        Direction::Reply => manip.other(),
    };
    let rewritten = conn.status.has(end.rewritten());
    if !rewritten && !is_icmp_error(packet) {
        return Verdict::Accept;
    }
    translate_end(conntrack, conn, packet, hook, direction, manip, rewritten)
}

fn translate_end(
    conntrack: &Conntrack,
    conn: &Conn,
    packet: &mut Packet,
    hook: Hook,
    direction: Direction,
    manip: Manip,
    rewritten: bool,
) -> Verdict {
    if is_icmp_error(packet) {
        let done = icmp::translate_error(conntrack, conn, packet, direction, hook, rewritten);
        return settle(done && packet.reparse().is_ok());
    }
    // The packet is to look like the inverse of the other direction.
    let done = conntrack
        .invert(conn.tuple(direction.reverse()))
        .is_some_and(|target| rewrite::rewrite_packet(packet, &target, manip));
    settle(done)
}

/// Whether [`translate`] can rewrite the packet, which may be cut short.
pub(crate) fn can_translate(packet: &Packet) -> bool {
    rewrite::is_rewritable(packet.headers.protocol, packet.transport())
}

fn settle(done: bool) -> Verdict {
    if done {
        Verdict::Accept
    } else {
        Verdict::Drop(DropReason::NatMalformed)
    }
}
