//! What differs between IPv4 and IPv6 in rule text.

use std::net::IpAddr;

use ipnet::IpNet;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// nft's name of the header.
    pub fn header(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    /// nft's name of the protocol.
    pub fn protocol(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }

    /// nft's type of an address.
    pub fn address_type(self) -> &'static str {
        match self {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        }
    }

    /// Ending of the names of sets and maps.
    pub fn suffix(self) -> &'static str {
        match self {
            Family::V4 => "v4",
            Family::V6 => "v6",
        }
    }

    /// The iptables program.
    pub fn iptables(self) -> &'static str {
        match self {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }
    }

    /// The networks of this family.
    pub fn nets<'a>(self, nets: impl IntoIterator<Item = &'a IpNet>) -> Vec<IpNet> {
        nets.into_iter()
            .copied()
            .filter(|net| Family::of(net.addr()) == self)
            .collect()
    }

    /// The networks of this family, in order.
    pub fn sorted_nets(self, nets: &[IpNet]) -> Vec<IpNet> {
        let mut nets = self.nets(nets);
        nets.sort_unstable();
        nets
    }

    /// The addresses of this family.
    pub fn addresses(self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        addresses
            .iter()
            .copied()
            .filter(|address| Family::of(*address) == self)
            .collect()
    }
}

/// A network as people write it: a single address without its prefix length.
pub fn plain(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}
