//! Packets as lines of text, in the grammar of the netfilter test suite's `gen_ip`, for both families:
//!
//! ```text
//! [FRAG=offset,length] [MF] [DF] [MAC=xx:xx:xx:xx:xx:xx] [TOS=n] [TTL=n] [ID=n] [BADIPSUM] [BADSUM]
//! SOURCE DESTINATION LENGTH PROTOCOL and then, by protocol,
//!     17, 136, 132   sport dport [DATA]
//!     33             sport dport type [DATA]
//!     1, 58          type code [id seq] [[ LINE OF THE QUOTED PACKET ]] [DATA]
//!     6              sport dport flags [OPT=option,…] [SYN=seq] [ACK=ack] [WIN=n] [DATA]
//!     another        [DATA]
//! ```
//!
//! Length is the whole packet's with its IP header; 0 means as long as headers and data need. A packet longer than these is filled
//! with zeros, a shorter one is cut. Flags are joined by `/` (`SYN/ACK`), or `NONE`. TCP options are `mss:1460`, `wscale:7`, `sackok`,
//! `ts:1:2`, `nop`, `eol`, a number with hexadecimal data (`8:0102`) or without. `FRAG` makes the packet and takes `length` bytes of its
//! payload from `offset` on; offset is a multiple of 8.
//!
//! A [`Line`] is printed by `Display` and parsed by `FromStr`; one is the inverse of the other.

mod options;
mod parse;
mod print;

use std::net::IpAddr;

pub use parse::TextError;

use crate::build::{Dccp, Extension, Ip, Tcp};
use crate::{Addr, Family, Headers, Malformed, TcpFlags, checksum, number};

/// TTL of a line that names none.
pub const DEFAULT_TTL: u8 = 64;

/// A packet in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `FRAG=`: offset and length of the piece of the payload that the packet carries.
    pub fragment: Option<(u16, u16)>,
    /// `MF`: more fragments follow.
    pub more_fragments: bool,
    /// `DF` (IPv4).
    pub dont_fragment: bool,
    /// `MAC=`: Ethernet source address.
    pub mac: Option<[u8; 6]>,
    /// `TOS=`.
    pub tos: u8,
    /// `TTL=`.
    pub ttl: u8,
    /// `ID=`: IPv4 identification, or that of the IPv6 fragment header.
    pub id: u32,
    /// `BADIPSUM`: the IPv4 header's checksum is wrong.
    pub bad_ip_sum: bool,
    /// `BADSUM`: the transport's checksum is wrong.
    pub bad_sum: bool,
    /// Source, in the family of the packet.
    pub src: IpAddr,
    /// Destination, of the same family.
    pub dst: IpAddr,
    /// Length of the packet.
    pub length: u16,
    /// Protocol.
    pub protocol: u8,
    /// What the protocol says.
    pub body: Body,
    /// `DATA`: the payload comes from elsewhere, or goes there.
    pub data: bool,
}

/// The transport part of a [`Line`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing: another protocol, or a fragment that has no transport header.
    None,
    /// UDP, UDP-Lite, SCTP.
    Ports {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// DCCP.
    Dccp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Packet type.
        kind: u8,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier and sequence number of an echo; other messages have none.
        echo: Option<(u16, u16)>,
        /// What an error quotes.
        quoted: Option<Box<Line>>,
    },
    /// TCP; its payload is not here.
    Tcp(Tcp),
}

/// Whether messages of this type have an identifier and a sequence number: echo and its reply.
pub(crate) const fn is_echo(protocol: u8, kind: u8) -> bool {
    match protocol {
        number::ICMPV6 => matches!(kind, 128 | 129),
        _ => matches!(kind, 0 | 8),
    }
}

/// Whether messages of this type quote a packet.
pub(crate) const fn is_error(protocol: u8, kind: u8) -> bool {
    match protocol {
        number::ICMPV6 => kind < 128,
        _ => matches!(kind, 3 | 4 | 5 | 11 | 12),
    }
}

/// The window of a segment that names none: a reset has 0.
pub(crate) const fn default_window(flags: TcpFlags) -> u16 {
    if flags.has(TcpFlags::RST) { 0 } else { u16::MAX }
}

impl Line {
    /// What a line without further words says: a packet of `protocol`, as short as it can be.
    pub fn new(src: IpAddr, dst: IpAddr, protocol: u8) -> Line {
        Line {
            fragment: None,
            more_fragments: false,
            dont_fragment: false,
            mac: None,
            tos: 0,
            ttl: DEFAULT_TTL,
            id: 0,
            bad_ip_sum: false,
            bad_sum: false,
            src,
            dst,
            length: 0,
            protocol,
            body: Body::None,
            data: false,
        }
    }

    /// The packet, with `data` as the payload.
    ///
    /// # Errors
    /// [`TextError::Families`] when source and destination differ in it, [`TextError::Fragment`] when the piece lies outside the
    /// payload, [`TextError::Length`] when the length is less than the IP header's.
    pub fn build(&self, data: &[u8]) -> Result<Vec<u8>, TextError> {
        let mut ip = Ip::between(self.src, self.dst)
            .ok_or(TextError::Families)?
            .tos(self.tos)
            .ttl(self.ttl);
        if ip.family == Family::V4 {
            ip.id = self.id;
            ip.dont_fragment = self.dont_fragment;
        }
        let header_len = ip.header_len();
        let room = match usize::from(self.length) {
            0 => None,
            length => Some(length.checked_sub(header_len).ok_or(TextError::Length {
                length: self.length,
                header: header_len,
            })?),
        };
        let mut transport = self.transport(&ip, data, room)?;
        if self.bad_sum
            && let Some(at) = sum_offset(self.protocol)
            && let Some(byte) = transport.get_mut(at)
        {
            *byte ^= 0x55;
        }
        let mut packet = match self.fragment {
            Some((offset, length)) => self.piece(ip, &transport, offset, length)?,
            None => {
                ip.more_fragments = self.more_fragments;
                ip.packet(self.protocol, &transport)
            }
        };
        if self.bad_ip_sum && self.src.is_ipv4() {
            packet[10] ^= 0x55;
        }
        Ok(packet)
    }

    /// The transport part, as long as the line says.
    fn transport(&self, ip: &Ip, data: &[u8], room: Option<usize>) -> Result<Vec<u8>, TextError> {
        let quoted = match &self.body {
            Body::Icmp { quoted: Some(line), .. } => line.build(&[])?,
            _ => Vec::new(),
        };
        let make = |payload: &[u8]| {
            let packet = match &self.body {
                Body::None => return payload.to_vec(),
                Body::Ports { sport, dport } => match self.protocol {
                    number::SCTP => ip.sctp(*sport, *dport, 0, payload),
                    number::UDPLITE => ip.udplite(*sport, *dport, 0, payload),
                    _ => ip.udp(*sport, *dport, payload),
                },
                Body::Dccp { sport, dport, kind } => {
                    let mut dccp = Dccp::new(*kind, *sport, *dport);
                    dccp.payload = payload.to_vec();
                    ip.dccp(&dccp)
                }
                Body::Icmp { kind, code, echo, .. } => {
                    let (id, seq) = echo.unwrap_or_default();
                    ip.icmp(*kind, *code, u32::from(id) << 16 | u32::from(seq), payload)
                }
                Body::Tcp(tcp) => ip.tcp(&tcp.clone().payload(payload)),
            };
            packet.get(ip.header_len()..).unwrap_or_default().to_vec()
        };
        let mut payload = [&quoted, data].concat();
        if let Some(room) = room {
            let header = make(&[]).len();
            payload.resize(room.saturating_sub(header), 0);
        }
        let mut transport = make(&payload);
        transport.truncate(room.unwrap_or(usize::MAX));
        Ok(transport)
    }

    fn piece(&self, mut ip: Ip, transport: &[u8], offset: u16, length: u16) -> Result<Vec<u8>, TextError> {
        let (from, to) = (usize::from(offset), usize::from(offset) + usize::from(length));
        let piece = transport.get(from..to).filter(|_| offset.is_multiple_of(8));
        let piece = piece.ok_or(TextError::Fragment { offset, length })?;
        match ip.family {
            Family::V4 => {
                ip.fragment_offset = offset;
                ip.more_fragments = self.more_fragments;
            }
            Family::V6 => ip.extensions.push(Extension::Fragment {
                offset,
                more: self.more_fragments,
                id: self.id,
            }),
        }
        Ok(ip.packet(self.protocol, piece))
    }

    /// What a packet says, and its payload.
    ///
    /// A fragment is said by its `FRAG=`, with the length of a packet that would end where it ends. What the grammar has no words for
    /// (IPv4 options, other extension headers, the urgent pointer) is left out.
    ///
    /// # Errors
    /// [`Malformed`] when it is no IP packet. A wrong checksum is no error here but said.
    pub fn read(packet: &[u8]) -> Result<(Line, &[u8]), Malformed> {
        let headers = Headers::parse(packet)?;
        let mut line = Line::of(&headers, packet);
        if headers.family == Family::V4 {
            line.bad_ip_sum = checksum::checksum(&packet[..headers.ip_header_len()]) != 0;
        }
        let transport = headers.transport(packet);
        line.bad_sum = !headers.is_fragment() && headers.l4_whole && !sum_is_right(&headers, transport);
        let payload = line.read_body(&headers, transport);
        Ok((line, payload))
    }

    /// What a quoted packet says. It may be cut anywhere behind its IP header, so checksums are not looked at.
    fn read_quoted(packet: &[u8]) -> Option<Line> {
        let total = match packet.first()? >> 4 {
            4 => usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?])),
            _ => usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?])) + 40,
        };
        let mut whole = packet.to_vec();
        whole.resize(total.max(packet.len()), 0);
        let headers = Headers::parse(&whole).ok()?;
        let mut line = Line::of(&headers, &whole);
        line.read_body(&headers, headers.transport(&whole));
        Some(line)
    }

    fn of(headers: &Headers, packet: &[u8]) -> Line {
        let (src, dst) = (headers.src.to_ip(headers.family), headers.dst.to_ip(headers.family));
        let carried = usize::from(headers.len) - headers.ip_header_len();
        let mut line = Line::new(src, dst, headers.protocol);
        line.tos = headers.tos;
        line.ttl = headers.ttl;
        line.more_fragments = headers.more_fragments;
        line.dont_fragment = headers.dont_fragment;
        line.length = headers.len;
        let id = match headers.family {
            Family::V4 => packet.get(4..6),
            // The identification is the fragment header's last word, and that header the last one.
            Family::V6 if headers.is_fragment() => packet.get(headers.ip_header_len() - 4..headers.ip_header_len()),
            Family::V6 => None,
        };
        line.id = id.unwrap_or_default().iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
        if headers.is_fragment() {
            line.fragment = Some((headers.fragment_offset, carried as u16));
            let end = headers.family.header_len() + usize::from(headers.fragment_offset) + carried;
            line.length = end.min(usize::from(u16::MAX)) as u16;
        }
        line
    }

    /// Reads the transport header and returns the payload.
    fn read_body<'a>(&mut self, headers: &Headers, transport: &'a [u8]) -> &'a [u8] {
        if headers.is_later_fragment() {
            return transport;
        }
        let mut head = [0; 60];
        let len = transport.len().min(head.len());
        head[..len].copy_from_slice(&transport[..len]);
        let be16 = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let be32 = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (sport, dport) = (be16(0), be16(2));
        let header_len;
        (self.body, header_len) = match self.protocol {
            number::UDP | number::UDPLITE => (Body::Ports { sport, dport }, 8),
            number::SCTP => (Body::Ports { sport, dport }, 12),
            number::DCCP => {
                let kind = head[8] >> 1 & 15;
                (Body::Dccp { sport, dport, kind }, usize::from(head[4]) * 4)
            }
            number::ICMP | number::ICMPV6 => {
                let (kind, code) = (head[0], head[1]);
                let echo = is_echo(self.protocol, kind).then(|| (be16(4), be16(6)));
                let about = transport.get(8..).filter(|_| is_error(self.protocol, kind));
                let quoted = about.and_then(Line::read_quoted).map(Box::new);
                let icmp = Body::Icmp {
                    kind,
                    code,
                    echo,
                    quoted,
                };
                (icmp, 8)
            }
            number::TCP => {
                let header_len = usize::from(head[12] >> 4) * 4;
                let mut tcp = Tcp::new(sport, dport).flags(head[13]).seq(be32(4));
                tcp.ack = be32(8);
                tcp.window = be16(14);
                tcp.options = options::without_padding(head.get(20..header_len).unwrap_or_default()).to_vec();
                (Body::Tcp(tcp), header_len.max(20))
            }
            _ => (Body::None, 0),
        };
        transport.get(header_len..).unwrap_or_default()
    }
}

impl Family {
    /// Bytes of the fixed IP header: 20 or 40.
    pub const fn header_len(self) -> usize {
        match self {
            Family::V4 => 20,
            Family::V6 => 40,
        }
    }
}

/// Where a protocol keeps its checksum.
const fn sum_offset(protocol: u8) -> Option<usize> {
    match protocol {
        number::TCP => Some(16),
        number::UDP | number::UDPLITE | number::DCCP => Some(6),
        number::ICMP | number::ICMPV6 => Some(2),
        number::SCTP => Some(8),
        _ => None,
    }
}

/// Whether the checksum of a whole transport part is right. UDP over IPv4 may have none.
fn sum_is_right(headers: &Headers, transport: &[u8]) -> bool {
    let Headers { src, dst, protocol, .. } = *headers;
    let pseudo = |src: Addr, dst: Addr| checksum::pseudo(src, dst, protocol, transport.len() as u32);
    let pseudo = match protocol {
        number::UDP if headers.family == Family::V4 && transport.get(6..8) == Some(&[0, 0]) => return true,
        number::SCTP => return checksum::sctp(transport).is_some_and(|check| check == transport[8..12]),
        number::TCP | number::UDP | number::ICMPV6 => pseudo(src, dst),
        number::ICMP => 0,
        // UDP-Lite and DCCP may leave a part of the packet uncovered, others have no checksum known here.
        _ => return true,
    };
    checksum::fold(pseudo + checksum::sum(transport)) == 0xffff
}
