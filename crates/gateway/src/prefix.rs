//! The longest prefix that holds an address, of both families.

use std::collections::HashMap;
use std::net::IpAddr;

use fielato_wire::{Addr, Family};
use ipnet::IpNet;

/// Values by network. A look-up costs one probe for each length of prefix in use, however many networks there are.
#[derive(Debug, Clone)]
pub(crate) struct PrefixMap<T> {
    families: [Prefixes<T>; 2],
}

#[derive(Debug, Clone)]
struct Prefixes<T> {
    networks: HashMap<(u8, Addr), T>,
    /// How many networks have a length, the longest first.
    lengths: Vec<(u8, usize)>,
}

impl<T> Default for PrefixMap<T> {
    fn default() -> PrefixMap<T> {
        PrefixMap {
            families: [Prefixes::default(), Prefixes::default()],
        }
    }
}

impl<T> Default for Prefixes<T> {
    fn default() -> Prefixes<T> {
        Prefixes {
            networks: HashMap::new(),
            lengths: Vec::new(),
        }
    }
}

/// The family of an address.
pub(crate) const fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

fn key(net: IpNet) -> (Family, u8, Addr) {
    (family_of(net.addr()), net.prefix_len(), Addr::from(net.network()))
}

impl<T> PrefixMap<T> {
    /// The value of a network takes the place of the one that was there.
    pub(crate) fn insert(&mut self, net: IpNet, value: T) -> Option<T> {
        let (family, length, network) = key(net);
        let Prefixes { networks, lengths } = &mut self.families[family as usize];
        let old = networks.insert((length, network), value);
        if old.is_none() {
            match lengths.binary_search_by(|(known, _)| length.cmp(known)) {
                Ok(place) => lengths[place].1 += 1,
                Err(place) => lengths.insert(place, (length, 1)),
            }
        }
        old
    }

    pub(crate) fn remove(&mut self, net: IpNet) -> Option<T> {
        let (family, length, network) = key(net);
        let Prefixes { networks, lengths } = &mut self.families[family as usize];
        let old = networks.remove(&(length, network))?;
        if let Ok(place) = lengths.binary_search_by(|(known, _)| length.cmp(known)) {
            lengths[place].1 -= 1;
            if lengths[place].1 == 0 {
                lengths.remove(place);
            }
        }
        Some(old)
    }

    pub(crate) fn get_mut(&mut self, net: IpNet) -> Option<&mut T> {
        let (family, length, network) = key(net);
        self.families[family as usize].networks.get_mut(&(length, network))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.families.iter().all(|family| family.networks.is_empty())
    }

    /// How many networks of a family there are.
    pub(crate) fn len_of(&self, family: Family) -> usize {
        self.families[family as usize].networks.len()
    }

    /// All values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.families.iter().flat_map(|family| family.networks.values())
    }

    /// The value of the longest prefix that holds the address.
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<&T> {
        self.find(family_of(address), address.into()).map(|(_, value)| value)
    }

    /// The same, with the prefix's length.
    pub(crate) fn find(&self, family: Family, address: Addr) -> Option<(u8, &T)> {
        let Prefixes { networks, lengths } = &self.families[family as usize];
        lengths.iter().find_map(|(length, _)| {
            let value = networks.get(&(*length, address.and(Addr::mask(family, *length))))?;
            Some((*length, value))
        })
    }

    /// The same, to be changed.
    pub(crate) fn find_mut(&mut self, family: Family, address: Addr) -> Option<&mut T> {
        let Prefixes { networks, lengths } = &mut self.families[family as usize];
        let key = lengths.iter().find_map(|(length, _)| {
            let key = (*length, address.and(Addr::mask(family, *length)));
            networks.contains_key(&key).then_some(key)
        })?;
        networks.get_mut(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_is_found_as_a_search_of_all_finds_it() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut map = PrefixMap::default();
        let mut all: Vec<(IpNet, u32)> = Vec::new();
        for value in 0..400 {
            let net: IpNet = if rng.bool() {
                ipnet::Ipv4Net::new((rng.u32(..) & 0x0303_0303).into(), rng.u8(0..=32))
                    .unwrap()
                    .trunc()
                    .into()
            } else {
                let bits = u128::from(rng.u64(..) & 0x0303_0303_0303_0303) << 64;
                ipnet::Ipv6Net::new(bits.into(), rng.u8(0..=128)).unwrap().trunc().into()
            };
            if rng.u8(..) < 60 {
                let known = all.iter().position(|(known, _)| *known == net);
                assert_eq!(map.remove(net), known.map(|place| all.remove(place).1));
            } else {
                all.retain(|(known, _)| *known != net);
                all.push((net, value));
                map.insert(net, value);
            }
            assert_eq!(map.len_of(Family::V4) + map.len_of(Family::V6), all.len());
            for _ in 0..20 {
                let address: IpAddr = if rng.bool() {
                    IpAddr::V4((rng.u32(..) & 0x0303_0303).into())
                } else {
                    IpAddr::V6((u128::from(rng.u64(..) & 0x0303_0303_0303_0303) << 64).into())
                };
                let holding = all.iter().filter(|(net, _)| net.contains(&address));
                let wanted = holding.max_by_key(|(net, _)| net.prefix_len()).map(|(_, value)| value);
                assert_eq!(map.lookup(address), wanted, "{address}");
            }
        }
    }
}
