//! What a packet costs: its length on the wire, for each segment of a superpacket.

use fielato_wire::{Headers, number};

use crate::packet::Packet;
use crate::spec::{LinkLayer, Stab};

/// How a packet's length is charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// Bytes of the link's own header before each packet: 14 for Ethernet, as the kernel counts it.
    pub link_header: u16,
    /// The interface's MTU, bytes.
    pub mtu: u32,
    /// The nearest discipline's own way.
    pub stab: Option<Stab>,
}

/// What a packet costs, and how many packets it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Bytes on the wire.
    pub bytes: u32,
    /// Packets on the wire.
    pub segments: u16,
}

/// A WireGuard data message's header and tag, and the outer IPv4 and UDP headers.
const WIREGUARD_MESSAGE: i64 = 16 + 16;
const OUTER_HEADERS: i32 = 20 + 8;

impl Charge {
    /// The cost of one packet of `len` bytes from its IP header on.
    pub fn plain(&self, len: usize) -> u32 {
        let len = i64::try_from(len).unwrap_or(i64::MAX / 2);
        let with_header = len + i64::from(self.link_header);
        let bytes = match &self.stab {
            None => with_header,
            Some(stab) => {
                let overhead = i64::from(stab.overhead.unwrap_or(0));
                let least = i64::from(stab.mpu.unwrap_or(0));
                match stab.linklayer {
                    LinkLayer::Ethernet => (with_header + overhead).max(least),
                    LinkLayer::Atm => ((with_header + overhead).max(least).max(0) as u64).div_ceil(48) as i64 * 53,
                    LinkLayer::Wireguard => {
                        // Padding never makes a packet longer than the tunnel's MTU.
                        let padded = ((len + 15) & !15).min(len.max(i64::from(self.mtu)));
                        let outer = i64::from(stab.overhead.unwrap_or(OUTER_HEADERS));
                        (padded + WIREGUARD_MESSAGE + outer).max(least)
                    }
                }
            }
        };
        u32::try_from(bytes.max(1)).unwrap_or(u32::MAX)
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
            segments: u16::try_from(segments).unwrap_or(u16::MAX),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(linklayer: LinkLayer, overhead: i32, mpu: u32) -> Charge {
        Charge {
            link_header: 0,
            mtu: 1420,
            stab: Some(Stab {
                overhead: Some(overhead),
                mpu: Some(mpu),
                linklayer,
                ..Stab::default()
            }),
        }
    }

    #[test]
    fn link_layers_charge_what_they_carry() {
        for (charge, len, bytes) in [
            (Charge::default(), 1000, 1000),
            (
                Charge {
                    link_header: 14,
                    ..Charge::default()
                },
                1000,
                1014,
            ),
            (charge(LinkLayer::Ethernet, 24, 84), 1000, 1024),
            (charge(LinkLayer::Ethernet, 24, 84), 28, 84),
            (charge(LinkLayer::Ethernet, -50, 0), 28, 1),
            (charge(LinkLayer::Atm, 8, 0), 40, 53),
            (charge(LinkLayer::Atm, 8, 0), 41, 106),
            (charge(LinkLayer::Wireguard, 28, 0), 1000, 1008 + 32 + 28),
            (charge(LinkLayer::Wireguard, 48, 0), 1000, 1008 + 32 + 48),
            (charge(LinkLayer::Wireguard, 28, 0), 1420, 1420 + 32 + 28),
            (charge(LinkLayer::Wireguard, 28, 0), 1415, 1420 + 32 + 28),
        ] {
            assert_eq!(charge.plain(len), bytes, "{charge:?}");
        }
    }
}
