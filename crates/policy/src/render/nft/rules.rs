//! Ordered rules as lines of nft.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ipnet::IpNet;

use super::set_name;
use crate::config::{Action, PortSpec, Protocol, Rate};
use crate::plan::{Addresses, Destination, FilterRule, Origin, limit_name};
use crate::render::family::{Family, plain};

/// Neighbouring rules that differ only in `from` become one: with the same action their order does not matter.
pub fn rules(rules: &[FilterRule], hook: &str, out: &mut String) {
    let alike = |a: &FilterRule, b: &FilterRule| a.to == b.to && a.action == b.action && is_plain(a) && is_plain(b);
    for run in rules.chunk_by(alike) {
        let from: Vec<&Addresses> = run.iter().flat_map(|rule| &rule.from).collect();
        let comment = comment(run);
        let (to, verdict) = (by_ports(&run[0].to), verdict(&run[0], hook));
        for conditions in conditions(&from, &to) {
            line(&conditions, &verdict, &comment, out);
        }
    }
}

/// A rule of the file that decides: it can share a line with others.
fn is_plain(rule: &FilterRule) -> bool {
    let decides = matches!(rule.action, Action::Accept | Action::Drop | Action::Reject);
    decides && matches!(rule.origin, Origin::Rule { .. })
}

/// A comment holds 128 bytes.
fn comment(run: &[FilterRule]) -> String {
    if let [one] = run {
        return one.origin.comment();
    }
    let number = |rule: &FilterRule| match &rule.origin {
        Origin::Rule { number, .. } => Some(number.to_string()),
        _ => None,
    };
    let numbers: Vec<String> = run.iter().filter_map(number).collect();
    match numbers.as_slice() {
        _ if numbers.len() <= 12 => format!("rules {}", numbers.join(", ")),
        _ => format!("rules {} to {}", numbers[0], numbers[numbers.len() - 1]),
    }
}

/// A rule with its counter.
pub fn line(conditions: &str, verdict: &str, comment: &str, out: &mut String) {
    let space = if conditions.is_empty() { "" } else { " " };
    let _ = writeln!(out, "\t\t{conditions}{space}counter {verdict} comment \"{comment}\"");
}

fn verdict(rule: &FilterRule, hook: &str) -> String {
    match &rule.action {
        Action::Accept => "accept".to_owned(),
        Action::Drop => "drop".to_owned(),
        Action::Reject => "reject with icmpx admin-prohibited".to_owned(),
        Action::Log { prefix } => format!("log prefix \"{prefix}\""),
        Action::Limit(_) => format!("jump {}", limit_name(rule, hook)),
    }
}

/// The chains that rules with a limit jump to: one bucket for each family, however many lines lead to it.
pub fn limit_chains(rules: &[FilterRule], hook: &str, out: &mut String) {
    for rule in rules {
        let Action::Limit(Rate { count, per, burst }) = rule.action else {
            continue;
        };
        let comment = rule.origin.comment();
        let _ = writeln!(out, "\tchain {} {{", limit_name(rule, hook));
        for family in Family::BOTH {
            let (protocol, per) = (family.protocol(), per.word());
            let within = format!("meta nfproto {protocol} limit rate {count}/{per} burst {burst} packets");
            line(&within, "accept", &comment, out);
        }
        line("", "drop", &comment, out);
        out.push_str("\t}\n");
    }
}

/// Destinations that have the same ports, together.
pub fn by_ports(to: &[Destination]) -> Vec<(Vec<&Addresses>, &[PortSpec])> {
    let mut groups: Vec<(Vec<&Addresses>, &[PortSpec])> = Vec::new();
    for Destination { addresses, ports } in to {
        match groups.iter_mut().find(|(_, known)| known == ports) {
            Some((all, _)) => all.push(addresses),
            None => groups.push((vec![addresses], ports)),
        }
    }
    groups
}

/// The conditions of every line that a rule needs: sources by destinations by protocols.
pub fn conditions(from: &[&Addresses], to: &[(Vec<&Addresses>, &[PortSpec])]) -> Vec<String> {
    let mut lines = Vec::new();
    for (addresses, ports) in to {
        let ports = port_matches(ports);
        let mut emit = |sides: &[&str]| {
            for port in &ports {
                let parts = sides.iter().copied().chain([port.as_str()]).filter(|part| !part.is_empty());
                lines.push(parts.collect::<Vec<_>>().join(" "));
            }
        };
        let any = |side: &[&Addresses]| side.iter().any(|addresses| **addresses == Addresses::Any);
        if any(from) && any(addresses) {
            emit(&[]);
            continue;
        }
        for family in Family::BOTH {
            for source in side_matches("saddr", from, family) {
                for destination in side_matches("daddr", addresses, family) {
                    let neither = source.is_empty() && destination.is_empty();
                    let only = if neither {
                        format!("meta nfproto {}", family.protocol())
                    } else {
                        String::new()
                    };
                    emit(&[&only, &source, &destination]);
                }
            }
        }
    }
    lines
}

/// What one side must match in a family: one entry for each line; an empty one matches everything.
pub fn side_matches(side: &str, addresses: &[&Addresses], family: Family) -> Vec<String> {
    let header = family.header();
    let mut nets: Vec<IpNet> = Vec::new();
    let mut sets: BTreeSet<&str> = BTreeSet::new();
    let mut matches = Vec::new();
    for one in addresses {
        match one {
            Addresses::Any => return vec![String::new()],
            Addresses::Nets(some) => nets.extend(family.nets(some)),
            Addresses::Set(name) => drop(sets.insert(name)),
            Addresses::Except(some) => match family.nets(some) {
                excepted if excepted.is_empty() => return vec![String::new()],
                excepted => matches.push(format!("{header} {side} != {}", braces(&excepted))),
            },
        }
    }
    if !nets.is_empty() {
        matches.push(format!("{header} {side} {}", braces(&nets)));
    }
    matches.extend(
        sets.into_iter()
            .map(|name| format!("{header} {side} @{}", set_name(name, family))),
    );
    matches
}

/// One network bare, several in braces; overlapping ones joined, since nft refuses those.
pub fn braces(nets: &[IpNet]) -> String {
    let nets = IpNet::aggregate(&nets.to_vec());
    match nets.as_slice() {
        [one] => plain(one),
        all => format!("{{ {} }}", all.iter().map(plain).collect::<Vec<_>>().join(", ")),
    }
}

/// One match for each protocol; a single empty one when every port will do.
pub fn port_matches(ports: &[PortSpec]) -> Vec<String> {
    if ports.is_empty() {
        return vec![String::new()];
    }
    let of = |protocol: Protocol| ports.iter().filter(move |port| port.protocol == protocol);
    let found = Protocol::ALL.into_iter().filter(|protocol| of(*protocol).next().is_some());
    found
        .map(|protocol| format!("{} dport {}", protocol.word(), port_set(of(protocol))))
        .collect()
}

pub fn port_set<'p>(ports: impl Iterator<Item = &'p PortSpec>) -> String {
    let mut ranges: Vec<(u16, u16)> = ports.map(|port| (port.first, port.last)).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u16, u16)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    let text = |(first, last): &(u16, u16)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    match joined.as_slice() {
        [one] => text(one),
        all => format!("{{ {} }}", all.iter().map(text).collect::<Vec<_>>().join(", ")),
    }
}
