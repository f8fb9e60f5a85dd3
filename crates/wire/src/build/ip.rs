//! The network layer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Addr, Family, checksum, number};

/// An IP header to be: what it says besides lengths, checksum and protocol, which follow from what is put on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// IP version.
    pub family: Family,
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 identification; in IPv6 the flow label (20 bits).
    pub id: u32,
    /// Don't fragment (IPv4).
    pub dont_fragment: bool,
    /// More fragments (IPv4).
    pub more_fragments: bool,
    /// Offset of the payload in its datagram, in bytes, a multiple of 8 (IPv4).
    pub fragment_offset: u16,
    /// IPv4 options; filled with zeros to a multiple of 4 and cut at 40 bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers, in order.
    pub extensions: Vec<Extension>,
}

/// An IPv6 extension header (RFC 8200 §4). Bodies are padded to whole 8 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options, padded with PadN.
    HopByHop(Vec<u8>),
    /// Destination options, padded with PadN.
    Destination(Vec<u8>),
    /// Routing: what follows the four fixed bytes is padded with zeros.
    Routing {
        /// Routing type.
        kind: u8,
        /// Segments left.
        left: u8,
        /// Type-specific data.
        data: Vec<u8>,
    },
    /// Fragment.
    Fragment {
        /// Offset in bytes, a multiple of 8.
        offset: u16,
        /// More fragments follow.
        more: bool,
        /// Identification.
        id: u32,
    },
    /// Authentication (RFC 4302); `data` is the sequence number and check value.
    Ah {
        /// Security parameters index.
        spi: u32,
        /// Sequence number and integrity check value.
        data: Vec<u8>,
    },
}

impl Extension {
    /// Its number as a next header.
    pub const fn number(&self) -> u8 {
        match self {
            Extension::HopByHop(_) => number::HOP_BY_HOP,
            Extension::Destination(_) => number::DESTINATION,
            Extension::Routing { .. } => number::ROUTING,
            Extension::Fragment { .. } => number::FRAGMENT,
            Extension::Ah { .. } => number::AH,
        }
    }

    fn emit(&self, next: u8, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(&[next, 0]);
        match self {
            Extension::HopByHop(options) | Extension::Destination(options) => {
                to.extend_from_slice(&options[..options.len().min(2046)]);
                // RFC 8200 §4.2: Pad1 is one zero byte, PadN has a type, a length and zeros.
                match (8 - (to.len() - start) % 8) % 8 {
                    0 => {}
                    1 => to.push(0),
                    pad => {
                        to.extend_from_slice(&[1, pad as u8 - 2]);
                        to.resize(to.len() + pad - 2, 0);
                    }
                }
            }
            Extension::Routing { kind, left, data } => {
                to.extend_from_slice(&[*kind, *left]);
                to.extend_from_slice(&data[..data.len().min(2044)]);
                to.resize(start + (to.len() - start).next_multiple_of(8), 0);
            }
            Extension::Fragment { offset, more, id } => {
                to.extend_from_slice(&(offset & 0xfff8 | u16::from(*more)).to_be_bytes());
                to.extend_from_slice(&id.to_be_bytes());
                return;
            }
            Extension::Ah { spi, data } => {
                to.extend_from_slice(&[0, 0]);
                to.extend_from_slice(&spi.to_be_bytes());
                to.extend_from_slice(&data[..data.len().min(1000)]);
                to.resize(start + (to.len() - start).next_multiple_of(8).max(16), 0);
                to[start + 1] = ((to.len() - start) / 4 - 2) as u8;
                return;
            }
        }
        to[start + 1] = ((to.len() - start) / 8 - 1) as u8;
    }
}

impl Ip {
    /// A header of either family with TTL 64.
    pub fn new(family: Family, src: Addr, dst: Addr) -> Ip {
        Ip {
            family,
            src,
            dst,
            tos: 0,
            ttl: 64,
            id: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            options: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// An IPv4 header.
    pub fn v4(src: impl Into<Ipv4Addr>, dst: impl Into<Ipv4Addr>) -> Ip {
        Ip::new(Family::V4, Addr::v4(src.into()), Addr::v4(dst.into()))
    }

    /// An IPv6 header.
    pub fn v6(src: impl Into<Ipv6Addr>, dst: impl Into<Ipv6Addr>) -> Ip {
        Ip::new(Family::V6, Addr::v6(src.into()), Addr::v6(dst.into()))
    }

    /// A header between two addresses; `None` when they are not of one family.
    pub fn between(src: IpAddr, dst: IpAddr) -> Option<Ip> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Ip::v4(src, dst)),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Ip::v6(src, dst)),
            _ => None,
        }
    }

    /// With this type of service.
    pub fn tos(self, tos: u8) -> Ip {
        Ip { tos, ..self }
    }

    /// With this time to live.
    pub fn ttl(self, ttl: u8) -> Ip {
        Ip { ttl, ..self }
    }

    /// With this identification (or IPv6 flow label).
    pub fn id(self, id: u32) -> Ip {
        Ip { id, ..self }
    }

    /// With one more IPv6 extension header.
    pub fn extension(mut self, extension: Extension) -> Ip {
        self.extensions.push(extension);
        self
    }

    /// The header of an answer: addresses swapped, all else as in a new one.
    pub fn reply(&self) -> Ip {
        Ip::new(self.family, self.dst, self.src)
    }

    /// A packet with `payload` behind the header, as it is.
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match self.family {
            Family::V4 => self.packet_v4(protocol, payload),
            Family::V6 => self.packet_v6(protocol, payload),
        }
    }

    /// Bytes of the header with its options or extension headers.
    pub fn header_len(&self) -> usize {
        self.packet(number::NO_NEXT, &[]).len()
    }

    fn packet_v4(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let options = &self.options[..self.options.len().min(40)];
        let header_len = 20 + options.len().next_multiple_of(4);
        let payload = &payload[..payload.len().min(usize::from(u16::MAX) - header_len)];
        let fragment = u16::from(self.dont_fragment) << 14 | u16::from(self.more_fragments) << 13 | self.fragment_offset >> 3;
        let mut packet = Vec::with_capacity(header_len + payload.len());
        packet.extend_from_slice(&[0x40 | (header_len / 4) as u8, self.tos]);
        packet.extend_from_slice(&((header_len + payload.len()) as u16).to_be_bytes());
        packet.extend_from_slice(&(self.id as u16).to_be_bytes());
        packet.extend_from_slice(&fragment.to_be_bytes());
        packet.extend_from_slice(&[self.ttl, protocol, 0, 0]);
        packet.extend_from_slice(&(self.src.lo as u32).to_be_bytes());
        packet.extend_from_slice(&(self.dst.lo as u32).to_be_bytes());
        packet.extend_from_slice(options);
        packet.resize(header_len, 0);
        let check = checksum::checksum(&packet);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        packet.extend_from_slice(payload);
        packet
    }

    fn packet_v6(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(40 + payload.len());
        packet.extend_from_slice(&(6 << 28 | u32::from(self.tos) << 20 | self.id & 0xf_ffff).to_be_bytes());
        let first = self.extensions.first().map_or(protocol, Extension::number);
        packet.extend_from_slice(&[0, 0, first, self.ttl]);
        packet.extend_from_slice(&self.src.to_bits().to_be_bytes());
        packet.extend_from_slice(&self.dst.to_bits().to_be_bytes());
        for (index, extension) in self.extensions.iter().enumerate() {
            let next = self.extensions.get(index + 1).map_or(protocol, Extension::number);
            extension.emit(next, &mut packet);
        }
        packet.extend_from_slice(payload);
        packet.truncate(usize::from(u16::MAX));
        let len = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Extensions, Headers};

    fn far() -> (Ipv6Addr, Ipv6Addr) {
        ("2001:db8::1".parse().unwrap(), "2001:db8:1::2".parse().unwrap())
    }

    #[test]
    fn headers_say_what_was_asked() {
        let ip = Ip::v4([10, 0, 0, 1], [10, 0, 0, 2]).tos(0x10).ttl(3).id(77);
        let packet = Ip {
            dont_fragment: true,
            options: vec![7, 3, 4],
            ..ip
        }
        .packet(99, &[1, 2, 3]);
        let headers = Headers::receive(&packet).unwrap();
        assert_eq!((headers.tos, headers.ttl, headers.protocol), (0x10, 3, 99));
        assert_eq!((headers.l4, headers.len), (24, 27));
        assert!(headers.dont_fragment);
        assert_eq!(headers.transport(&packet), [1, 2, 3]);

        let (src, dst) = far();
        let packet = Ip::v6(src, dst).tos(0x2e).ttl(3).packet(99, &[1, 2, 3]);
        let headers = Headers::receive(&packet).unwrap();
        assert_eq!((headers.tos, headers.ttl, headers.protocol), (0x2e, 3, 99));
        assert_eq!((headers.src, headers.dst), (Addr::v6(src), Addr::v6(dst)));
        assert_eq!((headers.l4, headers.len), (40, 43));
    }

    #[test]
    fn extension_headers_are_chained() {
        let (src, dst) = far();
        for pad in 0..9 {
            let packet = Ip::v6(src, dst)
                .extension(Extension::HopByHop(vec![0; pad]))
                .extension(Extension::Routing {
                    kind: 2,
                    left: 0,
                    data: vec![0; 20],
                })
                .extension(Extension::Ah {
                    spi: 5,
                    data: vec![0; 16],
                })
                .extension(Extension::Destination(vec![]))
                .packet(number::UDP, &[0, 1, 0, 2, 0, 8, 0, 0]);
            let headers = Headers::receive(&packet).unwrap();
            assert_eq!((headers.protocol, headers.sport, headers.dport), (number::UDP, 1, 2));
            let all = Extensions::HOP_BY_HOP | Extensions::ROUTING | Extensions::AH | Extensions::DESTINATION;
            assert_eq!(headers.extensions.0, all);
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = vec![0; 70_000];
        assert_eq!(Ip::v4([1, 1, 1, 1], [2, 2, 2, 2]).packet(17, &long).len(), 65_535);
        let (src, dst) = far();
        let packet = Ip::v6(src, dst).packet(17, &long);
        assert_eq!(packet.len(), 65_535);
        assert!(Headers::parse(&packet).is_ok());
    }
}
