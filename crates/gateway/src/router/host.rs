//! The router as netfilter's host.

use fielato_netfilter::host::{AddressType, Host, Route, RouteKey};
use fielato_netfilter::{IcmpError, Interface, InterfaceName};
use fielato_wire::{Addr, Family};

use super::address::{is_loopback, source_for};
use super::{Decision, DecisionKind, LOOPBACK, LOOPBACK_MTU, Router};
use crate::config::{PortId, PortKind, RouteKind};
use crate::drops::DropReason;

const LO: Interface = Interface {
    index: LOOPBACK,
    name: InterfaceName::LOOPBACK,
};

/// Addresses that no route can be asked about (`ip_route_input_slow`).
fn is_martian_v4(src: Addr, dst: Addr) -> bool {
    let is_zero = |address: Addr| address.lo >> 24 == 0;
    let source = src.lo >> 28 == 0xe || src.lo == 0xffff_ffff;
    // To everybody, or in the old way, from nobody to nobody.
    let broadcast = dst.lo == 0xffff_ffff || src.lo == 0 && dst.lo == 0;
    let loops = is_loopback(Family::V4, src) || is_loopback(Family::V4, dst);
    source || !broadcast && (is_zero(src) || is_zero(dst) || loops)
}

const fn is_link_local(address: Addr) -> bool {
    address.hi >> 54 == 0xfe80 >> 6
}

impl Router {
    /// Addresses that an IPv6 packet from outside can't have; such a packet reaches no hook (`ip6_rcv_core`).
    pub(crate) fn is_martian_v6(src: Addr, dst: Addr) -> bool {
        let is_multicast = |address: Addr| address.hi >> 56 == 0xff;
        let scope = dst.hi >> 48 & 0xf;
        let loops = is_loopback(Family::V6, src) || is_loopback(Family::V6, dst);
        loops || is_multicast(src) || is_multicast(dst) && scope <= 1
    }

    fn received(&mut self, key: &RouteKey) -> Result<Decision, (DropReason, Route)> {
        let local = Decision {
            port: None,
            table: None,
            via: None,
            kind: DecisionKind::Local,
        };
        let kind = self.kind(key.family, key.dst);
        match key.family {
            Family::V4 => {
                // Groups: the gateway is in the one of all hosts only.
                let foreign_group = kind == AddressType::Multicast && key.dst.lo != 0xe000_0001;
                if foreign_group || is_martian_v4(key.src, key.dst) {
                    return Err((DropReason::Martian, Route::Blackhole));
                }
                self.validate_source(key).map_err(|reason| (reason, Route::Blackhole))?;
            }
            // Addresses that mean nothing beyond their link, or nobody, are not forwarded (`ip6_forward`).
            Family::V6 if kind == AddressType::Unicast => {
                if key.src == Addr::ZERO || is_link_local(key.src) || is_link_local(key.dst) {
                    return Err((DropReason::Martian, Route::Blackhole));
                }
            }
            Family::V6 => {}
        }
        match kind {
            AddressType::Unicast => self.forwarded(key, key.dst),
            _ => Ok(local),
        }
    }

    /// What the tables say.
    fn forwarded(&self, key: &RouteKey, dst: Addr) -> Result<Decision, (DropReason, Route)> {
        let Some((table, _, entry)) = self.lookup(key, dst) else {
            return Err((DropReason::NoRoute, Route::Unreachable));
        };
        match entry.kind {
            RouteKind::Unicast => Ok(Decision {
                port: Some(entry.port),
                table: Some(table),
                via: entry.via,
                kind: DecisionKind::Forward,
            }),
            RouteKind::Blackhole => Err((DropReason::Blackhole, Route::Blackhole)),
            RouteKind::Unreachable => Err((DropReason::Unreachable, Route::HostUnreachable)),
            RouteKind::Prohibit => Err((DropReason::Prohibited, Route::Prohibit)),
        }
    }

    fn out(&self, port: PortId) -> Route {
        match self.way(super::interface_number(port)) {
            Some(way) => Route::Out {
                interface: way.interface,
                mtu: way.mtu,
                realm: 0,
            },
            None => Route::Unreachable,
        }
    }

    fn sent(&mut self, key: &RouteKey) -> Result<Route, (DropReason, Route)> {
        let dst = self.gateway.take().unwrap_or(key.dst);
        match self.kind(key.family, dst) {
            AddressType::Local | AddressType::Anycast => Ok(Route::Out {
                interface: LO,
                mtu: LOOPBACK_MTU,
                realm: 0,
            }),
            AddressType::Broadcast => match self.lookup(key, dst) {
                Some((_, _, entry)) if dst.lo != 0 => Ok(self.out(entry.port)),
                _ => Err((DropReason::NoRoute, Route::Unreachable)),
            },
            _ => {
                let decision = self.forwarded(key, dst)?;
                self.note(decision);
                Ok(decision.port.map_or(Route::Unreachable, |port| self.out(port)))
            }
        }
    }
}

impl Host for Router {
    fn supposed_route(&mut self, key: &RouteKey) -> Route {
        let (refusal, decisions) = (self.refusal, self.decisions.take());
        let route = self.route(key);
        (self.refusal, self.decisions) = (refusal, decisions);
        route
    }

    fn route(&mut self, key: &RouteKey) -> Route {
        let answer = if key.in_interface == Interface::NONE {
            self.sent(key)
        } else if key.in_interface.index == LOOPBACK {
            Ok(Route::Local)
        } else {
            self.received(key).map(|decision| {
                self.note(decision);
                decision.port.map_or(Route::Local, |port| self.out(port))
            })
        };
        match answer {
            Ok(route) => route,
            Err((reason, route)) => {
                self.refuse(reason);
                route
            }
        }
    }

    fn address_type(&mut self, family: Family, address: Addr, interface: Option<Interface>) -> AddressType {
        let kind = self.kind(family, address);
        let is_somewhere = matches!(kind, AddressType::Local | AddressType::Broadcast);
        match interface {
            Some(interface) if is_somewhere && interface.index != LOOPBACK => {
                match self.addresses.is_on(family, address, interface.index) {
                    true => kind,
                    false => AddressType::Unicast,
                }
            }
            _ => kind,
        }
    }

    fn interface_address(&mut self, family: Family, interface: Interface, dst: Addr) -> Option<Addr> {
        // RFC 6724 §5, rule 1: to an own address from that address.
        let own = family == Family::V6 && self.kind(family, dst) == AddressType::Local;
        if own || interface.index == LOOPBACK && dst != Addr::ZERO {
            return Some(dst);
        }
        let key = RouteKey {
            family,
            src: Addr::ZERO,
            dst,
            in_interface: Interface::NONE,
            mark: 0,
            tos: 0,
        };
        let mut next_hop = dst;
        if dst != Addr::ZERO
            && let Some((_, _, entry)) = self.lookup(&key, dst)
            && super::interface_number(entry.port) == interface.index
        {
            if let Some(source) = entry.source {
                return Some(source.into());
            }
            next_hop = entry.via.map_or(dst, Addr::from);
        }
        let there = self.way(interface.index)?;
        let everywhere = || {
            self.ways
                .iter()
                .filter(|way| way.kind != PortKind::Host)
                .flat_map(|way| &way.addresses)
        };
        source_for(family, there.addresses.iter(), next_hop).or_else(|| source_for(family, everywhere(), next_hop))
    }

    fn may_send_icmp(&mut self, error: &IcmpError) -> bool {
        let key = RouteKey {
            family: error.family,
            src: Addr::ZERO,
            dst: error.to,
            in_interface: Interface::NONE,
            mark: 0,
            tos: 0,
        };
        let prefix = self.lookup(&key, error.to).map_or(0, |(_, length, _)| length);
        let loops = self.is_own(error.family, error.to);
        self.limits.allow(error, prefix, loops, self.now)
    }

    fn route_generation(&self) -> u64 {
        self.generation
    }
}
