//! Where members may get by this machine's sockets. A socket of ours is as trusted as this machine, so what only the machine itself
//! should reach (services on its loopback, its own addresses, the cloud's metadata on the link) is refused before one is made.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use ipnet::IpNet;
use netlink_packet_route::route::RouteType;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType};

use super::counters::DropReason;
use super::route::Routes;
use super::{Local, Options};

/// Asked for the way to the internet, never sent to: documentation addresses (RFC 5737, RFC 3849).
const SOMEWHERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const SOMEWHERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// Decides for each new flow.
pub(super) struct Reach {
    routes: Routes,
    own: Vec<IpAddr>,
    overlay: Vec<IpNet>,
    /// The hub's interface, and a socket to ask its number by.
    interface: Option<(String, OwnedFd)>,
}

/// Why a destination is not for members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// By us: nothing is said.
    Named(DropReason),
    /// By the machine's routes: said by ICMP.
    Route(Errno),
}

impl Reach {
    pub(super) fn new(options: &Options) -> io::Result<Self> {
        let interface = match options.interface.clone() {
            Some(name) => Some((name, rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?)),
            None => None,
        };
        Ok(Self {
            routes: Routes::open()?,
            own: match &options.local {
                Local::None => Vec::new(),
                Local::Addresses(own) => own.clone(),
            },
            overlay: options.overlay.clone(),
            interface,
        })
    }

    /// Whether this is the hub's own overlay address, and answered here.
    pub(super) fn is_own(&self, to: IpAddr) -> bool {
        self.own.contains(&to)
    }

    /// The address to which a socket of ours goes on for `to`.
    pub(super) fn outside(&mut self, to: IpAddr) -> Result<IpAddr, Refusal> {
        if self.is_own(to) {
            return self.primary(to.is_ipv6()).ok_or(Refusal::Named(DropReason::NoOwnAddress));
        }
        if is_special(to) {
            return Err(Refusal::Named(DropReason::DestinationSpecial));
        }
        if self.overlay.iter().any(|net| net.contains(&to)) {
            return Err(Refusal::Named(DropReason::DestinationOverlay));
        }
        let route = self.routes.lookup(to).map_err(refusal)?;
        match route.kind {
            RouteType::Unicast => {}
            RouteType::Local | RouteType::Anycast => return Err(Refusal::Named(DropReason::DestinationOwn)),
            RouteType::Prohibit => return Err(Refusal::Route(Errno::ACCESS)),
            RouteType::Unreachable => return Err(Refusal::Route(Errno::HOSTUNREACH)),
            _ => return Err(Refusal::Named(DropReason::DestinationSpecial)),
        }
        // While there is none of that name there is no route to it.
        if let Some((name, socket)) = &self.interface
            && route.interface.is_some()
            && route.interface == name_to_index(socket, name).ok()
        {
            return Err(Refusal::Named(DropReason::DestinationOverlay));
        }
        Ok(to)
    }

    /// The address by which this machine goes to the internet.
    fn primary(&mut self, v6: bool) -> Option<IpAddr> {
        let somewhere = if v6 { SOMEWHERE_V6 } else { SOMEWHERE_V4 };
        let source = self.routes.lookup(somewhere).ok()?.source?;
        let usable = !is_special(source) && !self.own.contains(&source);
        usable.then_some(source)
    }
}

/// A question that could not be asked is a no.
fn refusal(error: io::Error) -> Refusal {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(errno @ (Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS)) => Refusal::Route(errno),
        // A blackhole route (`fib_props`, net/ipv4/fib_semantics.c).
        Some(Errno::INVAL) => Refusal::Named(DropReason::Unreachable),
        _ => Refusal::Named(DropReason::System),
    }
}

/// Addresses that lead to this machine or no further than its links, whatever its routes say.
pub(super) fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // RFC 6890 §2.2.2: 0/8 is this host, to connect to 0.0.0.0 is to connect to the loopback.
            v4.octets()[0] == 0 || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            // ::/96 and ::ffff:0:0/96 are IPv4 in disguise (RFC 4291 §2.5.5), with the loopback and :: among them.
            let embeds_v4 = v6.to_ipv4().is_some();
            embeds_v4 || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast()
        }
    }
}
