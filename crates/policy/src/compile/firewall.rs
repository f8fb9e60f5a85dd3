//! The hub's rule set.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{BLOCKED, MEMBERS, World, named_parties, nets, shaping};
use crate::circumstances::Grant;
use crate::config::{Action, Party, PortSpec, Protocol, Publish, Rule, Transit, When};
use crate::plan::{Addresses, Destination, FilterRule, Firewall, Origin, PerFamily, Published};

/// The hub's rule set.
pub fn firewall(world: &World<'_>) -> Firewall {
    let hub = &world.config.hub;
    let forwarding_before = world.circumstances.forwarding_before;
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
        blocked: world.may_block().then(|| BLOCKED.to_owned()),
        published: published(world),
        raw: world.config.raw.clone(),
        forward: grants(world)
            .chain(rules(world).filter_map(|(number, rule)| forward(world, number, rule)))
            .collect(),
        input: control_channel(world)
            .into_iter()
            .chain(rules(world).filter_map(|(number, rule)| input(world, number, rule)))
            .collect(),
        classes: shaping::classes(world),
    }
}

fn sets(world: &World<'_>) -> BTreeMap<String, Vec<IpNet>> {
    let groups = world
        .set_names
        .iter()
        .map(|(group, name)| (name.clone(), world.group_nets(group)));
    let mut sets: BTreeMap<_, _> = groups.collect();
    if named_parties(world.config).any(|party| *party == Party::Members) {
        sets.insert(MEMBERS.to_owned(), nets(world.active().map(|(_, member)| member)));
    }
    if world.may_block() {
        sets.insert(BLOCKED.to_owned(), nets(world.blocked()));
    }
    sets
}

/// The rules that hold now, each with its place in the file.
fn rules<'a>(world: &World<'a>) -> impl Iterator<Item = (usize, &'a Rule)> {
    let now = world.circumstances.now;
    (1..).zip(&world.config.rules).filter(move |(_, rule)| {
        let ended = rule.until.is_some_and(|until| until <= now);
        !ended && When::any(&rule.when, now)
    })
}

/// The agents of protected hosts reach the hub's control port, and nobody else does, whatever the rules say.
fn control_channel(world: &World<'_>) -> Vec<FilterRule> {
    let agents = world.config.hosts.iter().filter(|(_, host)| host.agent);
    let agents: Vec<IpNet> = agents.flat_map(|(name, _)| world.member_nets(name)).collect();
    if agents.is_empty() {
        return Vec::new();
    }
    let port = world.config.hub.control_port;
    let rule = |from, action| FilterRule {
        from: vec![from],
        to: vec![Destination {
            addresses: Addresses::Any,
            ports: vec![PortSpec {
                protocol: Protocol::Tcp,
                first: port,
                last: port,
            }],
        }],
        action,
        origin: Origin::ControlChannel,
    };
    vec![
        rule(Addresses::Nets(agents), Action::Accept),
        rule(Addresses::Any, Action::Drop),
    ]
}

/// What is granted now, as rules.
fn grants<'a>(world: &World<'a>) -> impl Iterator<Item = FilterRule> {
    let now = world.circumstances.now;
    let granted = world.circumstances.grants.iter().filter(move |grant| grant.until > now);
    granted.filter_map(|grant| {
        let Grant { member, service, .. } = grant;
        let from = world.addresses(&Party::Member(member.clone()))?;
        let to = world.destination(&Party::Service(service.clone()))?;
        Some(FilterRule {
            from: vec![from],
            to: vec![to],
            action: Action::Accept,
            origin: Origin::Grant {
                member: member.clone(),
                service: service.clone(),
            },
        })
    })
}

fn published(world: &World<'_>) -> Vec<Published> {
    let one = |(number, publish): (usize, &Publish)| {
        let Publish {
            port,
            to,
            to_port,
            from,
            addresses,
            file,
            line,
        } = publish;
        let from: Vec<Addresses> = from.iter().filter_map(|party| world.addresses(party)).collect();
        let target = world.published_at(to);
        (!from.is_empty() && target != PerFamily::default()).then(|| Published {
            port: *port,
            from,
            at: addresses.clone(),
            to: target,
            to_port: *to_port,
            origin: Origin::Publish {
                number,
                file: file.clone(),
                line: *line,
            },
        })
    };
    (1..).zip(&world.config.publish).filter_map(one).collect()
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
        action: rule.action.clone(),
        origin: Origin::Rule {
            number,
            file: rule.file.clone(),
            line: rule.line,
        },
    })
}
