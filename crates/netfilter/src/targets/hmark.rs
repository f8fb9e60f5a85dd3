//! `-j HMARK` (`xt_HMARK.c`).

use fielato_wire::{Addr, Family, Headers, number};

use crate::check::{CheckContext, CheckError};
use crate::conntrack::Direction;
use crate::context::{Context, Slot};
use crate::edit::{read16, read32};
use crate::jhash::jhash;
use crate::verdict::TargetVerdict;

/// `-j HMARK`: a mark by a hash of the flow, the same as the kernel's.
#[derive(Clone, Debug, PartialEq)]
pub struct Hmark(pub Box<Parameters>);

/// The parameters of `-j HMARK`. What is not given is left out of the hash.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// Bits of the source address.
    pub source_mask: Option<Addr>,
    /// Bits of the destination address.
    pub destination_mask: Option<Addr>,
    /// Bits of the source port.
    pub sport_mask: Option<u16>,
    /// Bits of the destination port.
    pub dport_mask: Option<u16>,
    /// Bits of the SPI of ESP and AH, which stands where ports do.
    pub spi_mask: Option<u32>,
    /// Bits set in the source port.
    pub sport: Option<u16>,
    /// Bits set in the destination port.
    pub dport: Option<u16>,
    /// Bits set in the SPI.
    pub spi: Option<u32>,
    /// Bits of the protocol.
    pub protocol_mask: Option<u16>,
    /// Start of the hash.
    pub seed: u32,
    /// The hash is scaled to 0 to this less one.
    pub modulus: u32,
    /// Added to it.
    pub offset: Option<u32>,
    /// The connection's tuples are hashed, not the packet's.
    pub conntrack: bool,
}

struct Flow {
    src: Addr,
    dst: Addr,
    ports: Option<u32>,
    protocol: u8,
}

impl Hmark {
    pub(crate) fn check(&self, _cx: &CheckContext<'_>) -> Result<(), CheckError> {
        let p = &*self.0;
        let refuse = |why: &str| Err(CheckError(format!("HMARK: {why}")));
        if p.modulus == 0 {
            return refuse("the modulus can't be 0");
        }
        if p.spi_mask.is_some() && (p.sport_mask.is_some() || p.dport_mask.is_some()) {
            return refuse("the SPI's mask and the ports' masks exclude each other");
        }
        if p.spi.is_some() && (p.sport.is_some() || p.dport.is_some()) {
            return refuse("the SPI and ports exclude each other");
        }
        Ok(())
    }

    pub(crate) fn apply(&self, cx: &mut Context<'_>, _slot: &mut Slot) -> TargetVerdict {
        let flow = match self.0.conntrack {
            true => of_connection(cx),
            false => of_packet(&cx.packet.headers, &cx.packet.data),
        };
        if let Some(flow) = flow {
            cx.packet.mark = self.0.mark(&flow);
        }
        TargetVerdict::Continue
    }
}

impl Parameters {
    fn mark(&self, flow: &Flow) -> u32 {
        let masked = |address: Addr, mask: Option<Addr>| fold(address.and(mask.unwrap_or(Addr::ZERO)));
        let (src, dst) = (masked(flow.src, self.source_mask), masked(flow.dst, self.destination_mask));
        let ports = flow.ports.map_or(0, |ports| self.ports(ports));
        let hash = jhash(&[src.min(dst), src.max(dst), ports], self.seed);
        let hash = hash ^ u32::from(flow.protocol) & u32::from(self.protocol_mask.unwrap_or(0));
        let scaled = (u64::from(hash) * u64::from(self.modulus)) >> 32;
        (scaled as u32).wrapping_add(self.offset.unwrap_or(0))
    }

    /// Ports masked and set, the larger one first.
    fn ports(&self, ports: u32) -> u32 {
        let pair = |src: Option<u16>, dst: Option<u16>| u32::from(src.unwrap_or(0)) << 16 | u32::from(dst.unwrap_or(0));
        let mask = self.spi_mask.unwrap_or_else(|| pair(self.sport_mask, self.dport_mask));
        let set = self.spi.unwrap_or_else(|| pair(self.sport, self.dport));
        let ports = ports & mask | set;
        let (src, dst) = (ports >> 16, ports & 0xffff);
        src.max(dst) << 16 | src.min(dst)
    }
}

/// The four words of an address, exclusive-ored; IPv4 has one.
const fn fold(address: Addr) -> u32 {
    (address.hi >> 32) as u32 ^ address.hi as u32 ^ (address.lo >> 32) as u32 ^ address.lo as u32
}

fn of_connection(cx: &Context<'_>) -> Option<Flow> {
    let conn = cx.conntrack.of(cx.packet)?;
    let (original, reply) = (conn.tuple(Direction::Original), conn.tuple(Direction::Reply));
    Some(Flow {
        src: original.src,
        dst: reply.src,
        ports: (original.protocol != number::ICMP).then_some(u32::from(original.sport) << 16 | u32::from(reply.sport)),
        protocol: original.protocol,
    })
}

/// The packet's, or that of the packet that an ICMP error is about; none when that is cut short.
fn of_packet(headers: &Headers, data: &[u8]) -> Option<Flow> {
    let packet = data.get(..usize::from(headers.len))?;
    match headers.family {
        Family::V4 => {
            let quoting = headers.protocol == number::ICMP && matches!(headers.icmp_type, 3 | 4 | 5 | 11 | 12);
            let quoted = packet.get(headers.ip_header_len() + 8..).filter(|_| quoting);
            flow_v4(quoted.unwrap_or(packet))
        }
        Family::V6 => {
            let Some(last) = last_header(packet) else {
                // A broken chain of headers is hashed as nothing at all.
                return Some(Flow {
                    src: Addr::ZERO,
                    dst: Addr::ZERO,
                    ports: None,
                    protocol: 0,
                });
            };
            let whole = last.protocol == number::ICMPV6 && !last.fragment && packet.len() >= last.at + 8;
            if whole && (1..128).contains(&headers.icmp_type) {
                let quoted = packet
                    .get(last.at + 8..)
                    .filter(|quoted| quoted.len() >= 40 && quoted[0] >> 4 == 6)?;
                return Some(flow_v6(quoted, &last_header(quoted)?));
            }
            Some(flow_v6(packet, &last))
        }
    }
}

fn flow_v4(packet: &[u8]) -> Option<Flow> {
    let header = packet.first_chunk::<20>()?;
    let address = |at: usize| Addr {
        hi: 0,
        lo: read32(packet, at).unwrap_or(0).into(),
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    Some(Flow {
        src: address(12),
        dst: address(16),
        ports: ports_at(packet, usize::from(header[0] & 15) * 4, header[9]).filter(|_| !fragment),
        protocol: header[9],
    })
}

/// The flow of an IPv6 packet, of which at least the fixed header is there.
fn flow_v6(packet: &[u8], last: &LastHeader) -> Flow {
    let address = |at: usize| packet.get(at..at + 16).map_or(Addr::ZERO, Addr::read);
    Flow {
        src: address(8),
        dst: address(24),
        ports: ports_at(packet, last.at, last.protocol).filter(|_| !last.fragment),
        protocol: last.protocol,
    }
}

fn ports_at(packet: &[u8], transport: usize, protocol: u8) -> Option<u32> {
    let place = match protocol {
        number::TCP | number::UDP | number::DCCP | number::ESP | number::SCTP | number::UDPLITE => 0,
        number::AH => 4,
        _ => return None,
    };
    read32(packet, transport + place)
}

/// What the extension headers of an IPv6 packet lead to.
struct LastHeader {
    protocol: u8,
    at: usize,
    /// There is a fragment header.
    fragment: bool,
}

/// The first header that is no extension, or the authentication header (`ipv6_find_hdr` with `IP6_FH_F_AUTH`).
fn last_header(packet: &[u8]) -> Option<LastHeader> {
    let mut last = LastHeader {
        protocol: *packet.get(6)?,
        at: 40,
        fragment: false,
    };
    loop {
        let extension = matches!(
            last.protocol,
            number::HOP_BY_HOP | number::ROUTING | number::FRAGMENT | number::AH | number::DESTINATION
        );
        if !extension {
            return Some(last);
        }
        let header = packet.get(last.at..).filter(|header| header.len() >= 2)?;
        match last.protocol {
            number::AH => return Some(last),
            number::FRAGMENT => {
                last.fragment = true;
                last.at += 8;
                let later = read16(header, 2)? & 0xfff8 != 0;
                last.protocol = header[0];
                if later {
                    return Some(last);
                }
            }
            _ => {
                last.at += (usize::from(header[1]) + 1) * 8;
                last.protocol = header[0];
            }
        }
    }
}
