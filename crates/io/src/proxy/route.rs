//! What the kernel would do with a packet to an address: asked, not guessed, as addresses and routes come and go.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// The kernel answers while it is asked; this passes only if an answer was lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// A socket to ask by.
pub(super) struct Routes {
    socket: Socket,
    sequence: u32,
}

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
        let socket = Socket::new(protocols::NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
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
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetRoute(message)));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let (answer, _) = self.socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
            // The answer to a question that was given up.
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(Route::read(&route)),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                _ => Err(io::ErrorKind::InvalidData.into()),
            };
        }
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
