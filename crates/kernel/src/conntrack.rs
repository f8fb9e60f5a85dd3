//! The kernel's connections: listed, and ended one by one (nfnetlink, as `conntrack -L` and `-D` do).
//!
//! Message and attribute numbers are those of linux/netfilter/nfnetlink_conntrack.h. Needs `CAP_NET_ADMIN`.

use std::net::{Ipv4Addr, Ipv6Addr};

use fielato_netfilter::conntrack::{Conn, Status, Tuple};
use fielato_wire::{Addr, Family, number};
use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NLM_F_DUMP, NlasIterator};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{Netlink, NetlinkError};

const SUBSYSTEM: u16 = 1;
const MSG_GET: u16 = SUBSYSTEM << 8 | 1;
const MSG_DELETE: u16 = SUBSYSTEM << 8 | 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const MARK: u16 = 8;
const ID: u16 = 12;
const ZONE: u16 = 18;

const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
const ICMP_ID: u16 = 4;
const ICMP_TYPE: u16 = 5;
const ICMP_CODE: u16 = 6;
const ICMPV6_ID: u16 = 7;
const ICMPV6_TYPE: u16 = 8;
const ICMPV6_CODE: u16 = 9;

/// Family, version, resource (linux/netfilter/nfnetlink.h, `struct nfgenmsg`).
const HEADER_LEN: usize = 4;

/// A connection that the kernel tracks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The tuple of its first packet.
    pub original: Tuple,
    /// The tuple of its answers: another than the inverted one where NAT is at work.
    pub reply: Tuple,
    /// Bits of [`Status`].
    pub status: u32,
    /// `connmark`.
    pub mark: u32,
    /// Tells it from a later one with the same tuples.
    id: Option<Vec<u8>>,
    zone: Option<Vec<u8>>,
    /// The original tuple as the kernel wrote it.
    written: Vec<u8>,
}

impl Connection {
    /// The same in the terms of the user-space engine.
    pub fn to_conn(&self) -> Conn {
        let mut conn = Conn::new(self.original, self.reply);
        conn.status = Status(self.status & (Status::EXPECTED | Status::SRC_NAT | Status::DST_NAT));
        conn.mark = self.mark;
        conn
    }
}

/// Every connection of a family in the calling thread's network namespace. None where the kernel tracks none at all.
///
/// # Errors
/// [`NetlinkError`]; an entry that can't be read is left out with a warning in the log.
pub fn list(family: Family) -> Result<Vec<Connection>, NetlinkError> {
    let mut netlink = Netlink::open_protocol(NETLINK_NETFILTER)?;
    let replies = match netlink.request_raw(MSG_GET, NLM_F_DUMP, &header(family)) {
        // The module that answers is not loaded: nothing is tracked.
        Err(error) if error.errno() == Some(libc::EINVAL) => return Ok(Vec::new()),
        replies => replies?,
    };
    let mut connections = Vec::with_capacity(replies.len());
    for (_, body) in replies {
        match body.get(HEADER_LEN..).and_then(|attributes| parse(attributes, family)) {
            Some(connection) => connections.push(connection),
            None => log::warn!("a tracked connection can't be read and is left out"),
        }
    }
    Ok(connections)
}

/// Ends connections: their next packets are judged as a new one's. Returns how many there were; those that ended by themselves
/// meanwhile are not counted.
///
/// # Errors
/// [`NetlinkError`]; those before the refused one are ended.
pub fn delete<'c>(connections: impl IntoIterator<Item = &'c Connection>) -> Result<usize, NetlinkError> {
    let mut netlink = Netlink::open_protocol(NETLINK_NETFILTER)?;
    let mut ended = 0;
    for connection in connections {
        let mut body = header(connection.original.family);
        push(&mut body, ORIGINAL | NLA_F_NESTED, connection.written.clone());
        for (kind, value) in [(ID, &connection.id), (ZONE, &connection.zone)] {
            if let Some(value) = value {
                push(&mut body, kind, value.clone());
            }
        }
        match netlink.request_raw(MSG_DELETE, 0, &body) {
            Ok(_) => ended += 1,
            Err(error) if error.errno() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

fn header(family: Family) -> Vec<u8> {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    vec![u8::try_from(family).unwrap_or_default(), 0, 0, 0]
}

fn push(body: &mut Vec<u8>, kind: u16, value: Vec<u8>) {
    let attribute = DefaultNla::new(kind, value);
    let start = body.len();
    body.resize(start + attribute.buffer_len(), 0);
    attribute.emit(&mut body[start..]);
}

fn parse(bytes: &[u8], family: Family) -> Option<Connection> {
    let (mut original, mut reply, mut written) = (None, None, Vec::new());
    let (mut status, mut mark) = (0, 0);
    let (mut id, mut zone) = (None, None);
    for attribute in NlasIterator::new(bytes).filter_map(Result::ok) {
        let value = attribute.value();
        match attribute.kind() {
            ORIGINAL => (original, written) = (tuple(value, family), value.to_vec()),
            REPLY => reply = tuple(value, family),
            STATUS => status = be32(value)?,
            MARK => mark = be32(value)?,
            ID => id = Some(value.to_vec()),
            ZONE => zone = Some(value.to_vec()),
            _ => {}
        }
    }
    Some(Connection {
        original: original?,
        reply: reply?,
        status,
        mark,
        id,
        zone,
        written,
    })
}

fn tuple(bytes: &[u8], family: Family) -> Option<Tuple> {
    let mut tuple = Tuple {
        src: Addr::ZERO,
        dst: Addr::ZERO,
        sport: 0,
        dport: 0,
        protocol: 0,
        family,
    };
    let mut icmp = [0; 2];
    for part in NlasIterator::new(bytes).filter_map(Result::ok) {
        for attribute in NlasIterator::new(part.value()).filter_map(Result::ok) {
            let value = attribute.value();
            match (part.kind(), attribute.kind()) {
                (TUPLE_IP, V4_SOURCE | V6_SOURCE) => tuple.src = address(value)?,
                (TUPLE_IP, V4_DESTINATION | V6_DESTINATION) => tuple.dst = address(value)?,
                (TUPLE_PROTOCOL, PROTOCOL_NUMBER) => tuple.protocol = *value.first()?,
                (TUPLE_PROTOCOL, SOURCE_PORT | ICMP_ID | ICMPV6_ID) => tuple.sport = be16(value)?,
                (TUPLE_PROTOCOL, DESTINATION_PORT) => tuple.dport = be16(value)?,
                (TUPLE_PROTOCOL, ICMP_TYPE | ICMPV6_TYPE) => icmp[0] = *value.first()?,
                (TUPLE_PROTOCOL, ICMP_CODE | ICMPV6_CODE) => icmp[1] = *value.first()?,
                _ => {}
            }
        }
    }
    if matches!(tuple.protocol, number::ICMP | number::ICMPV6) {
        tuple.dport = u16::from_be_bytes(icmp);
    }
    Some(tuple)
}

fn address(value: &[u8]) -> Option<Addr> {
    match value.len() {
        4 => Some(Addr::v4(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))),
        16 => Some(Addr::v6(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?))),
        _ => None,
    }
}

fn be16(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}
