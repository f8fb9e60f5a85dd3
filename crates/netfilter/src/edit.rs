//! Changes to a packet that keep its checksums and its parsed headers in step.

use fielato_wire::{Family, checksum, number};

use crate::{Interface, Packet};

impl Packet {
    /// Sets type of service or traffic class.
    pub fn set_tos(&mut self, tos: u8) {
        match self.headers.family {
            Family::V4 => self.set_v4_word(0, u16::from_be_bytes([self.byte(0), tos])),
            Family::V6 => {
                let (first, second) = (self.byte(0), self.byte(1));
                if let Some(bytes) = self.data.get_mut(..2) {
                    bytes.copy_from_slice(&[first & 0xf0 | tos >> 4, second & 0x0f | tos << 4]);
                }
            }
        }
        self.headers.tos = tos;
    }

    /// Sets time to live or hop limit.
    pub fn set_ttl(&mut self, ttl: u8) {
        match self.headers.family {
            Family::V4 => self.set_v4_word(8, u16::from_be_bytes([ttl, self.byte(9)])),
            Family::V6 => {
                if let Some(byte) = self.data.get_mut(7) {
                    *byte = ttl;
                }
            }
        }
        self.headers.ttl = ttl;
    }

    /// Sets the length field to the bytes there are.
    pub(crate) fn set_length(&mut self) {
        let len = self.data.len().min(usize::from(u16::MAX)) as u16;
        match self.headers.family {
            Family::V4 => self.set_v4_word(2, len),
            Family::V6 => {
                if let Some(field) = self.data.get_mut(4..6) {
                    field.copy_from_slice(&len.saturating_sub(40).to_be_bytes());
                }
            }
        }
        self.headers.len = len;
    }

    /// Sets a 16-bit word of the transport header at `at`, and the checksum at `check_at` with it.
    pub(crate) fn set_transport_word(&mut self, at: usize, word: u16, check_at: usize) {
        let transport = self.headers.transport_mut(&mut self.data);
        let (Some(old), Some(check)) = (read16(transport, at), read16(transport, check_at)) else {
            return;
        };
        write16(transport, at, word);
        write16(transport, check_at, checksum::update16(check, old, word));
    }

    /// A 16-bit word of the IPv4 header, and the header checksum with it.
    fn set_v4_word(&mut self, at: usize, word: u16) {
        let (Some(old), Some(check)) = (read16(&self.data, at), read16(&self.data, 10)) else {
            return;
        };
        write16(&mut self.data, at, word);
        write16(&mut self.data, 10, checksum::update16(check, old, word));
    }

    fn byte(&self, at: usize) -> u8 {
        self.data.get(at).copied().unwrap_or(0)
    }

    /// The TCP header with its options; none when the packet is not TCP, a later fragment, or cut short.
    pub(crate) fn tcp_header(&self) -> Option<&[u8]> {
        if self.headers.protocol != number::TCP || self.headers.is_later_fragment() {
            return None;
        }
        let transport = self.transport();
        let len = usize::from(transport.get(12)? >> 4) * 4;
        if len < 20 {
            return None;
        }
        transport.get(..len)
    }

    /// Whether the transport checksum is right (`nf_ip_checksum`, `nf_ip6_checksum`). UDP without one passes over IPv4.
    /// Protocols that the kernel knows nothing of are summed without a pseudo header over IPv4.
    pub(crate) fn transport_checksum_ok(&self) -> bool {
        let headers = &self.headers;
        let bytes = self.transport();
        let pseudo = match (headers.family, headers.protocol) {
            (Family::V4, number::UDP) if read16(bytes, 6) == Some(0) => return true,
            (Family::V4, number::TCP | number::UDP) | (Family::V6, _) => {
                checksum::pseudo(headers.src, headers.dst, headers.protocol, bytes.len() as u32)
            }
            // The kernel sums from the IP header on, which by itself makes all ones: so it takes no bytes, and only zeros, too
            // (`nf_ip_checksum`).
            (Family::V4, _) => 0xffff,
        };
        checksum::fold(pseudo + checksum::sum(bytes)) == 0xffff
    }

    /// Where matches look for a transport header that don't ask whether it is there (`par->thoff`). Of a later fragment that is its
    /// payload over IPv4; over IPv6 no place was found, and it stands for the packet's first byte (`ip6_packet_match`).
    pub(crate) fn assumed_transport(&self) -> &[u8] {
        match self.headers.family {
            Family::V6 if self.headers.is_later_fragment() => &self.data,
            _ => self.transport(),
        }
    }

    /// Whether this packet was made on this host.
    pub(crate) fn is_local_output(&self) -> bool {
        self.in_interface == Interface::NONE
    }
}

/// A 16-bit word in network order.
pub(crate) fn read16(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([*word.first()?, *word.get(1)?]))
}

/// A 32-bit word in network order.
pub(crate) fn read32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

/// Writes a 16-bit word in network order, where there is room.
pub(crate) fn write16(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(place) = bytes.get_mut(at..at.saturating_add(2)) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}
