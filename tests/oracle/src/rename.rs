//! Ports that a translation chose by chance: two subjects choose differently and are both right.
//!
//! The first packet that shows such a choice tells both names of the port; from then on packets of the one naming are put into
//! the other, in headers and in the packets that ICMP errors quote. A choice that meets a port that conversations use anyway may
//! decide the fate of another connection; such a case can't be compared and is given up ([`Learned::Ambiguous`]).

mod pieces;

use std::collections::HashMap;

use fielato_wire::{Addr, Family, Headers, checksum, number};

use crate::rules::{CLIENTS, SERVICES};
use crate::subject::{Connection, Output, Tuple};
pub use pieces::fragment_header;

/// One end of a conversation, seen together with the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct End {
    protocol: u8,
    address: Addr,
    port: u16,
    peer: Addr,
    /// 0 for ICMP, where both ends share the identifier.
    peer_port: u16,
}

/// Which naming a packet or connection is put into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The recorded subject's.
    Reference,
    /// The other's.
    Own,
}

/// What [`Renames::learn`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nothing: the packets differ otherwise, or don't differ.
    Nothing,
    /// A new pair of names.
    Pair,
    /// A choice that may have met other conversations.
    Ambiguous,
}

/// Both names of every port chosen by chance.
#[derive(Clone, Debug, Default)]
pub struct Renames {
    to_own: HashMap<End, u16>,
    to_reference: HashMap<End, u16>,
}

/// Ports, or ICMP's identifier in both places; nothing where there are none.
fn ports(packet: &[u8], headers: &Headers) -> Option<[u16; 2]> {
    if headers.is_later_fragment() {
        return None;
    }
    let bytes = headers.transport(packet);
    let word = |at: usize| bytes.get(at..at + 2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    match headers.protocol {
        number::TCP | number::UDP | number::UDPLITE | number::SCTP => Some([word(0)?, word(2)?]),
        number::ICMP | number::ICMPV6 if is_query(headers) => Some([word(4)?, word(4)?]),
        _ => None,
    }
}

fn is_query(headers: &Headers) -> bool {
    match headers.family {
        Family::V4 => matches!(headers.icmp_type, 0 | 8 | 13..=18),
        Family::V6 => matches!(headers.icmp_type, 128 | 129),
    }
}

/// Whether this ICMP message quotes the packet it is about.
pub fn is_error(headers: &Headers) -> bool {
    match (headers.family, headers.protocol) {
        (Family::V4, number::ICMP) => matches!(headers.icmp_type, 3 | 4 | 5 | 11 | 12),
        (Family::V6, number::ICMPV6) => headers.icmp_type < 128,
        _ => false,
    }
}

fn is_icmp(protocol: u8) -> bool {
    matches!(protocol, number::ICMP | number::ICMPV6)
}

impl Renames {
    /// Compares two packets that should be the same and remembers ports that alone differ.
    pub fn learn(&mut self, reference: &[u8], own: &[u8]) -> Learned {
        let (Ok(theirs), Ok(ours)) = (Headers::parse(reference), Headers::parse(own)) else {
            return Learned::Nothing;
        };
        if (theirs.src, theirs.dst, theirs.protocol, theirs.len) != (ours.src, ours.dst, ours.protocol, ours.len) {
            return Learned::Nothing;
        }
        let (Some(their_ports), Some(our_ports)) = (ports(reference, &theirs), ports(own, &ours)) else {
            return Learned::Nothing;
        };
        let differs = [0, 1].map(|side| their_ports[side] != our_ports[side]);
        if differs == [false; 2] {
            return Learned::Nothing;
        }
        // Both ends have one address (a packet from a translated address to itself): then a port doesn't tell whose it is.
        let mut learned = if theirs.src == theirs.dst {
            Learned::Ambiguous
        } else {
            Learned::Pair
        };
        let addresses = [theirs.src, theirs.dst];
        for side in (0..2).filter(|side| differs[*side]) {
            let end = |port, peer_port| End {
                protocol: theirs.protocol,
                address: addresses[side],
                port,
                peer: addresses[1 - side],
                peer_port: if is_icmp(theirs.protocol) { 0 } else { peer_port },
            };
            let (reference, own) = (their_ports[side], our_ports[side]);
            for peer_ports in [[their_ports[1 - side], our_ports[1 - side]], [0; 2]] {
                let before = [
                    self.to_own.insert(end(reference, peer_ports[0]), own),
                    self.to_reference.insert(end(own, peer_ports[1]), reference),
                ];
                // Two conversations between the same addresses: which is meant isn't known where any port may answer.
                if theirs.protocol == number::UDP
                    && before
                        .iter()
                        .zip([own, reference])
                        .any(|(old, new)| old.is_some_and(|old| old != new))
                {
                    learned = Learned::Ambiguous;
                }
            }
            if is_used(theirs.protocol, reference) || is_used(theirs.protocol, own) {
                learned = Learned::Ambiguous;
            }
        }
        learned
    }

    /// Whether any port is called something else.
    pub fn is_empty(&self) -> bool {
        self.to_own.is_empty()
    }

    /// The packet in another naming.
    pub fn rename(&self, packet: &[u8], to: Naming) -> Vec<u8> {
        let mut packet = packet.to_vec();
        if !self.to_own.is_empty() {
            self.rename_in_place(&mut packet, to);
        }
        packet
    }

    /// What came out of one packet in another naming.
    pub fn outputs(&self, outputs: &[Output], to: Naming) -> Vec<Output> {
        let rename = |output: &Output| {
            let there = outputs.iter().filter(|other| other.port == output.port);
            Output {
                port: output.port,
                packet: self.rename_among(&output.packet, there.map(|other| &other.packet[..]), to),
            }
        };
        outputs.iter().map(rename).collect()
    }

    /// Whether the packet, in the reference's naming, has a port that is another conversation's in the other naming.
    pub fn is_clash(&self, packet: &[u8]) -> bool {
        let Ok(headers) = Headers::parse(packet) else {
            return false;
        };
        let Some(ports) = ports(packet, &headers) else {
            return false;
        };
        let addresses = [headers.src, headers.dst];
        (0..2).any(|side| {
            let any_peer = headers.protocol == number::UDP || is_icmp(headers.protocol);
            let end = End {
                protocol: headers.protocol,
                address: addresses[side],
                port: ports[side],
                peer: addresses[1 - side],
                peer_port: if any_peer { 0 } else { ports[1 - side] },
            };
            self.to_reference.contains_key(&end) && !self.to_own.contains_key(&end)
        })
    }

    /// The connection in the reference's naming.
    pub fn rename_connection(&self, connection: &mut Connection) {
        let protocol = connection.protocol;
        for tuple in [&mut connection.original, &mut connection.reply]
            .into_iter()
            .chain(&mut connection.master)
        {
            self.rename_tuple(tuple, protocol);
        }
    }

    fn rename_tuple(&self, tuple: &mut Tuple, protocol: u8) {
        let icmp = is_icmp(protocol);
        let other = if icmp { tuple.sport } else { tuple.dport };
        let [sport, dport] = self.names(protocol, tuple.src, tuple.dst, [tuple.sport, other], Naming::Reference);
        match icmp {
            true => tuple.sport = if sport == tuple.sport { dport } else { sport },
            false => (tuple.sport, tuple.dport) = (sport, dport),
        }
    }

    fn names(&self, protocol: u8, src: Addr, dst: Addr, [sport, dport]: [u16; 2], to: Naming) -> [u16; 2] {
        let names = match to {
            Naming::Reference => &self.to_reference,
            Naming::Own => &self.to_own,
        };
        let look = |address, port, peer, peer_port| {
            let peer_port = if is_icmp(protocol) { 0 } else { peer_port };
            let end = End {
                protocol,
                address,
                port,
                peer,
                peer_port,
            };
            // A TFTP server answers from another port than the one that was asked.
            let any_port = || names.get(&End { peer_port: 0, ..end }).filter(|_| protocol == number::UDP);
            names.get(&end).or_else(any_port).copied().unwrap_or(port)
        };
        [look(src, sport, dst, dport), look(dst, dport, src, sport)]
    }

    /// Renames in the headers, and in what an ICMP error quotes; keeps right checksums right and wrong ones as wrong.
    fn rename_in_place(&self, packet: &mut [u8], to: Naming) {
        let Ok(headers) = Headers::parse(packet) else {
            return;
        };
        if is_error(&headers) && !headers.is_later_fragment() {
            let bytes = headers.transport_mut(packet);
            let Some((head, quoted)) = bytes.split_at_mut_checked(8) else {
                return;
            };
            let before = checksum::sum(quoted);
            self.rename_quoted(quoted, headers.family, to);
            let check = u16::from_be_bytes([head[2], head[3]]);
            let check = adjust(check, before, checksum::sum(quoted));
            head[2..4].copy_from_slice(&check.to_be_bytes());
            return;
        }
        let Some(old) = ports(packet, &headers) else {
            return;
        };
        let new = self.names(headers.protocol, headers.src, headers.dst, old, to);
        if new != old {
            write_ports(headers.protocol, headers.transport_mut(packet), old, new);
        }
    }

    /// A quoted packet is often cut short, so its own length doesn't count.
    fn rename_quoted(&self, quoted: &mut [u8], family: Family, to: Naming) {
        let mut whole = quoted.to_vec();
        let length = whole.len();
        match family {
            Family::V4 if length >= 20 => whole[2..4].copy_from_slice(&(length as u16).to_be_bytes()),
            Family::V6 if length >= 40 => whole[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes()),
            _ => return,
        }
        let Ok(headers) = Headers::parse(&whole) else {
            return;
        };
        let Some(old) = ports(&whole, &headers) else {
            return;
        };
        let new = self.names(headers.protocol, headers.src, headers.dst, old, to);
        if new != old
            && let Some(bytes) = quoted.get_mut(headers.ip_header_len()..)
        {
            write_ports(headers.protocol, bytes, old, new);
        }
    }
}

/// Whether conversations use that port, or ICMP identifier, by themselves.
fn is_used(protocol: u8, port: u16) -> bool {
    match protocol {
        number::ICMP | number::ICMPV6 => port < 32,
        _ => CLIENTS.contains(&port) || SERVICES.contains(&port) || matches!(port, 20 | 5001 | 5002 | 40_069),
    }
}

fn adjust(check: u16, before: u64, after: u64) -> u16 {
    let (before, after) = (checksum::fold(before), checksum::fold(after));
    checksum::update16(check, before, after)
}

fn write_ports(protocol: u8, bytes: &mut [u8], old: [u16; 2], new: [u16; 2]) {
    let (places, sum_at): (&[usize], _) = match protocol {
        number::TCP => (&[0, 2], 16),
        number::SCTP => {
            let right = checksum::sctp(bytes).is_some_and(|check| check == bytes[8..12]);
            for (at, new) in [0, 2].into_iter().zip(new) {
                bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            }
            if right && let Some(check) = checksum::sctp(bytes) {
                bytes[8..12].copy_from_slice(&check);
            }
            return;
        }
        number::ICMP | number::ICMPV6 => (&[4], 2),
        _ => (&[0, 2], 6),
    };
    // One identifier that is both ends' name: whichever was renamed.
    let new = if is_icmp(protocol) && new[0] == old[0] {
        [new[1]; 2]
    } else {
        new
    };
    for (index, at) in places.iter().enumerate() {
        bytes[*at..*at + 2].copy_from_slice(&new[index].to_be_bytes());
        let Some(sum) = bytes.get_mut(sum_at..sum_at + 2) else {
            continue;
        };
        let check = u16::from_be_bytes([sum[0], sum[1]]);
        // RFC 768: zero means that there is none.
        if protocol == number::UDP && check == 0 {
            continue;
        }
        let check = checksum::update16(check, old[index], new[index]);
        sum.copy_from_slice(&check.to_be_bytes());
    }
}
