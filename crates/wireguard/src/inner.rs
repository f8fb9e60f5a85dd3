//! The packets inside the tunnel: what a device reads and changes of them, and the ICMP errors it owes their senders.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fielato_wire::build::Ip;
use fielato_wire::{checksum, number};

use crate::drops::DropReason;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

/// Explicit congestion notification (RFC 3168 section 5): the low two bits of the TOS octet.
const ECN_MASK: u8 = 3;
const ECN_CE: u8 = 3;
const ECN_ECT_0: u8 = 2;

/// Where the packet goes; `None` for what is no IPv4 or IPv6 packet.
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(16..V4_HEADER).and_then(v4),
        6 => packet.get(24..V6_HEADER).and_then(v6),
        _ => None,
    }
}

/// Where the packet comes from, by its own word; `None` for what is no IPv4 or IPv6 packet.
pub fn source(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(12..16).and_then(v4),
        6 => packet.get(8..24).and_then(v6),
        _ => None,
    }
}

fn v4(bytes: &[u8]) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into())
}

fn v6(bytes: &[u8]) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
}

/// Length and source of a decrypted packet, which may have padding behind it.
pub(crate) fn check(packet: &[u8]) -> Result<(usize, IpAddr), DropReason> {
    let malformed = DropReason::InnerMalformed;
    let (len, header, source) = match packet.first().ok_or(malformed)? >> 4 {
        4 => (read16(packet, 2).map(usize::from), V4_HEADER, packet.get(12..16).and_then(v4)),
        6 => (
            read16(packet, 4).map(|len| V6_HEADER + usize::from(len)),
            V6_HEADER,
            packet.get(8..24).and_then(v6),
        ),
        _ => return Err(malformed),
    };
    match (len, source) {
        (Some(len), Some(source)) if len >= header && len <= packet.len() && packet.len() >= header => Ok((len, source)),
        _ => Err(malformed),
    }
}

fn read16(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn tos(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        [_, second, ..] => *second,
        _ => 0,
    }
}

/// The TOS octet of the datagram that carries `packet`: its ECN bits, no DSCP, and CE not told before it happened
/// (`INET_ECN_encapsulate` in Linux' `inet_ecn.h`, RFC 6040 section 4.1, compatibility mode for CE).
pub fn outer_tos(packet: &[u8]) -> u8 {
    match tos(packet) & ECN_MASK {
        ECN_CE => ECN_ECT_0,
        ecn => ecn,
    }
}

/// Tells the packet of congestion that its datagram met: CE, where the packet's ends speak ECN (RFC 6040 section 4.2).
pub(crate) fn decapsulate_ecn(packet: &mut [u8], outer: u8) {
    if outer & ECN_MASK != ECN_CE {
        return;
    }
    let inner = tos(packet) & ECN_MASK;
    if inner == 0 || inner == ECN_CE {
        return;
    }
    match packet {
        [first, second, ..] if *first >> 4 == 6 => *second |= ECN_CE << 4,
        [_, second, ..] => {
            let old = *second;
            *second |= ECN_CE;
            let new = *second;
            if let Some(check) = packet.get_mut(10..12) {
                let sum = u16::from_be_bytes([check[0], check[1]]);
                let sum = checksum::update16(sum, u16::from(old), u16::from(new));
                check.copy_from_slice(&sum.to_be_bytes());
            }
        }
        _ => {}
    }
}

/// Why the sender of a packet is told that it went no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// No peer has the destination, or nobody knows where that peer is.
    Host,
    /// The packet is longer than this MTU and must not be fragmented.
    TooBig(usize),
}

/// The ICMP error about `packet` (RFC 792, RFC 1191, RFC 4443); `None` where none may be sent. It comes from the address
/// that was asked for: the device does not know which address its interface has.
pub(crate) fn icmp_error(packet: &[u8], why: Unreachable) -> Option<Vec<u8>> {
    match packet.first()? >> 4 {
        4 => icmp_error_v4(packet, why),
        6 => icmp_error_v6(packet, why),
        _ => None,
    }
}

fn icmp_error_v4(packet: &[u8], why: Unreachable) -> Option<Vec<u8>> {
    let header = usize::from(packet[0] & 15) * 4;
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.get(12..16).and_then(v4)?, packet.get(16..20).and_then(v4)?)
    else {
        return None;
    };
    let fragment = read16(packet, 6)?;
    let is_error = packet[9] == number::ICMP && packet.get(header).is_none_or(|kind| !matches!(kind, 0 | 8 | 13..=18));
    // RFC 1122 section 3.2.2: not about errors, later fragments, or what no single host sent or was sent to.
    let many = |address: Ipv4Addr| address.is_multicast() || address.is_broadcast() || address.is_unspecified();
    if is_error || fragment & 0x1fff != 0 || many(source) || source.is_loopback() || many(destination) {
        return None;
    }
    let (code, rest) = match why {
        Unreachable::Host => (1, 0),
        // Without "don't fragment" the sender did not ask to be told.
        Unreachable::TooBig(_) if fragment & 0x4000 == 0 => return None,
        Unreachable::TooBig(mtu) => (4, mtu as u32 & 0xffff),
    };
    // Errors have precedence "internetwork control" (RFC 1812 section 4.3.2.5).
    let ip = Ip::v4(destination, source).tos(0xc0);
    Some(ip.icmp_error(3, code, rest, packet))
}

fn icmp_error_v6(packet: &[u8], why: Unreachable) -> Option<Vec<u8>> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.get(8..24).and_then(v6)?, packet.get(24..40).and_then(v6)?)
    else {
        return None;
    };
    let is_error = packet[6] == number::ICMPV6 && packet.get(V6_HEADER).is_none_or(|kind| *kind < 128);
    // RFC 4443 section 2.4 (e). The error would come from the destination, so that one has to be a single host's, too.
    if is_error || source.is_multicast() || source.is_unspecified() || destination.is_multicast() {
        return None;
    }
    let (kind, code, rest) = match why {
        Unreachable::Host => (1, 3, 0),
        Unreachable::TooBig(mtu) => (2, 0, mtu as u32),
    };
    Some(Ip::v6(destination, source).icmp_error(kind, code, rest, packet))
}
