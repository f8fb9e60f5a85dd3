//! What the receiver of a packet sends back.

use fielato_wire::build::{Dccp, Ip, Tcp};
use fielato_wire::{Family, Headers, TcpFlags, number};

use super::start::{payload, sctp_init, syn_options};
use super::{Input, Traffic, ftp};
use crate::subject::{Output, Port};

/// The tag of one end of an SCTP association from the other's, so that nothing has to be remembered.
const SCTP_OTHER: u32 = 0x5a5a_5a5a;

impl Traffic {
    /// The receiver's answer; nothing when it has none.
    pub(super) fn reply(&mut self, output: &Output) -> Option<Input> {
        let headers = Headers::parse(&output.packet).ok()?;
        if headers.is_later_fragment() || !headers.l4_whole && headers.protocol != number::GRE {
            return None;
        }
        // Nobody answers from a group's or a broadcast's address.
        if headers.family == Family::V4 && (headers.dst.lo >= 0xe000_0000 || headers.dst.lo & 0xff == 0xff) {
            return None;
        }
        // Nor from the router's own, which IPv6 doesn't mind and then can't answer.
        if output.port != Port::Host && self.around.of(headers.family).local.contains(&headers.dst) {
            return None;
        }
        let mut ip = Ip::new(headers.family, headers.dst, headers.src);
        ip.dont_fragment = self.random.chance(50);
        let bytes = headers.transport(&output.packet);
        let packet = match headers.protocol {
            number::TCP => self.reply_tcp(output, &headers, bytes, &ip)?,
            number::UDP => {
                // A TFTP server answers from a port of its own.
                let from = if headers.dport == 69 { 40_069 } else { headers.dport };
                ip.udp(from, headers.sport, &payload(&mut self.random))
            }
            number::UDPLITE => ip.udplite(headers.dport, headers.sport, 8, &payload(&mut self.random)),
            number::ICMP | number::ICMPV6 => reply_icmp(&headers, bytes, &ip)?,
            number::SCTP => self.reply_sctp(&headers, bytes, &ip)?,
            number::DCCP => self.reply_dccp(&headers, bytes, &ip)?,
            number::GRE => ip.packet(number::GRE, bytes),
            other => ip.packet(other, bytes),
        };
        Some((output.port, packet))
    }

    fn reply_tcp(&mut self, output: &Output, headers: &Headers, bytes: &[u8], ip: &Ip) -> Option<Vec<u8>> {
        let flags = headers.tcp_flags;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let header_len = usize::from(bytes[12] >> 4) * 4;
        let received = bytes.get(header_len..).unwrap_or(&[]);
        let length = received.len() as u32 + u32::from(flags.has(TcpFlags::SYN)) + u32::from(flags.has(TcpFlags::FIN));
        let next = word(4).wrapping_add(length);
        let mine = if flags.has(TcpFlags::ACK) {
            word(8)
        } else {
            self.random.bits() as u32
        };
        let mut tcp = Tcp::new(headers.dport, headers.sport).seq(mine);
        tcp.window = *self.random.pick(&[65_535, 65_535, 5000, 500]);
        let random = &mut self.random;
        if flags.has(TcpFlags::RST) {
            return random.chance(10).then(|| ip.tcp(&tcp.syn()));
        }
        if flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK) {
            let tcp = match random.weighted(&[84, 8, 5]) {
                0 => {
                    tcp.options = syn_options(random);
                    tcp.flags(TcpFlags::SYN).ack(next)
                }
                1 => tcp.seq(0).flags(TcpFlags::RST).ack(next),
                _ => {
                    tcp.options = syn_options(random);
                    tcp.syn() // simultaneous open
                }
            };
            return Some(ip.tcp(&tcp));
        }
        let is_server = headers.dport == 21;
        if is_server || headers.sport == 21 {
            ftp::listen(self, output, headers, received);
        }
        let random = &mut self.random;
        let quiet = received.is_empty() && !flags.has(TcpFlags::SYN | TcpFlags::FIN);
        tcp.payload = match random.weighted(&[50, 40, 8, 2]) {
            0 if quiet && random.chance(50) => return None,
            0 => Vec::new(),
            1 if is_server || headers.sport == 21 => ftp::say(random, headers, received, is_server),
            1 => payload(random),
            2 => return Some(ip.tcp(&tcp.flags(TcpFlags::FIN).ack(next))),
            _ => return Some(ip.tcp(&tcp.flags(TcpFlags::RST).ack(next))),
        };
        let push = if tcp.payload.is_empty() { 0 } else { TcpFlags::PSH };
        Some(ip.tcp(&tcp.flags(push).ack(next)))
    }

    fn reply_sctp(&mut self, headers: &Headers, bytes: &[u8], ip: &Ip) -> Option<Vec<u8>> {
        const INIT: u8 = 1;
        let tag = u32::from_be_bytes(*bytes.get(4..8)?.first_chunk()?);
        let chunk = bytes.get(12..).filter(|chunk| chunk.len() >= 4)?;
        let random = &mut self.random;
        // Towards the other end goes the other end's tag; an INIT names its own inside.
        let (tag, chunk) = match chunk[0] {
            INIT => {
                let theirs = u32::from_be_bytes(*chunk.get(4..8)?.first_chunk()?);
                (theirs, sctp_init(2, theirs ^ SCTP_OTHER))
            }
            2 => (tag ^ SCTP_OTHER, vec![10, 0, 0, 8, 1, 2, 3, 4]),
            10 => (tag ^ SCTP_OTHER, vec![11, 0, 0, 4]),
            7 => (tag ^ SCTP_OTHER, vec![8, 0, 0, 4]),
            8 => (tag ^ SCTP_OTHER, vec![14, 0, 0, 4]),
            4 => (tag ^ SCTP_OTHER, [&[5][..], &chunk[1..]].concat()),
            _ => {
                let chunk = match random.below(6) {
                    0 => vec![4, 0, 0, 12, 0, 1, 0, 8, 9, 9, 9, 9],                         // HEARTBEAT
                    1 => vec![7, 0, 0, 8, 0, 0, 0, 1],                                      // SHUTDOWN
                    2 => vec![6, 0, 0, 4],                                                  // ABORT
                    3 => vec![3, 0, 0, 16, 0, 0, 0, 1, 0, 0, 9, 9, 0, 0, 0, 0],             // SACK
                    _ => vec![0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], // DATA
                };
                (tag ^ SCTP_OTHER, chunk)
            }
        };
        Some(ip.sctp(headers.dport, headers.sport, tag, &chunk))
    }

    fn reply_dccp(&mut self, headers: &Headers, bytes: &[u8], ip: &Ip) -> Option<Vec<u8>> {
        let kind = bytes.get(8)? >> 1 & 0x0f;
        let answer = match kind {
            0 => 1, // Request: Response
            1 => 3, // Response: Ack
            5 => 6, // CloseReq: Close
            6 => 7, // Close: Reset
            _ => *self.random.pick(&[2, 3, 4, 6, 8]),
        };
        let mut dccp = Dccp::new(answer, headers.dport, headers.sport);
        dccp.code = 42;
        Some(ip.dccp(&dccp))
    }

    /// An error about what came out of a port: from its receiver, or from a router behind the port.
    pub(super) fn icmp_error(&mut self, output: &Output) -> Option<Input> {
        let headers = Headers::parse(&output.packet).ok()?;
        let (random, around) = (&mut self.random, self.around.of(headers.family));
        let from = match output.port {
            Port::Host => headers.dst,
            port if random.chance(60) => *random.pick(around.hosts(port)),
            _ => headers.dst,
        };
        let kinds: &[(u8, u8, u32)] = match headers.family {
            Family::V4 => &[
                (3, 0, 0),
                (3, 1, 0),
                (3, 3, 0),
                (3, 4, 1400),
                (11, 0, 0),
                (12, 0, 0),
                (4, 0, 0),
                (5, 1, 0),
            ],
            Family::V6 => &[(1, 0, 0), (1, 3, 0), (1, 4, 0), (2, 0, 1400), (3, 0, 0), (4, 0, 40)],
        };
        // SNPT and DNPT look for the quoted packet behind the transport header, and in what a raw socket sends as it is the kernel
        // takes the IPv6 header for that (`rawv6_send_hdrinc`). Errors that the kernel makes itself don't have this flaw.
        if output.port == Port::Host && headers.family == Family::V6 && self.translates_prefixes {
            return None;
        }
        let (kind, code, rest) = *random.pick(kinds);
        let mut quoted = output.packet.clone();
        if random.chance(10) {
            quoted.truncate(headers.ip_header_len() + random.below(12));
        }
        let ip = Ip::new(headers.family, from, headers.src);
        Some((output.port, ip.icmp_error(kind, code, rest, &quoted)))
    }
}

fn reply_icmp(headers: &Headers, bytes: &[u8], ip: &Ip) -> Option<Vec<u8>> {
    let kind = match (headers.family, headers.icmp_type) {
        (Family::V4, 8) => 0,
        (Family::V4, 13) => 14,
        (Family::V6, 128) => 129,
        _ => return None,
    };
    let rest = u32::from_be_bytes(*bytes.get(4..8)?.first_chunk()?);
    Some(ip.icmp(kind, 0, rest, &bytes[8..]))
}
