//! What kind of address something is, and which of the gateway's own fits a destination.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use fielato_netfilter::host::AddressType;
use fielato_wire::{Addr, Family};
use ipnet::IpNet;

use crate::config::Port;
use crate::prefix::family_of;

/// The gateway's own addresses, and those that its networks give a meaning to.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// With the numbers of the ports that have it.
    own: HashMap<(Family, Addr), Vec<u32>>,
    /// Directed broadcasts, with the ports they are one on.
    broadcasts: HashMap<Addr, Vec<u32>>,
    /// Every router's address in an IPv6 network (RFC 4291 §2.6.1).
    anycasts: HashSet<Addr>,
}

impl Addresses {
    pub(super) fn new(ports: &[Port]) -> Addresses {
        let mut all = Addresses::default();
        for port in ports {
            let number = super::interface_number(port.id);
            for net in &port.addresses {
                let family = family_of(net.addr());
                all.own.entry((family, net.addr().into())).or_default().push(number);
                match net {
                    // RFC 3021: a network of two addresses has no broadcast.
                    IpNet::V4(net) if net.prefix_len() < 31 => {
                        all.broadcasts.entry(Addr::v4(net.broadcast())).or_default().push(number);
                    }
                    // RFC 6164: nor has one of 127 bits an anycast address.
                    IpNet::V6(net) if net.prefix_len() < 127 => drop(all.anycasts.insert(Addr::v6(net.network()))),
                    IpNet::V4(_) | IpNet::V6(_) => {}
                }
            }
        }
        all
    }

    pub(super) fn is_own(&self, family: Family, address: Addr) -> bool {
        self.own.contains_key(&(family, address)) || is_loopback(family, address)
    }

    pub(super) fn kind(&self, family: Family, address: Addr) -> AddressType {
        if self.is_own(family, address) {
            return AddressType::Local;
        }
        match family {
            Family::V4 if address.lo == 0xffff_ffff || address.lo == 0 || self.broadcasts.contains_key(&address) => {
                AddressType::Broadcast
            }
            Family::V4 if address.lo >> 28 == 0xe => AddressType::Multicast,
            Family::V6 if address.hi >> 56 == 0xff => AddressType::Multicast,
            Family::V6 if self.anycasts.contains(&address) => AddressType::Anycast,
            Family::V4 | Family::V6 => AddressType::Unicast,
        }
    }

    /// Whether the address is one's own, or a broadcast, on the port of this number.
    pub(super) fn is_on(&self, family: Family, address: Addr, number: u32) -> bool {
        let own = self.own.get(&(family, address));
        let broadcast = (family == Family::V4).then(|| self.broadcasts.get(&address)).flatten();
        own.into_iter().chain(broadcast).flatten().any(|known| *known == number)
    }
}

pub(super) const fn is_loopback(family: Family, address: Addr) -> bool {
    match family {
        Family::V4 => address.lo >> 24 == 127,
        Family::V6 => address.hi == 0 && address.lo == 1,
    }
}

/// Of the addresses, the one to be the source of packets to `dst`: in its network, else for IPv4 the first (`inet_select_addr`), for
/// IPv6 the one that has most in common (RFC 6724 §5, rule 8).
pub(super) fn source_for<'a>(family: Family, addresses: impl Iterator<Item = &'a IpNet> + Clone, dst: Addr) -> Option<Addr> {
    let of_family = addresses.filter(|net| family_of(net.addr()) == family);
    if dst == Addr::ZERO {
        return of_family.clone().next().map(|net| net.addr().into());
    }
    let target = dst.to_ip(family);
    let around = of_family.clone().find(|net| net.contains(&target));
    let chosen = around.or_else(|| match target {
        IpAddr::V4(_) => of_family.clone().next(),
        IpAddr::V6(_) => {
            // The first of those that have equally much.
            let common = |net: &&IpNet| (Addr::from(net.addr()).to_bits() ^ dst.to_bits()).leading_zeros();
            let most = of_family.clone().map(|net| common(&net)).max()?;
            of_family.clone().find(|net| common(net) == most)
        }
    });
    chosen.map(|net| net.addr().into())
}
