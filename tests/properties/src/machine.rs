//! A router between two networks, as the engine's host, and the engine with it.
//!
//! ```text
//! 10.0.0.0/24, fd00::/64  eth0 [10.0.0.254 router 203.0.113.254] eth1  everything else
//! ```

use std::sync::LazyLock;

use fielato_iptables::{BuiltinNames, Registry, restore};
use fielato_netfilter::engine::Fate;
use fielato_netfilter::engine::command::{Caller, Command, Response};
use fielato_netfilter::host::{AddressType, Host, Route, RouteKey};
use fielato_netfilter::{Effect, Interface, Netfilter, Now, Packet, Ruleset};
use fielato_wire::{Addr, Family};

/// The inner network's interface.
pub const INSIDE: u32 = 1;
/// The outer one's.
pub const OUTSIDE: u32 = 2;

/// An interface of the router.
pub fn interface(index: u32) -> Interface {
    Interface::new(index, if index == INSIDE { "eth0" } else { "eth1" }).unwrap_or_default()
}

/// Host `number` of the inner network; 254 is the router.
pub const fn inside(family: Family, number: u8) -> Addr {
    match family {
        Family::V4 => Addr {
            hi: 0,
            lo: 0x0a00_0000 | number as u64,
        },
        Family::V6 => Addr {
            hi: 0xfd00_0000_0000_0000,
            lo: number as u64,
        },
    }
}

/// Host `number` outside; 254 is the router.
pub const fn outside(family: Family, number: u8) -> Addr {
    match family {
        Family::V4 => Addr {
            hi: 0,
            lo: 0xcb00_7100 | number as u64,
        },
        Family::V6 => Addr {
            hi: 0x2001_0db8_0000_0000,
            lo: number as u64,
        },
    }
}

/// The router.
#[derive(Debug, Default)]
pub struct Router;

impl Router {
    fn is_own(family: Family, address: Addr) -> bool {
        address == inside(family, 254) || address == outside(family, 254)
    }
}

impl Host for Router {
    fn route(&mut self, key: &RouteKey) -> Route {
        let net = inside(key.family, 0);
        let bits = if key.family == Family::V4 { 24 } else { 64 };
        let is_inside = key.dst.and(Addr::mask(key.family, bits)) == net;
        match (Router::is_own(key.family, key.dst), is_inside) {
            (true, _) => Route::Local,
            (false, is_inside) => Route::Out {
                interface: interface(if is_inside { INSIDE } else { OUTSIDE }),
                mtu: 1500,
                realm: 0,
            },
        }
    }

    fn address_type(&mut self, family: Family, address: Addr, _interface: Option<Interface>) -> AddressType {
        match Router::is_own(family, address) {
            true => AddressType::Local,
            false => AddressType::Unicast,
        }
    }

    fn interface_address(&mut self, family: Family, interface: Interface, _dst: Addr) -> Option<Addr> {
        match interface.index {
            INSIDE => Some(inside(family, 254)),
            _ => Some(outside(family, 254)),
        }
    }
}

/// The built-in matches and targets.
pub fn registry() -> &'static Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::builtin);
    &REGISTRY
}

/// A save file's rules.
///
/// # Panics
/// When the text is refused: the caller wrote it.
pub fn rules(family: Family, text: &str) -> Ruleset {
    match restore::parse(text, family, registry(), &BuiltinNames) {
        Ok(rules) => rules,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// Puts these tables in place of those of the same names; gives back the replaced ones with their counts.
///
/// # Panics
/// When they are refused: the caller wrote them.
pub fn replace(netfilter: &mut Netfilter, ruleset: Ruleset, now: Now) -> Vec<fielato_netfilter::Table> {
    let command = Command::Replace {
        ruleset,
        generation: None,
    };
    match netfilter.execute(Caller::Admin, command, now) {
        Ok(Response::Replaced(tables)) => tables,
        other => panic!("replacing tables gave {other:?}"),
    }
}

/// Gives the engine a packet that came in by the interface its source lies behind; `None` when it is no packet.
pub fn receive(netfilter: &mut Netfilter, bytes: Vec<u8>, by: u32, now: Now) -> Option<Fate> {
    let packet = Packet::received(bytes, interface(by)).ok()?;
    Some(netfilter.receive(packet, &mut Router, now))
}

/// All packets that leave the engine after one came in: the packet itself, answers, copies.
pub fn outgoing(netfilter: &mut Netfilter, fate: Fate) -> Vec<Packet> {
    let beside = netfilter.drain_effects().filter_map(|effect| match effect {
        Effect::Transmit(packet) | Effect::Copy { packet, .. } => Some(*packet),
        _ => None,
    });
    let beside: Vec<Packet> = beside.collect();
    passed(fate).into_iter().chain(beside).collect()
}

/// The packet that goes on or is delivered.
pub fn passed(fate: Fate) -> Option<Packet> {
    match fate {
        Fate::Deliver(packet) | Fate::Transmit(packet) => Some(packet),
        Fate::Dropped(_) | Fate::Stolen | Fate::Fragment | Fate::Queued => None,
    }
}
