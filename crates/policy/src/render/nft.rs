//! Plans as nft text (`man 8 nft`; held to what 1.0.6, Debian 12's, takes).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fielato_qdisc::Handle;
use ipnet::IpNet;

use super::family::{Family, plain};
use super::ranges::disjoint;
use crate::compile::identifier;
use crate::plan::{Firewall, Origin, PerFamily};

mod host;
mod nat;
mod raw;
mod rules;
mod update;
mod update_host;

use raw::Raw;
use rules::{braces, limit_chains, line, rules};

pub use host::host;
pub use update::{ElementChange, update};
pub use update_host::update_host;

/// The hub's whole rule set as one transaction that replaces what was there.
pub fn hub(firewall: &Firewall) -> String {
    let raw = Raw::of(firewall);
    let mut out = String::from(FRESH_HUB);
    out.push_str("table inet fielato {\n");
    declare_sets(&firewall.sets, &mut out);
    for map in class_maps(firewall) {
        map.declare(&mut out);
    }
    raw.declare_sets(&mut out);
    limit_chains(&firewall.forward, "forward", &mut out);
    limit_chains(&firewall.input, "input", &mut out);
    forward_chain(firewall, &raw, &mut out);
    input_chain(firewall, &raw, &mut out);
    output_chain(firewall, &mut out);
    nat::prerouting(firewall, &raw, &mut out);
    nat::postrouting(firewall, &raw, &mut out);
    classify_chain(firewall, &mut out);
    out.push_str("}\n");
    out
}

/// Adding first makes the deletion work when there is no such table.
const FRESH_HUB: &str = "table inet fielato\ndelete table inet fielato\n";

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

/// Sets of addresses, one for each family.
fn declare_sets(sets: &BTreeMap<String, Vec<IpNet>>, out: &mut String) {
    for (name, nets) in sets {
        for family in Family::BOTH {
            let interval = nets.iter().any(|net| Family::of(net.addr()) == family && !is_single(net));
            let nets = family.sorted_nets(nets);
            let nets = if interval { IpNet::aggregate(&nets) } else { nets };
            let elements = nets.iter().map(|net| (plain(net), String::new())).collect();
            let set = ElementSet {
                kind: "set",
                name: set_name(name, family),
                family,
                interval,
                elements,
            };
            set.declare(out);
        }
    }
}

/// The maps from addresses to classes, in a fixed order.
fn class_maps(firewall: &Firewall) -> Vec<ElementSet> {
    let mut all = Vec::new();
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

fn forward_chain(firewall: &Firewall, raw: &Raw<'_>, out: &mut String) {
    let Firewall {
        interface,
        leave_transit,
        ..
    } = firewall;
    out.push_str("\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n");
    forged(interface, &firewall.overlay, out);
    blocked(firewall, &["saddr", "daddr"], out);
    nat::forward(firewall, out);
    transit(interface, *leave_transit, out);
    out.push_str("\t\tct state established,related accept\n\t\tct state invalid counter drop comment \"invalid\"\n");
    let (granted, of_the_file) = firewall.forward.split_at(firewall.granted());
    rules(granted, "forward", out);
    raw.write("FORWARD", false, out);
    rules(of_the_file, "forward", out);
    raw.write("FORWARD", true, out);
    out.push_str("\t\tcounter drop comment \"no rule\"\n\t}\n");
}

/// Overlay sources that did not come out of the tunnel are forged.
fn forged(interface: &str, overlay: &[IpNet], out: &mut String) {
    for family in Family::BOTH {
        let nets = family.nets(overlay);
        if !nets.is_empty() {
            let forged = format!("iifname != \"{interface}\" {} saddr {}", family.header(), braces(&nets));
            line(&forged, "drop", &Origin::ForgedSource.comment(), out);
        }
    }
}

/// Who has used up a quota: also connections that were let in end here.
fn blocked(firewall: &Firewall, sides: &[&str], out: &mut String) {
    let Some(set) = &firewall.blocked else { return };
    for family in Family::BOTH {
        for side in sides {
            let theirs = format!("{} {side} @{}", family.header(), set_name(set, family));
            line(&theirs, "drop", &Origin::OverQuota.comment(), out);
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

fn input_chain(firewall: &Firewall, raw: &Raw<'_>, out: &mut String) {
    let interface = &firewall.interface;
    out.push_str("\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n");
    // The hub talks to its own overlay address over lo.
    out.push_str("\t\tiifname \"lo\" accept\n");
    forged(interface, &firewall.overlay, out);
    let _ = writeln!(out, "\t\tiifname != \"{interface}\" accept");
    blocked(firewall, &["saddr"], out);
    out.push_str("\t\tct state established,related accept\n\t\tct state invalid counter drop comment \"invalid\"\n");
    raw.write("INPUT", false, out);
    rules(&firewall.input, "input", out);
    raw.write("INPUT", true, out);
    out.push_str("\t\tcounter drop comment \"no rule\"\n\t}\n");
}

/// A connection to the hub is ended by forgetting it, and the next packet is judged as a first one. Without this it could be one of the
/// hub's, which nobody judges, and the connection were the hub's own from then on (`nf_conntrack_tcp_loose`).
fn output_chain(firewall: &Firewall, out: &mut String) {
    out.push_str("\tchain output {\n\t\ttype filter hook output priority filter; policy accept;\n");
    let lost = format!(
        "oifname \"{}\" ct state new tcp flags & (fin | syn | rst | ack) != syn",
        firewall.interface
    );
    line(&lost, "drop", &Origin::MidConnection.comment(), out);
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
