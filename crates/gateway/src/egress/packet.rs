//! A packet in a port's disciplines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fielato_qdisc::Packet;

use super::Side;
use crate::Buffer;

/// A packet on its way out.
#[derive(Debug, Clone)]
pub(crate) struct EgressPacket {
    pub(crate) buffer: Buffer,
    pub(crate) priority: u32,
    pub(crate) mark: u32,
    /// The neighbour it is for, on an Ethernet port.
    pub(crate) next_hop: Option<[u8; 6]>,
    /// Its source before NAT, where that is known.
    pub(crate) source: Option<IpAddr>,
}

impl Packet for EgressPacket {
    fn bytes(&self) -> &[u8] {
        &self.buffer.data
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // Damage must be seen by who sums the packet, so that nothing may be left to do or be vouched for
        // (`netem_enqueue` calls `skb_checksum_help`).
        self.buffer.complete_checksum();
        self.buffer.offload.data_valid = false;
        &mut self.buffer.data
    }

    fn segment_size(&self) -> u16 {
        self.buffer.segment_size()
    }

    fn split(self, each: &mut dyn FnMut(Self)) {
        let EgressPacket {
            buffer,
            priority,
            mark,
            next_hop,
            source,
        } = self;
        if buffer.segment_size() == 0 {
            return each(EgressPacket {
                buffer,
                priority,
                mark,
                next_hop,
                source,
            });
        }
        buffer.split(&mut |buffer| {
            each(EgressPacket {
                buffer,
                priority,
                mark,
                next_hop,
                source,
            });
        });
    }

    fn duplicate(&self) -> Self {
        self.clone()
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn mark(&self) -> u32 {
        self.mark
    }

    fn source(&self) -> Option<IpAddr> {
        self.source
    }
}

/// An address of the packet that begins with `bytes`; none when it isn't one.
pub(super) fn address(bytes: &[u8], side: Side) -> Option<IpAddr> {
    match bytes.first()? >> 4 {
        4 => {
            let at = if side == Side::Source { 12 } else { 16 };
            let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets).into())
        }
        6 => {
            let at = if side == Side::Source { 8 } else { 24 };
            let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}
