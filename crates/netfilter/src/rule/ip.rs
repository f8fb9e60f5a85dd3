//! The part of a rule that every rule has: addresses, interfaces, protocol (`struct ipt_ip`, `struct ip6t_ip6`).

use fielato_wire::Addr;

use crate::{InterfaceName, Packet};

/// `-s` or `-d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressMatch {
    /// The address, with the bits outside the mask zero.
    pub network: Addr,
    /// The mask; not always a prefix.
    pub mask: Addr,
    /// `!`
    pub negated: bool,
}

impl AddressMatch {
    /// Whether no address is asked for.
    pub const fn is_any(&self) -> bool {
        self.mask.hi | self.mask.lo == 0 && !self.negated
    }

    /// Whether it holds for `address`.
    pub const fn matches(&self, address: Addr) -> bool {
        address.within(self.network, self.mask) != self.negated
    }
}

/// `-i` or `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceMatch {
    /// The name, without a closing `+`.
    pub name: InterfaceName,
    /// The name is a prefix (`+`). An empty prefix holds for every name.
    pub prefix: bool,
    /// `!`
    pub negated: bool,
}

impl InterfaceMatch {
    /// Whether no interface is asked for.
    pub fn is_any(&self) -> bool {
        self.name.is_empty() && !self.negated
    }

    /// Whether it holds for an interface of this name.
    pub fn matches(&self, name: InterfaceName) -> bool {
        if self.name.is_empty() {
            return !self.negated;
        }
        let mask = if self.prefix {
            let bits = 8 * self.name.as_str().len() as u32;
            if bits == 128 { u128::MAX } else { !(u128::MAX >> bits) }
        } else {
            u128::MAX
        };
        (((name.bits() ^ self.name.bits()) & mask) == 0) != self.negated
    }
}

/// `-p`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtocolMatch {
    /// The number; 0 for all.
    pub number: u8,
    /// `!`
    pub negated: bool,
}

/// `-f` (IPv4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// `-f`: fragments other than the first.
    Later,
    /// `! -f`: whole packets and first fragments.
    FirstOrWhole,
}

/// What every rule can ask of the IP header and the interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpMatch {
    /// `-s`
    pub source: AddressMatch,
    /// `-d`
    pub destination: AddressMatch,
    /// `-i`
    pub in_interface: InterfaceMatch,
    /// `-o`
    pub out_interface: InterfaceMatch,
    /// `-p`
    pub protocol: ProtocolMatch,
    /// `-f`; IPv4 only.
    pub fragment: Option<Fragment>,
}

impl IpMatch {
    /// Whether it holds for `packet`.
    pub fn matches(&self, packet: &Packet) -> bool {
        let headers = &packet.headers;
        if !self.ends_match(packet) {
            return false;
        }
        let protocol = self.protocol;
        if protocol.number != 0 && (protocol.number == headers.protocol) == protocol.negated {
            return false;
        }
        match self.fragment {
            None => true,
            Some(Fragment::Later) => headers.is_later_fragment(),
            Some(Fragment::FirstOrWhole) => !headers.is_later_fragment(),
        }
    }

    /// Whether a packet whose protocol can't be found comes as far as being asked for it, which it doesn't survive
    /// (`ip6_packet_match`).
    pub(crate) fn needs_protocol(&self, packet: &Packet) -> bool {
        self.protocol.number != 0 && self.ends_match(packet)
    }

    /// Addresses and interfaces.
    fn ends_match(&self, packet: &Packet) -> bool {
        let headers = &packet.headers;
        self.source.matches(headers.src)
            && self.destination.matches(headers.dst)
            && (self.in_interface.is_any() || self.in_interface.matches(packet.in_interface.name))
            && (self.out_interface.is_any() || self.out_interface.matches(packet.out_interface.name))
    }
}
