//! What the servers beside the hub answer, and who has which address there.

use fielato_wire::build::{Ip, Tcp};
use fielato_wire::{Addr, Family, Headers, TcpFlags, number};

/// The gateway's own station and the servers', who share one.
pub const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const SERVERS: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Addresses of servers that are there: the last byte is below this.
pub const THERE: u64 = 0x80;

fn frame(kind: u16, data: &[u8]) -> Vec<u8> {
    [&GATEWAY[..], &SERVERS, &kind.to_be_bytes(), data].concat()
}

/// What comes back for a frame that left the hub.
pub fn answer(frame_out: &[u8]) -> Option<Vec<u8>> {
    let data = frame_out.get(14..)?;
    match u16::from_be_bytes([frame_out[12], frame_out[13]]) {
        0x0806 => arp(data),
        kind => {
            let packet = reply(data)?;
            Some(frame(kind, &packet))
        }
    }
}

fn arp(data: &[u8]) -> Option<Vec<u8>> {
    if data[7] != 1 || u64::from(data[27]) >= THERE {
        return None;
    }
    let mut reply = vec![0, 1, 8, 0, 6, 4, 0, 2];
    reply.extend_from_slice(&SERVERS);
    reply.extend_from_slice(&data[24..28]);
    reply.extend_from_slice(&data[8..18]);
    Some(frame(0x0806, &reply))
}

fn reply(packet: &[u8]) -> Option<Vec<u8>> {
    let headers = Headers::receive(packet).ok()?;
    let back = Ip::new(headers.family, headers.dst, headers.src);
    let transport = headers.transport(packet);
    match headers.protocol {
        number::UDP => Some(back.udp(headers.dport, headers.sport, transport.get(8..)?)),
        number::TCP => {
            let word = |at: usize| Some(u32::from_be_bytes(*transport.get(at..)?.first_chunk()?));
            let (seq, ack) = (word(4)?, word(8)?);
            let payload = transport.len() as u32 - u32::from(transport[12] >> 4) * 4;
            let flags = headers.tcp_flags;
            let tcp = Tcp::new(headers.dport, headers.sport);
            let ends = u32::from(flags.has(TcpFlags::SYN)) + u32::from(flags.has(TcpFlags::FIN));
            if flags.has(TcpFlags::RST) || payload + ends == 0 {
                return None;
            }
            let answer = Tcp {
                seq: if flags.has(TcpFlags::SYN) { 0 } else { ack },
                ack: seq.wrapping_add(payload + ends),
                ..tcp
            };
            let bits = TcpFlags::ACK
                | if flags.has(TcpFlags::SYN) { TcpFlags::SYN } else { 0 }
                | if flags.has(TcpFlags::FIN) { TcpFlags::FIN } else { 0 };
            Some(back.tcp(&answer.flags(bits)))
        }
        number::ICMP if headers.icmp_type == 8 => Some(back.icmp(0, 0, echo(transport)?, transport.get(8..)?)),
        number::ICMPV6 if headers.icmp_type == 128 => Some(back.icmp(129, 0, echo(transport)?, transport.get(8..)?)),
        number::ICMPV6 if headers.icmp_type == 135 => {
            let target: [u8; 16] = *transport.get(8..)?.first_chunk()?;
            if u64::from(target[15]) >= THERE {
                return None;
            }
            let ip = Ip::new(Family::V6, Addr::read(&target), headers.src).ttl(255);
            Some(ip.icmp(136, 0, 0x6000_0000, &[&target[..], &[2, 1], &SERVERS].concat()))
        }
        _ => None,
    }
}

fn echo(transport: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*transport.get(4..)?.first_chunk()?))
}
