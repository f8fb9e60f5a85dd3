//! A connection out of ctnetlink's attributes (linux/netfilter/nfnetlink_conntrack.h).

use fielato_wire::{Addr, number};

use super::nfnetlink::attributes;
use crate::subject::{Connection, STATUS_MASK, Tuple};

/// Reads one; nothing when its tuples are missing.
pub fn read(message: &[u8]) -> Option<Connection> {
    let mut tuples = [None, None];
    let mut connection = Connection::default();
    for (kind, value) in attributes(message) {
        match kind {
            1 | 2 => tuples[usize::from(kind - 1)] = Some(read_tuple(value)?),
            3 => connection.status = be32(value)? & STATUS_MASK,
            4 => {
                // CTA_PROTOINFO_TCP is 1, CTA_PROTOINFO_SCTP is 3; the state is attribute 1 of either.
                let (_, inner) = attributes(value).next()?;
                connection.state = attributes(inner)
                    .find(|(kind, _)| *kind == 1)
                    .and_then(|(_, v)| v.first().copied());
            }
            5 => {
                let name = attributes(value).find(|(kind, _)| *kind == 1)?.1;
                let name = name.strip_suffix(&[0]).unwrap_or(name);
                connection.helper = Some(String::from_utf8_lossy(name).into_owned());
            }
            7 => connection.timeout = be32(value)?,
            8 => connection.mark = be32(value)?,
            9 | 10 => {
                let counter = |wanted| attributes(value).find(|(kind, _)| *kind == wanted).and_then(|(_, v)| be64(v));
                connection.counters[usize::from(kind - 9)] = (counter(1)?, counter(2)?);
            }
            14 => connection.master = Some(read_tuple(value)?.tuple),
            18 => connection.zones = [be16(value)?; 2],
            _ => {}
        }
    }
    let [Some(original), Some(reply)] = tuples else {
        return None;
    };
    for (zone, tuple) in connection.zones.iter_mut().zip([&original, &reply]) {
        *zone = tuple.zone.unwrap_or(*zone);
    }
    (connection.v6, connection.protocol) = (original.v6, original.protocol);
    (connection.original, connection.reply) = (original.tuple, reply.tuple);
    Some(connection)
}

struct ReadTuple {
    tuple: Tuple,
    v6: bool,
    protocol: u8,
    zone: Option<u16>,
}

fn read_tuple(bytes: &[u8]) -> Option<ReadTuple> {
    let mut read = ReadTuple {
        tuple: Tuple::default(),
        v6: false,
        protocol: 0,
        zone: None,
    };
    for (kind, value) in attributes(bytes) {
        match kind {
            1 => {
                for (kind, address) in attributes(value) {
                    read.v6 = kind > 2;
                    match kind {
                        1 | 3 => read.tuple.src = Addr::read(address),
                        2 | 4 => read.tuple.dst = Addr::read(address),
                        _ => {}
                    }
                }
            }
            2 => {
                for (kind, value) in attributes(value) {
                    match kind {
                        1 => read.protocol = *value.first()?,
                        2 | 4 | 7 => read.tuple.sport = be16(value)?,
                        3 => read.tuple.dport = be16(value)?,
                        5 | 8 => read.tuple.dport |= u16::from(*value.first()?) << 8,
                        6 | 9 => read.tuple.dport |= u16::from(*value.first()?),
                        _ => {}
                    }
                }
            }
            3 => read.zone = Some(be16(value)?),
            _ => {}
        }
    }
    debug_assert!(read.protocol != number::ICMPV6 || read.v6);
    Some(read)
}

fn be16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn be32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn be64(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
