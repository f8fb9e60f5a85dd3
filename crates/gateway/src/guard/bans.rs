//! Banned hosts and networks, each with what it has refused.

use std::collections::{BTreeSet, HashMap};

use fielato_netfilter::Now;
use fielato_wire::{Addr, Family};
use ipnet::IpNet;

use super::keyed::Keyed;
use super::{BanCount, MAX_BANS, TooManyBans};
use crate::prefix::{PrefixMap, family_of};

#[derive(Debug)]
pub(super) struct Bans {
    /// Single addresses, by family: one look-up however many there are.
    hosts: [HashMap<Addr, BanCount, Keyed>; 2],
    networks: PrefixMap<BanCount>,
    /// Ends of bans that have one.
    ends: BTreeSet<(u64, IpNet)>,
}

fn is_host(network: &IpNet) -> bool {
    network.prefix_len() == network.max_prefix_len()
}

impl Bans {
    pub(super) fn new(seed: u64) -> Bans {
        let hosts = || HashMap::with_hasher(Keyed::new(seed));
        Bans {
            hosts: [hosts(), hosts()],
            networks: PrefixMap::default(),
            ends: BTreeSet::new(),
        }
    }

    /// Counts the packet with the ban that it meets, a host's before that of the longest prefix.
    #[inline]
    pub(super) fn meet(&mut self, family: Family, source: Addr, bytes: u64, now: Now) -> Option<IpNet> {
        let hosts = &mut self.hosts[family as usize];
        if let Some(ban) = hosts.get_mut(&source)
            && ban.refuse(bytes, now)
        {
            return Some(ban.network);
        }
        if self.networks.is_empty() {
            return None;
        }
        let ban = self.networks.find_mut(family, source)?;
        ban.refuse(bytes, now).then_some(ban.network)
    }

    /// Whether so many bans fit.
    pub(super) fn check(wanted: &[(IpNet, Option<u64>)]) -> Result<(), TooManyBans> {
        let wanted: BTreeSet<IpNet> = wanted.iter().map(|(net, _)| net.trunc()).collect();
        for family in [Family::V4, Family::V6] {
            let of_family = || wanted.iter().filter(|net| family_of(net.addr()) == family);
            let hosts = of_family().filter(|net| is_host(net)).count();
            if hosts > MAX_BANS || of_family().count() - hosts > MAX_BANS {
                return Err(TooManyBans);
            }
        }
        Ok(())
    }

    /// Makes the bans exactly these, or changes nothing.
    pub(super) fn set(&mut self, wanted: &[(IpNet, Option<u64>)], now: Now) -> Result<(), TooManyBans> {
        Bans::check(wanted)?;
        let wanted: HashMap<IpNet, Option<u64>> = wanted.iter().map(|(net, until)| (net.trunc(), *until)).collect();
        for ban in self.list() {
            if !wanted.contains_key(&ban.network) {
                self.remove(ban.network);
            }
        }
        for (network, until) in wanted {
            self.add(network, until)?;
        }
        self.expire(now);
        Ok(())
    }

    pub(super) fn add(&mut self, network: IpNet, until: Option<u64>) -> Result<bool, TooManyBans> {
        let network = network.trunc();
        let is_new = match self.get_mut(network) {
            Some(ban) => {
                let before = std::mem::replace(&mut ban.until, until);
                self.forget_end(network, before);
                false
            }
            None => {
                let ban = BanCount {
                    network,
                    until,
                    packets: 0,
                    bytes: 0,
                };
                let family = family_of(network.addr());
                if is_host(&network) {
                    let hosts = &mut self.hosts[family as usize];
                    if hosts.len() >= MAX_BANS {
                        return Err(TooManyBans);
                    }
                    hosts.insert(network.addr().into(), ban);
                } else if self.networks.len_of(family) >= MAX_BANS {
                    return Err(TooManyBans);
                } else {
                    self.networks.insert(network, ban);
                }
                true
            }
        };
        self.ends.extend(until.map(|until| (until, network)));
        Ok(is_new)
    }

    pub(super) fn remove(&mut self, network: IpNet) -> bool {
        let network = network.trunc();
        let removed = match is_host(&network) {
            true => self.hosts[family_of(network.addr()) as usize].remove(&Addr::from(network.addr())),
            false => self.networks.remove(network),
        };
        if let Some(ban) = removed {
            self.forget_end(network, ban.until);
        }
        removed.is_some()
    }

    fn get_mut(&mut self, network: IpNet) -> Option<&mut BanCount> {
        match is_host(&network) {
            true => self.hosts[family_of(network.addr()) as usize].get_mut(&Addr::from(network.addr())),
            false => self.networks.get_mut(network),
        }
    }

    fn forget_end(&mut self, network: IpNet, until: Option<u64>) {
        if let Some(until) = until {
            self.ends.remove(&(until, network));
        }
    }

    pub(super) fn expire(&mut self, now: Now) {
        while let Some(&(until, network)) = self.ends.first()
            && until <= now.wall
        {
            self.remove(network);
        }
    }

    pub(super) fn next_end(&self) -> Option<u64> {
        self.ends.first().map(|(until, _)| *until)
    }

    pub(super) fn list(&self) -> Vec<BanCount> {
        let hosts = self.hosts.iter().flat_map(HashMap::values);
        let mut all: Vec<BanCount> = hosts.chain(self.networks.values()).copied().collect();
        all.sort_by_key(|ban| ban.network);
        all
    }
}

impl BanCount {
    /// Counts a packet, unless the ban has ended and was not removed yet.
    const fn refuse(&mut self, bytes: u64, now: Now) -> bool {
        if let Some(until) = self.until
            && until <= now.wall
        {
            return false;
        }
        self.packets += 1;
        self.bytes += bytes;
        true
    }
}
