//! Connection tracking as a whole, over both families, with a virtual clock.

mod basics;
mod expecting;
mod life;
mod limits;
mod listing;
mod random;

use fielato_wire::{Addr, Family, Headers, checksum, number};

use super::*;
use crate::verdict::Verdict;
use crate::{Hook, Interface, Now, Packet, PacketCt};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Host `n` of a family.
fn host(family: Family, n: u16) -> Addr {
    match family {
        Family::V4 => Addr::from_bits(0x0a00_0000 | u128::from(n)),
        Family::V6 => Addr::from_bits(0x2001_0db8 << 96 | u128::from(n)),
    }
}

/// An IP packet around a transport header and payload.
fn ip(family: Family, src: Addr, dst: Addr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut bytes;
    match family {
        Family::V4 => {
            let len = (20 + transport.len() as u16).to_be_bytes();
            bytes = vec![0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
            for addr in [src, dst] {
                bytes.extend_from_slice(&(addr.lo as u32).to_be_bytes());
            }
            let check = checksum::checksum(&bytes).to_be_bytes();
            bytes[10..12].copy_from_slice(&check);
        }
        Family::V6 => {
            let len = (transport.len() as u16).to_be_bytes();
            bytes = vec![0x60, 0, 0, 0, len[0], len[1], protocol, 64];
            for addr in [src, dst] {
                bytes.extend_from_slice(&addr.to_bits().to_be_bytes());
            }
        }
    }
    bytes.extend_from_slice(transport);
    bytes
}

fn received(bytes: Vec<u8>) -> Packet {
    Packet::received(bytes, Interface::NONE).expect("a packet built here is whole")
}

/// A UDP packet between hosts `src` and `dst`.
fn udp(family: Family, src: (u16, u16), dst: (u16, u16)) -> Packet {
    let (from, to) = (host(family, src.0), host(family, dst.0));
    let mut header = [0; 8];
    header[..2].copy_from_slice(&src.1.to_be_bytes());
    header[2..4].copy_from_slice(&dst.1.to_be_bytes());
    header[4..6].copy_from_slice(&8u16.to_be_bytes());
    let check = checksum::transport(from, to, number::UDP, &header);
    header[6..8].copy_from_slice(&check.to_be_bytes());
    received(ip(family, from, to, number::UDP, &header))
}

/// A TCP segment without payload.
fn tcp(family: Family, src: (u16, u16), dst: (u16, u16), flags: u8, seq: u32, ack: u32) -> Packet {
    let (from, to) = (host(family, src.0), host(family, dst.0));
    let mut header = [0; 20];
    header[..2].copy_from_slice(&src.1.to_be_bytes());
    header[2..4].copy_from_slice(&dst.1.to_be_bytes());
    header[4..8].copy_from_slice(&seq.to_be_bytes());
    header[8..12].copy_from_slice(&ack.to_be_bytes());
    (header[12], header[13], header[14]) = (0x50, flags, 0x20);
    let check = checksum::transport(from, to, number::TCP, &header);
    header[16..18].copy_from_slice(&check.to_be_bytes());
    received(ip(family, from, to, number::TCP, &header))
}

/// An ICMP or ICMPv6 message.
fn icmp(family: Family, src: u16, dst: u16, kind: u8, code: u8, rest: &[u8]) -> Packet {
    let (from, to) = (host(family, src), host(family, dst));
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(rest);
    let (protocol, check) = match family {
        Family::V4 => (number::ICMP, checksum::checksum(&message)),
        Family::V6 => (number::ICMPV6, checksum::transport(from, to, number::ICMPV6, &message)),
    };
    message[2..4].copy_from_slice(&check.to_be_bytes());
    received(ip(family, from, to, protocol, &message))
}

/// Tracks a packet and confirms its connection, as if nothing happened between.
fn pass(conntrack: &mut Conntrack, packet: &mut Packet, now: Now) -> Verdict {
    match conntrack.track(packet, Hook::Prerouting, now) {
        Verdict::Accept => conntrack.confirm(packet, now),
        other => other,
    }
}

/// State and direction of a packet's connection.
fn state(packet: &Packet) -> Option<(CtState, Direction)> {
    match packet.ct {
        PacketCt::Tracked { state, direction, .. } => Some((state, direction)),
        _ => None,
    }
}

fn id(packet: &Packet) -> ConnId {
    match packet.ct {
        PacketCt::Tracked { id, .. } => id,
        other => panic!("the packet has no connection: {other:?}"),
    }
}

fn at(seconds: u64) -> Now {
    Now::from_secs(seconds)
}

fn table(max: u32) -> Conntrack {
    let config = Config {
        max,
        ..Config::default()
    };
    Conntrack::new(config, 1)
}

fn headers(packet: &Packet) -> &Headers {
    &packet.headers
}
