//! Rewriting one end of a packet, checksums included (`nf_nat_manip_pkt` and what it calls in `nf_nat_proto.c`).

use fielato_wire::{Addr, Family, checksum, number};

use super::Manip;
use crate::Packet;
use crate::conntrack::Tuple;

/// Makes the `manip` end of `packet` that of `target`. `packet` may be one that an ICMP error quotes, cut short: what is there is
/// rewritten. False when not even the ports are there, or it can't be translated; the packet is then to be dropped.
pub(super) fn rewrite(packet: &mut [u8], target: &Tuple, manip: Manip) -> bool {
    Place::find(packet).is_some_and(|place| rewrite_at(packet, &place, target, manip))
}

/// The same for a packet that is no quotation; its headers are kept in step.
pub(super) fn rewrite_packet(packet: &mut Packet, target: &Tuple, manip: Manip) -> bool {
    packet.join_header(written_header(packet.headers.protocol, packet.transport().len()));
    let headers = &packet.headers;
    let has_ports = matches!(headers.protocol, number::TCP | number::UDP) && headers.l4_whole;
    if !has_ports || headers.extensions.0 != 0 || headers.family != target.family || packet.data.len() < usize::from(headers.len)
    {
        return rewrite(&mut packet.data, target, manip) && packet.reparse().is_ok();
    }
    // A header that is whole, in its usual place: what is rewritten is known without reading it again.
    let (src, dst) = match headers.family {
        Family::V4 => (12, 16),
        Family::V6 => (8, 24),
    };
    let place = Place {
        src,
        dst,
        protocol: headers.protocol,
        transport: Some(usize::from(headers.l4)),
    };
    if !rewrite_at(&mut packet.data, &place, target, manip) {
        return false;
    }
    match manip {
        Manip::Source => (packet.headers.src, packet.headers.sport) = (target.src, target.sport),
        Manip::Destination => (packet.headers.dst, packet.headers.dport) = (target.dst, target.dport),
    }
    true
}

/// The part of a transport header that is written: up to the checksum, or the ports alone where less is there.
const fn written_header(protocol: u8, there: usize) -> u16 {
    match protocol {
        number::TCP if there >= 20 => 20,
        number::SCTP | number::DCCP if there >= 12 => 12,
        number::TCP | number::SCTP | number::DCCP => 8,
        number::UDP | number::UDPLITE | number::ICMP | number::ICMPV6 | number::GRE => 8,
        // Of what NAT does not know it rewrites the addresses alone.
        _ => 0,
    }
}

pub(super) fn rewrite_at(packet: &mut [u8], place: &Place, target: &Tuple, manip: Manip) -> bool {
    let (field, new) = match manip {
        Manip::Source => (place.src, target.src),
        Manip::Destination => (place.dst, target.dst),
    };
    let range = field..field + target.family.bytes();
    let old = Addr::read(&packet[range.clone()]);
    if let Some(l4) = place.transport {
        let bytes = packet.get_mut(l4..).unwrap_or_default();
        if !is_rewritable(place.protocol, bytes) {
            return false;
        }
        transport(bytes, place.protocol, old, new, target, manip);
    }
    if target.family == Family::V4 {
        update(packet, 10, |check| checksum::update_addr(check, old, new));
    }
    new.write(&mut packet[range]);
    true
}

/// Where things are in an IP packet that may be cut short.
pub(super) struct Place {
    src: usize,
    dst: usize,
    protocol: u8,
    /// None in a fragment other than the first, or when extension headers are cut off.
    transport: Option<usize>,
}

impl Place {
    /// How many of the packet's bytes are in front of what is not written.
    pub(super) fn written_to(&self, packet: &[u8]) -> usize {
        let end = |at| at + usize::from(written_header(self.protocol, packet.len().saturating_sub(at)));
        self.transport.map_or(0, end)
    }

    /// Whether the packet has an SCTP checksum, which is made anew.
    pub(super) fn has_sctp_checksum(&self, packet: &[u8]) -> bool {
        let transport = self.transport.and_then(|at| packet.get(at..));
        self.protocol == number::SCTP && transport.is_some_and(|transport| transport.len() >= 12)
    }

    pub(super) fn find(packet: &[u8]) -> Option<Place> {
        match packet.first()? >> 4 {
            4 if packet.len() >= 20 => {
                let header_len = usize::from(packet[0] & 0x0f) * 4;
                let later = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0;
                Some(Place {
                    src: 12,
                    dst: 16,
                    protocol: packet[9],
                    transport: (!later && header_len >= 20 && header_len <= packet.len()).then_some(header_len),
                })
            }
            6 if packet.len() >= 40 => {
                let (protocol, transport) = skip_extensions(packet);
                Some(Place {
                    src: 8,
                    dst: 24,
                    protocol,
                    transport,
                })
            }
            _ => None,
        }
    }
}

/// The transport protocol and its place behind IPv6 extension headers (`ipv6_skip_exthdr`), which may be behind the packet's end;
/// no place in a later fragment, or when a header is missing.
fn skip_extensions(packet: &[u8]) -> (u8, Option<usize>) {
    let (mut protocol, mut at) = (packet[6], 40);
    loop {
        let header = match protocol {
            number::NO_NEXT => return (protocol, None),
            number::FRAGMENT | number::AH | number::HOP_BY_HOP | number::ROUTING | number::DESTINATION => {
                let needed = if protocol == number::FRAGMENT { 4 } else { 2 };
                match packet.get(at..at + needed) {
                    Some(header) => header,
                    None => return (protocol, None),
                }
            }
            _ => return (protocol, Some(at)),
        };
        let length = match protocol {
            number::FRAGMENT if u16::from_be_bytes([header[2], header[3]]) & 0xfff8 != 0 => return (header[0], None),
            number::FRAGMENT => 8,
            number::AH => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        protocol = header[0];
        at += length;
    }
}

/// Applies `change` to the checksum at `at`, if it is there.
fn update(bytes: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        let check = change(u16::from_be_bytes([field[0], field[1]]));
        field.copy_from_slice(&check.to_be_bytes());
    }
}

/// Whether enough of a transport header is there to be rewritten: only what lies within the eight bytes that an ICMP error quotes
/// is sure to be.
pub(super) fn is_rewritable(protocol: u8, bytes: &[u8]) -> bool {
    match protocol {
        number::TCP | number::UDP | number::UDPLITE | number::SCTP | number::DCCP | number::ICMP | number::ICMPV6 => {
            bytes.len() >= 8
        }
        // Versions 0, and 1 of PPTP (`gre_manip_pkt`).
        number::GRE => bytes.len() >= 8 && bytes[1] & 0x07 <= 1,
        _ => true,
    }
}

fn transport(bytes: &mut [u8], protocol: u8, old: Addr, new: Addr, target: &Tuple, manip: Manip) {
    let (port_at, port) = match manip {
        Manip::Source => (0, target.sport),
        Manip::Destination => (2, target.dport),
    };
    match protocol {
        number::TCP => replace_port(bytes, port_at, port, old, new, (20, 16), false),
        number::DCCP => replace_port(bytes, port_at, port, old, new, (12, 6), false),
        number::UDP => {
            let unsummed = bytes[6..8] == [0, 0];
            let check_from = if unsummed { usize::MAX } else { 8 };
            replace_port(bytes, port_at, port, old, new, (check_from, 6), true)
        }
        number::UDPLITE => replace_port(bytes, port_at, port, old, new, (8, 6), true),
        number::SCTP => {
            bytes[port_at..port_at + 2].copy_from_slice(&port.to_be_bytes());
            if let Some(check) = checksum::sctp(bytes) {
                bytes[8..12].copy_from_slice(&check);
            }
        }
        number::ICMP => {
            // Types with an identifier: echo, timestamp, information, address mask.
            if matches!(bytes[0], 0 | 8 | 13 | 14 | 15 | 16 | 17 | 18) {
                replace_id(bytes, target.sport);
            }
        }
        number::ICMPV6 => {
            update(bytes, 2, |check| checksum::update_addr(check, old, new));
            if matches!(bytes[0], 128 | 129) {
                replace_id(bytes, target.sport);
            }
        }
        // Only version 1 has a call id, and only the destination's.
        number::GRE if bytes[1] & 0x07 == 1 && manip == Manip::Destination => {
            bytes[6..8].copy_from_slice(&target.dport.to_be_bytes());
        }
        _ => {}
    }
}

/// Replaces a port, and updates the checksum when the header is at least `check_from` bytes long. `udp`: zero is sent as 0xffff.
fn replace_port(
    bytes: &mut [u8],
    port_at: usize,
    port: u16,
    old: Addr,
    new: Addr,
    (check_from, check_at): (usize, usize),
    udp: bool,
) {
    let old_port = u16::from_be_bytes([bytes[port_at], bytes[port_at + 1]]);
    bytes[port_at..port_at + 2].copy_from_slice(&port.to_be_bytes());
    if bytes.len() >= check_from {
        update(bytes, check_at, |check| {
            let check = checksum::update_addr(check, old, new);
            match checksum::update16(check, old_port, port) {
                0 if udp => 0xffff,
                check => check,
            }
        });
    }
}

fn replace_id(bytes: &mut [u8], id: u16) {
    let old = u16::from_be_bytes([bytes[4], bytes[5]]);
    update(bytes, 2, |check| checksum::update16(check, old, id));
    bytes[4..6].copy_from_slice(&id.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interface;
    use fielato_wire::Headers;
    use fielato_wire::build::Ip;

    #[test]
    fn headers_are_those_of_the_rewritten_bytes() {
        let mut rng = fastrand::Rng::with_seed(2);
        for round in 0..4_000 {
            let family = if rng.bool() { Family::V4 } else { Family::V6 };
            let mut addr = || Addr::from_bits(rng.u128(..)).and(Addr::mask(family, family.bits()));
            let (src, dst, target_src, target_dst) = (addr(), addr(), addr(), addr());
            let payload: Vec<u8> = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
            let mut bytes = Ip::new(family, src, dst).udp(rng.u16(..), rng.u16(..), &payload);
            if round % 8 == 0 {
                // Cut short within the transport header: the long way.
                bytes = Ip::new(family, src, dst).packet(number::UDP, &bytes[..rng.usize(..8)]);
            }
            let mut packet = Packet::received(bytes, Interface::NONE).unwrap();
            let target = Tuple {
                src: target_src,
                dst: target_dst,
                sport: rng.u16(..),
                dport: rng.u16(..),
                protocol: number::UDP,
                family,
            };
            let manip = if rng.bool() { Manip::Source } else { Manip::Destination };
            let whole = packet.headers.l4_whole;
            assert_eq!(rewrite_packet(&mut packet, &target, manip), whole);
            assert_eq!(packet.headers, Headers::parse(&packet.data).unwrap());
            if whole {
                let headers = &packet.headers;
                let sum = checksum::pseudo(headers.src, headers.dst, number::UDP, packet.transport().len() as u32);
                assert_eq!(checksum::fold(sum + checksum::sum(packet.transport())), 0xffff);
                assert!(Headers::receive(&packet.data).is_ok());
            }
        }
    }
}
