//! Ordered rules as netfilter's.

use std::collections::BTreeMap;

use fielato_netfilter::Target;
use fielato_netfilter::targets::log::{Log, LogFlags};
use fielato_netfilter::targets::reject::Reject;
use fielato_wire::Family;
use ipnet::IpNet;

use super::SPELLED_OUT;
use super::list::List;
use super::parts::{End, Parts, Side, port_matches};
use crate::config::{Action, PortSpec};
use crate::gateway::sets::{Sets, of_family};
use crate::plan::{Addresses, Destination, FilterRule, limit_name};

/// What the rules of one chain and family are made with.
pub(super) struct Filter<'f> {
    /// The plan's sets.
    pub named: &'f BTreeMap<String, Vec<IpNet>>,
    pub family: Family,
    /// The chain's, in nft's word.
    pub hook: &'static str,
    pub sets: &'f mut Sets,
}

impl Filter<'_> {
    /// One rule, as many as it takes.
    pub fn rule(&mut self, rule: &FilterRule, list: &mut List) {
        let FilterRule {
            from,
            to,
            action: _,
            origin,
        } = rule;
        let target = self.target(rule, list);
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
                        list.push(origin.clone(), parts, target.clone());
                    }
                }
            }
        }
    }

    /// What one end must be: any of these; nothing matches when there are none.
    pub fn sides(&mut self, addresses: &[&Addresses]) -> Vec<Side> {
        let mut nets: Vec<IpNet> = Vec::new();
        let mut sides = Vec::new();
        for one in addresses {
            match one {
                Addresses::Any => return vec![Side::Any],
                Addresses::Nets(some) => nets.extend(of_family(some, self.family)),
                Addresses::Set(name) => {
                    let elements = self.named.get(name).map_or(&[][..], Vec::as_slice);
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

    /// What a rule does; a limit has a chain of its own, so that all the rule's lines share one bucket.
    fn target(&self, rule: &FilterRule, list: &mut List) -> Target {
        match &rule.action {
            Action::Accept => Target::Accept,
            Action::Drop => Target::Drop,
            // What nft calls admin-prohibited: ICMP_PKT_FILTERED, ICMPV6_ADM_PROHIBITED.
            Action::Reject => Target::Reject(Reject::Unreachable(match self.family {
                Family::V4 => 13,
                Family::V6 => 1,
            })),
            Action::Log { prefix } => Target::Log(Log {
                level: Log::DEFAULT_LEVEL,
                flags: LogFlags::default(),
                prefix: prefix.as_str().into(),
            }),
            Action::Limit(rate) => {
                let name = limit_name(rule, self.hook);
                let mut bucket = List::new();
                bucket.push(rule.origin.clone(), Parts::default().within(rate), Target::Accept);
                bucket.push(rule.origin.clone(), Parts::default(), Target::Drop);
                list.chains.push((name.clone(), bucket));
                Target::Jump(name)
            }
        }
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
