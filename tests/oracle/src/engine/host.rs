//! The router of [`crate::network`] as the engine's host.

use fielato_netfilter::Interface;
use fielato_netfilter::host::{AddressType, Host, Route, RouteKey};
use fielato_wire::{Addr, Family};

use crate::network;
use crate::subject::Port;

/// The router's interfaces by number.
pub(super) const INSIDE: u32 = 1;
pub(super) const OUTSIDE: u32 = 2;
pub(super) const LOOPBACK: u32 = 3;

/// An interface by its number.
pub(super) fn interface(index: u32) -> Interface {
    let name = match index {
        INSIDE => "tun0",
        OUTSIDE => "tun1",
        _ => "lo",
    };
    // The names are short enough.
    Interface::new(index, name).unwrap_or_default()
}

/// MTU of a TUN, and of the loopback.
const MTU: u32 = 1500;
const LOOPBACK_MTU: u32 = 65_536;

/// The router.
#[derive(Default)]
pub(super) struct Router {
    /// Where the next packet made here goes, whatever its destination (TEE).
    pub(super) gateway: Option<Addr>,
}

fn kind(family: Family, address: Addr) -> AddressType {
    if network::local(family).contains(&address) {
        return AddressType::Local;
    }
    match family {
        Family::V4 => match address.lo {
            0x0a00_00ff | 0xcb00_71ff | 0xffff_ffff | 0 => AddressType::Broadcast,
            0x7f00_0000..=0x7fff_ffff => AddressType::Local,
            0xe000_0000..=0xefff_ffff => AddressType::Multicast,
            _ => AddressType::Unicast,
        },
        Family::V6 if network::anycast().contains(&address) => AddressType::Anycast,
        Family::V6 => match address.hi >> 56 {
            0xff => AddressType::Multicast,
            _ => AddressType::Unicast,
        },
    }
}

/// What no route can be asked about (`ip_route_input_slow`).
fn is_martian(key: &RouteKey) -> bool {
    let is_loopback = |address: Addr| address.lo >> 24 == 127;
    let is_zero = |address: Addr| address.lo >> 24 == 0;
    let (src, dst) = (key.src, key.dst);
    let source = src.lo >> 28 == 0xe || src.lo == 0xffff_ffff;
    // Broadcast: to everybody, or in the old way, from nobody to nobody.
    let broadcast = dst.lo == 0xffff_ffff || src.lo == 0 && dst.lo == 0;
    source || !broadcast && (is_zero(src) || is_zero(dst) || is_loopback(src) || is_loopback(dst))
}

impl Host for Router {
    fn route(&mut self, key: &RouteKey) -> Route {
        let made_here = key.in_interface == Interface::NONE;
        let dst = match made_here {
            true => self.gateway.take().unwrap_or(key.dst),
            false => key.dst,
        };
        let is_local = match kind(key.family, dst) {
            AddressType::Local | AddressType::Anycast => true,
            AddressType::Broadcast => !made_here,
            // The group that every interface is in.
            AddressType::Multicast => {
                if !made_here && key.family == Family::V4 && dst.lo != 0xe000_0001 {
                    return Route::Blackhole;
                }
                true
            }
            _ => false,
        };
        if key.family == Family::V4 && !made_here && key.in_interface.index != LOOPBACK && is_martian(key) {
            return Route::Blackhole;
        }
        // An address of our own can't come from outside (`fib_validate_source`; IPv6 has no such rule).
        let own = network::local(key.family).contains(&key.src);
        if key.family == Family::V4 && own && !made_here && key.in_interface.index != LOOPBACK {
            return Route::Blackhole;
        }
        let (index, mtu) = match network::route(key.family, dst) {
            _ if is_local && !made_here => return Route::Local,
            _ if is_local => (LOOPBACK, LOOPBACK_MTU),
            Port::Inside => (INSIDE, MTU),
            Port::Outside | Port::Host => (OUTSIDE, MTU),
        };
        Route::Out {
            interface: interface(index),
            mtu,
            realm: 0,
        }
    }

    fn address_type(&mut self, family: Family, address: Addr, interface: Option<Interface>) -> AddressType {
        let found = kind(family, address);
        let elsewhere = interface.is_some_and(|interface| {
            let own = network::local(family);
            let there = match interface.index {
                INSIDE => address == own[0] || address.lo == 0x0a00_00ff,
                OUTSIDE => own[1..].contains(&address) || address.lo == 0xcb00_71ff,
                _ => false,
            };
            matches!(found, AddressType::Local | AddressType::Broadcast) && !there
        });
        if elsewhere { AddressType::Unicast } else { found }
    }

    fn interface_address(&mut self, family: Family, interface: Interface, dst: Addr) -> Option<Addr> {
        match interface.index {
            // What is sent to an address of one's own comes from there, or from the first of its network; an anycast address
            // is nobody's source.
            LOOPBACK if dst == Addr::ZERO => Some(network::local(family)[0]),
            LOOPBACK if dst == network::local(family)[2] => Some(network::local(family)[1]),
            LOOPBACK if family == Family::V6 && dst == network::anycast()[0] => Some(network::local(family)[0]),
            LOOPBACK if family == Family::V6 && dst == network::anycast()[1] => Some(network::local(family)[1]),
            LOOPBACK => Some(dst),
            INSIDE => Some(network::local(family)[0]),
            OUTSIDE => Some(network::local(family)[1]),
            _ => None,
        }
    }
}
