//! What the kernel would do with a packet to an address: asked, not guessed, as addresses and routes come and go.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::rtnetlink::Rtnetlink;

/// Where to ask.
pub(super) struct Routes(Rtnetlink);

/// The kernel's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) kind: RouteType,
    /// Index of the interface.
    pub(super) interface: Option<u32>,
    /// The address that a socket which is not bound would have.
    pub(super) source: Option<IpAddr>,
}

impl Routes {
    pub(super) fn open() -> io::Result<Self> {
        Rtnetlink::open().map(Self)
    }

    /// # Errors
    /// There is no route, or one that says no: the error that a socket would get.
    pub(super) fn lookup(&mut self, to: IpAddr) -> io::Result<Route> {
        let mut message = RouteMessage::default();
        (message.header.address_family, message.header.destination_prefix_length) = match to {
            IpAddr::V4(_) => (AddressFamily::Inet, 32),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128),
        };
        message.attributes.push(RouteAttribute::Destination(to.into()));
        let mut found = None;
        self.0.ask(RouteNetlinkMessage::GetRoute(message), 0, |answer| {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                found = Some(Route::read(&route));
            }
        })?;
        found.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Route {
    fn read(message: &RouteMessage) -> Self {
        let mut route = Self {
            kind: message.header.kind,
            interface: None,
            source: None,
        };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => route.interface = Some(*index),
                RouteAttribute::PrefSource(RouteAddress::Inet(source)) => route.source = Some((*source).into()),
                RouteAttribute::PrefSource(RouteAddress::Inet6(source)) => route.source = Some((*source).into()),
                _ => {}
            }
        }
        route
    }
}
