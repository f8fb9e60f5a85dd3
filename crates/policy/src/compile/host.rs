//! What a protected host is to be.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::{Action, Config, PortSpec, Strategy};
use crate::plan::{Addresses, Admit, Destination, FilterRule, Firewall, HostPlan, Published, TunnelPlan};

/// `None` when there is no such host.
pub fn compile(config: &Config, firewall: &Firewall, name: &str) -> Option<HostPlan> {
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
        tunnel: (host.strategy == Strategy::Member).then(|| tunnel(config, firewall, name)),
    })
}

/// The hub's decisions about what goes to this host.
fn tunnel(config: &Config, firewall: &Firewall, name: &str) -> TunnelPlan {
    let member = config.members.get(name).into_iter().flat_map(|member| &member.addresses);
    let host = config.hosts.get(name).into_iter().flat_map(|host| &host.addresses);
    let own: Vec<IpAddr> = member.chain(host).copied().collect();
    let published = firewall
        .published
        .iter()
        .filter_map(|published| published_here(published, &own));
    let rules = firewall.forward.iter().filter_map(|rule| rule_here(rule, firewall, &own));
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
fn rule_here(rule: &FilterRule, firewall: &Firewall, own: &[IpAddr]) -> Option<FilterRule> {
    let action = match &rule.action {
        Action::Log { .. } => return None,
        Action::Limit(_) => Action::Accept,
        Action::Accept | Action::Drop | Action::Reject => rule.action.clone(),
    };
    let here = |destination: &Destination| {
        let Destination { addresses, ports } = destination;
        let nets: Vec<IpNet> = own
            .iter()
            .filter(|address| holds(addresses, firewall, **address))
            .map(|address| IpNet::from(*address))
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

fn holds(addresses: &Addresses, firewall: &Firewall, address: IpAddr) -> bool {
    let among = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
    match addresses {
        Addresses::Any => true,
        Addresses::Nets(nets) => among(nets),
        Addresses::Except(nets) => !among(nets),
        Addresses::Set(name) => firewall.sets.get(name).is_some_and(|nets| among(nets)),
    }
}

/// Lets in what comes for a published port of this host; the hub may leave it the sender's address.
fn published_here(published: &Published, own: &[IpAddr]) -> Option<FilterRule> {
    let Published {
        port: PortSpec { protocol, first, last },
        from,
        at: _,
        to,
        to_port,
        origin,
    } = published;
    let targets = to.v4.into_iter().chain(to.v6).filter(|address| own.contains(address));
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
