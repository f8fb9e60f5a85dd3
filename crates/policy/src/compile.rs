//! [`Config`] and what else is true to [`Plan`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::circumstances::Circumstances;
use crate::config::{Config, Limits, Member, Over, Party, When};
use crate::plan::{Addresses, Destination, HostPlan, Peer, PerFamily, Plan};

mod firewall;
mod host;
mod rates;
mod shaping;

pub use host::HostPlans;

impl Plan {
    /// What the hub is to be.
    pub fn compile(config: &Config, circumstances: &Circumstances<'_>) -> Self {
        let Config { hub, bans, .. } = config;
        let world = World::new(config, *circumstances);
        let peers = world.active().map(|(name, member)| Peer {
            name: name.clone(),
            public_key: member.public_key,
            allowed_ips: member.addresses.iter().copied().map(IpNet::from).collect(),
        });
        Self {
            interface: hub.interface.clone(),
            uplink: hub.uplink.clone(),
            listen_port: hub.listen_port,
            mtu: hub.mtu,
            addresses: hub.addresses.clone(),
            peers: peers.collect(),
            firewall: firewall::firewall(&world),
            shaping: shaping::items(&world),
            bans: bans
                .iter()
                .filter(|ban| ban.until.is_none_or(|until| until > circumstances.now))
                .cloned()
                .collect(),
            guard: hub.guard.clone(),
            next_change: next_change(config, circumstances),
        }
    }
}

impl HostPlan {
    /// What the protected host `name` is to be; `None` when there is no such host.
    pub fn compile(config: &Config, name: &str, circumstances: &Circumstances<'_>) -> Option<Self> {
        config.hosts.contains_key(name).then_some(())?;
        let world = World::new(config, *circumstances);
        host::one(config, &firewall::firewall(&world), name)
    }

    /// The same where the hub's plan has been compiled already, from the same configuration.
    pub fn of(config: &Config, hub: &Plan, name: &str) -> Option<Self> {
        host::one(config, &hub.firewall, name)
    }
}

/// When the clock next changes something.
fn next_change(config: &Config, circumstances: &Circumstances<'_>) -> Option<Timestamp> {
    let now = circumstances.now;
    let members = config.members.values().filter(|member| !member.disabled);
    let ends = members
        .filter_map(|member| member.expires)
        .chain(config.bans.iter().filter_map(|ban| ban.until))
        .chain(config.rules.iter().filter_map(|rule| rule.until))
        .chain(circumstances.grants.iter().map(|grant| grant.until));
    let hours = config
        .rules
        .iter()
        .filter(|rule| rule.until.is_none_or(|until| until > now))
        .filter_map(|rule| When::next_change(&rule.when, now));
    ends.filter(|end| *end > now).chain(hours).min()
}

/// The configuration with what is true of it at one moment.
struct World<'a> {
    config: &'a Config,
    circumstances: Circumstances<'a>,
    /// Which active members are in which group, in order of name.
    members: HashMap<&'a str, Vec<&'a Member>>,
    /// Which hosts are in which group.
    hosts: HashMap<&'a str, Vec<&'a str>>,
    /// The nft set of each group.
    set_names: BTreeMap<&'a str, String>,
    /// All that `internet` is not.
    near: Vec<IpNet>,
}

impl<'a> World<'a> {
    fn new(config: &'a Config, circumstances: Circumstances<'a>) -> Self {
        let mut world = Self {
            config,
            circumstances,
            members: HashMap::new(),
            hosts: HashMap::new(),
            set_names: set_names(config),
            near: near(config),
        };
        let (mut members, mut hosts) = (HashMap::new(), HashMap::new());
        for (group, content) in config.group_contents().iter() {
            let known = content.members.iter().filter_map(|name| config.members.get(*name));
            members.insert(group, known.filter(|member| world.is_active(member)).collect());
            hosts.insert(group, content.hosts.iter().copied().collect());
        }
        (world.members, world.hosts) = (members, hosts);
        world
    }

    /// Neither disabled nor expired.
    fn is_active(&self, member: &Member) -> bool {
        !member.disabled && member.expires.is_none_or(|expiry| expiry > self.circumstances.now)
    }

    fn active(&self) -> impl Iterator<Item = (&'a String, &'a Member)> {
        self.config.members.iter().filter(|(_, member)| self.is_active(member))
    }

    fn group_members(&self, name: &str) -> impl Iterator<Item = &'a Member> {
        self.members.get(name).into_iter().flatten().copied()
    }

    /// The addresses of a group's members and hosts, each once.
    fn group_nets(&self, name: &str) -> Vec<IpNet> {
        let mut all = nets(self.group_members(name));
        let hosts = self.hosts.get(name).map_or(&[][..], Vec::as_slice);
        if !hosts.is_empty() {
            let mut known: HashSet<IpNet> = all.iter().copied().collect();
            let hosts = hosts.iter().flat_map(|host| self.host_nets(host));
            all.extend(hosts.filter(|net| known.insert(*net)));
        }
        all
    }

    /// Whether anybody could be blocked for using up a quota.
    fn may_block(&self) -> bool {
        let blocks = |limits: &Limits| limits.quota.is_some_and(|quota| quota.over == Over::Block);
        let Config { members, groups, .. } = self.config;
        members.values().any(|member| blocks(&member.limits)) || groups.values().any(|group| blocks(&group.limits))
    }

    /// Active members that are blocked.
    fn blocked(&self) -> impl Iterator<Item = &'a Member> {
        let over = self.circumstances.over_quota;
        let is_blocked = move |name: &str| over.get(name) == Some(&Over::Block);
        self.active()
            .filter(move |(name, _)| is_blocked(name))
            .map(|(_, member)| member)
    }

    /// A member's overlay addresses; none when it is not active.
    fn member_nets(&self, name: &str) -> Vec<IpNet> {
        let member = self.config.members.get(name).filter(|member| self.is_active(member));
        member.map_or_else(Vec::new, |member| nets([member].into_iter()))
    }

    /// A host's addresses, with its overlay addresses when it is a member too.
    fn host_nets(&self, name: &str) -> Vec<IpNet> {
        let mut nets = self.member_nets(name);
        nets.extend(
            self.config
                .hosts
                .get(name)
                .into_iter()
                .flat_map(|host| &host.addresses)
                .copied()
                .map(IpNet::from),
        );
        nets
    }

    /// Where a machine is reached from the hub: a host at its own addresses, who is a member only at its overlay addresses.
    fn published_at(&self, name: &str) -> PerFamily<Option<IpAddr>> {
        let addresses: Vec<IpAddr> = match self.config.hosts.get(name) {
            Some(host) => host.addresses.clone(),
            None => self.member_nets(name).iter().map(IpNet::addr).collect(),
        };
        PerFamily {
            v4: addresses.iter().copied().find(IpAddr::is_ipv4),
            v6: addresses.iter().copied().find(IpAddr::is_ipv6),
        }
    }

    /// A party's addresses. `Hub` has none here: its packets are those of the input chain.
    fn addresses(&self, party: &Party) -> Option<Addresses> {
        let nets = |nets: Vec<IpNet>| (!nets.is_empty()).then_some(Addresses::Nets(nets));
        match party {
            Party::Any => Some(Addresses::Any),
            Party::Members => Some(Addresses::Set(MEMBERS.to_owned())),
            Party::Internet => Some(Addresses::Except(self.near.clone())),
            Party::Group(name) => self.set_names.get(name.as_str()).cloned().map(Addresses::Set),
            Party::Member(name) => nets(self.member_nets(name)),
            Party::Host(name) => nets(self.host_nets(name)),
            Party::Prefix(net) => Some(Addresses::Nets(vec![*net])),
            Party::Service(name) => {
                let service = self.config.services.get(name)?;
                nets(service.hosts.iter().flat_map(|host| self.host_nets(host)).collect())
            }
            Party::Hub => None,
        }
    }

    fn destination(&self, party: &Party) -> Option<Destination> {
        let ports = match party {
            Party::Service(name) => self
                .config
                .services
                .get(name)
                .map_or_else(Vec::new, |service| service.ports.clone()),
            _ => Vec::new(),
        };
        self.addresses(party).map(|addresses| Destination { addresses, ports })
    }
}

/// All that `internet` is not.
fn near(config: &Config) -> Vec<IpNet> {
    let Config { hub, hosts, .. } = config;
    let overlay = hub.addresses.iter().map(IpNet::trunc);
    let hosts = hosts.values().flat_map(|host| &host.addresses).copied().map(IpNet::from);
    IpNet::aggregate(&overlay.chain(hub.lab.iter().copied()).chain(hosts).collect())
}

/// The set of all members.
const MEMBERS: &str = "members";

/// The set of members that have used up a quota and are blocked.
const BLOCKED: &str = "over_quota";

/// The members' overlay addresses; no two members have the same.
fn nets<'m>(members: impl Iterator<Item = &'m Member>) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = members
        .flat_map(|member| member.addresses.iter().copied().map(IpNet::from))
        .collect();
    nets.shrink_to_fit();
    nets
}

/// Every party that becomes an address match.
fn named_parties(config: &Config) -> impl Iterator<Item = &Party> {
    let rules = config.rules.iter().flat_map(|rule| rule.from.iter().chain(&rule.to));
    rules.chain(config.publish.iter().flat_map(|publish| &publish.from))
}

/// An nft identifier for every group that a rule names. Two groups that differ only in characters
/// which nft does not take get different numbers.
fn set_names(config: &Config) -> BTreeMap<&str, String> {
    let used: BTreeSet<&str> = named_parties(config)
        .filter_map(|party| {
            if let Party::Group(name) = party {
                Some(name.as_str())
            } else {
                None
            }
        })
        .collect();
    let mut taken = BTreeSet::new();
    let mut names = BTreeMap::new();
    for group in used {
        let plain = format!("group_{}", identifier(group));
        let numbered = (2..).map(|number| format!("{plain}_{number}"));
        let free = std::iter::once(plain.clone())
            .chain(numbered)
            .find(|name| !taken.contains(name));
        let name = free.unwrap_or(plain);
        taken.insert(name.clone());
        names.insert(group, name);
    }
    names
}

/// Letters, digits and underscores, which nft takes everywhere in an identifier.
pub(crate) fn identifier(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}
