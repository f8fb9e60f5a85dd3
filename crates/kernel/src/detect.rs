//! What a new configuration can know of the machine it is for.

use ipnet::IpNet;

use crate::address::{self, AddressError};
use crate::netlink::Netlink;
use crate::route::{self, Family, RouteError};

/// Why the machine could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The routes can't be read.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The addresses can't be read.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// The machine as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// The interface towards the outside: the default route's, IPv4 before IPv6. `None` when there is no default route.
    pub uplink: Option<String>,
    /// Its global IPv4 addresses, the one that packets leave with first.
    pub v4: Vec<IpNet>,
    /// Its global IPv6 addresses, the one that packets leave with first.
    pub v6: Vec<IpNet>,
    /// The machine's name.
    pub hostname: String,
}

/// Looks at the namespace of the socket.
///
/// # Errors
/// Any [`DetectError`].
pub fn detect(netlink: &mut Netlink) -> Result<Detected, DetectError> {
    let v4_route = route::default_route(netlink, Family::V4)?;
    let v6_route = route::default_route(netlink, Family::V6)?;
    let sources = [&v4_route, &v6_route].map(|route| route.as_ref().and_then(|route| route.source));
    let uplink = v4_route.or(v6_route);
    let mut addresses: Vec<IpNet> = match &uplink {
        Some(uplink) => {
            let all = address::list(netlink)?.into_iter();
            all.filter(|a| a.index == uplink.index && a.global && a.usable)
                .map(|a| a.address)
                .collect()
        }
        None => Vec::new(),
    };
    // A stable sort: what the kernel prefers goes to the front, the rest keeps its order.
    addresses.sort_by_key(|address| !sources.contains(&Some(address.addr())));
    let (v4, v6) = addresses.into_iter().partition(|address| address.addr().is_ipv4());
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(Detected {
        uplink: uplink.map(|uplink| uplink.interface),
        v4,
        v6,
        hostname,
    })
}
