//! What tells one connection from another.

use std::fmt;

use fielato_wire::{Addr, Family, number};

use super::icmp;

/// Which way a packet of a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// As the first packet.
    Original,
    /// Back.
    Reply,
}

impl Direction {
    /// The other one.
    pub const fn reverse(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }

    /// 0 or 1, to index pairs.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Addresses, protocol, and the protocol's own numbers.
///
/// `sport` and `dport` are what the protocol has: ports; for ICMP the identifier and `type << 8 | code`; for GRE the
/// call ids or zero; otherwise zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// The source's number.
    pub sport: u16,
    /// The destination's number.
    pub dport: u16,
    /// Transport protocol.
    pub protocol: u8,
    /// IP version.
    pub family: Family,
}

impl Tuple {
    /// The tuple that answers would have, without NAT; `None` when nothing answers such a packet (most ICMP types).
    #[inline]
    pub fn invert(&self) -> Option<Tuple> {
        let (sport, dport) = match self.protocol {
            number::ICMP | number::ICMPV6 => {
                let [kind, code] = self.dport.to_be_bytes();
                let answer = match self.protocol {
                    number::ICMP => icmp::answer_v4(kind),
                    _ => icmp::answer_v6(kind),
                };
                (self.sport, u16::from_be_bytes([answer?, code]))
            }
            _ => (self.dport, self.sport),
        };
        Some(Tuple {
            src: self.dst,
            dst: self.src,
            sport,
            dport,
            ..*self
        })
    }

    /// ICMP's type and code.
    pub const fn icmp(&self) -> (u8, u8) {
        let [kind, code] = self.dport.to_be_bytes();
        (kind, code)
    }

    /// Whether the protocol's numbers are ports.
    pub const fn has_ports(&self) -> bool {
        matches!(
            self.protocol,
            number::TCP | number::UDP | number::UDPLITE | number::SCTP | number::DCCP
        )
    }
}

/// As `conntrack -L` and `/proc/net/nf_conntrack` print the protocol's numbers, with a space in front.
pub(super) fn write_numbers(tuple: &Tuple, out: &mut dyn fmt::Write) -> fmt::Result {
    match tuple.protocol {
        number::ICMP | number::ICMPV6 => {
            let (kind, code) = tuple.icmp();
            write!(out, " type={kind} code={code} id={}", tuple.sport)
        }
        number::GRE => write!(out, " srckey=0x{:x} dstkey=0x{:x}", tuple.sport, tuple.dport),
        _ if tuple.has_ports() => write!(out, " sport={} dport={}", tuple.sport, tuple.dport),
        _ => Ok(()),
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "src={} dst={}",
            self.src.display(self.family),
            self.dst.display(self.family)
        )?;
        write_numbers(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_of_an_inverse_is_the_tuple() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut inverted, mut icmp) = (0, 0);
        for _ in 0..100_000 {
            let family = if rng.bool() { Family::V4 } else { Family::V6 };
            let mut addr = || Addr::from_bits(rng.u128(..)).and(Addr::mask(family, 128));
            let (src, dst) = (addr(), addr());
            let tuple = Tuple {
                src,
                dst,
                sport: rng.u16(..),
                dport: rng.u16(..),
                protocol: *rng.choice(&[1, 6, 17, 33, 47, 58, 132, 136, 50, 200]).unwrap_or(&6),
                family,
            };
            if let Some(inverse) = tuple.invert() {
                assert_eq!(inverse.invert(), Some(tuple));
                assert_eq!((inverse.src, inverse.dst), (dst, src));
                inverted += 1;
                icmp += usize::from(tuple.protocol == 1);
            }
        }
        assert!(inverted > 70_000 && icmp > 100);
    }

    #[test]
    fn icmp_pairs_are_the_kernels() {
        let tuple = |protocol, kind: u8| Tuple {
            src: Addr::from_bits(1),
            dst: Addr::from_bits(2),
            sport: 77,
            dport: u16::from_be_bytes([kind, 3]),
            protocol,
            family: if protocol == number::ICMP { Family::V4 } else { Family::V6 },
        };
        for (protocol, pairs) in [
            (number::ICMP, &[(8, 0), (13, 14), (15, 16), (17, 18)][..]),
            (number::ICMPV6, &[(128, 129), (139, 140)]),
        ] {
            for kind in 0..=255 {
                let answer = pairs
                    .iter()
                    .find_map(|&(a, b)| (kind == a).then_some(b).or((kind == b).then_some(a)));
                let inverse = tuple(protocol, kind).invert();
                assert_eq!(inverse.map(|t| t.icmp()), answer.map(|a| (a, 3)), "{protocol} {kind}");
                assert!(inverse.is_none_or(|t| t.sport == 77));
            }
        }
    }
}
