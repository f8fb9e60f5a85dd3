//! A protected host's rules as nft text.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::{ElementSet, braces, is_single, plain, port_matches, rules, set_name};
use crate::config::PortSpec;
use crate::plan::{Admit, HostPlan, TunnelPlan};
use crate::render::family::Family;

/// A protected host's rules as one transaction. They say what the iptables text says: also the host's own
/// processes reach the service only in the admitted way.
pub fn host(plan: &HostPlan) -> String {
    let HostPlan {
        name: _,
        admit,
        ports,
        tunnel,
    } = plan;
    let mut out = String::from("table inet fielato_host\ndelete table inet fielato_host\ntable inet fielato_host {\n");
    for (name, nets) in tunnel.iter().flat_map(|tunnel| &tunnel.sets) {
        for family in Family::BOTH {
            let interval = nets.iter().any(|net| Family::of(net.addr()) == family && !is_single(net));
            let nets = family.sorted_nets(nets);
            let nets = if interval { IpNet::aggregate(&nets) } else { nets };
            let set = ElementSet {
                kind: "set",
                name: set_name(name, family),
                family,
                interval,
                elements: nets.iter().map(|net| (plain(net), String::new())).collect(),
            };
            set.declare(&mut out);
        }
    }
    out.push_str("\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n");
    guarded_ports(admit, ports.iter().copied().collect(), &mut out);
    if let (Admit::Interface(interface), Some(tunnel)) = (admit, tunnel) {
        from_tunnel(interface, tunnel, &mut out);
    }
    out.push_str("\t}\n}\n");
    out
}

fn guarded_ports(admit: &Admit, ports: Vec<PortSpec>, out: &mut String) {
    let matches = if ports.is_empty() { Vec::new() } else { port_matches(&ports) };
    for port in matches {
        match admit {
            Admit::Interface(interface) => {
                let _ = writeln!(out, "\t\tiifname != \"{interface}\" {port} counter drop");
            }
            Admit::Sources(sources) => {
                for family in Family::BOTH {
                    let admitted: Vec<IpNet> = family.addresses(sources).into_iter().map(IpNet::from).collect();
                    let others = match admitted.as_slice() {
                        // The hub has no address there, so nobody comes from it.
                        [] => format!("meta nfproto {}", family.protocol()),
                        some => format!("{} saddr != {}", family.header(), braces(some)),
                    };
                    let _ = writeln!(out, "\t\t{others} {port} counter drop");
                }
            }
        }
    }
}

/// What comes out of the tunnel is judged once more as the hub judged it; what only pretends to is dropped.
fn from_tunnel(interface: &str, tunnel: &TunnelPlan, out: &mut String) {
    let TunnelPlan {
        overlay,
        hub,
        sets: _,
        rules: hubs,
    } = tunnel;
    // The host talks to its own overlay address over lo.
    out.push_str("\t\tiifname \"lo\" accept\n");
    for family in Family::BOTH {
        let nets = family.nets(overlay);
        if !nets.is_empty() {
            let (header, nets) = (family.header(), braces(&nets));
            let _ = writeln!(
                out,
                "\t\tiifname != \"{interface}\" {header} saddr {nets} counter drop comment \"forged source\""
            );
        }
    }
    let _ = writeln!(out, "\t\tiifname != \"{interface}\" accept");
    // RFC 3704 section 2.2, for both families: the answer would leave by another interface.
    out.push_str("\t\tfib saddr . iif oif missing counter drop comment \"reverse path\"\n");
    out.push_str("\t\tct state established,related accept\n\t\tct state invalid counter drop comment \"invalid\"\n");
    for family in Family::BOTH {
        let nets: Vec<IpNet> = family.addresses(hub).into_iter().map(IpNet::from).collect();
        if !nets.is_empty() {
            let _ = writeln!(
                out,
                "\t\t{} saddr {} counter accept comment \"the hub\"",
                family.header(),
                braces(&nets)
            );
        }
    }
    rules(hubs, out);
    out.push_str("\t\tcounter drop comment \"no rule\"\n");
}
