//! What tells one connection from another.

use fielato_wire::{Addr, Family};

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
