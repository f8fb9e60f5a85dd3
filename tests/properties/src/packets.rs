//! Sound packets between few hosts and few ports, so that they meet.

use std::sync::LazyLock;

use fielato_wire::build::{Dccp, Extension, Ip, Tcp};
use fielato_wire::{Addr, Family, TcpFlags};

use crate::source::Source;
use crate::{machine, sums};

/// How many packets are [`samples`].
const SAMPLES: usize = 16;

const PORTS: [u16; 12] = [21, 69, 80, 53, 20, 1024, 1025, 2000, 2001, 5000, 40_000, 65_535];

/// A port: mostly one of few.
pub fn port(source: &mut Source<'_>) -> u16 {
    match source.below(PORTS.len() + 1) {
        index if index < PORTS.len() => PORTS[index],
        _ => source.word(),
    }
}

fn address(source: &mut Source<'_>, family: Family) -> Addr {
    let number = source.pick(&[1, 2, 3, 254]);
    match source.flag() {
        true => machine::inside(family, number),
        false => machine::outside(family, number),
    }
}

/// An IP header between two hosts.
pub fn ip(source: &mut Source<'_>, family: Family) -> Ip {
    let (src, dst) = (address(source, family), address(source, family));
    let mut ip = Ip::new(family, src, dst);
    let kind = source.byte();
    if kind & 0x80 != 0 {
        ip.ttl = source.byte();
        ip.tos = source.byte();
    }
    if kind & 0x40 != 0 {
        ip.options = source.bytes(40).to_vec();
        let extension = match source.below(4) {
            0 => Extension::HopByHop(source.bytes(30).to_vec()),
            1 => Extension::Destination(source.bytes(30).to_vec()),
            2 => Extension::Routing {
                kind: source.byte(),
                left: source.byte(),
                data: source.bytes(40).to_vec(),
            },
            _ => Extension::Ah {
                spi: source.long(),
                data: source.bytes(20).to_vec(),
            },
        };
        ip = ip.extension(extension);
    }
    ip.dont_fragment = kind & 0x20 != 0;
    ip.id = u32::from(kind & 3);
    ip
}

/// A transport on such a header.
pub fn transport(source: &mut Source<'_>, ip: &Ip) -> Vec<u8> {
    let kind = source.below(12);
    let (sport, dport) = (port(source), port(source));
    match kind {
        0..=3 => {
            let flags = match source.below(8) {
                0..=2 => TcpFlags::SYN,
                3 => TcpFlags::SYN | TcpFlags::ACK,
                4 => TcpFlags::ACK,
                5 => TcpFlags::FIN | TcpFlags::ACK,
                6 => TcpFlags::RST,
                _ => source.byte(),
            };
            let (seq, ack) = (u32::from(source.byte()), u32::from(source.byte()));
            let options = source.bytes(40);
            let options = &options[..options.len() & !3];
            let tcp = Tcp::new(sport, dport).ack(ack).flags(flags).seq(seq);
            ip.tcp(&tcp.options(options).payload(source.bytes(100)))
        }
        4 | 5 => ip.udp(sport, dport, source.bytes(100)),
        6 => {
            // Coverage of 1 to 7 is not allowed (RFC 3828 §3.1).
            let payload = source.bytes(60);
            let coverage = match u16::from(source.byte()) {
                coverage @ ..8 => coverage & 8,
                coverage => coverage.min(8 + payload.len() as u16),
            };
            ip.udplite(sport, dport, coverage, payload)
        }
        7 => ip.echo_request(sport, dport, source.bytes(40)),
        8 => ip.icmp(source.byte(), source.byte(), source.long(), source.bytes(120)),
        9 => {
            // One chunk of a known type.
            let body = source.bytes(40);
            let mut chunk = vec![source.below(15) as u8, source.byte(), 0, 4 + body.len() as u8];
            chunk.extend_from_slice(body);
            chunk.resize(chunk.len().next_multiple_of(4), 0);
            ip.sctp(sport, dport, u32::from(source.byte()), &chunk)
        }
        10 => {
            let mut dccp = Dccp::new(source.below(16) as u8, sport, dport);
            (dccp.seq, dccp.ack) = (u64::from(source.byte()), u64::from(source.byte()));
            ip.dccp(&dccp)
        }
        _ => match source.below(3) {
            0 => ip.gre(0x0800, source.flag().then(|| source.long()), source.bytes(20)),
            1 => ip.gre_pptp(sport, source.bytes(20)),
            _ => ip.packet(source.byte(), source.bytes(60)),
        },
    }
}

/// A few packets of many kinds, always the same, whose checksums are right.
pub fn samples(family: Family) -> &'static [Vec<u8>] {
    static SAMPLES_OF: LazyLock<[Vec<Vec<u8>>; 2]> = LazyLock::new(|| {
        [Family::V4, Family::V6].map(|family| {
            let all = (0..).map(|seed| {
                let mut random = fastrand::Rng::with_seed(seed);
                let bytes: Vec<u8> = (0..200).map(|_| random.u8(..)).collect();
                let mut source = Source::new(&bytes);
                let ip = ip(&mut source, family);
                transport(&mut source, &ip)
            });
            all.filter(|packet| sums::verify(packet).is_ok()).take(SAMPLES).collect()
        })
    });
    &SAMPLES_OF[family as usize]
}
