//! `-m cluster` (`net/netfilter/xt_cluster.c`).

use fielato_wire::{Addr, Family};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::packet::PacketType;

/// `-m cluster`: the connection's source falls to this node of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Nodes in all, at most [`Cluster::MAX`].
    pub nodes: u32,
    /// Bit `n - 1` is node `n`.
    pub local: u32,
    /// `!`
    pub negated: bool,
    /// `--cluster-hash-seed`
    pub seed: u32,
}

impl Cluster {
    /// Most nodes.
    pub const MAX: u32 = 32;

    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        if self.nodes > Cluster::MAX {
            return Err(CheckError(format!("cluster: {} nodes, at most {}", self.nodes, Cluster::MAX)));
        }
        if u64::from(self.local) >= 1 << self.nodes {
            return Err(CheckError("cluster: the node mask names nodes beyond the total".to_owned()));
        }
        Ok(())
    }

    pub(crate) fn matches(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> bool {
        let headers = &cx.packet.headers;
        let (family, dst) = (headers.family, headers.dst);
        let multicast = match family {
            Family::V4 => dst.lo >> 28 == 0xe,
            Family::V6 => dst.hi >> 56 == 0xff,
        };
        // All nodes get all packets by a link-layer group; whoever takes one takes it as sent to him.
        if !multicast && cx.packet.packet_type == PacketType::Multicast {
            cx.packet.packet_type = PacketType::Unicast;
        }
        let Some(conn) = cx.conntrack.of(cx.packet) else {
            return false;
        };
        let master = conn.master.and_then(|id| cx.conntrack.get(id));
        let src = master.unwrap_or(conn).tuples[0].src;
        (self.local & 1 << self.node(family, src) != 0) != self.negated
    }

    /// The node of a source, from 0.
    fn node(&self, family: Family, src: Addr) -> u32 {
        let hash = match family {
            Family::V4 => hash_v4(src, self.seed),
            Family::V6 => hash_v6(src, self.seed),
        };
        ((u64::from(hash) * u64::from(self.nodes)) >> 32) as u32
    }
}

/// Where the hash begins (`JHASH_INITVAL`).
const INITIAL: u32 = 0xdead_beef;

/// `jhash_1word` of the address as it lies in a little-endian machine's memory.
fn hash_v4(address: Addr, seed: u32) -> u32 {
    let start = seed.wrapping_add(INITIAL).wrapping_add(4);
    finish((address.lo as u32).swap_bytes().wrapping_add(start), start, start)
}

/// `jhash2` of the address' four words as they lie in a little-endian machine's memory.
fn hash_v6(address: Addr, seed: u32) -> u32 {
    let word = |number: u32| ((address.to_bits() >> (96 - 32 * number)) as u32).swap_bytes();
    let start = INITIAL.wrapping_add(16).wrapping_add(seed);
    let (a, b, c) = mix(
        start.wrapping_add(word(0)),
        start.wrapping_add(word(1)),
        start.wrapping_add(word(2)),
    );
    finish(a.wrapping_add(word(3)), b, c)
}

/// Bob Jenkins' lookup3 (public domain): mixing of three words.
const fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

/// lookup3's last step.
const fn finish(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_one_node() {
        let cluster = |local| Cluster {
            nodes: 3,
            local,
            negated: false,
            seed: 0xfeed_cafe,
        };
        let mut counts = [0; 3];
        for family in [Family::V4, Family::V6] {
            for number in 1..3001u128 {
                let node = cluster(1).node(family, Addr::from_bits(0x0a00_0000 + number));
                counts[node as usize] += 1;
            }
        }
        assert!(counts.iter().all(|count| (1800..2200).contains(count)), "{counts:?}");
    }

    #[test]
    fn checks_the_mask() {
        let ip = crate::rule::IpMatch::default();
        let cx = CheckContext {
            family: Family::V4,
            table: "mangle",
            hooks: crate::HookMask::ALL,
            ip: &ip,
            matches: &[],
        };
        let cluster = |nodes, local| Cluster {
            nodes,
            local,
            negated: false,
            seed: 1,
        };
        assert!(cluster(2, 3).check(&cx).is_ok());
        assert!(cluster(2, 4).check(&cx).is_err());
        assert!(cluster(32, u32::MAX).check(&cx).is_ok());
        assert!(cluster(33, 1).check(&cx).is_err());
    }
}
