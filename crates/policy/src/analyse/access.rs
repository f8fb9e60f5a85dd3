//! Members that reach nothing, services that everybody reaches.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fielato_wire::Family;
use ipnet::IpNet;

use super::chain::{Chain, Effect, Line, Reached, nets, services};
use super::finding::{About, Finding, Kind, Severity};
use super::ranges::Ranges;
use super::region::Region;
use super::shadows::Fates;
use crate::config::{Config, Party, Route, Service};
use crate::plan::Plan;
use crate::render::wg_quick::allowed_ips;

/// Peers that can begin no connection with anybody.
pub(super) fn idle_members(config: &Config, plan: &Plan, chains: &[Chain<'_>], fates: &Fates) -> Vec<Finding> {
    let mut left: BTreeSet<&str> = plan.peers.iter().map(|peer| peer.name.as_str()).collect();
    for (number, chain) in chains.iter().enumerate() {
        let routes = Routes::of(config, plan, chain.family, &left);
        let mut senders = routes.senders(config, &left);
        let accepting = chain.lines.iter().enumerate();
        for (place, line) in accepting.filter(|(_, line)| lets_in(line)) {
            if senders.is_empty() {
                break;
            }
            let regions = line.regions.iter().enumerate();
            let open = regions.filter(|(region, _)| !fates.is_taken(number, place, *region));
            for (_, region) in open.filter(|(_, region)| region.dst.touches(&routes.all)) {
                let ranges = region.src.as_slice().iter();
                let within: Vec<(u128, Sender<'_>)> = ranges
                    .flat_map(|range| senders.range(range.0..=range.1))
                    .map(|(address, sender)| (*address, *sender))
                    .collect();
                // Members mostly share a route.
                let mut sent: HashMap<usize, Ranges> = HashMap::new();
                for (address, Sender { name, route }) in within {
                    let by_route = || {
                        routes
                            .destinations
                            .get(route)
                            .map_or_else(Ranges::none, |dst| region.dst.and(dst))
                    };
                    let dst = sent.entry(route).or_insert_with(by_route);
                    if dst.is_empty() {
                        continue;
                    }
                    let own = Ranges::One((address, address));
                    let sent = Region {
                        dst: dst.without(&own),
                        src: own,
                        service: region.service.clone(),
                    };
                    // Nothing is said of what took too long.
                    if !sent.is_empty() && !matches!(chain.reached(&sent, place, true), Reached::Never(_)) {
                        senders.remove(&address);
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

/// A member, and where what it sends through the tunnel may go.
#[derive(Clone, Copy)]
struct Sender<'a> {
    name: &'a str,
    /// The place among the routes' destinations.
    route: usize,
}

/// Where what members send through the tunnel may go in one family, each route once.
struct Routes {
    family: Family,
    places: HashMap<String, usize>,
    /// Of each route where somebody may be.
    destinations: Vec<Ranges>,
    /// Of all together.
    all: Ranges,
}

impl Routes {
    fn of(config: &Config, plan: &Plan, family: Family, wanted: &BTreeSet<&str>) -> Routes {
        let there = destinations(plan, family);
        let mut routes = Routes {
            family,
            places: HashMap::new(),
            destinations: Vec::new(),
            all: Ranges::none(),
        };
        for member in wanted.iter().filter_map(|name| config.members.get(*name)) {
            routes.places.entry(name_of(&member.route)).or_insert_with(|| {
                let sent = nets(&allowed_ips(config, &member.route), family);
                routes.destinations.push(sent.and(&there));
                routes.destinations.len().saturating_sub(1)
            });
        }
        let all = routes.destinations.iter().flat_map(Ranges::as_slice);
        routes.all = Ranges::new(all.copied().collect());
        routes
    }

    /// Who is wanted, by address.
    fn senders<'a>(&self, config: &'a Config, wanted: &BTreeSet<&str>) -> BTreeMap<u128, Sender<'a>> {
        let members = config.members.iter().filter(|(name, _)| wanted.contains(name.as_str()));
        let senders = members.flat_map(|(name, member)| {
            let own: Vec<IpNet> = member.addresses.iter().copied().map(IpNet::from).collect();
            let route = self.places.get(&name_of(&member.route)).copied();
            nets(&own, self.family)
                .first()
                .zip(route)
                .map(|(address, route)| (address, Sender { name, route }))
        });
        senders.collect()
    }
}

fn name_of(route: &Route) -> String {
    format!("{route:?}")
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

/// Services that rules with `from = "any"` or `"internet"` open.
pub(super) fn open_services(config: &Config, chains: &[Chain<'_>], fates: &Fates) -> Vec<Finding> {
    let mut open: BTreeMap<(usize, bool), BTreeSet<&str>> = BTreeMap::new();
    for (number, chain) in chains.iter().enumerate() {
        let internet = internet(config, chain.family);
        let services: Vec<(&str, Region)> = config
            .services
            .iter()
            .map(|(name, service)| (name.as_str(), at(config, service, chain.family)))
            .collect();
        for (place, line) in chain.lines.iter().enumerate() {
            let rule = line.number.checked_sub(1).and_then(|index| config.rules.get(index));
            let wide = rule.is_some_and(|rule| rule.from.iter().any(|party| matches!(party, Party::Any | Party::Internet)));
            if !lets_in(line) || !wide {
                continue;
            }
            for (name, at) in &services {
                for (region_place, region) in line.regions.iter().enumerate() {
                    if !region.touches(at) || fates.is_taken(number, place, region_place) {
                        continue;
                    }
                    let met = region.and(at);
                    if !matches!(chain.reached(&met, place, true), Reached::By(_)) {
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

/// What goes to a service, from anywhere.
fn at(config: &Config, service: &Service, family: Family) -> Region {
    Region {
        src: Ranges::One((0, u128::MAX)),
        dst: nets(&service_nets(config, service), family),
        service: services(&service.ports),
    }
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
