//! `-m cluster` (`net/netfilter/xt_cluster.c`).

use fielato_wire::{Addr, Family};

use crate::check::{CheckContext, CheckError};
use crate::context::{Context, Slot};
use crate::jhash::jhash;
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
        let src = conn.known_master().map_or(&conn.tuples[0], |master| &master.tuple).src;
        (self.local & 1 << self.node(family, src) != 0) != self.negated
    }

    /// The node of a source, from 0.
    fn node(&self, family: Family, src: Addr) -> u32 {
        // Of an IPv6 address the kernel hashes the first four bytes alone: it takes a count of words for one of bytes
        // (`NF_CT_TUPLE_L3SIZE`).
        let word = match family {
            Family::V4 => src.lo as u32,
            Family::V6 => (src.hi >> 32) as u32,
        };
        // As the word lies in a little-endian machine's memory.
        let hash = jhash(&[word.swap_bytes()], self.seed);
        ((u64::from(hash) * u64::from(self.nodes)) >> 32) as u32
    }
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
        for number in 1..3001u128 {
            let v4 = Addr::from_bits(0x0a00_0000 + number);
            let v6 = Addr::from_bits((0x2a00_0000 + number) << 96);
            counts[cluster(1).node(Family::V4, v4) as usize] += 1;
            counts[cluster(1).node(Family::V6, v6) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (1800..2200).contains(count)), "{counts:?}");
    }

    /// Taken from Linux 6.18: which of seven rules counted a packet from these sources.
    #[test]
    fn nodes_are_the_kernels() {
        let cluster = Cluster {
            nodes: 7,
            local: 1,
            negated: false,
            seed: 0xfeed_cafe,
        };
        for (last, node) in (1..).zip([3, 2, 2, 5, 4, 0, 6, 3, 3, 0]) {
            let source = Addr::from(std::net::Ipv4Addr::new(127, 0, 0, last));
            assert_eq!(cluster.node(Family::V4, source), node, "127.0.0.{last}");
        }
        for (first, node) in (0x2a01u16..).zip([4, 6, 2, 3, 6, 4, 4, 3, 1]) {
            let source = Addr::from(std::net::Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, first));
            assert_eq!(cluster.node(Family::V6, source), node, "{first:x}::");
        }
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
