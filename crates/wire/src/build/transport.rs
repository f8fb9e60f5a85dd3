//! Transports on an [`Ip`].

use super::Ip;
use crate::{Family, TcpFlags, checksum, number};

/// A TCP segment to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options as bytes; filled with zeros to a multiple of 4 and cut at 40.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Tcp {
    /// A segment without flags, with a window of 65,535.
    pub fn new(sport: u16, dport: u16) -> Tcp {
        Tcp {
            sport,
            dport,
            window: u16::MAX,
            ..Tcp::default()
        }
    }

    /// With these flag bits set, and no others.
    pub fn flags(self, bits: u8) -> Tcp {
        Tcp {
            flags: TcpFlags(bits),
            ..self
        }
    }

    /// With SYN alone.
    pub fn syn(self) -> Tcp {
        self.flags(TcpFlags::SYN)
    }

    /// With this sequence number.
    pub fn seq(self, seq: u32) -> Tcp {
        Tcp { seq, ..self }
    }

    /// With this acknowledgement number; sets ACK too.
    pub fn ack(mut self, ack: u32) -> Tcp {
        self.flags.0 |= TcpFlags::ACK;
        self.ack = ack;
        self
    }

    /// With this payload.
    pub fn payload(self, payload: impl Into<Vec<u8>>) -> Tcp {
        Tcp {
            payload: payload.into(),
            ..self
        }
    }

    /// With these options.
    pub fn options(self, options: impl Into<Vec<u8>>) -> Tcp {
        Tcp {
            options: options.into(),
            ..self
        }
    }

    fn emit(&self) -> Vec<u8> {
        let options = &self.options[..self.options.len().min(40)];
        let header_len = 20 + options.len().next_multiple_of(4);
        let mut segment = Vec::with_capacity(header_len + self.payload.len());
        segment.extend_from_slice(&self.sport.to_be_bytes());
        segment.extend_from_slice(&self.dport.to_be_bytes());
        segment.extend_from_slice(&self.seq.to_be_bytes());
        segment.extend_from_slice(&self.ack.to_be_bytes());
        segment.extend_from_slice(&[(header_len as u8 / 4) << 4, self.flags.0]);
        segment.extend_from_slice(&self.window.to_be_bytes());
        segment.extend_from_slice(&[0, 0]);
        segment.extend_from_slice(&self.urgent.to_be_bytes());
        segment.extend_from_slice(options);
        segment.resize(header_len, 0);
        segment.extend_from_slice(&self.payload);
        segment
    }
}

/// A DCCP packet to be, with 48-bit sequence numbers (RFC 4340 §5.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dccp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Type: 0 Request, 1 Response, 2 Data, 3 Ack, 4 DataAck, 5 CloseReq, 6 Close, 7 Reset, 8 Sync, 9 SyncAck.
    pub kind: u8,
    /// Sequence number, 48 bits.
    pub seq: u64,
    /// Acknowledgement number, 48 bits; left out of Request and Data.
    pub ack: u64,
    /// Service code of a Request or Response, reset code and data of a Reset; other types have none.
    pub code: u32,
    /// Options and data: all that follows.
    pub payload: Vec<u8>,
}

impl Dccp {
    /// A packet of a type.
    pub fn new(kind: u8, sport: u16, dport: u16) -> Dccp {
        Dccp {
            sport,
            dport,
            kind,
            ..Dccp::default()
        }
    }

    fn emit(&self) -> Vec<u8> {
        const REQUEST: u8 = 0;
        const RESPONSE: u8 = 1;
        const DATA: u8 = 2;
        const RESET: u8 = 7;
        let mut header = Vec::new();
        header.extend_from_slice(&self.sport.to_be_bytes());
        header.extend_from_slice(&self.dport.to_be_bytes());
        // Data offset set below; CCVal and checksum coverage 0: all of the packet is covered.
        header.extend_from_slice(&[0, 0, 0, 0]);
        // Type, and the bit X for 48-bit sequence numbers.
        header.extend_from_slice(&[(self.kind & 15) << 1 | 1, 0]);
        header.extend_from_slice(&self.seq.to_be_bytes()[2..]);
        if !matches!(self.kind, REQUEST | DATA) {
            header.extend_from_slice(&[0, 0]);
            header.extend_from_slice(&self.ack.to_be_bytes()[2..]);
        }
        if matches!(self.kind, REQUEST | RESPONSE | RESET) {
            header.extend_from_slice(&self.code.to_be_bytes());
        }
        header[4] = (header.len() / 4) as u8;
        header.extend_from_slice(&self.payload);
        header
    }
}

/// Puts `check` into `bytes` at `at`.
fn set16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

impl Ip {
    /// The packet of a transport that is checksummed under the pseudo header, with the checksum `at` its place.
    fn summed(&self, protocol: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        bytes.truncate(self.room());
        let check = checksum::transport(self.src, self.dst, protocol, &bytes);
        set16(&mut bytes, at, check);
        self.packet(protocol, &bytes)
    }

    /// Bytes of payload that fit behind this header.
    fn room(&self) -> usize {
        usize::from(u16::MAX).saturating_sub(self.header_len())
    }

    /// UDP.
    pub fn udp(&self, sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
        let payload = &payload[..payload.len().min(self.room().saturating_sub(8))];
        let mut bytes = Vec::with_capacity(8 + payload.len());
        bytes.extend_from_slice(&sport.to_be_bytes());
        bytes.extend_from_slice(&dport.to_be_bytes());
        bytes.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(payload);
        self.summed(number::UDP, bytes, 6)
    }

    /// UDP-Lite (RFC 3828). `coverage` is the header's field: 0 covers all, else 8 or more bytes.
    pub fn udplite(&self, sport: u16, dport: u16, coverage: u16, payload: &[u8]) -> Vec<u8> {
        let payload = &payload[..payload.len().min(self.room().saturating_sub(8))];
        let mut bytes = Vec::with_capacity(8 + payload.len());
        bytes.extend_from_slice(&sport.to_be_bytes());
        bytes.extend_from_slice(&dport.to_be_bytes());
        bytes.extend_from_slice(&coverage.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(payload);
        let covered = match usize::from(coverage) {
            0 => bytes.len(),
            coverage => coverage.min(bytes.len()),
        };
        // RFC 3828 §3.1: the pseudo header has the length of the packet, not of what is covered; zero is sent as ones.
        let pseudo = checksum::pseudo(self.src, self.dst, number::UDPLITE, bytes.len() as u32);
        let check = match !checksum::fold(pseudo + checksum::sum(&bytes[..covered])) {
            0 => 0xffff,
            check => check,
        };
        set16(&mut bytes, 6, check);
        self.packet(number::UDPLITE, &bytes)
    }

    /// TCP.
    pub fn tcp(&self, tcp: &Tcp) -> Vec<u8> {
        self.summed(number::TCP, tcp.emit(), 16)
    }

    /// An ICMP message of this family: `rest` is the header's second word.
    pub fn icmp(&self, kind: u8, code: u8, rest: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + payload.len());
        bytes.extend_from_slice(&[kind, code, 0, 0]);
        bytes.extend_from_slice(&rest.to_be_bytes());
        bytes.extend_from_slice(payload);
        match self.family {
            Family::V4 => {
                bytes.truncate(self.room());
                let check = checksum::checksum(&bytes);
                set16(&mut bytes, 2, check);
                self.packet(number::ICMP, &bytes)
            }
            // RFC 4443 §2.3: under a pseudo header.
            Family::V6 => self.summed(number::ICMPV6, bytes, 2),
        }
    }

    /// An echo request.
    pub fn echo_request(&self, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
        let kind = match self.family {
            Family::V4 => 8,
            Family::V6 => 128,
        };
        self.icmp(kind, 0, u32::from(id) << 16 | u32::from(seq), payload)
    }

    /// An echo reply.
    pub fn echo_reply(&self, id: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
        let kind = match self.family {
            Family::V4 => 0,
            Family::V6 => 129,
        };
        self.icmp(kind, 0, u32::from(id) << 16 | u32::from(seq), payload)
    }

    /// An ICMP error about `packet`, quoting as much of it as the kernel does: up to 576 bytes in all for IPv4 (RFC 1812
    /// §4.3.2.3), up to 1,280 for IPv6 (RFC 4443 §2.4 c). `rest` is the MTU, the pointer or 0.
    pub fn icmp_error(&self, kind: u8, code: u8, rest: u32, packet: &[u8]) -> Vec<u8> {
        let most = match self.family {
            Family::V4 => 576,
            Family::V6 => 1280,
        };
        let room = usize::saturating_sub(most, self.header_len() + 8);
        self.icmp(kind, code, rest, &packet[..packet.len().min(room)])
    }

    /// SCTP with its CRC32c; `chunks` are bytes.
    pub fn sctp(&self, sport: u16, dport: u16, tag: u32, chunks: &[u8]) -> Vec<u8> {
        let chunks = &chunks[..chunks.len().min(self.room().saturating_sub(12))];
        let mut bytes = Vec::with_capacity(12 + chunks.len());
        bytes.extend_from_slice(&sport.to_be_bytes());
        bytes.extend_from_slice(&dport.to_be_bytes());
        bytes.extend_from_slice(&tag.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(chunks);
        let crc = checksum::crc32c(&bytes);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        self.packet(number::SCTP, &bytes)
    }

    /// DCCP.
    pub fn dccp(&self, dccp: &Dccp) -> Vec<u8> {
        self.summed(number::DCCP, dccp.emit(), 6)
    }

    /// GRE (RFC 2784, with the key of RFC 2890 when given); `protocol` is an Ethernet type.
    pub fn gre(&self, protocol: u16, key: Option<u32>, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + payload.len());
        bytes.extend_from_slice(&[if key.is_some() { 0x20 } else { 0 }, 0]);
        bytes.extend_from_slice(&protocol.to_be_bytes());
        if let Some(key) = key {
            bytes.extend_from_slice(&key.to_be_bytes());
        }
        bytes.extend_from_slice(payload);
        self.packet(number::GRE, &bytes)
    }

    /// GRE as PPTP uses it (RFC 2637 §4.1): version 1, the call's number, no sequence numbers.
    pub fn gre_pptp(&self, call: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + payload.len());
        bytes.extend_from_slice(&[0x20, 0x01, 0x88, 0x0b]);
        bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&call.to_be_bytes());
        bytes.extend_from_slice(payload);
        self.packet(number::GRE, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Headers, Malformed};
    use std::net::Ipv6Addr;

    fn both() -> [Ip; 2] {
        let (src, dst): (Ipv6Addr, Ipv6Addr) = ("2001:db8::1".parse().unwrap(), "2001:db8:1::2".parse().unwrap());
        [Ip::v4([10, 0, 0, 1], [10, 0, 1, 2]), Ip::v6(src, dst)]
    }

    /// The sum over a transport with a right checksum is all ones.
    fn sum_is_right(packet: &[u8]) -> bool {
        let headers = Headers::receive(packet).unwrap();
        let bytes = headers.transport(packet);
        let pseudo = match headers.protocol {
            number::ICMP => 0,
            protocol => checksum::pseudo(headers.src, headers.dst, protocol, bytes.len() as u32),
        };
        checksum::fold(pseudo + checksum::sum(bytes)) == 0xffff
    }

    #[test]
    fn ports_flags_and_sums() {
        for ip in both() {
            let udp = ip.udp(1234, 53, b"odd");
            let headers = Headers::receive(&udp).unwrap();
            assert_eq!((headers.protocol, headers.sport, headers.dport), (number::UDP, 1234, 53));
            assert!(sum_is_right(&udp));

            let tcp = ip.tcp(
                &Tcp::new(1025, 80)
                    .syn()
                    .ack(99)
                    .seq(7)
                    .options([2, 4, 5, 0xb4, 1])
                    .payload("GET"),
            );
            let headers = Headers::receive(&tcp).unwrap();
            assert_eq!(headers.tcp_flags, TcpFlags(TcpFlags::SYN | TcpFlags::ACK));
            assert_eq!(headers.transport(&tcp).len(), 20 + 8 + 3);
            assert!(sum_is_right(&tcp) && headers.l4_whole);

            for kind in 0..10 {
                let dccp = ip.dccp(&Dccp::new(kind, 5, 6));
                let headers = Headers::receive(&dccp).unwrap();
                assert_eq!((headers.protocol, headers.sport, headers.dport), (number::DCCP, 5, 6));
                let bytes = headers.transport(&dccp);
                assert_eq!(usize::from(bytes[4]) * 4, bytes.len());
                assert!(sum_is_right(&dccp) && headers.l4_whole);
            }
            assert!(sum_is_right(&ip.udplite(1, 2, 0, b"all of it")));
        }
    }

    #[test]
    fn udplite_covers_what_it_says() {
        for ip in both() {
            let (one, other) = (ip.udplite(1, 2, 8, b"some"), ip.udplite(1, 2, 8, b"more"));
            let end = one.len() - 4;
            assert_eq!(one[..end], other[..end], "the payload is not covered");
        }
    }

    #[test]
    fn errors_quote() {
        for ip in both() {
            let long = ip.udp(1, 2, &[0; 1400]);
            let error = ip.reply().icmp_error(3, 1, 0, &long);
            let headers = Headers::receive(&error).unwrap();
            assert_eq!((headers.icmp_type, headers.icmp_code), (3, 1));
            assert_eq!(
                error.len(),
                match ip.family {
                    Family::V4 => 576,
                    Family::V6 => 1280,
                }
            );
            assert!(sum_is_right(&error));
            assert!(sum_is_right(&ip.echo_request(55, 57, &[0; 72])));
            assert!(sum_is_right(&ip.echo_reply(55, 57, b"")));
        }
    }

    #[test]
    fn sctp_and_gre() {
        for ip in both() {
            let sctp = ip.sctp(7, 8, 0xdead_beef, &[1, 0, 0, 4]);
            let headers = Headers::receive(&sctp).unwrap();
            assert_eq!((headers.protocol, headers.sport, headers.dport), (number::SCTP, 7, 8));
            let mut bytes = headers.transport(&sctp).to_vec();
            let crc = bytes[8..12].to_vec();
            bytes[8..12].fill(0);
            assert_eq!(crc, checksum::crc32c(&bytes).to_le_bytes());

            let gre = ip.gre(0x0800, Some(5), b"x");
            let headers = Headers::receive(&gre).unwrap();
            assert_eq!(headers.transport(&gre), [0x20, 0, 8, 0, 0, 0, 0, 5, b'x']);
            let gre = ip.gre_pptp(9, b"xy");
            let headers = Headers::receive(&gre).unwrap();
            assert_eq!(headers.transport(&gre), [0x20, 1, 0x88, 0x0b, 0, 2, 0, 9, b'x', b'y']);
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_right() {
        for ip in both() {
            let long = vec![1; 70_000];
            for packet in [
                ip.udp(1, 2, &long),
                ip.tcp(&Tcp::new(1, 2).payload(long.clone())),
                ip.icmp(8, 0, 0, &long),
            ] {
                assert_eq!(packet.len(), 65_535);
                assert!(sum_is_right(&packet));
            }
            assert_eq!(
                Headers::receive(&ip.sctp(1, 2, 3, &long)).map(|h| h.len),
                Ok::<_, Malformed>(65_535)
            );
        }
    }
}
