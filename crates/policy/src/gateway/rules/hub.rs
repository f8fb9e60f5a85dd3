//! The hub's chains.

use fielato_netfilter::matches::conntrack::States;
use fielato_netfilter::nat::{NatFlags, NatRange};
use fielato_netfilter::targets::dnat::Dnat;
use fielato_netfilter::targets::masquerade::Masquerade;
use fielato_netfilter::{InterfaceName, Target};
use fielato_wire::{Addr, Family};
use ipnet::IpNet;

use super::filter::Filter;
use super::list::List;
use super::parts::{End, Parts, Side, port_matches};
use crate::config::{PortSpec, Protocol};
use crate::gateway::sets::{Sets, of_family};
use crate::plan::{Addresses, FilterRule, Firewall, Origin, PerFamily, Published};
use crate::raw;

/// The chain of published ports.
const PUBLISHED: &str = "published";

/// What the chains of one family are made from.
pub(super) struct Hub<'f> {
    firewall: &'f Firewall,
    family: Family,
    sets: &'f mut Sets,
}

impl<'f> Hub<'f> {
    pub fn new(firewall: &'f Firewall, family: Family, sets: &'f mut Sets) -> Self {
        Self { firewall, family, sets }
    }

    pub fn forward(&mut self) -> List {
        let Firewall {
            interface,
            leave_transit,
            forward,
            ..
        } = self.firewall;
        let mut list = List::new();
        forged(interface, &self.firewall.overlay, self.family, &mut list);
        self.blocked(&[End::Source, End::Destination], &mut list);
        self.published_forward(&mut list);
        let PerFamily { v4, v6 } = *leave_transit;
        let leave = if self.family == Family::V4 { v4 } else { v6 };
        let past_the_vpn = Parts::default().coming_by(interface, true).leaving_by(interface, true);
        list.push(
            Origin::Transit,
            past_the_vpn,
            if leave { Target::Accept } else { Target::Drop },
        );
        tracked(&mut list);
        let granted = self.firewall.granted();
        self.rules(&forward[..granted], "forward", &mut list);
        self.raw("FORWARD", false, &mut list);
        self.rules(&forward[granted..], "forward", &mut list);
        self.raw("FORWARD", true, &mut list);
        list.push(Origin::NoRule, Parts::default(), Target::Drop);
        list
    }

    pub fn input(&mut self) -> List {
        let mut list = List::new();
        let loopback = Parts::default().coming_by(InterfaceName::LOOPBACK.as_str(), false);
        list.push(Origin::Loopback, loopback, Target::Accept);
        forged(&self.firewall.interface, &self.firewall.overlay, self.family, &mut list);
        let from_elsewhere = Parts::default().coming_by(&self.firewall.interface, true);
        list.push(Origin::NotOurs, from_elsewhere, Target::Accept);
        self.blocked(&[End::Source], &mut list);
        tracked(&mut list);
        self.raw("INPUT", false, &mut list);
        self.rules(&self.firewall.input, "input", &mut list);
        self.raw("INPUT", true, &mut list);
        list.push(Origin::NoRule, Parts::default(), Target::Drop);
        list
    }

    /// The hub's own packets begin connections, or belong to some.
    pub fn output(&mut self) -> List {
        let mut list = List::new();
        // What connection tracking says comes first, in rules of their own: IPv6 headers may end too early, and asking for TCP would drop
        // them (`ip6_packet_match`, hotdrop).
        let known = States::INVALID | States::ESTABLISHED | States::RELATED | States::UNTRACKED;
        list.push(Origin::Established, Parts::default().state(known), Target::Accept);
        list.push(
            Origin::FromHub,
            Parts::default().connection_but_of(Protocol::Tcp),
            Target::Accept,
        );
        let lost = Parts::default()
            .leaving_by(&self.firewall.interface, false)
            .within_a_connection();
        list.push(Origin::MidConnection, lost, Target::Drop);
        list
    }

    /// Published ports lead where they lead before the packet is routed.
    pub fn prerouting(&mut self) -> List {
        let mut list = List::new();
        self.raw("PREROUTING", false, &mut list);
        for published in &self.firewall.published {
            let Some(target) = self.target(published) else { continue };
            let from: Vec<&Addresses> = published.from.iter().collect();
            let sources = self.filter("prerouting").sides(&from);
            for at in self.at(published) {
                for source in &sources {
                    for port in port_matches(&[published.port]) {
                        let parts = at.clone().side(End::Source, source).ports(&port);
                        list.push(published.origin.clone(), parts, Target::Dnat(destination(published, target)));
                    }
                }
            }
        }
        self.raw("PREROUTING", true, &mut list);
        list
    }

    /// What leaves the VPN for elsewhere, and what comes by a published port, takes the hub's address.
    pub fn postrouting(&mut self) -> List {
        let mut list = List::new();
        let Firewall {
            interface,
            overlay,
            masquerade,
            published,
            ..
        } = self.firewall;
        self.raw("POSTROUTING", false, &mut list);
        if *masquerade {
            for net in of_family(overlay, self.family) {
                let leaving = Parts::default()
                    .side(End::Source, &Side::Net { net, negated: false })
                    .leaving_by(interface, true);
                list.push(Origin::Masquerade, leaving, Target::Masquerade(Masquerade::default()));
            }
            for published in published {
                for parts in self.translated(published) {
                    list.push(published.origin.clone(), parts, Target::Masquerade(Masquerade::default()));
                }
            }
        }
        self.raw("POSTROUTING", true, &mut list);
        list
    }

    fn filter(&mut self, hook: &'static str) -> Filter<'_> {
        Filter {
            named: &self.firewall.sets,
            family: self.family,
            hook,
            sets: self.sets,
        }
    }

    fn rules(&mut self, rules: &[FilterRule], hook: &'static str, list: &mut List) {
        let mut filter = self.filter(hook);
        for rule in rules {
            filter.rule(rule, list);
        }
    }

    /// Who has used up a quota: also connections that were let in end here.
    fn blocked(&mut self, ends: &[End], list: &mut List) {
        let Some(set) = &self.firewall.blocked else { return };
        let sides = self.filter("").sides(&[&Addresses::Set(set.clone())]);
        for end in ends {
            for side in &sides {
                list.push(Origin::OverQuota, Parts::default().side(*end, side), Target::Drop);
            }
        }
    }

    /// Lets published ports' packets through, and the answers, which may go out as they came in.
    fn published_forward(&self, list: &mut List) {
        if self.firewall.published.is_empty() {
            return;
        }
        let known = Parts::default().translated().state(States::ESTABLISHED | States::RELATED);
        list.push(Origin::Established, known, Target::Accept);
        // A chain of their own: a rule that asks for a protocol drops what has broken headers, before its other conditions are asked
        // (`ip6_packet_match`, hotdrop). What was translated has none, and the rest must get on to the next rule.
        let mut ports = List::new();
        for published in &self.firewall.published {
            for parts in self.translated(published) {
                ports.push(published.origin.clone(), parts, Target::Accept);
            }
        }
        if !ports.rules.is_empty() {
            list.push(
                Origin::Translated,
                Parts::default().translated(),
                Target::Jump(PUBLISHED.into()),
            );
            list.chains.push((PUBLISHED.to_owned(), ports));
        }
    }

    /// The machine's address in this family.
    fn target(&self, published: &Published) -> Option<std::net::IpAddr> {
        let PerFamily { v4, v6 } = published.to;
        if self.family == Family::V4 { v4 } else { v6 }
    }

    /// Whom a packet must be for; nobody when it is published in the other family only.
    fn at(&self, published: &Published) -> Vec<Parts> {
        if published.at.is_empty() {
            return vec![Parts::default().coming_by(&self.firewall.uplink, false).for_this_machine()];
        }
        let own: Vec<IpNet> = published.at.iter().copied().map(IpNet::from).collect();
        let own = of_family(&own, self.family).into_iter();
        own.map(|net| Parts::default().side(End::Destination, &Side::Net { net, negated: false }))
            .collect()
    }

    /// What a published port's packets are once they are on their way to the machine.
    fn translated(&self, published: &Published) -> Vec<Parts> {
        let Some(target) = self.target(published) else {
            return Vec::new();
        };
        let PortSpec { protocol, first, last } = published.port;
        let there = PortSpec {
            protocol,
            first: published.to_port,
            last: published.to_port.saturating_add(last.saturating_sub(first)),
        };
        let side = Side::Net {
            net: IpNet::from(target),
            negated: false,
        };
        let ports = port_matches(&[there]).into_iter();
        ports
            // The state first: a packet that ends within its ports was not translated, and nft goes on with the next rule.
            .map(|port| Parts::default().side(End::Destination, &side).translated().ports(&port))
            .collect()
    }

    fn raw(&self, chain: &str, after: bool, list: &mut List) {
        let here = self
            .firewall
            .raw
            .iter()
            .filter(|raw| raw.chain == chain && raw.after == after);
        for known in here {
            for rule in raw::rules(known, self.family) {
                list.push_rule(Origin::of_raw(known), rule);
            }
        }
    }
}

/// With a port only where that changes: several ports keep theirs.
fn destination(published: &Published, target: std::net::IpAddr) -> Dnat {
    let address = Addr::from(target);
    let keeps = published.to_port == published.port.first;
    let port = if keeps { 0 } else { published.to_port };
    let ports = if keeps { 0 } else { NatFlags::PROTO_SPECIFIED };
    Dnat {
        range: Box::new(NatRange {
            flags: NatFlags(NatFlags::MAP_IPS | ports),
            min_addr: address,
            max_addr: address,
            min_port: port,
            max_port: port,
            base_port: 0,
        }),
    }
}

/// Overlay sources that did not come out of the tunnel are forged.
pub(super) fn forged(interface: &str, overlay: &[IpNet], family: Family, list: &mut List) {
    for net in IpNet::aggregate(&of_family(overlay, family)) {
        let forged = Parts::default()
            .coming_by(interface, true)
            .side(End::Source, &Side::Net { net, negated: false });
        list.push(Origin::ForgedSource, forged, Target::Drop);
    }
}

/// What connection tracking decides.
pub(super) fn tracked(list: &mut List) {
    let known = Parts::default().state(States::ESTABLISHED | States::RELATED);
    list.push(Origin::Established, known, Target::Accept);
    list.push(Origin::Invalid, Parts::default().state(States::INVALID), Target::Drop);
}
