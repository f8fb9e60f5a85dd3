//! A protected host's rules.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::rules::{braces, line, port_matches, rules};
use super::{declare_sets, forged};
use crate::config::PortSpec;
use crate::plan::{Admit, HostPlan, Origin, TunnelPlan};
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
    if let Some(tunnel) = tunnel {
        declare_sets(&tunnel.sets, &mut out);
    }
    out.push_str("\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n");
    let ports: Vec<PortSpec> = ports.iter().copied().collect();
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
    if let (Admit::Interface(interface), Some(tunnel)) = (admit, tunnel) {
        from_tunnel(interface, tunnel, &mut out);
    }
    out.push_str("\t}\n}\n");
    out
}

/// What comes out of the tunnel is judged as the hub judges it.
fn from_tunnel(interface: &str, tunnel: &TunnelPlan, out: &mut String) {
    // The host talks to its own overlay address over lo.
    out.push_str("\t\tiifname \"lo\" accept\n");
    forged(interface, &tunnel.overlay, out);
    let _ = writeln!(out, "\t\tiifname != \"{interface}\" accept");
    // RFC 3704 section 2.2, strict: an answer must go out where this came in. rp_filter of the kernel is IPv4's alone.
    line("fib saddr . iif oif missing", "drop", "reverse path", out);
    out.push_str("\t\tct state established,related accept\n\t\tct state invalid counter drop comment \"invalid\"\n");
    for family in Family::BOTH {
        let hub: Vec<IpNet> = family.addresses(&tunnel.hub).into_iter().map(IpNet::from).collect();
        if !hub.is_empty() {
            let from_hub = format!("{} saddr {}", family.header(), braces(&hub));
            line(&from_hub, "accept", &Origin::FromHub.comment(), out);
        }
    }
    rules(&tunnel.rules, "input", out);
    line("", "drop", &Origin::NoRule.comment(), out);
}
