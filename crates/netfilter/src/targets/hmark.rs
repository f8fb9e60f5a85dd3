//! `-j HMARK` (`xt_HMARK.c`).

use fielato_wire::{Addr, Family, Headers, number};

use crate::check::{CheckContext, CheckError};
use crate::conntrack::Direction;
use crate::context::{Context, Slot};
use crate::edit::read32;
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
        let hash = jhash_3words(src.min(dst), src.max(dst), ports, self.seed);
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

/// The packet's, or that of the packet that an ICMP error is about.
fn of_packet(headers: &Headers, data: &[u8]) -> Option<Flow> {
    let error = match (headers.family, headers.protocol) {
        (Family::V4, number::ICMP) => matches!(headers.icmp_type, 3 | 4 | 5 | 11 | 12),
        (Family::V6, number::ICMPV6) => (1..128).contains(&headers.icmp_type),
        _ => false,
    };
    if !error || headers.is_fragment() || !headers.l4_whole {
        return Some(flow(headers, headers.transport(data)));
    }
    let quoted = headers.transport(data).get(8..)?;
    // A quotation may be cut short: its lengths are what it says, not what is there.
    let mut whole = quoted.to_vec();
    let announced = match headers.family {
        Family::V4 => usize::from(crate::edit::read16(quoted, 2)?),
        Family::V6 => usize::from(crate::edit::read16(quoted, 4)?) + 40,
    };
    whole.resize(announced.max(quoted.len()), 0);
    let inner = Headers::parse(&whole).ok()?;
    let transport = quoted.get(usize::from(inner.l4)..).unwrap_or(&[]);
    Some(flow(&inner, transport))
}

fn flow(headers: &Headers, transport: &[u8]) -> Flow {
    let place = match headers.protocol {
        number::TCP | number::UDP | number::DCCP | number::ESP | number::SCTP | number::UDPLITE => Some(0),
        number::AH => Some(4),
        _ => None,
    };
    Flow {
        src: headers.src,
        dst: headers.dst,
        ports: place.filter(|_| !headers.is_fragment()).and_then(|at| read32(transport, at)),
        protocol: headers.protocol,
    }
}

/// Bob Jenkins' lookup3 over three words (`linux/jhash.h`).
fn jhash_3words(a: u32, b: u32, c: u32, seed: u32) -> u32 {
    let start = seed.wrapping_add(0xdead_beef).wrapping_add(3 << 2);
    let [mut a, mut b, mut c] = [a, b, c].map(|word| word.wrapping_add(start));
    let mix = |x: u32, y: u32, bits: u32| (x ^ y).wrapping_sub(y.rotate_left(bits));
    c = mix(c, b, 14);
    a = mix(a, c, 11);
    b = mix(b, a, 25);
    c = mix(c, b, 16);
    a = mix(a, c, 4);
    b = mix(b, a, 14);
    mix(c, b, 24)
}
