//! [`Config`] and the time to [`Plan`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fielato_qdisc::{Handle, Item};
use ipnet::IpNet;
use jiff::Timestamp;

use crate::config::{Config, Member, Party, Rule, Shape, ShapeItem, Strategy, Transit};
use crate::plan::{Addresses, Admit, Destination, FilterRule, Firewall, HostPlan, Peer, PerFamily, Plan, Shaping};

impl Plan {
    /// What the hub is to be at `now`. `forwarding_before` says in which families the machine forwarded packets
    /// before `up` touched it; it decides what `transit = "auto"` means.
    pub fn compile(config: &Config, now: Timestamp, forwarding_before: PerFamily<bool>) -> Self {
        let Config {
            hub,
            members,
            hosts: _,
            services: _,
            rules: _,
            shapes,
            bans,
        } = config;
        let world = World::new(config, now);
        let peers = world.active().map(|(name, member)| Peer {
            name: name.clone(),
            public_key: member.public_key,
            allowed_ips: member.addresses.iter().copied().map(IpNet::from).collect(),
        });
        let waiting = members
            .values()
            .filter(|member| !member.disabled)
            .filter_map(|member| member.expires);
        Self {
            interface: hub.interface.clone(),
            uplink: hub.uplink.clone(),
            listen_port: hub.listen_port,
            mtu: hub.mtu,
            addresses: hub.addresses.clone(),
            peers: peers.collect(),
            firewall: firewall(&world, forwarding_before),
            shaping: shapes.iter().map(shaping).collect(),
            bans: bans
                .iter()
                .filter(|ban| ban.until.is_none_or(|until| until > now))
                .cloned()
                .collect(),
            guard: hub.guard.clone(),
            next_change: waiting
                .chain(bans.iter().filter_map(|ban| ban.until))
                .filter(|end| *end > now)
                .min(),
        }
    }
}

impl HostPlan {
    /// What the protected host `name` is to be; `None` when there is no such host.
    pub fn compile(config: &Config, name: &str) -> Option<Self> {
        let host = config.hosts.get(name)?;
        let services = config.services.values().filter(|service| service.host == name);
        Some(Self {
            name: name.to_owned(),
            admit: match host.strategy {
                Strategy::Source => Admit::Sources(config.hub.source.clone()),
                Strategy::Member => Admit::Interface(config.hub.interface.clone()),
            },
            ports: services.flat_map(|service| service.ports.iter().copied()).collect(),
        })
    }
}

fn shaping(shape: &Shape) -> Shaping {
    let item = match &shape.item {
        ShapeItem::Qdisc(qdisc) => Item::Qdisc(qdisc.clone()),
        ShapeItem::Class { class, parties: _ } => Item::Class(class.clone()),
    };
    Shaping {
        dev: shape.dev.clone(),
        item,
    }
}

/// The configuration with what is true of it at one moment.
struct World<'a> {
    config: &'a Config,
    now: Timestamp,
    /// Which active members are in which group.
    groups: HashMap<&'a str, Vec<&'a Member>>,
    /// The nft set of each group.
    set_names: BTreeMap<&'a str, String>,
}

impl<'a> World<'a> {
    fn new(config: &'a Config, now: Timestamp) -> Self {
        let mut world = Self {
            config,
            now,
            groups: HashMap::new(),
            set_names: set_names(config),
        };
        let mut groups: HashMap<&str, Vec<&Member>> = HashMap::new();
        for (_, member) in world.active() {
            for group in &member.groups {
                groups.entry(group).or_default().push(member);
            }
        }
        world.groups = groups;
        world
    }

    /// Neither disabled nor expired.
    fn is_active(&self, member: &Member) -> bool {
        !member.disabled && member.expires.is_none_or(|expiry| expiry > self.now)
    }

    fn active(&self) -> impl Iterator<Item = (&'a String, &'a Member)> {
        self.config.members.iter().filter(|(_, member)| self.is_active(member))
    }

    fn group(&self, name: &str) -> impl Iterator<Item = &'a Member> {
        self.groups.get(name).into_iter().flatten().copied()
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

    /// All that `internet` is not.
    fn near(&self) -> Vec<IpNet> {
        let hub = &self.config.hub;
        let overlay = hub.addresses.iter().map(IpNet::trunc);
        let hosts = self
            .config
            .hosts
            .values()
            .flat_map(|host| &host.addresses)
            .copied()
            .map(IpNet::from);
        IpNet::aggregate(&overlay.chain(hub.lab.iter().copied()).chain(hosts).collect())
    }

    /// A party's addresses. `Hub` has none here: its packets are those of the input chain.
    fn addresses(&self, party: &Party) -> Option<Addresses> {
        let nets = |nets: Vec<IpNet>| (!nets.is_empty()).then_some(Addresses::Nets(nets));
        match party {
            Party::Any => Some(Addresses::Any),
            Party::Members => Some(Addresses::Set(MEMBERS.to_owned())),
            Party::Internet => Some(Addresses::Except(self.near())),
            Party::Group(name) => self.set_names.get(name.as_str()).cloned().map(Addresses::Set),
            Party::Member(name) => nets(self.member_nets(name)),
            Party::Host(name) => nets(self.host_nets(name)),
            Party::Prefix(net) => Some(Addresses::Nets(vec![*net])),
            Party::Service(name) => self
                .config
                .services
                .get(name)
                .and_then(|service| nets(self.host_nets(&service.host))),
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

/// The set of all members.
const MEMBERS: &str = "members";

/// An nft identifier for every group that a rule names. Two groups that differ only in characters
/// which nft does not take get different numbers.
fn set_names(config: &Config) -> BTreeMap<&str, String> {
    let parties = config.rules.iter().flat_map(|rule| rule.from.iter().chain(&rule.to));
    let used: BTreeSet<&str> = parties
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

fn firewall(world: &World<'_>, forwarding_before: PerFamily<bool>) -> Firewall {
    let hub = &world.config.hub;
    let numbered = || (1..).zip(&world.config.rules);
    Firewall {
        interface: hub.interface.clone(),
        uplink: hub.uplink.clone(),
        overlay: hub.addresses.iter().map(IpNet::trunc).collect(),
        masquerade: hub.masquerade,
        leave_transit: match hub.transit {
            // Where the overlay has no address, `up` leaves forwarding alone, and so do the rules.
            Transit::Auto => PerFamily {
                v4: forwarding_before.v4 || !hub.addresses.iter().any(|net| net.addr().is_ipv4()),
                v6: forwarding_before.v6 || !hub.addresses.iter().any(|net| net.addr().is_ipv6()),
            },
            Transit::Drop => PerFamily { v4: false, v6: false },
            Transit::Leave => PerFamily { v4: true, v6: true },
        },
        sets: sets(world),
        forward: numbered().filter_map(|(number, rule)| forward(world, number, rule)).collect(),
        input: numbered().filter_map(|(number, rule)| input(world, number, rule)).collect(),
        classes: classes(world),
    }
}

/// The members' overlay addresses; no two members have the same.
fn nets<'m>(members: impl Iterator<Item = &'m Member>) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = members
        .flat_map(|member| member.addresses.iter().copied().map(IpNet::from))
        .collect();
    nets.shrink_to_fit();
    nets
}

fn sets(world: &World<'_>) -> BTreeMap<String, Vec<IpNet>> {
    let groups = world
        .set_names
        .iter()
        .map(|(group, name)| (name.clone(), nets(world.group(group))));
    let mut sets: BTreeMap<_, _> = groups.collect();
    let parties = || world.config.rules.iter().flat_map(|rule| rule.from.iter().chain(&rule.to));
    if parties().any(|party| *party == Party::Members) {
        sets.insert(MEMBERS.to_owned(), nets(world.active().map(|(_, member)| member)));
    }
    sets
}

/// The part of a rule that concerns packets crossing the hub.
fn forward(world: &World<'_>, number: usize, rule: &Rule) -> Option<FilterRule> {
    filter_rule(
        world,
        number,
        rule,
        rule.to.iter().filter_map(|party| world.destination(party)).collect(),
    )
}

/// The part of a rule that concerns packets to the hub itself. Addresses are there too: one of
/// the hub's own may be among them.
fn input(world: &World<'_>, number: usize, rule: &Rule) -> Option<FilterRule> {
    let to = rule.to.iter().filter_map(|party| match party {
        Party::Hub => Some(Destination {
            addresses: Addresses::Any,
            ports: Vec::new(),
        }),
        Party::Any | Party::Prefix(_) => world.destination(party),
        _ => None,
    });
    filter_rule(world, number, rule, to.collect())
}

/// `None` when nobody is left on one of the sides, such as when the only member it names has expired.
fn filter_rule(world: &World<'_>, number: usize, rule: &Rule, to: Vec<Destination>) -> Option<FilterRule> {
    let from: Vec<Addresses> = rule.from.iter().filter_map(|party| world.addresses(party)).collect();
    if from.is_empty() || to.is_empty() {
        return None;
    }
    Some(FilterRule {
        from,
        to,
        action: rule.action,
        number,
        line: rule.line,
    })
}

/// Who goes into which class, by device. A member's own name (or an address) says more than its group, a group more than `members`.
fn classes(world: &World<'_>) -> BTreeMap<String, BTreeMap<IpNet, Handle>> {
    let mut ranked: BTreeMap<String, BTreeMap<IpNet, (Rank, Handle)>> = BTreeMap::new();
    for shape in &world.config.shapes {
        let ShapeItem::Class { class, parties } = &shape.item else {
            continue;
        };
        for party in parties {
            let claims = ranked.entry(shape.dev.clone()).or_default();
            let (rank, nets) = class_nets(world, party);
            for net in nets {
                let claim = claims.entry(net).or_insert((rank, class.classid));
                if rank > claim.0 {
                    *claim = (rank, class.classid);
                }
            }
        }
    }
    let plain = |claims: BTreeMap<IpNet, (Rank, Handle)>| claims.into_iter().map(|(net, (_, class))| (net, class)).collect();
    ranked.into_iter().map(|(dev, claims)| (dev, plain(claims))).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Everyone,
    Group,
    Own,
}

fn class_nets(world: &World<'_>, party: &Party) -> (Rank, Vec<IpNet>) {
    match party {
        Party::Members => (Rank::Everyone, nets(world.active().map(|(_, member)| member))),
        Party::Group(name) => (Rank::Group, nets(world.group(name))),
        Party::Member(name) => (Rank::Own, world.member_nets(name)),
        Party::Prefix(net) => (Rank::Own, vec![*net]),
        // The parser lets none of these have a class.
        Party::Any | Party::Hub | Party::Internet | Party::Host(_) | Party::Service(_) => (Rank::Everyone, Vec::new()),
    }
}
