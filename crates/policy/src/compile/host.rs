//! What a protected host is to be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Action, Config, PortSpec, Strategy};
use crate::plan::{Addresses, Admit, Destination, FilterRule, Firewall, HostPlan, Plan, Published, TunnelPlan};

/// The plans of many protected hosts, made from one plan of the hub: which sets an address is in is looked up once for all of them.
#[derive(Debug)]
pub struct HostPlans<'a> {
    config: &'a Config,
    firewall: &'a Firewall,
    /// The sets in which an address stands by itself.
    sets: HashMap<IpAddr, Vec<&'a str>>,
    /// Networks in sets.
    wide: Vec<(&'a str, IpNet)>,
}

impl<'a> HostPlans<'a> {
    /// Of a configuration and the hub's plan that was compiled from it.
    pub fn new(config: &'a Config, hub: &'a Plan) -> Self {
        let firewall = &hub.firewall;
        let (mut sets, mut wide): (HashMap<IpAddr, Vec<&str>>, _) = (HashMap::new(), Vec::new());
        // Only hosts' addresses are asked for.
        for name in config.hosts.keys() {
            for address in own(config, name) {
                sets.entry(address).or_default();
            }
        }
        for (name, nets) in &firewall.sets {
            for net in nets {
                if net.prefix_len() < net.max_prefix_len() {
                    wide.push((name.as_str(), *net));
                } else if let Some(known) = sets.get_mut(&net.addr()) {
                    known.push(name);
                }
            }
        }
        Self {
            config,
            firewall,
            sets,
            wide,
        }
    }

    /// What the protected host `name` is to be; `None` when there is no such host.
    pub fn get(&self, name: &str) -> Option<HostPlan> {
        let addresses = own(self.config, name);
        let addresses = addresses.into_iter().map(|address| {
            let wide = self.wide.iter().filter(|(_, net)| net.contains(&address));
            let single = self.sets.get(&address).into_iter().flatten().copied();
            (address, single.chain(wide.map(|(set, _)| *set)).collect())
        });
        compile(self.config, self.firewall, name, addresses.collect())
    }

    /// Every protected host's, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = HostPlan> {
        self.config.hosts.keys().filter_map(|name| self.get(name))
    }
}

/// One host's plan. `None` when there is no such host.
pub fn one(config: &Config, firewall: &Firewall, name: &str) -> Option<HostPlan> {
    // Asked for every member; their sets are not to be searched for nothing.
    config.hosts.get(name)?;
    let in_set = |nets: &[IpNet], address: IpAddr| nets.iter().any(|net| net.contains(&address));
    let addresses = own(config, name).into_iter().map(|address| {
        let sets = firewall.sets.iter().filter(|(_, nets)| in_set(nets, address));
        (address, sets.map(|(name, _)| name.as_str()).collect())
    });
    compile(config, firewall, name, addresses.collect())
}

/// A host's addresses: in the overlay, if it is a member, and outside of it.
fn own(config: &Config, name: &str) -> Vec<IpAddr> {
    let member = config.members.get(name).into_iter().flat_map(|member| &member.addresses);
    let host = config.hosts.get(name).into_iter().flat_map(|host| &host.addresses);
    member.chain(host).copied().collect()
}

/// An address of the host, and the sets that it is in.
type Own<'f> = (IpAddr, BTreeSet<&'f str>);

fn compile(config: &Config, firewall: &Firewall, name: &str, own: Vec<Own<'_>>) -> Option<HostPlan> {
    let host = config.hosts.get(name)?;
    let services = config.services.values();
    let here = services.filter(|service| service.hosts.iter().any(|host| host == name));
    Some(HostPlan {
        name: name.to_owned(),
        admit: match host.strategy {
            Strategy::Source => Admit::Sources(config.hub.source.clone()),
            Strategy::Member => Admit::Interface(config.hub.interface.clone()),
        },
        ports: here.flat_map(|service| service.ports.iter().copied()).collect(),
        tunnel: (host.strategy == Strategy::Member).then(|| tunnel(config, firewall, &own)),
    })
}

/// The hub's decisions about what goes to this host.
fn tunnel(config: &Config, firewall: &Firewall, own: &[Own<'_>]) -> TunnelPlan {
    let published = firewall
        .published
        .iter()
        .filter_map(|published| published_here(published, own));
    let rules = firewall.forward.iter().filter_map(|rule| rule_here(rule, own));
    let rules: Vec<FilterRule> = published.chain(rules).collect();
    let named = rules.iter().flat_map(|rule| &rule.from).filter_map(|addresses| {
        let Addresses::Set(name) = addresses else { return None };
        Some((name.clone(), firewall.sets.get(name)?.clone()))
    });
    TunnelPlan {
        overlay: firewall.overlay.clone(),
        hub: config.hub.addresses.iter().map(IpNet::addr).collect(),
        sets: named.collect::<BTreeMap<_, _>>(),
        rules,
    }
}

/// A rule as far as it concerns these addresses. What is to be logged or counted was, on the hub.
fn rule_here(rule: &FilterRule, own: &[Own<'_>]) -> Option<FilterRule> {
    let action = match &rule.action {
        Action::Log { .. } => return None,
        Action::Limit(_) => Action::Accept,
        Action::Accept | Action::Drop | Action::Reject => rule.action.clone(),
    };
    let here = |destination: &Destination| {
        let Destination { addresses, ports } = destination;
        let nets: Vec<IpNet> = own
            .iter()
            .filter(|own| holds(addresses, own))
            .map(|(address, _)| IpNet::from(*address))
            .collect();
        (!nets.is_empty()).then(|| Destination {
            addresses: Addresses::Nets(nets),
            ports: ports.clone(),
        })
    };
    let to: Vec<Destination> = rule.to.iter().filter_map(here).collect();
    (!to.is_empty()).then(|| FilterRule {
        from: rule.from.clone(),
        to,
        action,
        origin: rule.origin.clone(),
    })
}

fn holds(addresses: &Addresses, (address, sets): &Own<'_>) -> bool {
    let among = |nets: &[IpNet]| nets.iter().any(|net| net.contains(address));
    match addresses {
        Addresses::Any => true,
        Addresses::Nets(nets) => among(nets),
        Addresses::Except(nets) => !among(nets),
        Addresses::Set(name) => sets.contains(name.as_str()),
    }
}

/// Lets in what comes for a published port of this host; the hub may leave it the sender's address.
fn published_here(published: &Published, own: &[Own<'_>]) -> Option<FilterRule> {
    let Published {
        port: PortSpec { protocol, first, last },
        from,
        at: _,
        to,
        to_port,
        origin,
    } = published;
    let targets = to
        .v4
        .into_iter()
        .chain(to.v6)
        .filter(|target| own.iter().any(|(address, _)| address == target));
    let nets: Vec<IpNet> = targets.map(IpNet::from).collect();
    (!nets.is_empty()).then(|| FilterRule {
        from: from.clone(),
        to: vec![Destination {
            addresses: Addresses::Nets(nets),
            ports: vec![PortSpec {
                protocol: *protocol,
                first: *to_port,
                last: to_port.saturating_add(last.saturating_sub(*first)),
            }],
        }],
        action: Action::Accept,
        origin: origin.clone(),
    })
}
