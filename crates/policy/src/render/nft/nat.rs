//! Addresses that are translated: published ports, and what leaves the VPN.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::raw::Raw;
use super::rules::{braces, line, port_matches, side_matches};
use crate::config::{PortSpec, RawTable};
use crate::plan::{Addresses, Firewall, Published};
use crate::render::family::Family;

/// Published ports lead where they lead before the packet is routed.
pub fn prerouting(firewall: &Firewall, raw: &Raw<'_>, out: &mut String) {
    if firewall.published.is_empty() && !raw.has(RawTable::Nat, "PREROUTING") {
        return;
    }
    out.push_str("\tchain prerouting_nat {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n");
    raw.write("PREROUTING", false, out);
    for published in &firewall.published {
        for (family, target) in targets(published) {
            let Some(at) = at(published, family, &firewall.uplink) else {
                continue;
            };
            let from: Vec<&Addresses> = published.from.iter().collect();
            for source in side_matches("saddr", &from, family) {
                let space = if source.is_empty() { "" } else { " " };
                let port = port_matches(&[published.port]).join(" ");
                let verdict = format!("dnat {} to {}", family.header(), destination(published, target));
                line(
                    &format!("{at} {source}{space}{port}"),
                    &verdict,
                    &published.origin.comment(),
                    out,
                );
            }
        }
    }
    raw.write("PREROUTING", true, out);
    out.push_str("\t}\n");
}

/// Whom a packet must be for; `None` when it is published in the other family only.
fn at(published: &Published, family: Family, uplink: &str) -> Option<String> {
    if published.at.is_empty() {
        return Some(format!(
            "meta nfproto {} iifname \"{uplink}\" fib daddr type local",
            family.protocol()
        ));
    }
    let own: Vec<IpNet> = family.addresses(&published.at).into_iter().map(IpNet::from).collect();
    (!own.is_empty()).then(|| format!("{} daddr {}", family.header(), braces(&own)))
}

/// The machine's address in each family that has one.
fn targets(published: &Published) -> impl Iterator<Item = (Family, IpAddr)> {
    let both = [(Family::V4, published.to.v4), (Family::V6, published.to.v6)];
    both.into_iter().filter_map(|(family, target)| Some((family, target?)))
}

/// With a port only where that changes: several ports keep theirs.
fn destination(published: &Published, target: IpAddr) -> String {
    match target {
        _ if published.to_port == published.port.first => target.to_string(),
        IpAddr::V4(v4) => format!("{v4}:{}", published.to_port),
        IpAddr::V6(v6) => format!("[{v6}]:{}", published.to_port),
    }
}

/// What a published port's packets are once they are on their way to the machine.
fn translated(published: &Published, family: Family, target: IpAddr) -> String {
    let PortSpec { protocol, first, last } = published.port;
    let there = PortSpec {
        protocol,
        first: published.to_port,
        last: published.to_port.saturating_add(last.saturating_sub(first)),
    };
    let port = port_matches(&[there]).join(" ");
    format!("ct status dnat {} daddr {target} {port}", family.header())
}

/// Lets published ports' packets through, and the answers, which may go out as they came in.
pub fn forward(firewall: &Firewall, out: &mut String) {
    if firewall.published.is_empty() {
        return;
    }
    out.push_str("\t\tct status dnat ct state established,related accept\n");
    for published in &firewall.published {
        for (family, target) in targets(published) {
            line(
                &translated(published, family, target),
                "accept",
                &published.origin.comment(),
                out,
            );
        }
    }
}

/// What leaves the VPN for elsewhere, and what comes by a published port, takes the hub's address.
pub fn postrouting(firewall: &Firewall, raw: &Raw<'_>, out: &mut String) {
    if !firewall.masquerade && !raw.has(RawTable::Nat, "POSTROUTING") {
        return;
    }
    out.push_str("\tchain postrouting_nat {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
    raw.write("POSTROUTING", false, out);
    if firewall.masquerade {
        for net in &firewall.overlay {
            let header = Family::of(net.addr()).header();
            let _ = writeln!(
                out,
                "\t\t{header} saddr {net} oifname != \"{}\" masquerade",
                firewall.interface
            );
        }
        for published in &firewall.published {
            for (family, target) in targets(published) {
                let _ = writeln!(
                    out,
                    "\t\t{} masquerade comment \"{}\"",
                    translated(published, family, target),
                    published.origin.comment()
                );
            }
        }
    }
    raw.write("POSTROUTING", true, out);
    out.push_str("\t}\n");
}
