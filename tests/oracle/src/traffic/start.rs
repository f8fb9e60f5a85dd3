//! First packets of conversations.

use fielato_wire::build::{Dccp, Extension, Ip, Tcp};
use fielato_wire::{Addr, Family, Headers, TcpFlags, number};

use super::{Input, Traffic};
use crate::random::Random;
use crate::rules::{CLIENTS, SERVICES, WORDS};
use crate::subject::Port;

/// IPv4's all-hosts group, which every interface that takes multicast is in; and a group nobody is in.
const GROUPS_V4: [u64; 2] = [0xe000_0001, 0xe102_0304];

impl Traffic {
    /// A host outside the router begins something.
    pub(super) fn start(&mut self) -> Input {
        let family = self.family();
        let (random, around) = (&mut self.random, self.around.of(family));
        let from = if random.chance(70) { Port::Inside } else { Port::Outside };
        let mut src = *random.pick(around.hosts(from));
        let to = if from == Port::Inside { Port::Outside } else { Port::Inside };
        let dst = match random.weighted(&[70, 12, 8, 4, 2, 1]) {
            0 => *random.pick(around.hosts(to)),
            1 => *random.pick(&around.local),
            2 => *random.pick(&around.spare),
            3 => *random.pick(around.hosts(from)),
            // Directed broadcast: delivered to the router itself.
            4 if family == Family::V4 => self.around.broadcast,
            5 if family == Family::V4 => Addr {
                hi: 0,
                lo: *random.pick(&GROUPS_V4),
            },
            _ => *random.pick(around.hosts(to)),
        };
        if random.chance(3) {
            // An address that belongs on the other side: what `rpfilter` is for.
            src = *random.pick(around.hosts(to));
        }
        let ip = header(random, family, src, dst);
        (from, self.first(&ip))
    }

    /// The router itself begins something.
    pub(super) fn start_here(&mut self) -> Option<Input> {
        let family = self.family();
        let (random, around) = (&mut self.random, self.around.of(family));
        let to = *random.pick(&[Port::Inside, Port::Outside]);
        let dst = *random.pick(around.hosts(to));
        let local = around.local;
        let src = if to == Port::Inside { local[0] } else { local[1] };
        let ip = header(random, family, src, dst);
        Some((Port::Host, self.first(&ip)))
    }

    fn family(&mut self) -> Family {
        if self.random.chance(50) { Family::V4 } else { Family::V6 }
    }

    fn first(&mut self, ip: &Ip) -> Vec<u8> {
        let random = &mut self.random;
        let (sport, dport) = (*random.pick(&CLIENTS), *random.pick(&SERVICES));
        match random.weighted(&[40, 20, 12, 6, 6, 3, 3, 6, 4]) {
            0 => {
                let dport = if random.chance(25) { 21 } else { dport };
                let flags = if random.chance(88) {
                    TcpFlags::SYN
                } else {
                    random.bits() as u8 & 0x3f
                };
                let mut tcp = Tcp::new(sport, dport).seq(random.bits() as u32).flags(flags);
                tcp.options = syn_options(random);
                if flags & TcpFlags::ACK != 0 {
                    tcp.ack = random.bits() as u32;
                }
                tcp.window = *random.pick(&[65_535, 1000, 29_200, 0]);
                ip.tcp(&tcp)
            }
            1 => {
                let dport = if random.chance(20) { 69 } else { dport };
                let payload = if dport == 69 { tftp_request(random) } else { payload(random) };
                ip.udp(sport, dport, &payload)
            }
            2 => match random.below(8) {
                0 => ip.icmp(
                    if ip.family == Family::V4 {
                        13
                    } else {
                        *random.pick(&[100, 128])
                    },
                    0,
                    random.bits() as u32,
                    &[0; 12],
                ),
                1 => ip.icmp(random.bits() as u8 & 0x1f, 0, random.bits() as u32, &payload(random)),
                2 => ip.echo_reply(random.below(20) as u16, 1, &payload(random)),
                _ => ip.echo_request(random.below(6) as u16 + 1, random.below(100) as u16, &payload(random)),
            },
            3 => {
                let tag = random.bits() as u32 | 1;
                ip.sctp(sport, dport, 0, &sctp_init(1, tag))
            }
            // Linux 6.16 dropped DCCP and its tracker: with tracking, it is just another protocol there.
            4 if !self.tracking => {
                let mut dccp = Dccp::new(*random.pick(&[0, 0, 0, 2, 4, 7]), sport, dport);
                dccp.code = 42;
                dccp.payload = dccp_options(random);
                let mut packet = ip.dccp(&dccp);
                // Options belong to the header by its data offset, in words.
                if let Ok(headers) = Headers::parse(&packet)
                    && let Some(offset) = headers.transport_mut(&mut packet).get_mut(4)
                {
                    *offset += random.below(3) as u8;
                }
                packet
            }
            5 => ip.udplite(sport, dport, *random.pick(&[0, 8, 12]), &payload(random)),
            6 => match random.below(3) {
                0 => ip.gre(0x0800, None, &payload(random)),
                1 => ip.gre(0x0800, Some(random.below(5) as u32), &payload(random)),
                _ => ip.gre_pptp(random.below(5) as u16, &payload(random)),
            },
            7 => {
                let spi = *random.pick(&[1000u32, 700, 5000]);
                let mut body = spi.to_be_bytes().to_vec();
                body.extend_from_slice(&[0; 20]);
                let ah = [&[number::UDP, 4, 0, 0][..], &body].concat();
                match random.chance(50) {
                    true => ip.packet(number::ESP, &body),
                    false => ip.packet(number::AH, &ah),
                }
            }
            _ => ip.packet(
                *random.pick(&[99, 103, number::IPIP, number::COMP, number::MOBILITY]),
                &payload(random),
            ),
        }
    }
}

/// A header with now and then something unusual in it.
fn header(random: &mut Random, family: Family, src: Addr, dst: Addr) -> Ip {
    let mut ip = Ip::new(family, src, dst);
    ip.dont_fragment = random.chance(50);
    if random.chance(20) {
        ip.tos = *random.pick(&[0x10, 0x08, 0xb8, 0x28, 0x20, 0x01, 0x02, 0x03, 0xbb]);
    }
    if random.chance(10) {
        ip.ttl = *random.pick(&[1, 2, 5, 63, 100, 255]);
    }
    match family {
        // No-operations and an end: options that routers don't touch.
        Family::V4 if random.chance(3) => ip.options = vec![1, 1, 1, 0],
        Family::V6 if random.chance(12) => ip = extended(random, ip),
        _ => {}
    }
    ip
}

fn extended(random: &mut Random, ip: Ip) -> Ip {
    let router_alert = || Extension::HopByHop(vec![5, 2, 0, 0]);
    match random.below(8) {
        0 => ip.extension(router_alert()),
        1 => ip.extension(Extension::Destination(vec![])),
        2 => ip.extension(Extension::Ah {
            spi: *random.pick(&[700, 1000, 5000]),
            data: vec![0; 16],
        }),
        // Mobile IPv6's routing header; type 0, which only its addressee minds; an unknown type.
        3 => ip.extension(Extension::Routing {
            kind: 2,
            left: random.below(3) as u8,
            data: [&[0; 4][..], &[0xfd; 16]].concat(),
        }),
        4 => {
            let addresses = random.between(0, 3) as usize;
            ip.extension(Extension::Routing {
                kind: *random.pick(&[0, 0, 4, 253]),
                left: random.below(3) as u8,
                data: [vec![0; 4], vec![0xfd; 16 * addresses]].concat(),
            })
        }
        5 => ip
            .extension(router_alert())
            .extension(Extension::Destination(vec![1, 4, 0, 0, 0, 0]))
            .extension(Extension::Routing {
                kind: 2,
                left: 0,
                data: vec![0; 20],
            }),
        6 => ip
            .extension(Extension::HopByHop(vec![0, 0, 1, 0, 5, 2, 0, 0, 1, 4, 0, 0, 0, 0]))
            .extension(Extension::Ah {
                spi: 700,
                data: vec![0; 8],
            }),
        _ => ip
            .extension(Extension::HopByHop(vec![]))
            .extension(Extension::Destination(vec![0; 9])),
    }
}

/// Some bytes, often with a word in them.
pub(super) fn payload(random: &mut Random) -> Vec<u8> {
    let length = match random.below(12) {
        0 => random.between(200, 900),
        1 => 0,
        _ => random.between(1, 60),
    };
    let mut bytes: Vec<u8> = (0..length).map(|index| b'a' + (index % 26) as u8).collect();
    if random.chance(30) {
        let at = random.below(bytes.len() + 1);
        let word = random.pick(&WORDS).as_bytes();
        bytes.splice(at..at, word.iter().copied());
    }
    bytes
}

/// Options of a SYN: MSS, and perhaps SACK, timestamps and window scaling.
pub(super) fn syn_options(random: &mut Random) -> Vec<u8> {
    let mss = *random.pick(&[1460u16, 1400, 536, 1200]);
    let mut options = Vec::new();
    if random.chance(85) {
        options.extend_from_slice(&[2, 4]);
        options.extend_from_slice(&mss.to_be_bytes());
    }
    if random.chance(50) {
        options.extend_from_slice(&[4, 2, 1, 1]);
    }
    if random.chance(30) {
        options.extend_from_slice(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0]);
    }
    if random.chance(60) {
        options.extend_from_slice(&[1, 3, 3, random.below(15) as u8]);
    }
    options
}

/// Options of a DCCP packet (RFC 4340 §5.8), which the header's data offset may or may not take in: padding, Mandatory, Change L,
/// one that is longer than there is room.
fn dccp_options(random: &mut Random) -> Vec<u8> {
    let options: [&[u8]; 4] = [&[], &[0, 1, 0, 0], &[32, 4, 1, 2], &[32, 9, 1, 2]];
    random.pick(&options).to_vec()
}

/// A TFTP read or write request (RFC 1350 §5).
fn tftp_request(random: &mut Random) -> Vec<u8> {
    let kind = *random.pick(&[1u8, 1, 2, 3, 5]);
    [&[0, kind][..], b"file\0octet\0"].concat()
}

/// An INIT or INIT ACK chunk (RFC 9260 §3.3.2).
pub(super) fn sctp_init(kind: u8, tag: u32) -> Vec<u8> {
    let mut chunk = vec![kind, 0, 0, 20];
    chunk.extend_from_slice(&tag.to_be_bytes());
    chunk.extend_from_slice(&[0, 0, 0xff, 0xff, 0, 10, 0, 10, 0, 0, 0, 1]);
    chunk
}
