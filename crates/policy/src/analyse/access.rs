//! Members that reach nothing, services that everybody reaches.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fielato_wire::Family;
use ipnet::IpNet;

use super::chain::{Chain, Effect, Line, Reached, nets, services};
use super::finding::{About, Finding, Kind, Severity};
use super::ranges::Ranges;
use super::region::Region;
use crate::config::{Config, Member, Party, Service};
use crate::plan::Plan;
use crate::render::wg_quick::allowed_ips;

/// Peers that can begin no connection with anybody.
pub(super) fn idle_members(config: &Config, plan: &Plan, chains: &[Chain]) -> Vec<Finding> {
    let mut left: BTreeSet<&str> = plan.peers.iter().map(|peer| peer.name.as_str()).collect();
    let mut routes = Routes::default();
    for chain in chains {
        let mut addresses = addresses(config, chain.family, &left);
        let there = destinations(plan, chain.family);
        let accepting = chain.lines.iter().enumerate();
        for (place, line) in accepting.filter(|(_, line)| lets_in(line)) {
            if addresses.is_empty() {
                break;
            }
            for region in &line.regions {
                let within = region
                    .src
                    .as_slice()
                    .iter()
                    .flat_map(|range| addresses.range(range.0..=range.1));
                let within: Vec<(u128, (&str, &Member))> = within.map(|(address, member)| (*address, *member)).collect();
                for (address, (name, member)) in within {
                    let own = Ranges::One((address, address));
                    let sent = Region {
                        dst: region
                            .dst
                            .and(&there)
                            .and(&routes.of(config, member, chain.family))
                            .without(&own),
                        src: own,
                        service: region.service.clone(),
                    };
                    let reached = match sent.is_empty() {
                        true => Reached::Never(BTreeSet::new()),
                        false => chain.reached(&sent, place, true),
                    };
                    // Nothing is said of what took too long.
                    if let Reached::By(_) | Reached::Unknown = reached {
                        addresses.remove(&address);
                        left.remove(name);
                    }
                }
            }
        }
    }
    let finding = |name: &str| Finding {
        kind: Kind::ReachesNothing,
        severity: Severity::Warning,
        about: About::Member(name.to_owned()),
        message: format!("member {name} can reach nothing: no rule accepts anything that it can send through the tunnel"),
        help: "add a rule for it or put it into a group, or give it a `route` that holds what its rules name".to_owned(),
    };
    left.into_iter().map(finding).collect()
}

fn addresses<'a>(config: &'a Config, family: Family, wanted: &BTreeSet<&str>) -> BTreeMap<u128, (&'a str, &'a Member)> {
    let members = config.members.iter().filter(|(name, _)| wanted.contains(name.as_str()));
    let all = members.flat_map(|(name, member)| {
        let nets: Vec<IpNet> = member.addresses.iter().copied().map(IpNet::from).collect();
        nets_first(&nets, family).map(|address| (address, (name.as_str(), member)))
    });
    all.collect()
}

fn nets_first(all: &[IpNet], family: Family) -> Option<u128> {
    nets(all, family).first()
}

/// Where somebody may be: everywhere but in what of the overlay nobody has.
fn destinations(plan: &Plan, family: Family) -> Ranges {
    let everything = [IpNet::from(ipnet::Ipv4Net::default()), IpNet::from(ipnet::Ipv6Net::default())];
    let peers = plan.peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied());
    let own = plan.addresses.iter().map(|net| IpNet::from(net.addr()));
    let taken: Vec<IpNet> = peers.chain(own).collect();
    let outside = nets(&everything, family).without(&nets(&plan.addresses, family));
    let both = outside
        .as_slice()
        .iter()
        .chain(nets(&taken, family).as_slice())
        .copied()
        .collect();
    Ranges::new(both)
}

/// What members send through the tunnel, each route once.
#[derive(Default)]
struct Routes(HashMap<(String, Family), Ranges>);

impl Routes {
    fn of(&mut self, config: &Config, member: &Member, family: Family) -> Ranges {
        let key = (format!("{:?}", member.route), family);
        let made = || nets(&allowed_ips(config, &member.route), family);
        self.0.entry(key).or_insert_with(made).clone()
    }
}

/// Services that rules with `from = "any"` or `"internet"` open.
pub(super) fn open_services(config: &Config, chains: &[Chain]) -> Vec<Finding> {
    let mut open: BTreeMap<(usize, bool), BTreeSet<&str>> = BTreeMap::new();
    for chain in chains {
        let internet = internet(config, chain.family);
        for (place, line) in chain.lines.iter().enumerate() {
            let rule = line.number.checked_sub(1).and_then(|index| config.rules.get(index));
            let wide = rule.is_some_and(|rule| rule.from.iter().any(|party| matches!(party, Party::Any | Party::Internet)));
            if !lets_in(line) || !wide {
                continue;
            }
            for (name, service) in &config.services {
                let at = Region {
                    src: Ranges::One((0, u128::MAX)),
                    dst: nets(&service_nets(config, service), chain.family),
                    service: services(&service.ports),
                };
                for region in &line.regions {
                    let met = region.and(&at);
                    if met.is_empty() || !matches!(chain.reached(&met, place, true), Reached::By(_)) {
                        continue;
                    }
                    let outside = Region {
                        src: met.src.and(&internet),
                        ..met
                    };
                    let outside = !outside.is_empty() && matches!(chain.reached(&outside, place, true), Reached::By(_));
                    open.entry((line.number, outside)).or_default().insert(name);
                }
            }
        }
    }
    let findings = open.into_iter().map(|((number, outside), services)| {
        let names = some(&services);
        let (severity, who) = match outside {
            true => (Severity::Warning, "to the internet"),
            false => (Severity::Note, "to everyone in the VPN"),
        };
        Finding {
            kind: Kind::OpenToEveryone,
            severity,
            about: About::Rule(number),
            message: format!("rule {number} opens {names} {who}"),
            help: "if that is not meant, name groups or members in `from`".to_owned(),
        }
    });
    findings.collect()
}

fn internet(config: &Config, family: Family) -> Ranges {
    let everything = [IpNet::from(ipnet::Ipv4Net::default()), IpNet::from(ipnet::Ipv6Net::default())];
    let hosts = config
        .hosts
        .values()
        .flat_map(|host| &host.addresses)
        .copied()
        .map(IpNet::from);
    let known: Vec<IpNet> = config
        .hub
        .addresses
        .iter()
        .chain(&config.hub.lab)
        .copied()
        .chain(hosts)
        .collect();
    nets(&everything, family).without(&nets(&known, family))
}

/// Where rules that name a service find it.
fn service_nets(config: &Config, service: &Service) -> Vec<IpNet> {
    let hosts = service.hosts.iter().filter_map(|name| config.hosts.get(name));
    let members = service.hosts.iter().filter_map(|name| config.members.get(name));
    let addresses = hosts.flat_map(|host| &host.addresses);
    let overlay = members.flat_map(|member| &member.addresses);
    addresses.chain(overlay).copied().map(IpNet::from).collect()
}

fn lets_in(line: &Line) -> bool {
    matches!(line.effect, Effect::Accept | Effect::Limit)
}

fn some(names: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<&str> = names.iter().take(SHOWN).copied().collect();
    let more = names.len().saturating_sub(SHOWN);
    let word = if names.len() == 1 { "service" } else { "services" };
    match more {
        0 => format!("{word} {}", shown.join(", ")),
        more => format!("{word} {} and {more} more", shown.join(", ")),
    }
}
