//! What XDP program an interface has.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::error::GuardError;

/// An interface's XDP program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attached {
    /// Its id; 0 when there are several.
    pub(super) program: u32,
    /// In the driver, not in the generic hook.
    pub(super) native: bool,
}

/// Asks for the XDP program of an interface in this network namespace.
pub(super) fn attached(ifindex: u32) -> Result<Option<Attached>, GuardError> {
    let link = link(ifindex).map_err(|source| match source.raw_os_error() {
        Some(libc::ENODEV) => GuardError::NoInterface { ifindex },
        _ => GuardError::Netlink { ifindex, source },
    })?;
    let Some(xdp) = link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    }) else {
        return Ok(None);
    };
    let mut found = None;
    let mut program = 0;
    for attribute in xdp {
        match attribute {
            LinkXdp::Attached(XdpAttached::None) => return Ok(None),
            LinkXdp::Attached(mode) => found = Some(mode),
            LinkXdp::ProgId(id) => program = id,
            _ => {}
        }
    }
    Ok(found.map(|mode| Attached {
        program,
        native: matches!(mode, XdpAttached::Driver | XdpAttached::Hardware),
    }))
}

fn link(ifindex: u32) -> io::Result<LinkMessage> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;

    let mut question = LinkMessage::default();
    question.header.index = ifindex;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetLink(question)));
    packet.finalize();
    let mut buffer = vec![0; packet.buffer_len()];
    packet.serialize(&mut buffer);
    socket.send(&buffer, 0)?;

    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
    }
}
