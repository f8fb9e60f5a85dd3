//! What tests of matches and targets share: packets of both families, a host that answers from fields, a context around them.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_wire::{Addr, Family, checksum, number};

use crate::conntrack::{Config, Conn, Conntrack, Tuple};
use crate::context::{Context, Effect, Shared, Slot};
use crate::host::{AddressType, Route, RouteKey, SocketCgroup, SocketOwner};
use crate::rule::Match;
use crate::{Hook, Host, Interface, Now, Packet};

/// Source of IPv4 packets made here.
pub(crate) const V4_SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Destination of IPv4 packets made here.
pub(crate) const V4_DST: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
/// Source of IPv6 packets made here.
pub(crate) const V6_SRC: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Destination of IPv6 packets made here.
pub(crate) const V6_DST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 2);

/// An interface by number and name.
pub(crate) fn interface(index: u32, name: &str) -> Interface {
    Interface::new(index, name).expect("a short name")
}

/// An IPv4 packet of `protocol`, in by eth0.
pub(crate) fn v4(protocol: u8, payload: &[u8]) -> Packet {
    v4_fragment(protocol, 0, false, payload)
}

/// An IPv4 fragment; `offset` in bytes.
pub(crate) fn v4_fragment(protocol: u8, offset: u16, more: bool, payload: &[u8]) -> Packet {
    let mut bytes = vec![0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0];
    bytes.extend_from_slice(&V4_SRC.octets());
    bytes.extend_from_slice(&V4_DST.octets());
    bytes.extend_from_slice(payload);
    let len = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    let fragment = (offset / 8) | if more { 0x2000 } else { 0 };
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    let check = checksum::checksum(&bytes[..20]);
    bytes[10..12].copy_from_slice(&check.to_be_bytes());
    Packet::received(bytes, interface(1, "eth0")).expect("a sound IPv4 packet")
}

/// An IPv6 packet whose first header after the fixed one is `next`, in by eth0.
pub(crate) fn v6(next: u8, payload: &[u8]) -> Packet {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[next, 64]);
    bytes.extend_from_slice(&V6_SRC.octets());
    bytes.extend_from_slice(&V6_DST.octets());
    bytes.extend_from_slice(payload);
    // Not as received: tests cut extension headers short that a receiver would not let pass.
    let mut packet = Packet::local(bytes).expect("an IPv6 packet");
    packet.in_interface = interface(1, "eth0");
    packet
}

/// An IPv6 fragment; `offset` in bytes.
pub(crate) fn v6_fragment(protocol: u8, offset: u16, more: bool, payload: &[u8]) -> Packet {
    let mut fragment = vec![protocol, 0];
    fragment.extend_from_slice(&(offset & 0xfff8 | u16::from(more)).to_be_bytes());
    fragment.extend_from_slice(&[0, 0, 0x12, 0x34]);
    fragment.extend_from_slice(payload);
    v6(number::FRAGMENT, &fragment)
}

/// The same transport part in both families.
pub(crate) fn both(protocol: u8, payload: &[u8]) -> [Packet; 2] {
    [v4(protocol, payload), v6(protocol, payload)]
}

/// A TCP header with options (a multiple of four bytes).
pub(crate) fn tcp(sport: u16, dport: u16, flags: u8, options: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0, "TCP options fill 32-bit words");
    let mut bytes = Vec::from(sport.to_be_bytes());
    bytes.extend_from_slice(&dport.to_be_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.push(((20 + options.len()) as u8 / 4) << 4);
    bytes.extend_from_slice(&[flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend_from_slice(options);
    bytes
}

/// A UDP header and payload, without checksum.
pub(crate) fn udp(sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(sport.to_be_bytes());
    bytes.extend_from_slice(&dport.to_be_bytes());
    bytes.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A connection of which the first packet had `original`, without translation.
pub(crate) fn connection(original: Tuple) -> Conn {
    let reply = Tuple {
        src: original.dst,
        dst: original.src,
        sport: original.dport,
        dport: original.sport,
        ..original
    };
    Conn::new(original, reply)
}

/// A host that answers from its fields.
#[derive(Debug)]
pub(crate) struct TestHost {
    /// Answer of [`Host::route`].
    pub route: Route,
    /// Addresses and their kinds; others are unicast.
    pub kinds: Vec<(Addr, AddressType)>,
    /// Answer of [`Host::interface_address`].
    pub address: Option<Addr>,
    /// Answer of [`Host::socket_owner`].
    pub owner: Option<SocketOwner>,
    /// Answer of [`Host::socket_cgroup`].
    pub cgroup: Option<SocketCgroup>,
    /// Answer of [`Host::interface_group`], by interface number.
    pub groups: Vec<(u32, u32)>,
    /// Answer of [`Host::has_socket`].
    pub socket: bool,
    /// Answer of [`Host::cpu`].
    pub cpu: u32,
}

impl Default for TestHost {
    fn default() -> TestHost {
        TestHost {
            route: Route::Out {
                interface: interface(2, "eth1"),
                mtu: 1500,
                realm: 0,
            },
            kinds: Vec::new(),
            address: None,
            owner: None,
            cgroup: None,
            groups: Vec::new(),
            socket: false,
            cpu: 0,
        }
    }
}

impl Host for TestHost {
    fn route(&mut self, _key: &RouteKey) -> Route {
        self.route
    }

    fn address_type(&mut self, _family: Family, address: Addr, _interface: Option<Interface>) -> AddressType {
        let known = self.kinds.iter().find(|(known, _)| *known == address);
        known.map_or(AddressType::Unicast, |(_, kind)| *kind)
    }

    fn interface_address(&mut self, _family: Family, _interface: Interface, _dst: Addr) -> Option<Addr> {
        self.address
    }

    fn socket_owner(&mut self, _packet: &Packet) -> Option<SocketOwner> {
        self.owner.clone()
    }

    fn socket_cgroup(&mut self, _packet: &Packet) -> Option<SocketCgroup> {
        self.cgroup.clone()
    }

    fn interface_group(&mut self, interface: Interface) -> u32 {
        let known = self.groups.iter().find(|(index, _)| *index == interface.index);
        known.map_or(0, |(_, group)| *group)
    }

    fn has_socket(&mut self, _packet: &Packet, _transparent: bool) -> bool {
        self.socket
    }

    fn cpu(&mut self) -> u32 {
        self.cpu
    }
}

/// A match's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It holds.
    Yes,
    /// It doesn't.
    No,
    /// The packet is to be dropped.
    Hotdrop,
}

/// A packet with everything around it.
#[derive(Debug)]
pub(crate) struct Kit {
    pub packet: Packet,
    pub hook: Hook,
    pub conntrack: Conntrack,
    pub shared: Shared,
    pub host: TestHost,
    pub rng: fastrand::Rng,
    pub effects: Vec<Effect>,
    pub now: Now,
}

impl Kit {
    /// `packet` at FORWARD, at 1,000 s.
    pub(crate) fn new(packet: Packet) -> Kit {
        Kit {
            packet,
            hook: Hook::Forward,
            conntrack: Conntrack::new(Config::default(), 1),
            shared: Shared::default(),
            host: TestHost::default(),
            rng: fastrand::Rng::with_seed(7),
            effects: Vec::new(),
            now: Now::from_secs(1000),
        }
    }

    /// The context of the packet.
    pub(crate) fn context(&mut self) -> Context<'_> {
        Context {
            packet: &mut self.packet,
            hook: self.hook,
            conntrack: &mut self.conntrack,
            shared: &mut self.shared,
            host: &mut self.host,
            rng: &mut self.rng,
            effects: &mut self.effects,
            now: self.now,
            hotdrop: false,
        }
    }

    /// What `m` answers, with a fresh rule's state.
    pub(crate) fn answer(&mut self, m: &Match) -> Answer {
        let mut slot = m.slot(self.now);
        self.answer_with(m, &mut slot)
    }

    /// What `m` answers, with this state.
    pub(crate) fn answer_with(&mut self, m: &Match, slot: &mut Slot) -> Answer {
        let mut cx = self.context();
        let holds = m.matches(&mut cx, slot);
        match (cx.hotdrop, holds) {
            (true, _) => Answer::Hotdrop,
            (false, true) => Answer::Yes,
            (false, false) => Answer::No,
        }
    }
}

/// What `m` answers to `packet` at FORWARD.
pub(crate) fn answer(m: Match, packet: Packet) -> Answer {
    Kit::new(packet).answer(&m)
}
