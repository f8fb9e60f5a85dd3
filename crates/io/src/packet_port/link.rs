//! What the kernel says about interfaces.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

/// The kernel answers while it is asked; this passes only if an answer was lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// A socket to ask by.
pub(super) struct Links {
    socket: Socket,
    sequence: u32,
}

/// An interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) is_ethernet: bool,
    pub(super) is_up: bool,
    pub(super) mac: Option<[u8; 6]>,
    pub(super) mtu: u32,
}

impl Links {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(protocols::NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    pub(super) fn named(&mut self, name: &str) -> io::Result<Link> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.link(message)
    }

    pub(super) fn numbered(&mut self, index: u32) -> io::Result<Link> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.link(message)
    }

    fn link(&mut self, message: LinkMessage) -> io::Result<Link> {
        self.ask(RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST)?;
        let mut found = None;
        self.answers(|answer| {
            if let RouteNetlinkMessage::NewLink(link) = answer {
                found = Some(Link::read(&link));
            }
        })?;
        found.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The addresses on an interface.
    pub(super) fn addresses(&mut self, index: u32) -> io::Result<Vec<IpAddr>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Unspec;
        self.ask(RouteNetlinkMessage::GetAddress(message), NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut found = Vec::new();
        self.answers(|answer| {
            let RouteNetlinkMessage::NewAddress(message) = answer else {
                return;
            };
            if message.header.index != index {
                return;
            }
            // On a point-to-point link this is the other end's, which is as good a sign.
            found.extend(message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            }));
        })?;
        Ok(found)
    }

    fn ask(&mut self, question: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(question));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(())
    }

    /// All messages of an answer: one, or a list up to its end.
    fn answers(&self, mut each: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
                let len = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(len..).unwrap_or_default();
                // The answer to a question that was given up.
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                let is_list = message.header.flags & netlink_packet_core::NLM_F_MULTIPART != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => each(inner),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => return Ok(()),
                }
                if !is_list {
                    return Ok(());
                }
            }
        }
    }
}

impl Link {
    fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            is_ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            is_up: message.header.flags.contains(LinkFlags::Up),
            mac: None,
            mtu: 0,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(address) => link.mac = address.as_slice().try_into().ok(),
                _ => {}
            }
        }
        link
    }
}
