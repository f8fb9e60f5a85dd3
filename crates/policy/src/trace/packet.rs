//! Packets made for a question, answers to packets, and packets in words.

use std::fmt;
use std::net::IpAddr;

use fielato_gateway::trace::Summary;
use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Family, Headers, TcpFlags, number};
use serde::Serialize;

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp {
        sport: u16,
        dport: u16,
    },
    Udp {
        sport: u16,
        dport: u16,
    },
    Sctp {
        sport: u16,
        dport: u16,
    },
    /// The echo request when no type is said.
    Icmp {
        kind: Option<u8>,
        code: u8,
    },
    Other {
        protocol: u8,
    },
}

/// What a ping carries unless told otherwise (`man 8 ping`, -s).
const PING_PAYLOAD: usize = 56;
/// The first bytes of some conversation.
const PAYLOAD: &[u8] = &[0; 100];

impl Transport {
    /// An echo request, in whichever family.
    pub const PING: Transport = Transport::Icmp { kind: None, code: 0 };

    pub const fn tcp(dport: u16) -> Transport {
        Transport::Tcp { sport: 0, dport }
    }

    pub const fn udp(dport: u16) -> Transport {
        Transport::Udp { sport: 0, dport }
    }

    pub const fn sctp(dport: u16) -> Transport {
        Transport::Sctp { sport: 0, dport }
    }

    pub const fn with_source(self, sport: u16) -> Transport {
        match self {
            Transport::Tcp { sport: _, dport } => Transport::Tcp { sport, dport },
            Transport::Udp { sport: _, dport } => Transport::Udp { sport, dport },
            Transport::Sctp { sport: _, dport } => Transport::Sctp { sport, dport },
            other => other,
        }
    }

    /// With the echo request's number in the destination's family.
    pub const fn in_family(self, destination: IpAddr) -> Transport {
        match self {
            Transport::Icmp { kind: None, code } => Transport::Icmp {
                kind: Some(if destination.is_ipv4() { 8 } else { 128 }),
                code,
            },
            other => other,
        }
    }

    /// A packet; of a conversation the one with this number, 0 the first.
    pub fn packet(self, source: IpAddr, destination: IpAddr, place: u16) -> Option<Vec<u8>> {
        let ip = Ip::between(source, destination)?;
        Some(match self {
            Transport::Tcp { sport, dport } if place == 0 => {
                // What Linux sends: MSS, SACK permitted, time stamps, window scale.
                let options = [2, 4, 5, 0x64, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
                ip.tcp(&Tcp::new(sport, dport).syn().seq(1000).options(options))
            }
            Transport::Tcp { sport, dport } => {
                let flags = TcpFlags::ACK | TcpFlags::PSH;
                ip.tcp(&Tcp::new(sport, dport).flags(flags).seq(1001).ack(5001).payload(PAYLOAD))
            }
            Transport::Udp { sport, dport } => ip.udp(sport, dport, PAYLOAD),
            Transport::Sctp { sport, dport } if place == 0 => ip.sctp(sport, dport, 0, &init(SCTP_INIT, SCTP_FIRST)),
            Transport::Sctp { sport, dport } => ip.sctp(sport, dport, SCTP_SECOND, &SCTP_DATA),
            Transport::Icmp { kind, code } => {
                let rest = 1 << 16 | u32::from(place.wrapping_add(1));
                ip.icmp(kind.unwrap_or(8), code, rest, &[0; PING_PAYLOAD])
            }
            Transport::Other { protocol } => ip.packet(protocol, PAYLOAD),
        })
    }
}

// RFC 9260 §3.2: types of chunks.
const SCTP_INIT: u8 = 1;
const SCTP_INIT_ACK: u8 = 2;
/// The tags of who begins and of who answers.
const SCTP_FIRST: u32 = 1;
const SCTP_SECOND: u32 = 2;
/// A DATA chunk of four bytes (RFC 9260 §3.3.1).
const SCTP_DATA: [u8; 20] = [0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// A SACK of it (§3.3.4).
const SCTP_SACK: [u8; 16] = [3, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0];
/// A COOKIE ECHO (§3.3.11).
const SCTP_COOKIE_ECHO: [u8; 8] = [10, 0, 0, 8, 0, 0, 0, 0];

/// An INIT or INIT ACK: its tag, a window, one stream each way, the first number (RFC 9260 §3.3.2).
const fn init(kind: u8, tag: u32) -> [u8; 20] {
    [kind, 0, 0, 20, 0, 0, 0, tag as u8, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]
}

/// What the receiver of `packet` would answer; `None` for what is not answered.
pub(crate) fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let headers = Headers::parse(packet).ok()?;
    let to_ip = |address: fielato_wire::Addr| address.to_ip(headers.family);
    let ip = Ip::between(to_ip(headers.dst), to_ip(headers.src))?;
    let transport = headers.transport(packet);
    let word = |at: usize| Some(u32::from_be_bytes(*transport.get(at..)?.first_chunk()?));
    match headers.protocol {
        number::TCP => {
            let (sequence, acknowledged, flags) = (word(4)?, word(8)?, headers.tcp_flags);
            if flags.has(TcpFlags::RST) {
                return None;
            }
            let tcp = Tcp::new(headers.dport, headers.sport);
            let tcp = if flags.has(TcpFlags::SYN) {
                tcp.syn().seq(5000).ack(sequence.wrapping_add(1))
            } else {
                let header = usize::from(transport.get(12)? >> 4) * 4;
                let payload = transport.len().saturating_sub(header) as u32;
                tcp.flags(TcpFlags::ACK).seq(acknowledged).ack(sequence.wrapping_add(payload))
            };
            Some(ip.tcp(&tcp))
        }
        number::UDP => Some(ip.udp(headers.dport, headers.sport, PAYLOAD)),
        number::SCTP => {
            let first = transport.get(12) == Some(&SCTP_INIT);
            let ack = init(SCTP_INIT_ACK, SCTP_SECOND);
            let chunk: &[u8] = if first { &ack } else { &SCTP_SACK };
            Some(ip.sctp(headers.dport, headers.sport, SCTP_FIRST, chunk))
        }
        number::ICMP if headers.icmp_type == 8 => Some(ip.icmp(0, 0, word(4)?, transport.get(8..)?)),
        number::ICMPV6 if headers.icmp_type == 128 => Some(ip.icmp(129, 0, word(4)?, transport.get(8..)?)),
        number::ICMP | number::ICMPV6 => None,
        protocol => Some(ip.packet(protocol, PAYLOAD)),
    }
}

/// The third packet of a connection of TCP or SCTP: what opens the way for the traced one.
pub(super) fn acknowledgement(first: &[u8]) -> Option<Vec<u8>> {
    let headers = Headers::parse(first).ok()?;
    let to_ip = |address: fielato_wire::Addr| address.to_ip(headers.family);
    let ip = Ip::between(to_ip(headers.src), to_ip(headers.dst))?;
    match headers.protocol {
        number::TCP => {
            let tcp = Tcp::new(headers.sport, headers.dport).flags(TcpFlags::ACK);
            Some(ip.tcp(&tcp.seq(1001).ack(5001)))
        }
        number::SCTP => Some(ip.sctp(headers.sport, headers.dport, SCTP_SECOND, &SCTP_COOKIE_ECHO)),
        _ => None,
    }
}

/// A packet in a person's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6` or the protocol's number.
    pub protocol: String,
    /// Source port, where there are ports.
    pub source_port: Option<u16>,
    /// Destination port, where there are ports.
    pub destination_port: Option<u16>,
    /// `SYN`, `echo request`: what it does in its protocol.
    pub role: Option<String>,
    /// Bytes, from the IP header.
    pub length: usize,
    /// What these bytes are, from the outside in; empty where only a summary is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// A header of a packet, or its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// `IPv4`, `TCP`, `data`.
    pub name: &'static str,
    /// Bytes.
    pub length: usize,
}

impl Shown {
    /// `None` when it is no IP packet.
    pub(super) fn of(packet: &[u8]) -> Option<Shown> {
        let headers = Headers::parse(packet).ok()?;
        let ports = matches!(headers.protocol, number::TCP | number::UDP | number::SCTP) && headers.l4_whole;
        Some(Shown {
            source: headers.src.to_ip(headers.family),
            destination: headers.dst.to_ip(headers.family),
            protocol: protocol(headers.protocol),
            source_port: ports.then_some(headers.sport),
            destination_port: ports.then_some(headers.dport),
            role: role(&headers),
            length: packet.len(),
            layers: layers(&headers, packet),
        })
    }
}

fn layers(headers: &Headers, packet: &[u8]) -> Vec<Layer> {
    let transport = headers.transport(packet);
    let (name, length) = match headers.protocol {
        _ if !headers.l4_whole => ("", 0),
        number::TCP => ("TCP", transport.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4)),
        number::UDP => ("UDP", 8),
        number::SCTP => ("SCTP", 12),
        number::ICMP => ("ICMP", 8),
        number::ICMPV6 => ("ICMPv6", 8),
        _ => ("", 0),
    };
    let ip = match headers.family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let all = [
        (ip, packet.len() - transport.len().min(packet.len())),
        (name, length.min(transport.len())),
        ("data", transport.len().saturating_sub(length)),
    ];
    let some = all.into_iter().filter(|(_, length)| *length > 0);
    some.map(|(name, length)| Layer { name, length }).collect()
}

impl From<&Summary> for Shown {
    fn from(summary: &Summary) -> Shown {
        let v4 = summary.source.is_ipv4();
        Shown {
            source: summary.source,
            destination: summary.destination,
            protocol: protocol(summary.protocol),
            source_port: summary.source_port,
            destination_port: summary.destination_port,
            role: summary.icmp.map(|(kind, code)| icmp(v4, kind, code)),
            length: summary.length as usize,
            layers: Vec::new(),
        }
    }
}

fn protocol(protocol: u8) -> String {
    match protocol {
        number::TCP => "tcp".into(),
        number::UDP => "udp".into(),
        number::SCTP => "sctp".into(),
        number::ICMP => "icmp".into(),
        number::ICMPV6 => "icmpv6".into(),
        other => format!("protocol {other}"),
    }
}

fn role(headers: &Headers) -> Option<String> {
    if !headers.l4_whole {
        return None;
    }
    match headers.protocol {
        number::TCP => {
            const NAMES: [(u8, &str); 5] = [
                (TcpFlags::SYN, "SYN"),
                (TcpFlags::FIN, "FIN"),
                (TcpFlags::RST, "RST"),
                (TcpFlags::PSH, "PSH"),
                (TcpFlags::ACK, "ACK"),
            ];
            let set = NAMES.iter().filter(|(bit, _)| headers.tcp_flags.has(*bit));
            let names: Vec<&str> = set.map(|(_, name)| *name).collect();
            (!names.is_empty()).then(|| names.join(" "))
        }
        number::ICMP | number::ICMPV6 => {
            let v4 = headers.family == Family::V4;
            Some(icmp(v4, headers.icmp_type, headers.icmp_code))
        }
        _ => None,
    }
}

fn icmp(v4: bool, kind: u8, code: u8) -> String {
    match (v4, kind, code) {
        (true, 8, _) | (false, 128, _) => "echo request".into(),
        (true, 0, _) | (false, 129, _) => "echo reply".into(),
        (true, 3, 13) | (false, 1, 1) => "administratively prohibited".into(),
        (true, 3, 4) | (false, 2, _) => "too big".into(),
        (true, 3, _) | (false, 1, _) => "unreachable".into(),
        (true, 11, _) | (false, 3, _) => "time exceeded".into(),
        (_, kind, code) => format!("type {kind} code {code}"),
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |address: IpAddr, port: Option<u16>| match port {
            Some(port) => std::net::SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        };
        let (from, to) = (
            end(self.source, self.source_port),
            end(self.destination, self.destination_port),
        );
        write!(f, "{} {from} > {to}", self.protocol)?;
        if let Some(role) = &self.role {
            write!(f, " {role}")?;
        }
        write!(f, ", {} bytes", self.length)
    }
}
