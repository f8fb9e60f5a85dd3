//! Routes of the main table, and which way a packet would take.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::link::{self, LinkError};
use crate::netlink::{Netlink, NetlinkError};

/// Why something could not be done to a route.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// There is such a route already.
    #[error("there is a route to {0} already")]
    Exists(IpNet),
    /// There is no such route.
    #[error("there is no such route to {0}")]
    Missing(IpNet),
    /// The interface of a default route can't be looked up.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Anything else.
    #[error("cannot {doing}: {source}")]
    Netlink {
        /// What was asked for.
        doing: String,
        /// What came back.
        source: NetlinkError,
    },
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The network of all addresses.
    fn everywhere(self) -> IpNet {
        match self {
            Self::V4 => Ipv4Net::default().into(),
            Self::V6 => Ipv6Net::default().into(),
        }
    }
}

/// A unicast route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By which router; `None` when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Out of which interface, by number.
    pub interface: Option<u32>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// The lower one wins; `None` lets the kernel choose.
    pub metric: Option<u32>,
}

impl Route {
    /// The route to a network that is on an interface's link.
    pub fn on_link(destination: IpNet, interface: u32) -> Self {
        Self {
            destination,
            gateway: None,
            interface: Some(interface),
            source: None,
            metric: None,
        }
    }
}

/// Adds a route.
///
/// # Errors
/// [`RouteError::Exists`] or [`RouteError::Netlink`].
pub fn add(netlink: &mut Netlink, route: &Route) -> Result<(), RouteError> {
    let message = RouteNetlinkMessage::NewRoute(describe(route));
    match netlink.request(message, NLM_F_CREATE | NLM_F_EXCL) {
        Ok(_) => Ok(()),
        Err(error) if error.errno() == Some(libc::EEXIST) => Err(RouteError::Exists(route.destination)),
        Err(source) => Err(RouteError::Netlink {
            doing: format!("add a route to {}", route.destination),
            source,
        }),
    }
}

/// Removes a route; what is `None` in it matches any.
///
/// # Errors
/// [`RouteError::Missing`] or [`RouteError::Netlink`].
pub fn remove(netlink: &mut Netlink, route: &Route) -> Result<(), RouteError> {
    let mut message = describe(route);
    // So that a route is found whoever added it, and at whatever scope.
    message.header.protocol = RouteProtocol::Unspec;
    message.header.scope = RouteScope::NoWhere;
    match netlink.request(RouteNetlinkMessage::DelRoute(message), 0) {
        Ok(_) => Ok(()),
        Err(error) if error.errno() == Some(libc::ESRCH) => Err(RouteError::Missing(route.destination)),
        Err(source) => Err(RouteError::Netlink {
            doing: format!("remove the route to {}", route.destination),
            source,
        }),
    }
}

/// The unicast routes of the main table, of both families. A route over several ways appears once for each.
///
/// # Errors
/// [`RouteError::Netlink`].
pub fn list(netlink: &mut Netlink) -> Result<Vec<Route>, RouteError> {
    let replies = netlink
        .request(RouteNetlinkMessage::GetRoute(RouteMessage::default()), NLM_F_DUMP)
        .map_err(|source| RouteError::Netlink {
            doing: "list the routes".to_owned(),
            source,
        })?;
    let routes = replies.iter().filter_map(|reply| match reply {
        RouteNetlinkMessage::NewRoute(message) if is_main_unicast(message) => Some(read(message)),
        _ => None,
    });
    Ok(routes.flatten().collect())
}

/// The route that a packet to an address would take now, and its source address. No packet is sent.
///
/// # Errors
/// [`RouteError::Missing`] when there is no way, or [`RouteError::Netlink`].
pub fn lookup(netlink: &mut Netlink, destination: IpAddr) -> Result<Route, RouteError> {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(destination);
    message.header.destination_prefix_length = IpNet::from(destination).prefix_len();
    message.attributes.push(RouteAttribute::Destination(destination.into()));
    let found = match netlink.request(RouteNetlinkMessage::GetRoute(message), 0) {
        Ok(replies) => replies.iter().find_map(|reply| match reply {
            RouteNetlinkMessage::NewRoute(message) => read(message).into_iter().next(),
            _ => None,
        }),
        Err(error) if error.errno() == Some(libc::ENETUNREACH) => None,
        Err(source) => {
            return Err(RouteError::Netlink {
                doing: format!("look up the route to {destination}"),
                source,
            });
        }
    };
    found.ok_or(RouteError::Missing(destination.into()))
}

/// The way out of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute {
    /// Name of the interface.
    pub interface: String,
    /// Number of the interface.
    pub index: u32,
    /// The router; `None` when everything is said to be on the link.
    pub gateway: Option<IpAddr>,
    /// The source address of packets that go that way, when the kernel names one.
    pub source: Option<IpAddr>,
}

/// The default route of a family, the one with the lowest metric when there are several.
///
/// # Errors
/// [`RouteError::Netlink`] and [`RouteError::Link`].
pub fn default_route(netlink: &mut Netlink, family: Family) -> Result<Option<DefaultRoute>, RouteError> {
    let routes = list(netlink)?;
    let candidates = routes
        .into_iter()
        .filter(|route| route.destination == family.everywhere() && route.interface.is_some());
    let Some(route) = candidates.min_by_key(|route| route.metric.unwrap_or(0)) else {
        return Ok(None);
    };
    let index = route.interface.unwrap_or_default();
    let Some(link) = link::list(netlink)?.into_iter().find(|link| link.index == index) else {
        return Ok(None);
    };
    // Addresses for documentation (RFC 5737, RFC 3849): somewhere that only the default route leads to.
    let outside: IpAddr = match family {
        Family::V4 => [192, 0, 2, 1].into(),
        Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
    };
    let chosen = lookup(netlink, outside)
        .ok()
        .filter(|found| found.interface == Some(index))
        .and_then(|found| found.source);
    Ok(Some(DefaultRoute {
        interface: link.name,
        index,
        gateway: route.gateway,
        source: route.source.or(chosen),
    }))
}

fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn describe(route: &Route) -> RouteMessage {
    let Route {
        destination,
        gateway,
        interface,
        source,
        metric,
    } = *route;
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family_of(destination.addr()),
        destination_prefix_length: destination.prefix_len(),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: if gateway.is_none() && destination.addr().is_ipv4() {
            RouteScope::Link
        } else {
            RouteScope::Universe
        },
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    // The kernel refuses a destination with bits beyond its prefix.
    message
        .attributes
        .push(RouteAttribute::Destination(destination.network().into()));
    message.attributes.extend(gateway.map(|gateway| match gateway {
        IpAddr::V6(v6) if destination.addr().is_ipv4() => RouteAttribute::Via(RouteVia::Inet6(v6)),
        gateway => RouteAttribute::Gateway(gateway.into()),
    }));
    message.attributes.extend(interface.map(RouteAttribute::Oif));
    message
        .attributes
        .extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
    message.attributes.extend(metric.map(RouteAttribute::Priority));
    message
}

fn is_main_unicast(message: &RouteMessage) -> bool {
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    let table = table.unwrap_or(message.header.table.into());
    table == u32::from(RouteHeader::RT_TABLE_MAIN) && message.header.kind == RouteType::Unicast
}

/// One route for each of its next hops.
fn read(message: &RouteMessage) -> Vec<Route> {
    let mut destination = match message.header.address_family {
        AddressFamily::Inet => Family::V4.everywhere(),
        AddressFamily::Inet6 => Family::V6.everywhere(),
        _ => return Vec::new(),
    };
    let mut first = Route {
        destination,
        gateway: None,
        interface: None,
        source: None,
        metric: None,
    };
    let mut hops: &[RouteNextHop] = &[];
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                let net = ip(address).and_then(|ip| IpNet::new(ip, message.header.destination_prefix_length).ok());
                let Some(net) = net else { return Vec::new() };
                destination = net;
            }
            RouteAttribute::PrefSource(address) => first.source = ip(address),
            RouteAttribute::Priority(metric) => first.metric = Some(*metric),
            RouteAttribute::MultiPath(list) => hops = list,
            attribute => read_hop(&mut first, attribute),
        }
    }
    first.destination = destination;
    if hops.is_empty() {
        return vec![first];
    }
    let routes = hops.iter().map(|hop| {
        let mut route = Route {
            interface: Some(hop.interface_index),
            ..first
        };
        hop.attributes.iter().for_each(|attribute| read_hop(&mut route, attribute));
        route
    });
    routes.collect()
}

fn read_hop(route: &mut Route, attribute: &RouteAttribute) {
    match attribute {
        RouteAttribute::Gateway(address) => route.gateway = ip(address),
        RouteAttribute::Via(RouteVia::Inet(v4)) => route.gateway = Some((*v4).into()),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => route.gateway = Some((*v6).into()),
        RouteAttribute::Oif(index) => route.interface = Some(*index),
        _ => {}
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}
