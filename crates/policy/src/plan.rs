//! What a hub is to be made into: plain data, compiled from a [`Config`](crate::Config) and the [circumstances](crate::Circumstances).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fielato_qdisc::{Handle, Item};
use fielato_wireguard::PublicKey;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Action, Ban, GuardConfig, PortSpec, RawRule};

pub use crate::origin::Origin;

/// Everything that `up` makes of the hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The WireGuard interface.
    pub interface: String,
    /// The interface towards the outside.
    pub uplink: String,
    /// UDP port.
    pub listen_port: u16,
    /// MTU of the interface.
    pub mtu: u32,
    /// Overlay addresses of the hub.
    pub addresses: Vec<IpNet>,
    /// Members that are peers now, in order of name: not disabled, not expired.
    pub peers: Vec<Peer>,
    /// The rule set.
    pub firewall: Firewall,
    /// Disciplines and classes, in the order in which they are added.
    pub shaping: Vec<Shaping>,
    /// Bans from the file.
    pub bans: Vec<Ban>,
    /// The guard.
    pub guard: GuardConfig,
    /// When the clock next changes something (a member, ban, rule or grant ends, or a rule's hours begin): compile again then.
    pub next_change: Option<Timestamp>,
}

/// A member as the WireGuard device knows it. Its pre-shared key, if any, is a file that the engine reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The member's name.
    pub name: String,
    /// Its identity.
    pub public_key: PublicKey,
    /// Its overlay addresses, as /32 and /128.
    pub allowed_ips: Vec<IpNet>,
}

/// One discipline, class or filter on a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shaping {
    /// Interface.
    pub dev: String,
    /// What is added.
    pub item: Item,
}

/// The hub's rule set, in netfilter's terms, before it is written as nft or iptables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Firewall {
    /// The WireGuard interface.
    pub interface: String,
    /// The interface towards the outside.
    pub uplink: String,
    /// The overlay's networks.
    pub overlay: Vec<IpNet>,
    /// Whether what leaves the VPN for elsewhere is masqueraded.
    pub masquerade: bool,
    /// Per family (IPv4, IPv6): forwarded packets that are not the VPN's pass on to others' rules.
    pub leave_transit: PerFamily<bool>,
    /// Named address sets: groups and "members". Names are valid nft identifiers. Each address once, in order of the members'
    /// names, so that plans for almost the same members are almost the same.
    pub sets: BTreeMap<String, Vec<IpNet>>,
    /// The set of members that no packet comes from or goes to, since they have used up a quota.
    pub blocked: Option<String>,
    /// Ports of the hub that lead to machines behind it, in order.
    pub published: Vec<Published>,
    /// Rules in iptables' words, in order.
    pub raw: Vec<RawRule>,
    /// Rules for packets that cross the hub, in order; what none matches is dropped.
    pub forward: Vec<FilterRule>,
    /// Rules for packets from the VPN to the hub itself, in order; what none matches is dropped.
    pub input: Vec<FilterRule>,
    /// Which class a packet goes into, by device: packets leaving by the WireGuard interface are looked up by destination,
    /// those leaving by the uplink by (untranslated) source.
    pub classes: BTreeMap<String, BTreeMap<IpNet, Handle>>,
}

impl Firewall {
    /// How many of the rules at the beginning of [`forward`](Self::forward) are grants, which come before all that the file says.
    pub fn granted(&self) -> usize {
        let grants = self
            .forward
            .iter()
            .take_while(|rule| matches!(rule.origin, Origin::Grant { .. }));
        grants.count()
    }
}

/// The chain in which a rule with a limit counts, of the chain at `hook`.
pub(crate) fn limit_name(rule: &FilterRule, hook: &str) -> String {
    let number = match &rule.origin {
        Origin::Rule { number, .. } => *number,
        _ => 0,
    };
    format!("limit_{hook}_{number}")
}

/// A value for each address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PerFamily<T> {
    /// IPv4.
    pub v4: T,
    /// IPv6.
    pub v6: T,
}

/// One rule; it matches when source, destination and ports all match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilterRule {
    /// Source addresses.
    pub from: Vec<Addresses>,
    /// Destinations: any of them.
    pub to: Vec<Destination>,
    /// What happens.
    pub action: Action,
    /// What it was made from.
    pub origin: Origin,
}

/// A published port: what comes for it goes on to a machine behind the hub, and is let through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The hub's port, or ports.
    pub port: PortSpec,
    /// Who may use it.
    pub from: Vec<Addresses>,
    /// The hub's addresses at which it is; when empty, every one of its own, for what comes in by the uplink.
    pub at: Vec<IpAddr>,
    /// Where it leads, in each family.
    pub to: PerFamily<Option<IpAddr>>,
    /// The first port there.
    pub to_port: u16,
    /// What it was made from.
    pub origin: Origin,
}

/// A destination and the ports on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Destination {
    /// Addresses.
    pub addresses: Addresses,
    /// Ports; every protocol when empty.
    pub ports: Vec<PortSpec>,
}

/// A set of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Addresses {
    /// Every address.
    Any,
    /// These networks.
    Nets(Vec<IpNet>),
    /// Every address but these networks.
    Except(Vec<IpNet>),
    /// A named set.
    Set(String),
}

/// What a protected host is to be made into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostPlan {
    /// The host's name.
    pub name: String,
    /// How it tells the VPN's packets from others.
    pub admit: Admit,
    /// Ports that only the VPN may reach.
    pub ports: BTreeSet<PortSpec>,
    /// For strategy `member`: what the host itself judges of what comes out of its tunnel.
    pub tunnel: Option<TunnelPlan>,
}

/// What a protected host judges by itself: the hub's decisions again, and who may come by which interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunnelPlan {
    /// The overlay's networks: their addresses come out of the tunnel alone, and what comes out of it must have its way back there.
    pub overlay: Vec<IpNet>,
    /// The hub's overlay addresses. What the hub itself sends is not filtered, here neither.
    pub hub: Vec<IpAddr>,
    /// Sets that the rules name.
    pub sets: BTreeMap<String, Vec<IpNet>>,
    /// The hub's rules about this host, in order; what none matches is dropped.
    pub rules: Vec<FilterRule>,
}

/// Which packets a protected host lets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admit {
    /// From these addresses of the hub (strategy `source`).
    Sources(Vec<IpAddr>),
    /// From this interface (strategy `member`).
    Interface(String),
}
