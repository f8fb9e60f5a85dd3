//! What to change so that a stopped packet would pass.

use std::net::IpAddr;

use ipnet::IpNet;

use super::packet::Shown;
use super::proxy::UNCARRIED;
use super::question::{Sender, parties, whose};
use super::station::{MemberState, Place, Reason};
use crate::config::{Config, Party, Strategy};
use crate::gateway::Origin;

/// What is known when a packet is stopped.
pub(super) struct Stopped<'a> {
    pub config: &'a Config,
    pub from: &'a Sender,
    /// Where it is stopped.
    pub at: &'a Place,
    /// The packet as the rules saw it.
    pub packet: &'a Shown,
    pub reason: &'a Reason,
    /// The member that has the destination, when it is no peer.
    pub absent: Option<(&'a str, MemberState)>,
}

impl Stopped<'_> {
    /// In one or two sentences; a rule to be added stands on lines of its own.
    pub fn advice(&self) -> String {
        let source = self.packet.source;
        let hub = &self.config.hub;
        match self.reason {
            Reason::NotTunnelled => self.route_more(),
            Reason::NoPeer { member, state } => admit(member, *state),
            Reason::NobodysAddress => self.nobody(),
            Reason::ForeignSource => match self.at {
                Place::Member(receiver) => format!(
                    "{receiver} takes from the hub what comes from its AllowedIPs alone: give [member.{receiver}] a `route` that holds {source}, and its file anew"
                ),
                _ => self.answered_through_a_tunnel().unwrap_or_else(|| {
                    format!(
                        "a member sends from its own addresses alone: give {source} to it, or let the network behind it be translated there"
                    )
                }),
            },
            Reason::Banned { network } => {
                if self.config.bans.iter().any(|ban| ban.network.trunc() == network.trunc()) {
                    format!("take the [[ban]] of {network} out of the file")
                } else {
                    format!("run `fielato unban {network}`")
                }
            }
            Reason::Rule { origin } => self.rule(origin),
            Reason::Gateway { name } => match name.as_str() {
                "ttl-exceeded" => "its TTL is used up: send it with a larger one".to_owned(),
                "too-big" => format!("it is larger than the way out allows: send at most {} bytes", hub.mtu),
                UNCARRIED if matches!(self.from, Sender::Outside(_)) => {
                    "with `exit = \"proxy\"` members alone begin connections: `exit = \"packet\"` or `engine = \"kernel\"` lets others begin them"
                        .to_owned()
                }
                UNCARRIED => {
                    "`exit = \"proxy\"` carries TCP, UDP and pings: `exit = \"packet\"` or `engine = \"kernel\"` carries the rest".to_owned()
                }
                "martian" => "no packet can come from or go to such an address".to_owned(),
                "conntrack-protocol" | "malformed" | "hotdrop" => "the packet is malformed".to_owned(),
                _ => format!("`fielato status` counts such drops as {name}"),
            },
        }
    }

    /// A host that was reached at its own network's address, and has the way back in its tunnel.
    fn answered_through_a_tunnel(&self) -> Option<String> {
        let Sender::Member(name) = self.from else { return None };
        let Shown { source, destination, .. } = self.packet;
        let host = self.config.hosts.get(name)?;
        let hub = &self.config.hub;
        let change = if hub.addresses.iter().any(|net| net.contains(destination)) {
            "set `masquerade = true` in [hub], so that it answers the hub's address there".to_owned()
        } else {
            format!("give [member.{name}] a `route` without {destination}")
        };
        host.addresses.contains(source).then(|| {
            format!(
                "{name} answers through its tunnel, from which the hub takes its overlay addresses alone: reach it there, or {change}"
            )
        })
    }

    fn nobody(&self) -> String {
        let to = self.packet.destination;
        format!("no member has {to}: `fielato member list` shows who has which address")
    }

    fn route_more(&self) -> String {
        let to = IpNet::from(self.packet.destination);
        let name = match self.from {
            Sender::Member(name) => name,
            Sender::Hub | Sender::Outside(_) => "NAME",
        };
        let uses_lab = self
            .config
            .members
            .get(name)
            .is_some_and(|member| member.route == crate::config::Route::Lab);
        let near = if uses_lab {
            format!("put a network with {to} into `lab` of [hub], or ")
        } else {
            String::new()
        };
        format!(
            "{name} sends this past the hub: {near}give [member.{name}] a `route` that holds {to}, or \"all\"; then give it its file anew (`fielato member config {name}`)"
        )
    }

    fn rule(&self, origin: &Origin) -> String {
        let Shown { source, destination, .. } = self.packet;
        let hub = &self.config.hub;
        if let (Origin::Rule { .. } | Origin::NoRule, Some((member, state))) = (origin, self.absent) {
            return format!("{member} {state}; {}", admit(member, state));
        }
        let within_overlay = hub.addresses.iter().any(|net| net.contains(destination));
        match origin {
            Origin::Rule { .. } | Origin::NoRule
                if within_overlay && whose(*destination, self.config) == Sender::Outside(None) =>
            {
                self.nobody()
            }
            Origin::Rule { number, .. } => {
                format!(
                    "change [[rule]] {number}, or put one that accepts before it:\n{}",
                    self.new_rule()
                )
            }
            Origin::NoRule => format!(
                "no [[rule]] lets {} reach {}; add:\n{}",
                self.who(*source),
                self.what(),
                self.new_rule()
            ),
            Origin::ForgedSource => format!(
                "{source} is an overlay address, and members' packets come out of {} alone: this one is forged, or a member's packets take another way",
                hub.interface
            ),
            Origin::Transit => {
                "it does not concern the VPN: `transit = \"leave\"` in [hub] leaves such packets to the machine's other rules"
                    .to_owned()
            }
            Origin::Invalid => {
                "it belongs to no connection that the hub knows, and can't begin one: let the ends connect anew".to_owned()
            }
            Origin::MidConnection => {
                "the hub knows no connection that it belongs to: the other end has to send first, or connect anew".to_owned()
            }
            Origin::Protected => self.protected(),
            Origin::Masquerade => format!("the hub has no address of this family on {}: give it one there", hub.uplink),
            Origin::OverQuota => {
                "a quota of the member is used up: give it a larger `quota`, or `over = \"throttle 1mbit\"`".to_owned()
            }
            Origin::Raw { number, .. } => format!("change rule {number} of [raw], or put one that accepts before it"),
            Origin::ControlChannel => {
                "the control port is for protected hosts' agents alone: `fielato host enrol` makes a host one of them".to_owned()
            }
            // These accept.
            Origin::Grant { .. }
            | Origin::Publish { .. }
            | Origin::Translated
            | Origin::FromHub
            | Origin::Established
            | Origin::Loopback
            | Origin::NotOurs => format!("look at the rules for {destination}"),
        }
    }

    /// The host lets in what looks like the VPN's.
    fn protected(&self) -> String {
        if let (Sender::Member(sender), Place::Member(receiver)) = (self.from, self.at)
            && sender == receiver
        {
            return format!("the port is open to the VPN alone, and what {sender} sends to itself does not come by it");
        }
        if let Some(own) = self.host_by_its_own_address() {
            return format!("the host lets in what comes from the hub's own address: reach it at {own}, not through its tunnel");
        }
        match self.from {
            Sender::Member(_) => format!(
                "the host tells the VPN by the hub's address, and sees {} instead: set `masquerade = true` in [hub], or `source` to the address that it sees",
                self.packet.source
            ),
            Sender::Hub => format!(
                "the host sees {} instead of the hub's `source`: set that in [hub]",
                self.packet.source
            ),
            Sender::Outside(_) => {
                "the port is open to the VPN alone: make the sender a member, and let it come through the hub".to_owned()
            }
        }
    }

    /// A host of strategy `source` that was reached as a member: its other address.
    fn host_by_its_own_address(&self) -> Option<IpAddr> {
        let Place::Member(name) = self.at else {
            return None;
        };
        let host = self.config.hosts.get(name)?;
        let same = |address: &&IpAddr| address.is_ipv4() == self.packet.destination.is_ipv4();
        let own = host.addresses.iter().find(same).or(host.addresses.first())?;
        (host.strategy == Strategy::Source).then_some(*own)
    }

    /// A rule that lets exactly this in, named as widely as people think: by group and service.
    fn new_rule(&self) -> String {
        let Shown { source, destination, .. } = self.packet;
        let from = parties(*source, self.config);
        let from = from.first().map_or_else(|| IpNet::from(*source).to_string(), name);
        let to = self.service().unwrap_or_else(|| {
            let parties = parties(*destination, self.config);
            parties.last().map_or_else(|| IpNet::from(*destination).to_string(), name)
        });
        format!("[[rule]]\nfrom = \"{from}\"\nto = \"{to}\"\naction = \"accept\"")
    }

    /// The service that is meant, if there is one.
    fn service(&self) -> Option<String> {
        let Shown {
            destination,
            destination_port: Some(port),
            protocol,
            ..
        } = self.packet
        else {
            return None;
        };
        let is_host = |name: &str| {
            let host = self.config.hosts.get(name);
            let member = self.config.members.get(name);
            host.is_some_and(|host| host.addresses.contains(destination))
                || member.is_some_and(|member| member.addresses.contains(destination))
        };
        let opens = |spec: &crate::config::PortSpec| spec.protocol.word() == protocol && (spec.first..=spec.last).contains(port);
        let mut services = self.config.services.iter();
        let found =
            services.find(|(_, service)| service.hosts.iter().any(|host| is_host(host)) && service.ports.iter().any(opens));
        found.map(|(name, _)| name.clone())
    }

    fn who(&self, address: IpAddr) -> String {
        let parties = parties(address, self.config);
        let groups: Vec<String> = parties
            .iter()
            .filter(|party| matches!(party, Party::Group(_)))
            .map(name)
            .collect();
        let own = parties.last().map_or_else(|| address.to_string(), name);
        match groups.as_slice() {
            [] => own,
            [group] => format!("{own} (group {group})"),
            several => format!("{own} (groups {})", several.join(", ")),
        }
    }

    fn what(&self) -> String {
        let to = self.who(self.packet.destination);
        match (self.service(), self.packet.destination_port) {
            (Some(service), _) => service,
            (None, Some(port)) => format!("{to} at {}/{port}", self.packet.protocol),
            (None, None) => format!("{to} by {}", self.packet.protocol),
        }
    }
}

/// Makes a member a peer again.
fn admit(member: &str, state: MemberState) -> String {
    match state {
        MemberState::Disabled => format!("run `fielato member enable {member}`"),
        MemberState::Expired(end) => format!("its `expires` was {end}: give [member.{member}] a later one"),
    }
}

/// As the file names it.
fn name(party: &Party) -> String {
    match party {
        Party::Any => "any".to_owned(),
        Party::Members => "members".to_owned(),
        Party::Hub => "hub".to_owned(),
        Party::Internet => "internet".to_owned(),
        Party::Member(name) | Party::Group(name) | Party::Host(name) | Party::Service(name) => name.clone(),
        Party::Prefix(net) => crate::render::plain(net),
    }
}
