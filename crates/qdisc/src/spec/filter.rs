//! Filters: which packets go into which class.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Handle;

/// `filter add dev DEV parent H [protocol P] [prio N] KIND … [classid C]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The discipline or class whose packets it looks at.
    pub parent: Handle,
    /// Packets of which protocol.
    pub protocol: FilterProtocol,
    /// Lower is asked first; when absent, before those that were added earlier without one, as the kernel has it.
    pub prio: Option<u16>,
    /// What it looks for.
    pub kind: FilterKind,
    /// The class for what it finds; absent only for `fw`, whose marks then name classes.
    pub classid: Option<Handle>,
}

/// Packets of which protocol a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum FilterProtocol {
    /// Any.
    #[default]
    All,
    /// IPv4.
    Ip,
    /// IPv6.
    Ipv6,
}

impl FilterProtocol {
    /// Every one with tc's word for it.
    pub const WORDS: [(&'static str, FilterProtocol); 3] = [
        ("all", FilterProtocol::All),
        ("ip", FilterProtocol::Ip),
        ("ipv6", FilterProtocol::Ipv6),
    ];
}

/// What a filter looks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterKind {
    /// `u32 match …`: all keys must match (`man 8 tc-u32`).
    U32(Vec<U32Key>),
    /// `[handle MARK[/MASK]] fw`: the packet's mark (`man 8 tc-fw`); without a mark, the mark itself names the class.
    Fw(Option<(u32, u32)>),
    /// `matchall`: every packet.
    Matchall,
    /// `flower …`: fields of the packet's headers (`man 8 tc-flower`).
    Flower(Flower),
}

/// Four bytes of a packet, or its mark, compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct U32Key {
    /// What is compared.
    pub field: U32Field,
    /// What the masked bytes must be.
    pub value: u32,
    /// Which bits count.
    pub mask: u32,
}

/// What a u32 key compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum U32Field {
    /// The four bytes at this offset from the IP header.
    At(i32),
    /// The four bytes at this offset from the transport header.
    Nexthdr(i32),
    /// The packet's mark.
    Mark,
}

/// Header fields; all that are given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flower {
    /// The source address.
    pub src_ip: Option<IpNet>,
    /// The destination address.
    pub dst_ip: Option<IpNet>,
    /// The transport protocol.
    pub ip_proto: Option<u8>,
    /// The source port, first and last; needs a protocol with ports.
    pub src_port: Option<(u16, u16)>,
    /// The destination port, first and last; needs a protocol with ports.
    pub dst_port: Option<(u16, u16)>,
    /// Type of service or traffic class, and which of its bits count.
    pub ip_tos: Option<(u8, u8)>,
}
