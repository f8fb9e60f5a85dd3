//! Plans as the gateway's configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fielato_gateway::{self as gateway, Link, Port, PortId, PortKind, Route, guard};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use super::rules::Rules;
use crate::config::{self, Ban, Config, Engine};
use crate::plan::Plan;

/// The port of the WireGuard peers.
pub const TUNNEL: PortId = PortId(1);
/// The port of the hub's own stack.
pub const HOST: PortId = PortId(2);
/// The port of the exit; it has the uplink's name, so that rules by interface mean the same as in the kernel.
pub const UPLINK: PortId = PortId(3);

/// What the plan does not say of the way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Uplink {
    /// The hub's own addresses there, with their networks.
    pub addresses: Vec<IpNet>,
    /// The next hop of each family; none where everything is on the link.
    pub gateways: Vec<IpAddr>,
    /// Largest packet, in bytes from the IP header.
    pub mtu: u32,
    /// How packets leave.
    pub exit: Exit,
}

/// How packets leave the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By ordinary sockets of the hub, which have its address: nothing is masqueraded.
    Proxy,
    /// As packets that begin with their IP header.
    Ip,
    /// As Ethernet frames from this address.
    Ethernet {
        /// It.
        mac: [u8; 6],
    },
}

impl Uplink {
    /// The MTU of Ethernet.
    pub const MTU: u32 = 1500;

    /// What a configuration lets one suppose without looking at the machine: its `source` addresses, everything on the link; or the
    /// exit that it describes for the user-space engine. In a family that the overlay has and the uplink has not, a documentation
    /// address stands for the unknown one.
    pub fn supposed(config: &Config) -> Uplink {
        let hub = &config.hub;
        let (mut addresses, gateways, exit) = match (hub.engine, &hub.exit) {
            (Engine::Userspace, config::Exit::Packet(packet)) => (packet.addresses.clone(), packet.gateways.clone(), Exit::Ip),
            (engine, _) => {
                let exit = if engine == Engine::Userspace { Exit::Proxy } else { Exit::Ip };
                (hub.source.iter().copied().map(IpNet::from).collect(), Vec::new(), exit)
            }
        };
        for unknown in SUPPOSED {
            let same = |net: &IpNet| net.addr().is_ipv4() == unknown.is_ipv4();
            if hub.addresses.iter().any(same) && !addresses.iter().any(same) {
                addresses.push(IpNet::from(unknown));
            }
        }
        Uplink {
            addresses,
            gateways,
            mtu: Uplink::MTU,
            exit,
        }
    }
}

/// Stand for the hub's address where it is not known (RFC 5737, RFC 3849).
const SUPPOSED: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfffe)),
];

/// Whether an address stands for one that the configuration does not name.
pub(crate) fn is_supposed(address: IpAddr) -> bool {
    SUPPOSED.contains(&address)
}

/// The plan's rules for this way out; they lead back from a rule to what it was made from.
pub fn rules(plan: &Plan, uplink: &Uplink) -> Rules {
    let mut firewall = plan.firewall.clone();
    firewall.masquerade &= uplink.exit != Exit::Proxy;
    Rules::hub(&firewall)
}

/// What the gateway is made from, so that it judges as the kernel does under the same plan.
pub fn config(plan: &Plan, uplink: &Uplink) -> gateway::Config {
    let Rules { rulesets, sets, .. } = rules(plan, uplink);
    gateway::Config {
        ports: ports(plan, uplink),
        routes: routes(plan, uplink),
        rules: Vec::new(),
        rulesets,
        sets,
        shaping: shaping(plan),
        guard: guard::Config {
            enabled: plan.guard.enabled,
            networks: plan.guard.uplink,
            sources: plan.guard.sources,
            bans: plan.bans.iter().map(ban).collect(),
            limit: None,
        },
        settings: gateway::Settings::default(),
    }
}

fn ports(plan: &Plan, uplink: &Uplink) -> Vec<Port> {
    let port = |id, name: &str, kind, mtu, addresses, link| Port {
        id,
        name: name.to_owned(),
        kind,
        mtu,
        addresses,
        link,
        rp_filter: gateway::RpFilter::Off,
    };
    let link = match uplink.exit {
        Exit::Proxy | Exit::Ip => Link::Ip,
        Exit::Ethernet { mac } => Link::Ethernet { mac },
    };
    vec![
        port(
            TUNNEL,
            &plan.interface,
            PortKind::Tunnel,
            plan.mtu,
            plan.addresses.clone(),
            Link::Ip,
        ),
        port(HOST, &host_name(plan), PortKind::Host, plan.mtu, Vec::new(), Link::Ip),
        port(
            UPLINK,
            &plan.uplink,
            PortKind::Network,
            uplink.mtu,
            uplink.addresses.clone(),
            link,
        ),
    ]
}

/// The hub's own port: rules never name it, since what crosses it has no interface on that side.
fn host_name(plan: &Plan) -> String {
    let taken = |name: &&str| *name == plan.interface || *name == plan.uplink;
    ["host", "host0", "host1"]
        .into_iter()
        .find(|name| !taken(name))
        .unwrap_or("host")
        .to_owned()
}

/// Beside the ports' own networks: members' addresses outside them, and everything else by the uplink.
fn routes(plan: &Plan, uplink: &Uplink) -> Vec<Route> {
    let within = |net: &IpNet| plan.addresses.iter().any(|own| own.trunc().contains(net));
    let members = plan.peers.iter().flat_map(|peer| &peer.allowed_ips);
    let mut routes: Vec<Route> = members
        .filter(|net| !within(net))
        .map(|net| Route::to(*net, TUNNEL))
        .collect();
    for everything in [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())] {
        let same = |address: &&IpAddr| address.is_ipv4() == everything.addr().is_ipv4();
        routes.push(Route {
            via: uplink.gateways.iter().find(same).copied(),
            ..Route::to(everything, UPLINK)
        });
    }
    routes
}

fn shaping(plan: &Plan) -> Vec<gateway::Shaping> {
    let port = |port, dev: &str| {
        let of_port = plan.shaping.iter().filter(|shaping| shaping.dev == dev);
        let items = of_port.map(|shaping| shaping.item.clone()).collect();
        let classes = plan.firewall.classes.get(dev).cloned().unwrap_or_else(BTreeMap::new);
        gateway::Shaping { port, items, classes }
    };
    let all = [port(TUNNEL, &plan.interface), port(UPLINK, &plan.uplink)];
    all.into_iter().filter(|shaping| !shaping.items.is_empty()).collect()
}

fn ban(ban: &Ban) -> (IpNet, Option<u64>) {
    let nanoseconds = |until: Timestamp| u64::try_from(until.as_nanosecond()).unwrap_or(0);
    (ban.network, ban.until.map(nanoseconds))
}
