//! What a packet costs: its length on the wire, for each segment of a superpacket.

use fielato_wire::{Headers, number};

use crate::packet::Packet;

/// How a packet's length is charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// Bytes of the link's own header before each packet: 14 for Ethernet, as the kernel counts it.
    pub link_header: u16,
}

/// What a packet costs, and how many packets it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Bytes on the wire.
    pub bytes: u32,
    /// Packets on the wire.
    pub segments: u16,
}

impl Charge {
    /// The cost of one packet of `len` bytes from its IP header on.
    pub fn plain(&self, len: usize) -> u32 {
        u32::try_from(len)
            .unwrap_or(u32::MAX)
            .saturating_add(u32::from(self.link_header))
    }

    /// The cost of `packet`, each segment with headers of its own.
    pub fn of(&self, packet: &impl Packet, headers: impl FnOnce() -> Option<Headers>) -> Cost {
        let bytes = packet.bytes();
        let plain = Cost {
            bytes: self.plain(bytes.len()),
            segments: 1,
        };
        let size = usize::from(packet.segment_size());
        if size == 0 {
            return plain;
        }
        let Some(header) = headers().and_then(|headers| header_len(bytes, &headers)) else {
            return plain;
        };
        let payload = bytes.len().saturating_sub(header);
        let segments = payload.div_ceil(size).max(1);
        let full = (segments - 1) as u32;
        let last = payload - full as usize * size;
        Cost {
            bytes: self
                .plain(header + size)
                .saturating_mul(full)
                .saturating_add(self.plain(header + last)),
            segments: segments as u16,
        }
    }
}

/// Bytes that every segment repeats: IP and transport header.
fn header_len(bytes: &[u8], headers: &Headers) -> Option<usize> {
    let l4 = headers.ip_header_len();
    match headers.protocol {
        number::TCP => Some(l4 + usize::from(*bytes.get(l4 + 12)? >> 4) * 4),
        number::UDP => Some(l4 + 8),
        _ => None,
    }
}
