//! Plans as nft text (`man 8 nft`; held to what 1.0.6, Debian 12's, takes).

mod host;
mod update_host;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use fielato_qdisc::Handle;
use ipnet::IpNet;

use super::family::{Family, plain};
use super::ranges::disjoint;
use crate::compile::identifier;
use crate::config::{Action, PortSpec, Protocol, RawRule};
use crate::plan::{Addresses, Destination, FilterRule, Firewall, Origin, PerFamily, Published};

pub use host::host;
pub use update_host::update_host;

/// The hub's whole rule set as one transaction that replaces what was there.
pub fn hub(firewall: &Firewall) -> String {
    let mut out = String::from(FRESH_HUB);
    out.push_str("table inet fielato {\n");
    for set in element_sets(firewall) {
        set.declare(&mut out);
    }
    forward_chain(firewall, &mut out);
    input_chain(firewall, &mut out);
    nat_chain(firewall, &mut out);
    classify_chain(firewall, &mut out);
    out.push_str("}\n");
    out
}

/// Adding first makes the deletion work when there is no such table.
const FRESH_HUB: &str = "table inet fielato\ndelete table inet fielato\n";

/// An element that comes into a set or map of table `inet fielato`, or goes out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementChange {
    /// Name of the set or map; its elements are single addresses, never ranges.
    pub set: String,
    /// Added, else deleted.
    pub add: bool,
    /// The element, or the key in a map.
    pub address: IpAddr,
    /// The value in a map, when it is added.
    pub class: Option<Handle>,
}

/// The steps that lead from `old` to `new` when only single addresses in sets and maps differ, to be taken in one
/// transaction; none when nothing differs. `None` when more than that differs: load [`hub`] then.
pub fn update(old: &Firewall, new: &Firewall) -> Option<Vec<ElementChange>> {
    let Firewall {
        interface,
        uplink,
        overlay,
        masquerade,
        leave_transit,
        sets,
        blocked,
        published,
        raw,
        forward,
        input,
        classes,
    } = old;
    let same = (interface, uplink, overlay, masquerade, leave_transit, blocked)
        == (
            &new.interface,
            &new.uplink,
            &new.overlay,
            &new.masquerade,
            &new.leave_transit,
            &new.blocked,
        )
        && same_published(published, &new.published)
        && same_raw(raw, &new.raw)
        && same_rules(forward, &new.forward)
        && same_rules(input, &new.input)
        && sets.keys().eq(new.sets.keys())
        && classes.keys().eq(new.classes.keys());
    if !same {
        return None;
    }
    let mut steps = Vec::new();
    for ((name, before), after) in sets.iter().zip(new.sets.values()) {
        if before == after {
            continue;
        }
        // A set that holds a network is an interval set, also for its single addresses.
        if before.iter().chain(after).any(|net| !is_single(net)) {
            return None;
        }
        let (before, after) = differing(before, after);
        let step = |net: &IpNet, add| element_change(net, add, None, |family| set_name(name, family));
        for net in before.difference(&after) {
            steps.push(step(net, false)?);
        }
        for net in after.difference(&before) {
            steps.push(step(net, true)?);
        }
    }
    for ((dev, before), after) in classes.iter().zip(new.classes.values()) {
        let step = |net: &IpNet, class: Option<Handle>| {
            element_change(net, class.is_some(), class, |family| map_name(new, "class", dev, family))
        };
        for (net, _) in before.iter().filter(|(net, class)| after.get(net) != Some(class)) {
            steps.push(step(net, None)?);
        }
        for (net, class) in after.iter().filter(|(net, class)| before.get(net) != Some(class)) {
            steps.push(step(net, Some(*class))?);
        }
    }
    Some(steps)
}

/// What is left of both without the beginning and the end that they share: of ten thousand addresses most.
fn differing<'a>(before: &'a [IpNet], after: &'a [IpNet]) -> (BTreeSet<&'a IpNet>, BTreeSet<&'a IpNet>) {
    let begin = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (before, after) = (&before[begin..], &after[begin..]);
    let end = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let middle = |nets: &'a [IpNet]| nets[..nets.len() - end].iter().collect();
    (middle(before), middle(after))
}

/// `None` for a network that is not a single address: it stands among ranges.
fn element_change(net: &IpNet, add: bool, class: Option<Handle>, set: impl Fn(Family) -> String) -> Option<ElementChange> {
    is_single(net).then(|| ElementChange {
        set: set(Family::of(net.addr())),
        add,
        address: net.addr(),
        class,
    })
}

/// Whether two rule lists have the same text. A rule's line in the file is not part of it.
fn same_rules(old: &[FilterRule], new: &[FilterRule]) -> bool {
    let same = |a: &FilterRule, b: &FilterRule| {
        let FilterRule {
            from,
            to,
            action,
            origin,
        } = a;
        (from, to, action) == (&b.from, &b.to, &b.action) && origin.is_same(&b.origin)
    };
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b))
}

fn same_published(old: &[Published], new: &[Published]) -> bool {
    let same = |a: &Published, b: &Published| {
        let Published {
            port,
            from,
            at,
            to,
            to_port,
            origin,
        } = a;
        (port, from, at, to, to_port) == (&b.port, &b.from, &b.at, &b.to, &b.to_port) && origin.is_same(&b.origin)
    };
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b))
}

fn same_raw(old: &[RawRule], new: &[RawRule]) -> bool {
    let text = |rule: &RawRule| (rule.table, rule.chain.clone(), rule.families, rule.words.clone(), rule.after);
    old.len() == new.len() && old.iter().zip(new).all(|(a, b)| text(a) == text(b))
}

/// A set, or a map to classes, of one family.
struct ElementSet {
    kind: &'static str,
    name: String,
    family: Family,
    interval: bool,
    /// Key and, in a map, ` : CLASS`.
    elements: Vec<(String, String)>,
}

impl ElementSet {
    fn declare(&self, out: &mut String) {
        let Self {
            kind,
            name,
            family,
            interval,
            elements,
        } = self;
        let value = if *kind == "map" { " : classid" } else { "" };
        let _ = writeln!(out, "\t{kind} {name} {{\n\t\ttype {}{value}", family.address_type());
        if *interval {
            out.push_str("\t\tflags interval\n");
        }
        if !elements.is_empty() {
            let _ = writeln!(out, "\t\telements = {{ {} }}", joined(elements));
        }
        out.push_str("\t}\n");
    }
}

fn joined(elements: &[(String, String)]) -> String {
    let mut text = String::new();
    for (index, (key, value)) in elements.iter().enumerate() {
        if index > 0 {
            text.push_str(if index % 8 == 0 { ",\n\t\t\t" } else { ", " });
        }
        text.push_str(key);
        text.push_str(value);
    }
    text
}

/// Every set and map, in a fixed order.
fn element_sets(firewall: &Firewall) -> Vec<ElementSet> {
    let mut all = Vec::new();
    for (name, nets) in &firewall.sets {
        for family in Family::BOTH {
            let interval = nets.iter().any(|net| Family::of(net.addr()) == family && !is_single(net));
            let nets = family.sorted_nets(nets);
            let nets = if interval { IpNet::aggregate(&nets) } else { nets };
            let elements = nets.iter().map(|net| (plain(net), String::new())).collect();
            all.push(ElementSet {
                kind: "set",
                name: set_name(name, family),
                family,
                interval,
                elements,
            });
        }
    }
    for (dev, classes) in &firewall.classes {
        for family in Family::BOTH {
            let value = |class: &Handle| format!(" : {class}");
            let mut map = |kind: &str, interval, elements| {
                all.push(ElementSet {
                    kind: "map",
                    name: map_name(firewall, kind, dev, family),
                    family,
                    interval,
                    elements,
                });
            };
            let of_family = || classes.iter().filter(|(net, _)| Family::of(net.addr()) == family);
            let singles = of_family().filter(|(net, _)| is_single(net));
            map(
                "class",
                false,
                singles.map(|(net, class)| (plain(net), value(class))).collect(),
            );
            let ranges = disjoint(of_family().filter(|(net, _)| !is_single(net)));
            if !ranges.is_empty() {
                map(
                    "ranges",
                    true,
                    ranges.into_iter().map(|(range, class)| (range, value(&class))).collect(),
                );
            }
        }
    }
    all
}

fn is_single(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

fn set_name(name: &str, family: Family) -> String {
    format!("{name}_{}", family.suffix())
}

fn map_name(firewall: &Firewall, kind: &str, dev: &str, family: Family) -> String {
    // Two devices whose names differ only in characters that nft does not take.
    let twin = dev == firewall.uplink && identifier(dev) == identifier(&firewall.interface);
    format!(
        "{kind}_{}{}_{}",
        identifier(dev),
        if twin { "_uplink" } else { "" },
        family.suffix()
    )
}

fn forward_chain(firewall: &Firewall, out: &mut String) {
    let Firewall {
        interface,
        leave_transit,
        ..
    } = firewall;
    out.push_str("\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n");
    forged(firewall, out);
    transit(interface, *leave_transit, out);
    out.push_str("\t\tct state established,related accept\n\t\tct state invalid counter drop comment \"invalid\"\n");
    rules(&firewall.forward, out);
    out.push_str("\t\tcounter drop comment \"no rule\"\n\t}\n");
}

/// Overlay sources that did not come out of the tunnel are forged.
fn forged(firewall: &Firewall, out: &mut String) {
    for family in Family::BOTH {
        let nets = family.nets(&firewall.overlay);
        if !nets.is_empty() {
            let (interface, header) = (&firewall.interface, family.header());
            let _ = writeln!(
                out,
                "\t\tiifname != \"{interface}\" {header} saddr {} counter drop comment \"forged source\"",
                braces(&nets)
            );
        }
    }
}

fn transit(interface: &str, leave: PerFamily<bool>, out: &mut String) {
    let verdict = |leave| if leave { "accept" } else { "drop" };
    let PerFamily { v4, v6 } = leave;
    let mut line = |family: &str, leave| {
        let _ = writeln!(
            out,
            "\t\t{family}iifname != \"{interface}\" oifname != \"{interface}\" counter {} comment \"transit\"",
            verdict(leave)
        );
    };
    if v4 == v6 {
        line("", v4);
    } else {
        line("meta nfproto ipv4 ", v4);
        line("meta nfproto ipv6 ", v6);
    }
}

fn input_chain(firewall: &Firewall, out: &mut String) {
    let interface = &firewall.interface;
    out.push_str("\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n");
    // The hub talks to its own overlay address over lo.
    out.push_str("\t\tiifname \"lo\" accept\n");
    forged(firewall, out);
    let _ = writeln!(out, "\t\tiifname != \"{interface}\" accept");
    out.push_str("\t\tct state established,related accept\n\t\tct state invalid counter drop comment \"invalid\"\n");
    rules(&firewall.input, out);
    out.push_str("\t\tcounter drop comment \"no rule\"\n\t}\n");
}

fn nat_chain(firewall: &Firewall, out: &mut String) {
    if !firewall.masquerade {
        return;
    }
    out.push_str("\tchain postrouting_nat {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
    for net in &firewall.overlay {
        let header = Family::of(net.addr()).header();
        let _ = writeln!(
            out,
            "\t\t{header} saddr {net} oifname != \"{}\" masquerade",
            firewall.interface
        );
    }
    out.push_str("\t}\n");
}

/// HTB takes the packet's priority for the class when it names one of its own, so one look-up classifies.
fn classify_chain(firewall: &Firewall, out: &mut String) {
    if firewall.classes.is_empty() {
        return;
    }
    // At `mangle` the source is not yet translated.
    out.push_str("\tchain classify {\n\t\ttype filter hook postrouting priority mangle; policy accept;\n");
    for (dev, classes) in &firewall.classes {
        let side = if *dev == firewall.interface { "daddr" } else { "saddr" };
        for family in Family::BOTH {
            let has_ranges = classes.keys().any(|net| Family::of(net.addr()) == family && !is_single(net));
            // A single address says more than a range around it, so it has the last word. Apart from the ranges, members can
            // come and go as elements of a hash map.
            for kind in ["ranges", "class"].into_iter().skip(usize::from(!has_ranges)) {
                let (header, map) = (family.header(), map_name(firewall, kind, dev, family));
                let _ = writeln!(out, "\t\toifname \"{dev}\" meta priority set {header} {side} map @{map}");
            }
        }
    }
    out.push_str("\t}\n");
}

/// Neighbouring rules that differ only in `from` become one: with the same action their order does not matter.
fn rules(rules: &[FilterRule], out: &mut String) {
    let alike = |a: &FilterRule, b: &FilterRule| a.to == b.to && a.action == b.action && is_plain(a) && is_plain(b);
    for run in rules.chunk_by(alike) {
        let from: Vec<&Addresses> = run.iter().flat_map(|rule| &rule.from).collect();
        let comment = comment(run);
        let (to, verdict) = (by_ports(&run[0].to), verdict(&run[0].action));
        for conditions in conditions(&from, &to) {
            let space = if conditions.is_empty() { "" } else { " " };
            let _ = writeln!(out, "\t\t{conditions}{space}counter {verdict} comment \"{comment}\"");
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

fn verdict(action: &Action) -> String {
    match action {
        Action::Accept => "accept".to_owned(),
        Action::Drop | Action::Limit(_) => "drop".to_owned(),
        Action::Reject => "reject with icmpx admin-prohibited".to_owned(),
        Action::Log { prefix } => format!("log prefix \"{prefix}\""),
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

/// The conditions of every line that a rule needs: sources by destinations by protocols.
fn conditions(from: &[&Addresses], to: &[(Vec<&Addresses>, &[PortSpec])]) -> Vec<String> {
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
fn side_matches(side: &str, addresses: &[&Addresses], family: Family) -> Vec<String> {
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
fn braces(nets: &[IpNet]) -> String {
    let nets = IpNet::aggregate(&nets.to_vec());
    match nets.as_slice() {
        [one] => plain(one),
        all => format!("{{ {} }}", all.iter().map(plain).collect::<Vec<_>>().join(", ")),
    }
}

/// One match for each protocol; a single empty one when every port will do.
fn port_matches(ports: &[PortSpec]) -> Vec<String> {
    if ports.is_empty() {
        return vec![String::new()];
    }
    let of = |protocol: Protocol| ports.iter().filter(move |port| port.protocol == protocol);
    let found = Protocol::ALL.into_iter().filter(|protocol| of(*protocol).next().is_some());
    found
        .map(|protocol| format!("{} dport {}", protocol.word(), port_set(of(protocol))))
        .collect()
}

fn port_set<'p>(ports: impl Iterator<Item = &'p PortSpec>) -> String {
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
