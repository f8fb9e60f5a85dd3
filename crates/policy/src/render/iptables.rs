//! Plans as iptables and ip6tables commands (`man 8 iptables`), for machines without nft and for comparison with the
//! rules people already have.
//!
//! iptables has no sets here: a group is a rule for each member, or a chain of them. Use nft for hundreds of members.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::family::{Family, plain};
use crate::config::{Action, PortSpec, Rate, RawRule};
use crate::plan::{Addresses, Admit, FilterRule, Firewall, HostPlan, Published, TunnelPlan};

/// The hub's rule set as commands. Its own chains are filled first and hooked in last.
pub fn hub(firewall: &Firewall) -> String {
    let mut out = String::new();
    for family in Family::BOTH {
        let overlay = family.nets(&firewall.overlay);
        if !overlay.is_empty() {
            let mut writer = Writer {
                sets: &firewall.sets,
                family,
                out: &mut out,
            };
            writer.hub(firewall, &overlay);
        }
    }
    out
}

/// Writes the rules of one family.
struct Writer<'a> {
    sets: &'a BTreeMap<String, Vec<IpNet>>,
    family: Family,
    out: &'a mut String,
}

impl Writer<'_> {
    fn hub(&mut self, firewall: &Firewall, overlay: &[IpNet]) {
        let Firewall {
            interface,
            uplink,
            overlay: _,
            masquerade,
            leave_transit,
            sets: _,
            blocked,
            published,
            raw,
            forward,
            input,
            classes: _,
        } = firewall;
        let raw: Vec<&RawRule> = raw.iter().filter(|raw| self.says(raw)).collect();
        self.raw(&raw, "PREROUTING", "-t nat -A PREROUTING", false);
        for (number, published) in (1..).zip(published) {
            self.publish(number, published, uplink);
        }
        self.raw(&raw, "PREROUTING", "-t nat -A PREROUTING", true);
        self.raw(&raw, "POSTROUTING", "-t nat -A POSTROUTING", false);
        if *masquerade {
            for net in overlay {
                self.line(&format!("-t nat -A POSTROUTING -s {net} ! -o {interface} -j MASQUERADE"));
            }
            for published in published {
                if let Some(translated) = self.translated(published) {
                    self.line(&format!("-t nat -A POSTROUTING{translated} -j MASQUERADE"));
                }
            }
        }
        self.raw(&raw, "POSTROUTING", "-t nat -A POSTROUTING", true);
        let leave = if self.family == Family::V4 {
            leave_transit.v4
        } else {
            leave_transit.v6
        };

        self.line("-N FIELATO-FORWARD");
        self.forged("FIELATO-FORWARD", interface, overlay);
        self.blocked("FIELATO-FORWARD", blocked.as_deref(), &["-s", "-d"]);
        if !published.is_empty() {
            self.line("-A FIELATO-FORWARD -m conntrack --ctstate DNAT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
        }
        for published in published {
            if let Some(translated) = self.translated(published) {
                self.line(&format!("-A FIELATO-FORWARD{translated} -j ACCEPT"));
            }
        }
        let transit = if leave { "RETURN" } else { "DROP" };
        self.line(&format!("-A FIELATO-FORWARD ! -i {interface} ! -o {interface} -j {transit}"));
        self.tracked("FIELATO-FORWARD");
        let granted = firewall.granted();
        self.rules("FIELATO-FORWARD", "FIELATO-F", 1, &forward[..granted]);
        self.raw(&raw, "FORWARD", "-A FIELATO-FORWARD", false);
        self.rules("FIELATO-FORWARD", "FIELATO-F", 1 + granted, &forward[granted..]);
        self.raw(&raw, "FORWARD", "-A FIELATO-FORWARD", true);
        self.line("-A FIELATO-FORWARD -j DROP");

        self.line("-N FIELATO-INPUT");
        self.line("-A FIELATO-INPUT -i lo -j RETURN");
        self.forged("FIELATO-INPUT", interface, overlay);
        self.line(&format!("-A FIELATO-INPUT ! -i {interface} -j RETURN"));
        self.blocked("FIELATO-INPUT", blocked.as_deref(), &["-s"]);
        self.tracked("FIELATO-INPUT");
        self.raw(&raw, "INPUT", "-A FIELATO-INPUT", false);
        self.rules("FIELATO-INPUT", "FIELATO-I", 1, input);
        self.raw(&raw, "INPUT", "-A FIELATO-INPUT", true);
        self.line("-A FIELATO-INPUT -j DROP");

        self.line("-N FIELATO-OUTPUT");
        // What connection tracking says comes first, in rules of their own: IPv6 headers may end too early, and `-p tcp` would drop them
        // (`ip6_packet_match`).
        self.line("-A FIELATO-OUTPUT -m conntrack ! --ctstate NEW -j RETURN");
        self.line("-A FIELATO-OUTPUT -m conntrack ! --ctproto tcp -j RETURN");
        self.line(&format!("-A FIELATO-OUTPUT -o {interface} -p tcp ! --syn -j DROP"));

        self.line("-I FORWARD -j FIELATO-FORWARD");
        self.line("-I INPUT -j FIELATO-INPUT");
        self.line("-I OUTPUT -j FIELATO-OUTPUT");
    }

    /// What a protected host does with what comes out of its tunnel: what the hub does.
    fn tunnel(&mut self, interface: &str, tunnel: &TunnelPlan, overlay: &[IpNet]) {
        // RFC 3704 section 2.2, strict: an answer must go out where this came in.
        self.line(&format!("-t raw -A PREROUTING -i {interface} -m rpfilter --invert -j DROP"));
        self.line("-N FIELATO-TUNNEL");
        self.line("-A FIELATO-TUNNEL -i lo -j RETURN");
        self.forged("FIELATO-TUNNEL", interface, overlay);
        self.line(&format!("-A FIELATO-TUNNEL ! -i {interface} -j RETURN"));
        self.tracked("FIELATO-TUNNEL");
        for hub in self.family.addresses(&tunnel.hub) {
            self.line(&format!("-A FIELATO-TUNNEL -s {hub} -j ACCEPT"));
        }
        self.rules("FIELATO-TUNNEL", "FIELATO-T", 1, &tunnel.rules);
        self.line("-A FIELATO-TUNNEL -j DROP");
        self.line("-A INPUT -j FIELATO-TUNNEL");
    }

    fn says(&self, raw: &RawRule) -> bool {
        match self.family {
            Family::V4 => raw.families.v4,
            Family::V6 => raw.families.v6,
        }
    }

    fn raw(&mut self, raw: &[&RawRule], chain: &str, append: &str, after: bool) {
        for rule in raw.iter().filter(|rule| rule.chain == chain && rule.after == after) {
            self.line(&format!("{append} {}", rule.words));
        }
    }

    /// Who has used up a quota: also connections that were let in end here.
    fn blocked(&mut self, chain: &str, set: Option<&str>, flags: &[&str]) {
        let nets = set.and_then(|set| self.sets.get(set)).map(Vec::as_slice).unwrap_or_default();
        for flag in flags {
            for net in self.family.sorted_nets(nets) {
                self.line(&format!("-A {chain} {flag} {} -j DROP", plain(&net)));
            }
        }
    }

    fn target(&self, published: &Published) -> Option<IpAddr> {
        match self.family {
            Family::V4 => published.to.v4,
            Family::V6 => published.to.v6,
        }
    }

    /// Leads a published port where it leads.
    fn publish(&mut self, number: usize, published: &Published, uplink: &str) {
        let Some(target) = self.target(published) else { return };
        let ats = match published.at.as_slice() {
            [] => vec![format!(" -i {uplink} -m addrtype --dst-type LOCAL")],
            some => {
                let own = self.family.addresses(some).into_iter();
                own.map(|address| format!(" -d {address}")).collect()
            }
        };
        let to = match target {
            _ if published.to_port == published.port.first => target.to_string(),
            IpAddr::V4(v4) => format!("{v4}:{}", published.to_port),
            IpAddr::V6(v6) => format!("[{v6}]:{}", published.to_port),
        };
        let ports = port_matches(&[published.port]).concat();
        let sources: Vec<Side> = published.from.iter().flat_map(|from| self.sides(from, "-s")).collect();
        for at in ats {
            let translate = format!("{at}{ports} -j DNAT --to-destination {to}");
            for (index, source) in sources.iter().enumerate() {
                match source {
                    Side::Match(source) => self.line(&format!("-t nat -A PREROUTING{source}{translate}")),
                    Side::Except { excepted, .. } => {
                        let chain = format!("FIELATO-P{number}-{index}");
                        self.line(&format!("-t nat -N {chain}"));
                        for text in excepted {
                            self.line(&format!("-t nat -A {chain}{text} -j RETURN"));
                        }
                        self.line(&format!("-t nat -A {chain}{translate}"));
                        self.line(&format!("-t nat -A PREROUTING -j {chain}"));
                    }
                }
            }
        }
    }

    /// What a published port's packets are once they are on their way to the machine.
    fn translated(&self, published: &Published) -> Option<String> {
        let target = self.target(published)?;
        let PortSpec { protocol, first, last } = published.port;
        let there = PortSpec {
            protocol,
            first: published.to_port,
            last: published.to_port.saturating_add(last.saturating_sub(first)),
        };
        let ports = port_matches(&[there]).concat();
        Some(format!(" -d {target} -m conntrack --ctstate DNAT{ports}"))
    }

    fn line(&mut self, rest: &str) {
        let _ = writeln!(self.out, "{} {rest}", self.family.iptables());
    }

    fn forged(&mut self, chain: &str, interface: &str, overlay: &[IpNet]) {
        for net in overlay {
            self.line(&format!("-A {chain} ! -i {interface} -s {net} -j DROP"));
        }
    }

    /// What connection tracking decides.
    fn tracked(&mut self, chain: &str) {
        self.line(&format!("-A {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"));
        self.line(&format!("-A {chain} -m conntrack --ctstate INVALID -j DROP"));
    }

    /// The ordered rules of a chain; their own chains are numbered from `first`.
    fn rules(&mut self, chain: &str, prefix: &str, first: usize, rules: &[FilterRule]) {
        for (place, rule) in (first..).zip(rules) {
            self.rule(chain, &format!("{prefix}{place}"), rule);
        }
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
        let action = self.verdict(own, &rule.action, &comment);
        let action = action.as_str();
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

    /// What a rule does; a limit has a chain of its own, so that all the rule's lines share one bucket.
    fn verdict(&mut self, own: &str, action: &Action, comment: &str) -> String {
        match (action, self.family) {
            (Action::Accept, _) => "ACCEPT".to_owned(),
            (Action::Drop, _) => "DROP".to_owned(),
            (Action::Reject, Family::V4) => "REJECT --reject-with icmp-admin-prohibited".to_owned(),
            (Action::Reject, Family::V6) => "REJECT --reject-with icmp6-adm-prohibited".to_owned(),
            (Action::Log { prefix }, _) => format!("LOG --log-prefix \"{prefix}\""),
            (Action::Limit(Rate { count, per, burst }), _) => {
                let chain = format!("{own}-L");
                let per = per.word();
                self.line(&format!("-N {chain}"));
                self.line(&format!(
                    "-A {chain} -m limit --limit {count}/{per} --limit-burst {burst} {comment} -j ACCEPT"
                ));
                self.line(&format!("-A {chain} {comment} -j DROP"));
                chain
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
        tunnel,
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
    if let (Admit::Interface(interface), Some(tunnel)) = (admit, tunnel) {
        let overlay = family.nets(&tunnel.overlay);
        // Without an overlay in this family nothing comes out of the tunnel.
        if !overlay.is_empty() {
            let mut writer = Writer {
                sets: &tunnel.sets,
                family,
                out,
            };
            writer.tunnel(interface, tunnel, &overlay);
        }
    }
}
