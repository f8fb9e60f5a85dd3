//! What the kernel says about interfaces.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::rtnetlink::Rtnetlink;

/// Where to ask.
pub(super) struct Links(Rtnetlink);

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
        Rtnetlink::open().map(Self)
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
        let mut found = None;
        self.0.ask(RouteNetlinkMessage::GetLink(message), 0, |answer| {
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
        let mut found = Vec::new();
        self.0.ask(RouteNetlinkMessage::GetAddress(message), NLM_F_DUMP, |answer| {
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
