//! What a gateway is made from: plain data, checked when a [`Gateway`](crate::Gateway) is made or changed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fielato_netfilter::conntrack;
use fielato_netfilter::sets;
use fielato_netfilter::table::CompileError;
use fielato_netfilter::{InterfaceName, Ruleset};
use fielato_wire::Family;
use ipnet::IpNet;
use serde::Serialize;

use crate::{guard, icmp_limit, neighbour};

/// A port by number. The embedder chooses the numbers; they stay the same over a swap as long as the port does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PortId(pub u16);

/// What is at the other end of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortKind {
    /// WireGuard's peers. The guard stands here.
    Tunnel,
    /// The hub's own network stack: what is for the hub is delivered here, and what comes from here was made on the hub.
    Host,
    /// Another network.
    Network,
}

/// What packets look like on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// They begin with the IP header.
    Ip,
    /// They are Ethernet frames; neighbours are found by ARP and NDP.
    Ethernet {
        /// The port's own address.
        mac: [u8; 6],
    },
}

/// The reverse-path check (`net.ipv4.conf.*.rp_filter`), of IPv4 alone, as in the kernel; for IPv6 there is `-m rpfilter`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RpFilter {
    /// None.
    #[default]
    Off,
    /// Answers must leave by the port that the packet came in by.
    Strict,
    /// There must be a route to the source, by whatever port.
    Loose,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub id: PortId,
    /// Its name, as rules have it: 1 to 15 bytes.
    pub name: String,
    /// What is at its other end.
    pub kind: PortKind,
    /// Largest packet on it, in bytes, from the IP header.
    pub mtu: u32,
    /// The gateway's own addresses there, each with its network, to which a route is made unless it is a single address.
    pub addresses: Vec<IpNet>,
    /// What its packets look like.
    pub link: Link,
    /// The reverse-path check.
    pub rp_filter: RpFilter,
}

/// What a route does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// Sends the packet on.
    #[default]
    Unicast,
    /// Drops it silently.
    Blackhole,
    /// Drops it, "host unreachable".
    Unreachable,
    /// Drops it, "administratively prohibited".
    Prohibit,
}

/// The table that is asked last (`RT_TABLE_MAIN`), and where the routes of the ports' own networks are.
pub const MAIN_TABLE: u32 = 254;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub net: IpNet,
    /// By which port; without meaning unless the route is [`RouteKind::Unicast`].
    pub port: PortId,
    /// The next hop; none when the destination is on the port's link.
    pub via: Option<IpAddr>,
    /// Its table.
    pub table: u32,
    /// Of several routes to the same network the one with the least counts.
    pub metric: u32,
    /// The source of the gateway's own packets that go this way.
    pub source: Option<IpAddr>,
    /// What it does.
    pub kind: RouteKind,
}

impl Route {
    /// A route in the main table to a network on the port's link.
    pub const fn to(net: IpNet, port: PortId) -> Route {
        Route {
            net,
            port,
            via: None,
            table: MAIN_TABLE,
            metric: 0,
            source: None,
            kind: RouteKind::Unicast,
        }
    }
}

/// Which table is asked (`ip rule`). The main table is asked at priority 32766 for whatever no rule before decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingRule {
    /// The least comes first.
    pub priority: u32,
    /// Only for sources in this network.
    pub from: Option<IpNet>,
    /// Only for destinations in this network.
    pub to: Option<IpNet>,
    /// Only for packets that came in by the port of this name.
    pub iif: Option<String>,
    /// Only for packets whose mark is this number under this mask.
    pub mark: Option<(u32, u32)>,
    /// The table to ask.
    pub table: u32,
}

/// A set that rules name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetConfig {
    /// Its name.
    pub name: String,
    /// Its dimensions and size.
    pub kind: sets::Kind,
    /// What is in it.
    pub entries: Vec<Vec<sets::Part>>,
}

/// Traffic control on a port's way out.
#[derive(Debug, Clone)]
pub struct Shaping {
    /// The port.
    pub port: PortId,
    /// Disciplines, classes and filters.
    pub items: Vec<fielato_qdisc::Item>,
    /// Classes by address: of the destination on a tunnel, of the source as it was before NAT elsewhere.
    pub classes: BTreeMap<IpNet, fielato_qdisc::Handle>,
}

/// Settings, each with a default that does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connection tracking.
    pub conntrack: conntrack::Config,
    /// Limits of ICMP errors.
    pub icmp: icmp_limit::Settings,
    /// Neighbours of Ethernet ports.
    pub neighbours: neighbour::Settings,
    /// Packets that a port's queue holds when its disciplines don't say (`txqueuelen`).
    pub queue_length: u32,
    /// Log lines that are kept to be read.
    pub log_lines: usize,
    /// Packets that come in by the host's port with a source that isn't the hub's count as come in by this port; none drops them.
    pub foreign: Option<PortId>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            conntrack: conntrack::Config::default(),
            icmp: icmp_limit::Settings::default(),
            neighbours: neighbour::Settings::default(),
            queue_length: 1000,
            log_lines: 256,
            foreign: None,
        }
    }
}

/// Everything that a gateway does.
#[derive(Debug, Clone)]
pub struct Config {
    /// Ports.
    pub ports: Vec<Port>,
    /// Routes beside those of the ports' own networks.
    pub routes: Vec<Route>,
    /// Policy routing.
    pub rules: Vec<RoutingRule>,
    /// The tables of both families, IPv4 first.
    pub rulesets: [Ruleset; 2],
    /// Sets.
    pub sets: Vec<SetConfig>,
    /// Traffic control; a port that isn't named has a plain queue.
    pub shaping: Vec<Shaping>,
    /// The guard on the tunnel's port, and perhaps on others.
    pub guard: guard::Config,
    /// Settings.
    pub settings: Settings,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            ports: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            rulesets: [Ruleset::new(Family::V4), Ruleset::new(Family::V6)],
            sets: Vec::new(),
            shaping: Vec::new(),
            guard: guard::Config::default(),
            settings: Settings::default(),
        }
    }
}

/// Why a configuration is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Two ports of one number.
    #[error("two ports have the number {}; give each its own", .0.0)]
    DuplicatePort(PortId),
    /// A name that rules can't have.
    #[error("port {}: the name {name:?} is taken, or has not 1 to {} bytes", .port.0, fielato_netfilter::interface::MAX_NAME)]
    PortName {
        /// The port.
        port: PortId,
        /// Its name.
        name: String,
    },
    /// More than one host port.
    #[error("port {}: there can be one port of kind \"host\" only", .0.0)]
    SecondHost(PortId),
    /// Something names a port that isn't there.
    #[error("{what} names port {}, which is not configured", .port.0)]
    NoPort {
        /// What names it.
        what: String,
        /// The port.
        port: PortId,
    },
    /// A route's next hop or source, or a routing rule's networks, are not of one family.
    #[error("{0}: its addresses are not of one family")]
    Family(String),
    /// Rulesets not in the order IPv4, IPv6.
    #[error("the first rule set must be IPv4's, the second IPv6's")]
    RulesetOrder,
    /// A rule that can't be.
    #[error(transparent)]
    Rules(#[from] CompileError),
    /// More bans than the guard holds.
    #[error(transparent)]
    Bans(#[from] guard::TooManyBans),
    /// A set that can't be.
    #[error("set {name}: {source}")]
    Set {
        /// The set.
        name: String,
        /// Why.
        source: sets::SetError,
    },
    /// Disciplines that can't be.
    #[error("port {name}: {source}")]
    Shaping {
        /// The port's name.
        name: String,
        /// Why.
        source: fielato_qdisc::ApplyError,
    },
}

impl Port {
    pub(crate) fn interface(&self) -> Option<fielato_netfilter::Interface> {
        let name = InterfaceName::new(&self.name).filter(|name| !name.is_empty())?;
        Some(fielato_netfilter::Interface {
            index: crate::router::interface_number(self.id),
            name,
        })
    }
}
