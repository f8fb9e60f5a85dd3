//! Plans as iptables and ip6tables commands (`man 8 iptables`), for machines without nft and for comparison with the
//! rules people already have.
//!
//! iptables has no sets here: a group is a rule for each member, or a chain of them. Use nft for hundreds of members.

use std::fmt::Write as _;

use ipnet::IpNet;

use super::family::{Family, plain};
use crate::config::{Action, PortSpec};
use crate::plan::{Addresses, Admit, FilterRule, Firewall, HostPlan};

/// The hub's rule set as commands. Its own chains are filled first and hooked in last.
pub fn hub(firewall: &Firewall) -> String {
    let mut out = String::new();
    for family in Family::BOTH {
        let overlay = family.nets(&firewall.overlay);
        if !overlay.is_empty() {
            Hub {
                firewall,
                family,
                overlay: &overlay,
                out: &mut out,
            }
            .write();
        }
    }
    out
}

struct Hub<'a> {
    firewall: &'a Firewall,
    family: Family,
    overlay: &'a [IpNet],
    out: &'a mut String,
}

impl Hub<'_> {
    fn write(&mut self) {
        let Firewall {
            interface,
            uplink: _,
            overlay: _,
            masquerade,
            leave_transit,
            sets: _,
            blocked: _,
            published: _,
            raw: _,
            forward,
            input,
            classes: _,
        } = self.firewall;
        if *masquerade {
            for net in self.overlay {
                self.line(&format!("-t nat -A POSTROUTING -s {net} ! -o {interface} -j MASQUERADE"));
            }
        }
        let leave = if self.family == Family::V4 {
            leave_transit.v4
        } else {
            leave_transit.v6
        };

        self.line("-N FIELATO-FORWARD");
        self.forged("FIELATO-FORWARD");
        let transit = if leave { "RETURN" } else { "DROP" };
        self.line(&format!("-A FIELATO-FORWARD ! -i {interface} ! -o {interface} -j {transit}"));
        self.rules("FIELATO-FORWARD", "FIELATO-F", forward);

        self.line("-N FIELATO-INPUT");
        self.line("-A FIELATO-INPUT -i lo -j RETURN");
        self.forged("FIELATO-INPUT");
        self.line(&format!("-A FIELATO-INPUT ! -i {interface} -j RETURN"));
        self.rules("FIELATO-INPUT", "FIELATO-I", input);

        self.line("-I FORWARD -j FIELATO-FORWARD");
        self.line("-I INPUT -j FIELATO-INPUT");
    }

    fn line(&mut self, rest: &str) {
        let _ = writeln!(self.out, "{} {rest}", self.family.iptables());
    }

    fn forged(&mut self, chain: &str) {
        for net in self.overlay {
            self.line(&format!("-A {chain} ! -i {} -s {net} -j DROP", self.firewall.interface));
        }
    }

    /// The ordered rules of a chain, behind what conntrack decides and before the closing drop.
    fn rules(&mut self, chain: &str, prefix: &str, rules: &[FilterRule]) {
        self.line(&format!("-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"));
        self.line(&format!("-A {chain} -m conntrack --ctstate INVALID -j DROP"));
        for (place, rule) in (1..).zip(rules) {
            self.rule(chain, &format!("{prefix}{}", place), rule);
        }
        self.line(&format!("-A {chain} -j DROP"));
    }

    fn rule(&mut self, chain: &str, own: &str, rule: &FilterRule) {
        let from: Vec<Side> = rule.from.iter().flat_map(|addresses| self.sides(addresses, "-s")).collect();
        let to: Vec<Side> = rule
            .to
            .iter()
            .flat_map(|destination| {
                let sides = self.sides(&destination.addresses, "-d");
                let ports = port_matches(&destination.ports);
                sides
                    .into_iter()
                    .flat_map(move |side| ports.clone().into_iter().map(move |port| side.with(&port)))
            })
            .collect();
        if from.is_empty() || to.is_empty() {
            return;
        }
        let comment = format!("-m comment --comment \"{}\"", rule.origin.comment());
        let action = verdict(&rule.action, self.family);
        match (from.as_slice(), to.as_slice()) {
            ([Side::Match(source)], all) if all.iter().all(|side| matches!(side, Side::Match(_))) => {
                for destination in all.iter().filter_map(Side::text) {
                    self.line(&format!("-A {chain}{source}{destination} {comment} -j {action}"));
                }
            }
            (all, [Side::Match(destination)]) if all.iter().all(|side| matches!(side, Side::Match(_))) => {
                for source in all.iter().filter_map(Side::text) {
                    self.line(&format!("-A {chain}{source}{destination} {comment} -j {action}"));
                }
            }
            // Sources and destinations each in a chain: their sum, not their product.
            _ => {
                self.fan(own, "D", &to, action, &comment);
                self.fan(&format!("{own}-S"), "E", &from, own, &comment);
                self.line(&format!("-A {chain} {comment} -j {own}-S"));
            }
        }
    }

    /// A chain that sends everything which matches one of `sides` to `target`.
    fn fan(&mut self, chain: &str, letter: &str, sides: &[Side], target: &str, comment: &str) {
        self.line(&format!("-N {chain}"));
        for (index, side) in sides.iter().enumerate() {
            match side {
                Side::Match(text) => self.line(&format!("-A {chain}{text} {comment} -j {target}")),
                Side::Except { excepted, ports } => {
                    let inner = format!("{chain}-{letter}{index}");
                    self.line(&format!("-N {inner}"));
                    for text in excepted {
                        self.line(&format!("-A {inner}{text} -j RETURN"));
                    }
                    self.line(&format!("-A {inner}{ports} {comment} -j {target}"));
                    self.line(&format!("-A {chain} -j {inner}"));
                }
            }
        }
    }

    fn sides(&self, addresses: &Addresses, flag: &str) -> Vec<Side> {
        let all = |nets: Vec<IpNet>| {
            nets.iter()
                .map(|net| Side::Match(format!(" {flag} {}", plain(net))))
                .collect()
        };
        match addresses {
            Addresses::Any => vec![Side::Match(String::new())],
            Addresses::Nets(nets) => all(self.family.nets(nets)),
            Addresses::Set(name) => all(self
                .firewall
                .sets
                .get(name)
                .map_or_else(Vec::new, |nets| self.family.sorted_nets(nets))),
            Addresses::Except(nets) => match self.family.nets(nets).as_slice() {
                [] => vec![Side::Match(String::new())],
                [one] => vec![Side::Match(format!(" ! {flag} {}", plain(one)))],
                some => {
                    let excepted = some.iter().map(|net| format!(" {flag} {}", plain(net))).collect();
                    vec![Side::Except {
                        excepted,
                        ports: String::new(),
                    }]
                }
            },
        }
    }
}

/// One side of a rule.
#[derive(Clone)]
enum Side {
    /// These options, each with a space before it.
    Match(String),
    /// None of these, and the ports.
    Except { excepted: Vec<String>, ports: String },
}

impl Side {
    fn with(&self, port: &str) -> Self {
        match self {
            Side::Match(text) => Side::Match(format!("{text}{port}")),
            Side::Except { excepted, ports: _ } => Side::Except {
                excepted: excepted.clone(),
                ports: port.to_owned(),
            },
        }
    }

    fn text(&self) -> Option<&str> {
        if let Side::Match(text) = self { Some(text) } else { None }
    }
}

fn verdict(action: &Action, family: Family) -> &'static str {
    match (action, family) {
        (Action::Accept, _) => "ACCEPT",
        (Action::Drop | Action::Limit(_) | Action::Log { .. }, _) => "DROP",
        (Action::Reject, Family::V4) => "REJECT --reject-with icmp-admin-prohibited",
        (Action::Reject, Family::V6) => "REJECT --reject-with icmp6-adm-prohibited",
    }
}

fn port_matches(ports: &[PortSpec]) -> Vec<String> {
    if ports.is_empty() {
        return vec![String::new()];
    }
    ports
        .iter()
        .map(|port| format!(" -p {} --dport {}", port.protocol.word(), range(port)))
        .collect()
}

fn range(port: &PortSpec) -> String {
    if port.first == port.last {
        port.first.to_string()
    } else {
        format!("{}:{}", port.first, port.last)
    }
}

/// A protected host's rules as commands: for one port and one address of the hub just
/// `iptables -A INPUT -p tcp ! -s HUB --dport 1234 -j DROP`, or with strategy `member`
/// `iptables -A INPUT -p tcp ! -i wg0 --dport 1234 -j DROP`.
/// The host's own processes are held to them too, since lo is neither.
pub fn host(plan: &HostPlan) -> String {
    let mut out = String::new();
    for family in Family::BOTH {
        host_family(plan, family, &mut out);
    }
    out
}

fn host_family(plan: &HostPlan, family: Family, out: &mut String) {
    let HostPlan {
        name: _,
        admit,
        ports,
        tunnel: _,
    } = plan;
    let program = family.iptables();
    let (chain, others) = match admit {
        Admit::Interface(interface) => ("INPUT", format!(" ! -i {interface}")),
        Admit::Sources(sources) => match family.addresses(sources).as_slice() {
            // The hub has no address there, so nobody comes from it.
            [] => ("INPUT", String::new()),
            [hub] => ("INPUT", format!(" ! -s {hub}")),
            // `! -s A` and `! -s B` in one rule cannot be said; leave the chain for each of them instead.
            all => {
                let _ = writeln!(out, "{program} -N FIELATO-HOST");
                for hub in all {
                    let _ = writeln!(out, "{program} -A FIELATO-HOST -s {hub} -j RETURN");
                }
                ("FIELATO-HOST", String::new())
            }
        },
    };
    for port in ports {
        let _ = writeln!(
            out,
            "{program} -A {chain} -p {}{others} --dport {} -j DROP",
            port.protocol.word(),
            range(port)
        );
    }
    if chain != "INPUT" {
        let _ = writeln!(out, "{program} -A INPUT -j {chain}");
    }
}
