//! One parse per packet: everything that rules, connection tracking and NAT ask of the headers.

use crate::{Addr, Family, checksum, number};

/// TCP flag bits, as in byte 13 of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;
    /// ECE.
    pub const ECE: u8 = 0x40;
    /// CWR.
    pub const CWR: u8 = 0x80;

    /// Whether any of `bits` is set.
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }
}

/// Which IPv6 extension headers were met, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extensions(pub u8);

impl Extensions {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 1 << 0;
    /// Destination options.
    pub const DESTINATION: u8 = 1 << 1;
    /// Routing.
    pub const ROUTING: u8 = 1 << 2;
    /// Fragment.
    pub const FRAGMENT: u8 = 1 << 3;
    /// Authentication.
    pub const AH: u8 = 1 << 4;
    /// A routing header ends before its segments left: some of the kernel's readers go on behind it, others don't.
    pub const CUT_ROUTING: u8 = 1 << 5;
}

/// Why bytes are not an IP packet. Such a packet reaches no hook, as in the kernel (`ip_rcv`, `ip6_rcv`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Fewer bytes than the header needs.
    Truncated,
    /// Neither version 4 nor version 6.
    Version,
    /// A header length below 20 or beyond the packet.
    HeaderLength,
    /// A total length beyond the bytes that came, or below the header's.
    TotalLength,
    /// A wrong IPv4 header checksum.
    Checksum,
}

impl Malformed {
    /// Its name, for counters and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Malformed::Truncated => "truncated",
            Malformed::Version => "version",
            Malformed::HeaderLength => "header-length",
            Malformed::TotalLength => "total-length",
            Malformed::Checksum => "checksum",
        }
    }
}

/// What the headers of a packet say. Offsets count from the packet's first byte.
///
/// Ports, flags and ICMP fields are zero where the packet is too short for them ([`Headers::l4_whole`] tells) and in
/// fragments other than the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// IP version.
    pub family: Family,
    /// Transport protocol: what follows the last IPv6 extension header.
    pub protocol: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Offset of the transport header.
    pub l4: u16,
    /// Length of the whole packet by its own header: what follows is padding.
    pub len: u16,
    /// Offset of this fragment's payload in the datagram, in bytes.
    pub fragment_offset: u16,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Don't fragment (IPv4).
    pub dont_fragment: bool,
    /// Whether the protocol's fixed header lies within the packet: TCP 20, UDP 8, UDP-Lite 8, SCTP 12, DCCP 12, ICMP 8, GRE 4.
    pub l4_whole: bool,
    /// TCP flags.
    pub tcp_flags: TcpFlags,
    /// Extension headers met.
    pub extensions: Extensions,
    /// Source port (TCP, UDP, UDP-Lite, SCTP, DCCP).
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
}

impl Headers {
    /// Parses `packet`, which starts at the IP header. IPv4's header checksum is not verified here (see [`Headers::receive`]).
    pub fn parse(packet: &[u8]) -> Result<Headers, Malformed> {
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => parse_v4(packet),
            Some(6) => parse_v6(packet),
            Some(_) => Err(Malformed::Version),
            None => Err(Malformed::Truncated),
        }
    }

    /// [`Headers::parse`], and what a receiver verifies besides: IPv4's header checksum (RFC 1122 §3.2.1.2), and that IPv6's
    /// hop-by-hop options, which every router reads, are all there (`ipv6_parse_hopopts`).
    // Inlined with all that it calls, so that the result is made where the caller keeps it: copying it costs as much as parsing.
    #[inline(always)]
    pub fn receive(packet: &[u8]) -> Result<Headers, Malformed> {
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => {
                let headers = parse_v4(packet)?;
                match checksum::checksum(&packet[..headers.ip_header_len()]) {
                    0 => Ok(headers),
                    _ => Err(Malformed::Checksum),
                }
            }
            Some(6) => {
                let headers = parse_v6(packet)?;
                match has_whole_hop_by_hop(&packet[..usize::from(headers.len)]) {
                    true => Ok(headers),
                    false => Err(Malformed::HeaderLength),
                }
            }
            Some(_) => Err(Malformed::Version),
            None => Err(Malformed::Truncated),
        }
    }

    /// Whether this is a fragment of a longer datagram, the first one included.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Whether this is a fragment other than the first, which has no transport header.
    #[inline]
    pub const fn is_later_fragment(&self) -> bool {
        self.fragment_offset != 0
    }

    /// Whether the chain of IPv6 extension headers is cut short, or hidden in another fragment, before it came to a protocol.
    /// [`Headers::protocol`] is then the extension header that could not be read, or what a routing header cut short names.
    #[inline]
    pub const fn lacks_protocol(&self) -> bool {
        let unread = matches!(
            self.protocol,
            number::HOP_BY_HOP | number::ROUTING | number::FRAGMENT | number::AH | number::DESTINATION
        );
        matches!(self.family, Family::V6) && (unread || self.extensions.0 & Extensions::CUT_ROUTING != 0)
    }

    /// Length of the IP header: 20 to 60 for IPv4; with all extension headers for IPv6.
    #[inline]
    pub const fn ip_header_len(&self) -> usize {
        self.l4 as usize
    }

    /// The transport header and payload in `packet`, without padding behind the packet.
    #[inline]
    pub fn transport<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        let end = packet.len().min(self.len as usize);
        packet.get(self.l4 as usize..end).unwrap_or(&[])
    }

    /// The same, to be changed.
    #[inline]
    pub fn transport_mut<'a>(&self, packet: &'a mut [u8]) -> &'a mut [u8] {
        let end = packet.len().min(self.len as usize);
        packet.get_mut(self.l4 as usize..end).unwrap_or(&mut [])
    }
}

#[inline]
fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn parse_v4(packet: &[u8]) -> Result<Headers, Malformed> {
    let Some(fixed) = packet.first_chunk::<20>() else {
        return Err(Malformed::Truncated);
    };
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    if header_len < 20 || header_len > packet.len() {
        return Err(Malformed::HeaderLength);
    }
    let len = be16(fixed, 2);
    if usize::from(len) > packet.len() || usize::from(len) < header_len {
        return Err(Malformed::TotalLength);
    }
    let fragment = be16(fixed, 6);
    let mut headers = Headers {
        family: Family::V4,
        protocol: fixed[9],
        tos: fixed[1],
        ttl: fixed[8],
        src: Addr {
            hi: 0,
            lo: u64::from(u32::from_be_bytes([fixed[12], fixed[13], fixed[14], fixed[15]])),
        },
        dst: Addr {
            hi: 0,
            lo: u64::from(u32::from_be_bytes([fixed[16], fixed[17], fixed[18], fixed[19]])),
        },
        l4: header_len as u16,
        len,
        fragment_offset: (fragment & 0x1fff) << 3,
        more_fragments: fragment & 0x2000 != 0,
        dont_fragment: fragment & 0x4000 != 0,
        l4_whole: false,
        tcp_flags: TcpFlags(0),
        extensions: Extensions(0),
        sport: 0,
        dport: 0,
        icmp_type: 0,
        icmp_code: 0,
    };
    headers.parse_transport(packet);
    Ok(headers)
}

#[inline(always)]
fn parse_v6(packet: &[u8]) -> Result<Headers, Malformed> {
    let Some(fixed) = packet.first_chunk::<40>() else {
        return Err(Malformed::Truncated);
    };
    let len = usize::from(be16(fixed, 4)) + 40;
    if len > packet.len() || len > usize::from(u16::MAX) {
        return Err(Malformed::TotalLength);
    }
    let mut headers = Headers {
        family: Family::V6,
        protocol: fixed[6],
        tos: fixed[0] << 4 | fixed[1] >> 4,
        ttl: fixed[7],
        src: Addr::read(&fixed[8..24]),
        dst: Addr::read(&fixed[24..40]),
        l4: 40,
        len: len as u16,
        fragment_offset: 0,
        more_fragments: false,
        dont_fragment: false,
        l4_whole: false,
        tcp_flags: TcpFlags(0),
        extensions: Extensions(0),
        sport: 0,
        dport: 0,
        icmp_type: 0,
        icmp_code: 0,
    };
    headers.skip_extensions(&packet[..len]);
    headers.parse_transport(packet);
    Ok(headers)
}

#[inline(always)]
fn has_whole_hop_by_hop(packet: &[u8]) -> bool {
    packet[6] != number::HOP_BY_HOP
        || packet
            .get(41)
            .is_some_and(|&length| packet.len() >= 48 + usize::from(length) * 8)
}

impl Headers {
    /// Walks the IPv6 extension headers, as the kernel's `ipv6_find_hdr` does: a header may be longer than the packet, and what
    /// it says comes next then has no byte left. A chain that is cut short ends with the header that could not be read as the
    /// protocol, with [`Headers::l4`] at its place.
    fn skip_extensions(&mut self, packet: &[u8]) {
        loop {
            let at = usize::from(self.l4);
            let bit = match self.protocol {
                number::HOP_BY_HOP => Extensions::HOP_BY_HOP,
                number::ROUTING => Extensions::ROUTING,
                number::DESTINATION => Extensions::DESTINATION,
                number::FRAGMENT => Extensions::FRAGMENT,
                number::AH => Extensions::AH,
                _ => return,
            };
            // A fragment header is read up to the offset.
            let needed = if self.protocol == number::FRAGMENT { 4 } else { 2 };
            let Some(header) = packet.get(at..).filter(|header| header.len() >= needed) else {
                return;
            };
            if self.protocol == number::ROUTING && header.len() < 4 {
                self.extensions.0 |= Extensions::CUT_ROUTING;
            }
            let length = match self.protocol {
                number::FRAGMENT => {
                    let word = be16(header, 2);
                    self.fragment_offset = word & 0xfff8;
                    self.more_fragments = word & 1 != 0;
                    8
                }
                number::AH => (usize::from(header[1]) + 2) * 4,
                _ => (usize::from(header[1]) + 1) * 8,
            };
            self.extensions.0 |= bit;
            self.protocol = header[0];
            self.l4 = (at + length).min(packet.len()) as u16;
            if self.fragment_offset != 0 {
                return;
            }
        }
    }

    #[inline(always)]
    fn parse_transport(&mut self, packet: &[u8]) {
        if self.fragment_offset != 0 {
            return;
        }
        let bytes = self.transport(packet);
        let (need, ports) = match self.protocol {
            number::TCP => (20, true),
            number::UDP | number::UDPLITE => (8, true),
            number::SCTP | number::DCCP => (12, true),
            number::ICMP | number::ICMPV6 => (8, false),
            number::GRE => (4, false),
            _ => return,
        };
        self.l4_whole = bytes.len() >= need;
        if ports {
            let Some(first) = bytes.first_chunk::<4>() else {
                return;
            };
            self.sport = u16::from_be_bytes([first[0], first[1]]);
            self.dport = u16::from_be_bytes([first[2], first[3]]);
            if self.protocol == number::TCP && bytes.len() >= 14 {
                self.tcp_flags = TcpFlags(bytes[13]);
            }
        } else if let Some(first) = bytes.first_chunk::<2>()
            && self.protocol != number::GRE
        {
            (self.icmp_type, self.icmp_code) = (first[0], first[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0x10, 0, 0, 0, 7, 0, 0, 63, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet.extend_from_slice(payload);
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        let check = crate::checksum::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        packet
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x61, 0x20, 0, 0];
        packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[next, 64]);
        packet.extend_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend_from_slice(&"2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn reads_udp_in_both_families() {
        let udp = [0x04, 0xd2, 0x00, 0x35, 0, 8, 0, 0];
        let headers = Headers::receive(&v4(number::UDP, 0x4000, &udp)).unwrap();
        assert_eq!((headers.sport, headers.dport, headers.l4), (1234, 53, 20));
        assert_eq!((headers.tos, headers.ttl, headers.len), (0x10, 63, 28));
        assert_eq!(headers.src, Addr::from(Ipv4Addr::new(10, 0, 0, 1)));
        assert!(headers.dont_fragment && !headers.is_fragment() && headers.l4_whole);

        let headers = Headers::receive(&v6(number::UDP, &udp)).unwrap();
        assert_eq!((headers.sport, headers.dport, headers.l4), (1234, 53, 40));
        assert_eq!((headers.tos, headers.ttl, headers.len), (0x12, 64, 48));
    }

    #[test]
    fn walks_extension_headers() {
        let mut payload = vec![number::FRAGMENT, 0, 1, 4, 0, 0, 0, 0]; // hop-by-hop: PadN
        payload.extend_from_slice(&[number::TCP, 0, 0, 1, 0, 0, 0, 9]); // first fragment
        payload.extend_from_slice(&[0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
        let headers = Headers::parse(&v6(number::HOP_BY_HOP, &payload)).unwrap();
        assert_eq!((headers.protocol, headers.l4), (number::TCP, 56));
        assert_eq!((headers.sport, headers.dport), (80, 81));
        assert!(headers.more_fragments && headers.l4_whole);
        assert_eq!(headers.tcp_flags, TcpFlags(TcpFlags::SYN | TcpFlags::ACK));
        assert_eq!(headers.extensions.0, Extensions::HOP_BY_HOP | Extensions::FRAGMENT);
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let headers = Headers::parse(&v4(number::UDP, 1, &[1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
        assert_eq!((headers.sport, headers.dport, headers.fragment_offset), (0, 0, 8));
        assert!(headers.is_later_fragment() && !headers.l4_whole);
    }

    #[test]
    fn refuses_what_the_kernel_refuses() {
        let good = v4(number::UDP, 0, &[0; 8]);
        assert_eq!(Headers::parse(&[]), Err(Malformed::Truncated));
        assert_eq!(Headers::parse(&good[..19]), Err(Malformed::Truncated));
        assert_eq!(Headers::parse(&good[..27]), Err(Malformed::TotalLength));
        assert_eq!(Headers::parse(&[0x55; 40]), Err(Malformed::Version));
        let mut short_header = good.clone();
        short_header[0] = 0x44;
        assert_eq!(Headers::parse(&short_header), Err(Malformed::HeaderLength));
        // Hop-by-hop options of 16 bytes, of which 15 are there.
        let options = [number::UDP, 1, 5, 2, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(Headers::receive(&v6(number::HOP_BY_HOP, &options)).is_ok());
        let short = v6(number::HOP_BY_HOP, &options[..15]);
        assert_eq!(Headers::receive(&short), Err(Malformed::HeaderLength));
        assert!(Headers::parse(&short).is_ok());
        let mut bad_sum = good.clone();
        bad_sum[10] ^= 1;
        assert_eq!(Headers::receive(&bad_sum), Err(Malformed::Checksum));
        assert!(Headers::receive(&good).is_ok());
    }
}
