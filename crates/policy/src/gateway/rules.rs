//! A firewall as netfilter's tables: line for line what [`render::nft`](crate::render::nft) writes, so that both engines judge alike.

use fielato_gateway::SetConfig;
use fielato_netfilter::interface::MAX_NAME;
use fielato_netfilter::matches::comment::Comment;
use fielato_netfilter::matches::conntrack::{Conntrack, StateMatch, States};
use fielato_netfilter::matches::multiport::{Multiport, PortSide};
use fielato_netfilter::matches::set::{Parameters, Set, Sides};
use fielato_netfilter::matches::{Range, sctp, tcp, udp};
use fielato_netfilter::rule::{AddressMatch, InterfaceMatch, IpMatch, Policy, ProtocolMatch};
use fielato_netfilter::targets::log::{Log, LogFlags};
use fielato_netfilter::targets::{masquerade::Masquerade, reject::Reject};
use fielato_netfilter::{Hook, InterfaceName, Match, Rule, Ruleset, Table, Target};
use fielato_wire::{Addr, Family};
use ipnet::IpNet;

use super::sets::{Sets, of_family};
use crate::config::{Action, PortSpec, Protocol};
use crate::plan::{Addresses, Admit, Destination, FilterRule, Firewall, HostPlan, Origin, PerFamily};

/// Tables of rules for both families, with what each rule was made from.
#[derive(Debug, Clone)]
pub struct Rules {
    /// IPv4, then IPv6.
    pub rulesets: [Ruleset; 2],
    /// The sets that the rules name.
    pub sets: Vec<SetConfig>,
    origins: Vec<ChainOrigins>,
}

/// What the rules of a chain were made from.
#[derive(Debug, Clone)]
struct ChainOrigins {
    family: Family,
    table: &'static str,
    chain: &'static str,
    origins: Vec<Origin>,
}

/// Both families, in the order of [`Rules::rulesets`].
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Networks in a rule that become a rule each: the classifier finds those at once. More become a set.
const SPELLED_OUT: usize = 4;

impl Rules {
    /// The hub's rules.
    pub fn hub(firewall: &Firewall) -> Rules {
        // A nat table without rules would judge ICMP errors all the same.
        let tables: &[&str] = if firewall.masquerade {
            &["filter", "nat"]
        } else {
            &["filter"]
        };
        let mut rules = Rules::empty(tables);
        let mut sets = Sets::default();
        for family in FAMILIES {
            let mut made = Maker {
                firewall,
                family,
                sets: &mut sets,
            };
            let mut forward = made.forward();
            // As in the nft text: what no rule decides is dropped, even if the last line were gone.
            forward.policy = Policy::Drop;
            rules.put(family, "filter", Hook::Forward, forward);
            rules.put(family, "filter", Hook::Input, made.input());
            if firewall.masquerade {
                rules.put(family, "nat", Hook::Postrouting, made.masquerade());
            }
        }
        rules.sets = sets.into_configs();
        rules
    }

    /// A protected host's rules.
    pub fn host(plan: &HostPlan) -> Rules {
        let mut rules = Rules::empty(&["filter"]);
        let mut sets = Sets::default();
        for family in FAMILIES {
            rules.put(family, "filter", Hook::Input, protected(plan, family, &mut sets));
        }
        rules.sets = sets.into_configs();
        rules
    }

    /// What a rule was made from, by its 0-based place in its chain; `None` when there is no such rule.
    pub fn origin(&self, family: Family, table: &str, chain: &str, rule: usize) -> Option<Origin> {
        let mut chains = self.origins.iter();
        let known = chains.find(|of| (of.family, of.table, of.chain) == (family, table, chain));
        known.and_then(|of| of.origins.get(rule)).cloned()
    }

    fn empty(tables: &[&'static str]) -> Rules {
        let ruleset = |family| Ruleset {
            family,
            tables: tables.iter().filter_map(|name| Table::standard(name)).collect(),
        };
        Rules {
            rulesets: FAMILIES.map(ruleset),
            sets: Vec::new(),
            origins: Vec::new(),
        }
    }

    fn put(&mut self, family: Family, table: &'static str, hook: Hook, list: List) {
        let List { rules, origins, policy } = list;
        let ruleset = self.rulesets.iter_mut().find(|ruleset| ruleset.family == family);
        let chain = ruleset.and_then(|ruleset| ruleset.table_mut(table)?.chain_mut(hook.chain()));
        if let Some(chain) = chain {
            (chain.rules, chain.policy) = (rules, Some(policy));
            self.origins.push(ChainOrigins {
                family,
                table,
                chain: hook.chain(),
                origins,
            });
        }
    }
}

/// The rules of a chain as they are made.
struct List {
    rules: Vec<Rule>,
    origins: Vec<Origin>,
    policy: Policy,
}

impl List {
    const fn new() -> List {
        List {
            rules: Vec::new(),
            origins: Vec::new(),
            policy: Policy::Accept,
        }
    }

    fn push(&mut self, origin: Origin, parts: Parts, target: Target) {
        let Parts { ip, mut matches } = parts;
        matches.push(Match::Comment(Comment {
            text: origin.comment().into(),
        }));
        self.origins.push(origin);
        self.rules.push(Rule {
            ip,
            matches,
            target,
            ..Rule::default()
        });
    }
}

/// What a rule asks for.
#[derive(Clone, Default)]
struct Parts {
    ip: IpMatch,
    matches: Vec<Match>,
}

impl Parts {
    fn coming_by(mut self, name: &str, negated: bool) -> Parts {
        self.ip.in_interface = interface(name, negated);
        self
    }

    fn leaving_by(mut self, name: &str, negated: bool) -> Parts {
        self.ip.out_interface = interface(name, negated);
        self
    }

    fn side(mut self, end: End, side: &Side) -> Parts {
        match side {
            Side::Any => {}
            Side::Net { net, negated } => {
                let place = match end {
                    End::Source => &mut self.ip.source,
                    End::Destination => &mut self.ip.destination,
                };
                *place = address(net, *negated);
            }
            Side::Set { name, negated } => self.matches.push(in_set(name, end, *negated)),
        }
        self
    }

    fn ports(mut self, ports: &PortMatch) -> Parts {
        if let Some((protocol, m)) = ports {
            self.ip.protocol = ProtocolMatch {
                number: *protocol,
                negated: false,
            };
            self.matches.push(m.clone());
        }
        self
    }

    fn state(mut self, states: u8) -> Parts {
        self.matches.push(Match::Conntrack(Conntrack {
            state: Some(StateMatch {
                states: States(states),
                negated: false,
            }),
            criteria: None,
        }));
        self
    }
}

/// An end of a packet.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Source,
    Destination,
}

/// What one end must be.
enum Side {
    Any,
    Net { net: IpNet, negated: bool },
    Set { name: String, negated: bool },
}

/// A protocol and its ports; `None` for all protocols.
type PortMatch = Option<(u8, Match)>;

/// What the chains of one family are made from.
struct Maker<'f> {
    firewall: &'f Firewall,
    family: Family,
    sets: &'f mut Sets,
}

impl Maker<'_> {
    fn forward(&mut self) -> List {
        let Firewall {
            interface,
            leave_transit,
            forward,
            ..
        } = self.firewall;
        let mut list = List::new();
        self.forged(&mut list);
        let PerFamily { v4, v6 } = *leave_transit;
        let leave = if self.family == Family::V4 { v4 } else { v6 };
        let past_the_vpn = Parts::default().coming_by(interface, true).leaving_by(interface, true);
        list.push(
            Origin::Transit,
            past_the_vpn,
            if leave { Target::Accept } else { Target::Drop },
        );
        self.rules(forward, &mut list);
        list
    }

    fn input(&mut self) -> List {
        let mut list = List::new();
        let loopback = Parts::default().coming_by(InterfaceName::LOOPBACK.as_str(), false);
        list.push(Origin::Loopback, loopback, Target::Accept);
        self.forged(&mut list);
        let from_elsewhere = Parts::default().coming_by(&self.firewall.interface, true);
        list.push(Origin::NotOurs, from_elsewhere, Target::Accept);
        self.rules(&self.firewall.input, &mut list);
        list
    }

    fn masquerade(&self) -> List {
        let mut list = List::new();
        let Firewall {
            interface,
            overlay,
            masquerade,
            ..
        } = self.firewall;
        for net in of_family(overlay, self.family).into_iter().filter(|_| *masquerade) {
            let leaving = Parts::default()
                .side(End::Source, &Side::Net { net, negated: false })
                .leaving_by(interface, true);
            list.push(Origin::Masquerade, leaving, Target::Masquerade(Masquerade::default()));
        }
        list
    }

    /// Overlay sources that did not come out of the tunnel are forged.
    fn forged(&self, list: &mut List) {
        for net in IpNet::aggregate(&of_family(&self.firewall.overlay, self.family)) {
            let forged = Parts::default()
                .coming_by(&self.firewall.interface, true)
                .side(End::Source, &Side::Net { net, negated: false });
            list.push(Origin::ForgedSource, forged, Target::Drop);
        }
    }

    /// Connections, the file's rules, and the end.
    fn rules(&mut self, rules: &[FilterRule], list: &mut List) {
        let known = Parts::default().state(States::ESTABLISHED | States::RELATED);
        list.push(Origin::Established, known, Target::Accept);
        list.push(Origin::Invalid, Parts::default().state(States::INVALID), Target::Drop);
        for rule in rules {
            self.rule(rule, list);
        }
        list.push(Origin::NoRule, Parts::default(), Target::Drop);
    }

    fn rule(&mut self, rule: &FilterRule, list: &mut List) {
        let FilterRule {
            from,
            to,
            action,
            origin,
        } = rule;
        let sources = self.sides(&from.iter().collect::<Vec<_>>());
        for (addresses, ports) in by_ports(to) {
            let destinations = self.sides(&addresses);
            let ports = port_matches(ports);
            for source in &sources {
                for destination in &destinations {
                    for port in &ports {
                        let parts = Parts::default()
                            .side(End::Source, source)
                            .side(End::Destination, destination)
                            .ports(port);
                        list.push(origin.clone(), parts, target(action, self.family));
                    }
                }
            }
        }
    }

    /// What one end must be: any of these; nothing matches when there are none.
    fn sides(&mut self, addresses: &[&Addresses]) -> Vec<Side> {
        let mut nets: Vec<IpNet> = Vec::new();
        let mut sides = Vec::new();
        for one in addresses {
            match one {
                Addresses::Any => return vec![Side::Any],
                Addresses::Nets(some) => nets.extend(of_family(some, self.family)),
                Addresses::Set(name) => {
                    let elements = self.firewall.sets.get(name).map_or(&[][..], Vec::as_slice);
                    let set = self.sets.named(name, elements, self.family);
                    sides.extend(set.map(|name| Side::Set { name, negated: false }));
                }
                Addresses::Except(some) => match IpNet::aggregate(&of_family(some, self.family)).as_slice() {
                    [] => return vec![Side::Any],
                    [net] => sides.push(Side::Net {
                        net: *net,
                        negated: true,
                    }),
                    nets => sides.extend(self.list(nets, true)),
                },
            }
        }
        let nets = IpNet::aggregate(&nets);
        if nets.len() <= SPELLED_OUT {
            sides.extend(nets.into_iter().map(|net| Side::Net { net, negated: false }));
        } else {
            sides.extend(self.list(&nets, false));
        }
        sides
    }

    fn list(&mut self, nets: &[IpNet], negated: bool) -> Option<Side> {
        let set = self.sets.list(nets, self.family);
        set.map(|name| Side::Set { name, negated })
    }
}

/// Destinations that have the same ports, together.
fn by_ports(to: &[Destination]) -> Vec<(Vec<&Addresses>, &[PortSpec])> {
    let mut groups: Vec<(Vec<&Addresses>, &[PortSpec])> = Vec::new();
    for Destination { addresses, ports } in to {
        match groups.iter_mut().find(|(_, known)| known == ports) {
            Some((all, _)) => all.push(addresses),
            None => groups.push((vec![addresses], ports)),
        }
    }
    groups
}

/// A match for each protocol and every fifteen ports; one that is none when every port will do.
fn port_matches(ports: &[PortSpec]) -> Vec<PortMatch> {
    if ports.is_empty() {
        return vec![None];
    }
    let mut matches = Vec::new();
    for protocol in Protocol::ALL {
        let ranges = joined(ports.iter().filter(|port| port.protocol == protocol));
        for ranges in full_matches(&ranges) {
            matches.push(Some(port_match(protocol, ranges)));
        }
    }
    matches
}

fn port_match(protocol: Protocol, ranges: &[Range<u16>]) -> (u8, Match) {
    let m = match (ranges, protocol) {
        ([one], Protocol::Tcp) => Match::Tcp(tcp::Tcp {
            dport: *one,
            ..tcp::Tcp::default()
        }),
        ([one], Protocol::Udp) => Match::Udp(udp::Udp {
            dport: *one,
            ..udp::Udp::default()
        }),
        ([one], Protocol::Sctp) => Match::Sctp(sctp::Sctp {
            dport: Some(*one),
            ..sctp::Sctp::default()
        }),
        _ => Match::Multiport(Multiport {
            side: PortSide::Destination,
            ports: ranges.into(),
            negated: false,
        }),
    };
    (protocol.number(), m)
}

/// In order, without overlaps or neighbours.
fn joined<'p>(ports: impl Iterator<Item = &'p PortSpec>) -> Vec<Range<u16>> {
    let mut sorted: Vec<(u16, u16)> = ports.map(|port| (port.first, port.last)).collect();
    sorted.sort_unstable();
    let mut ranges: Vec<Range<u16>> = Vec::new();
    for (first, last) in sorted {
        match ranges.last_mut() {
            Some(before) if first <= before.max.saturating_add(1) => before.max = before.max.max(last),
            _ => ranges.push(Range::new(first, last)),
        }
    }
    ranges
}

/// As many at a time as one multiport match takes, in which a range counts twice.
fn full_matches(ranges: &[Range<u16>]) -> impl Iterator<Item = &[Range<u16>]> {
    let mut rest = ranges;
    std::iter::from_fn(move || {
        let mut slots = 0;
        let fits = rest.iter().take_while(|range| {
            slots += if range.min == range.max { 1 } else { 2 };
            slots <= Multiport::MAX
        });
        let (now, later) = rest.split_at(fits.count());
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}

fn target(action: &Action, family: Family) -> Target {
    match action {
        Action::Accept => Target::Accept,
        Action::Drop => Target::Drop,
        Action::Log { prefix } => Target::Log(Log {
            level: Log::DEFAULT_LEVEL,
            flags: LogFlags::default(),
            prefix: prefix.as_str().into(),
        }),
        Action::Limit(_) => Target::Drop,
        // What nft calls admin-prohibited: ICMP_PKT_FILTERED, ICMPV6_ADM_PROHIBITED.
        Action::Reject => Target::Reject(Reject::Unreachable(match family {
            Family::V4 => 13,
            Family::V6 => 1,
        })),
    }
}

/// A host's protected ports, closed to all but the VPN.
fn protected(plan: &HostPlan, family: Family, sets: &mut Sets) -> List {
    let HostPlan {
        name: _,
        admit,
        ports,
        tunnel: _,
    } = plan;
    let mut list = List::new();
    let ports: Vec<PortSpec> = ports.iter().copied().collect();
    let others = match admit {
        Admit::Interface(interface) => Parts::default().coming_by(interface, true),
        Admit::Sources(sources) => {
            let sources: Vec<IpNet> = sources.iter().copied().map(IpNet::from).collect();
            match of_family(&sources, family).as_slice() {
                // The hub has no address there, so nobody comes from it.
                [] => Parts::default(),
                [net] => Parts::default().side(
                    End::Source,
                    &Side::Net {
                        net: *net,
                        negated: true,
                    },
                ),
                all => match sets.list(all, family) {
                    Some(name) => Parts::default().side(End::Source, &Side::Set { name, negated: true }),
                    None => Parts::default(),
                },
            }
        }
    };
    for port in port_matches(&ports).iter().filter(|port| port.is_some()) {
        list.push(Origin::Protected, others.clone().ports(port), Target::Drop);
    }
    list
}

fn interface(name: &str, negated: bool) -> InterfaceMatch {
    InterfaceMatch {
        // The configuration lets no longer name pass. Cut, it is no interface's: everything comes from elsewhere.
        name: InterfaceName::new(name.get(..MAX_NAME).unwrap_or(name)).unwrap_or_default(),
        prefix: false,
        negated,
    }
}

fn address(net: &IpNet, negated: bool) -> AddressMatch {
    let family = if net.addr().is_ipv4() { Family::V4 } else { Family::V6 };
    AddressMatch {
        network: net.network().into(),
        mask: Addr::mask(family, net.prefix_len()),
        negated,
    }
}

fn in_set(name: &str, end: End, negated: bool) -> Match {
    Match::Set(Set(Box::new(Parameters {
        name: name.into(),
        negated,
        sides: Sides {
            count: 1,
            source: u8::from(end == End::Source),
        },
        return_nomatch: false,
        keep_counters: true,
        keep_subcounters: true,
        packets: Default::default(),
        bytes: Default::default(),
    })))
}
